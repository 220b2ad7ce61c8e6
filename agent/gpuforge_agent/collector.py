"""Runs a source where it may hang: in a child process, with a deadline on each of its steps."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from gpuforge_agent.sources.base import GpuIdentity, Inventory, Reading, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class NvmlSettings:
    """NVML by way of nvidia-ml-py."""

    library: str | None = None
    """Absolute path of the libnvidia-ml to load; None: the one the system finds."""


class Collector(Protocol):
    """What the agent asks for readings. Neither call raises or takes longer than its deadlines."""

    async def inventory(self) -> Inventory:
        """List the GPUs, those known before and missing now included."""
        ...

    async def read(self) -> tuple[Reading, ...]:
        """Read every GPU ever seen, by index; what could not be read says why."""
        ...

    async def close(self) -> None:
        """End the child. Idempotent."""
        ...


class InlineCollector:
    """A source that cannot hang (the simulated one), called in this very process."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def inventory(self) -> Inventory:
        """See Collector."""
        return self._source.inventory()

    async def read(self) -> tuple[Reading, ...]:
        """See Collector."""
        return tuple(self._source.read())

    async def close(self) -> None:
        """See Collector."""
        self._source.close()


class ChildCollector:
    """NVML in a child process: a hung call costs that child, never the agent."""

    def __init__(
        self,
        settings: NvmlSettings,
        *,
        known: Iterable[GpuIdentity] = (),
        step_deadline_s: float = 2.0,
        call_deadline_s: float = 6.0,
    ) -> None:
        """Nothing is started before the first call. `known`: GPUs of earlier runs, reported when missing."""

    async def inventory(self) -> Inventory:
        """See Collector."""
        raise NotImplementedError

    async def read(self) -> tuple[Reading, ...]:
        """See Collector."""
        raise NotImplementedError

    async def close(self) -> None:
        """See Collector."""
        raise NotImplementedError
