"""The parent's end of one reader process: started, asked with a deadline on each step, ended."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Literal, Self, TypeAlias

import msgspec

from gpuforge_agent.sources.base import (
    SESSION,
    Fault,
    GpuIdentity,
    Health,
    Inventory,
    Occupancy,
    Reading,
    Reason,
    Xid,
    slot_of,
)
from gpuforge_agent.sources.pci import DEVICES

Answer: TypeAlias = Reading | Health | Occupancy
"""What the reader says of one GPU."""

_LONGEST_LINE = 1 << 20
# isolated and without site: no environment variable and no .pth file changes what this process imports, and
# it finds the very packages that the agent runs from
_BOOT = (
    "import sys; sys.path[:] = sys.argv[2:]; from gpuforge_agent.reader import main; main(int(sys.argv[1]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NvmlSettings:
    """NVML by way of nvidia-ml-py."""

    library: str | None = None
    """Absolute path of the libnvidia-ml to load; None: the one the system finds."""
    pci_devices: str = str(DEVICES)
    """Where the kernel lists the cards on the bus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long things may take, in seconds, before they count as hung."""

    start_s: float = 15.0
    """From the launch of the reader to its first word."""
    open_s: float = 15.0
    """Opening NVML, or finding one GPU: seconds each where persistence mode is off. A reader's first
    call has twice as long each time after one took too long to open, eight times at most."""
    step_s: float = 2.0
    """Reading one GPU."""
    call_s: float = 20.0
    """After that a call starts nothing more: what it has not reached yet is `not_reached`."""
    kill_s: float = 1.0
    """From SIGKILL to the end of the process; one that outlasts it sits in the driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The reader went through the whole request."""

    inventory: Inventory | None
    fault: Fault | None
    xids: tuple[Xid, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The reader did not: why, and what it was touching (a UUID, a `slot`, SESSION; None: nothing)."""

    subject: str | None
    reason: Reason


class Request(msgspec.Struct, kw_only=True, omit_defaults=False):
    """What the reader is asked for."""

    call: Literal["inventory", "read", "health", "occupancy", "xids"]
    uuids: tuple[str, ...] | None = None


class _Message(msgspec.Struct, kw_only=True):
    """One line of the reader's."""

    entering: str | None = None
    reading: Reading | None = None
    health: Health | None = None
    occupancy: Occupancy | None = None
    inventory: Inventory | None = None
    xids: tuple[Xid, ...] = ()
    done: bool = False
    fault: Fault | None = None

    @property
    def answer(self) -> Answer | None:
        """What it says of a GPU, if it does."""
        return self.reading or self.health or self.occupancy


_decoder = msgspec.json.Decoder(_Message)


class Child:
    """One reader process. After anything but Done it is of no more use and must be ended."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        deadlines: Deadlines,
        first_open_s: float,
        avoided: frozenset[int],
    ) -> None:
        """Use `launch`."""
        self._process = process
        self._deadlines = deadlines
        self._first_open_s = first_open_s
        self._subject: str | None = SESSION
        self._started = False
        self._opened = False
        self.avoided_slots = avoided
        self.in_step = False
        """Whether an answer is outstanding: it was cut off, and what comes next is not what was asked for."""

    @classmethod
    async def launch(
        cls,
        settings: NvmlSettings,
        known: Iterable[GpuIdentity],
        avoid: Collection[int],
        deadlines: Deadlines,
        *,
        first_open_s: float,
    ) -> Self:
        """Start a reader. Raises OSError where the host has no process left.

        `first_open_s`: in place of `deadlines.open_s` until it answered once.
        """
        path = (entry or "." for entry in sys.path)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", _BOOT, str(os.getpid()), *path),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LONGEST_LINE,
            start_new_session=True,  # a Ctrl-C is the agent's to handle; the reader ends with it
        )
        child = cls(process, deadlines, first_open_s, frozenset(avoid))
        seen = [asdict(gpu) for gpu in known]
        opening = {**asdict(settings), "known": seen, "avoid_slots": sorted(avoid)}
        child._send(opening)
        return child

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.returncode is None

    async def ask(self, request: Request, take: Callable[[Answer], None], ends_at: float) -> Done | Stopped:
        """Send one request and follow its steps; `take` gets each answer at once.

        `ends_at` is in seconds of time.monotonic: the request is broken off at the first step after it. The
        first one is not: it opens NVML and finds the GPUs, and the next reader would have to begin anew.
        """
        self.in_step = True
        self._send(request)
        inventory: Inventory | None = None
        xids: tuple[Xid, ...] = ()
        while isinstance(message := await self._receive(), _Message):
            self._started = True
            if message.entering is not None:
                self._subject = message.entering
            if message.answer is not None:
                take(message.answer)
                self._subject = None
            inventory = message.inventory or inventory
            xids += message.xids
            if message.done:
                self._subject = None
                self._opened = True
                self.in_step = False
                return Done(inventory=inventory, fault=message.fault, xids=xids)
            if self._opened and time.monotonic() > ends_at:
                return Stopped(subject=None, reason=Reason.NOT_REACHED)
        return Stopped(subject=self._subject, reason=message)

    async def end(self) -> bool:
        """Kill it and wait; False: it sits in the driver and outlasts even that."""
        self._close_input()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        return await self._ended_within(self._deadlines.kill_s)

    async def leave(self) -> None:
        """Ask it to end by itself, which gives NVML back in good order, and give it the time to."""
        self._close_input()
        await self._ended_within(self._deadlines.kill_s)

    def _send(self, message: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(msgspec.json.encode(message) + b"\n")

    def _close_input(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def _ended_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    def _step_deadline_s(self) -> float:
        if not self._started:
            return self._deadlines.start_s
        subject = self._subject
        opening = subject is not None and (subject == SESSION or slot_of(subject) is not None)
        if not opening:
            return self._deadlines.step_s
        # what hangs once all was open is not the slow opening that the patience was for
        return self._deadlines.open_s if self._opened else self._first_open_s

    async def _receive(self) -> _Message | Reason:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(self._step_deadline_s()):
                line = await self._process.stdout.readline()
            return _decoder.decode(line) if line.endswith(b"\n") else Reason.READER_DIED
        except TimeoutError:
            return Reason.HUNG
        except ValueError:
            # no message of ours, or one without an end: whoever writes that is our reader no more
            return Reason.READER_DIED
