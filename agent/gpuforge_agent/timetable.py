"""When each collector runs, and how it did the last time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from gpuforge_client.retry import REAL, World

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collecting:
    """One kind of reading: its name in reports, how often, after how many seconds a GPU counts as hung."""

    name: str
    period_s: float
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How a collector did."""

    what: Collecting
    ran_at: datetime
    duration_s: float
    failed: int
    """GPUs it has nothing of; of the host, figures."""
    runs: int = 1
    """Since the agent started, this one included …"""
    failures: int = 0
    """… and those of them that had nothing of something."""


class Timetable:
    """The latest run of each collector. One that never ran is due."""

    def __init__(self, world: World = REAL) -> None:
        """`world`: whose clocks."""
        self._world = world
        self._due: dict[str, float] = {}
        self._runs: dict[str, Run] = {}

    @property
    def runs(self) -> tuple[Run, ...]:
        """The latest of each collector, in order of their first."""
        return tuple(self._runs.values())

    def is_due(self, what: Collecting) -> bool:
        """Whether its period is over."""
        return self._world.monotonic() >= self._due.get(what.name, float("-inf"))

    async def run(self, what: Collecting, act: Awaitable[T], failed: Callable[[T], int]) -> T:
        """Await `act` and note how it went; `failed` counts, in its answer, what could not be read."""
        ran_at, began = self._world.clock(), self._world.monotonic()
        self._due[what.name] = began + what.period_s
        answer = await act
        before, missed = self._runs.get(what.name), failed(answer)
        self._runs[what.name] = Run(
            what=what,
            ran_at=ran_at,
            duration_s=self._world.monotonic() - began,
            failed=missed,
            runs=1 + (before.runs if before else 0),
            failures=(missed > 0) + (before.failures if before else 0),
        )
        return answer
