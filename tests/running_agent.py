"""The agent running in a test: in this process with a clock that counts, or as a command of its own."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from gpuforge_agent.app import Supervisor, run_until
from gpuforge_agent.config import AgentSettings
from gpuforge_client.retry import World

START = datetime(2026, 5, 9, tzinfo=UTC)
GPUS = 2


class CountingClock:
    """A second later at every look, so that a gap or a swap in what arrives shows."""

    def __init__(self, start: datetime) -> None:
        self.start = start
        self.looks = 0
        self._awaited: list[tuple[int, asyncio.Event]] = []

    def __call__(self) -> datetime:
        """Now."""
        self.looks += 1
        for looks, reached in self._awaited:
            if self.looks >= looks:
                reached.set()
        return self.start + timedelta(seconds=self.looks)

    async def more(self, looks: int) -> None:
        """Wait until it was looked at so many times more."""
        reached = asyncio.Event()
        self._awaited.append((self.looks + looks, reached))
        await reached.wait()


class RunningAgent:
    """One agent in this process, with a clock of its own and hardly any jitter."""

    def __init__(self, url: str, key: str, *, start: datetime = START, **changes: object) -> None:
        self.clock = CountingClock(start)
        self.settings = AgentSettings.model_validate(
            {
                "control_plane_url": url,
                "api_key": key,
                "hostname": "gpu",
                "source": "simulated",
                "simulated_gpus": GPUS,
                "interval_s": 0.01,
                "push_interval_s": 0.03,
                "heartbeat_interval_s": 0.1,
                **changes,
            }
        )

    @contextlib.asynccontextmanager
    async def running(self, supervisor: Supervisor | None = None) -> AsyncIterator[None]:
        """Started, and stopped at the end."""
        stop = asyncio.Event()
        world = World(clock=self.clock, draw=lambda: 0.02)
        task = asyncio.create_task(
            run_until(stop, self.settings, supervisor=supervisor or Supervisor(), world=world)
        )
        try:
            yield
        finally:
            stop.set()
            async with asyncio.timeout(20):
                await task


def environment(url: str, key: str, **changes: str) -> Mapping[str, str]:
    """Of an agent in a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GPUFORGE_")}
    return inherited | {
        "GPUFORGE_CONTROL_PLANE_URL": url,
        "GPUFORGE_API_KEY": key,
        "GPUFORGE_HOSTNAME": "gpu-01",
        "GPUFORGE_SOURCE": "simulated",
        "GPUFORGE_PUSH_INTERVAL_S": "0.05",
        **changes,
    }


@contextlib.asynccontextmanager
async def process(
    module: str, *arguments: str, env: Mapping[str, str], within: Sequence[str] = ()
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command, killed if the test leaves it running. `within`: a command that becomes its own."""
    command = await asyncio.create_subprocess_exec(
        *within, sys.executable, "-m", module, *arguments, env=env, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield command
    finally:
        with contextlib.suppress(ProcessLookupError):
            command.kill()
        await command.wait()
