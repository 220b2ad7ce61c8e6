"""Xids from the kernel's messages in systemd's journal, for cards and drivers whose NVML tells none."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from gpuforge_agent.journal_mark import JournalMark
from gpuforge_agent.sources.pci import Place, place_of
from gpuforge_client.retry import REAL, RetryPolicy, World, backoff_s

logger = logging.getLogger(__name__)

# Messages that the kernel itself wrote: what a program logs may say anything. Of this boot: what ailed a card
# in an earlier one may be over.
COMMAND = (
    "journalctl", "--boot", "--follow", "--no-tail", "--output=json", "--output-fields=MESSAGE",
    "_TRANSPORT=kernel",
)  # fmt: skip
MARK_EVERY = 1_000  # messages, whatever they tell of: a start rereads no more than those
MOST_WAITING = 256  # a card that floods the log must not fill our memory
_LONGEST_LINE = 1 << 16
_AGAIN = RetryPolicy(attempts=None, base_s=5.0, cap_s=300.0)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# NVIDIA's "XID Errors": `NVRM: Xid (PCI:0000:3b:00): 79, pid=…`, older drivers without `PCI:`, and a MIG
# instance's with its name after the place.
_XID = re.compile(
    r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2})[^)]*\): (\d{1,5})\b"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedXid:
    """An Xid as the kernel logged it: of whatever card is in that place on the bus."""

    place: Place
    code: int
    at: datetime


class _Entry(msgspec.Struct):
    message: str | list[int] = msgspec.field(name="MESSAGE")  # bytes, where they are no text
    realtime: str = msgspec.field(name="__REALTIME_TIMESTAMP")  # microseconds
    cursor: str = msgspec.field(name="__CURSOR")


_decoder = msgspec.json.Decoder(_Entry)


def xid_in(message: str, at: datetime) -> LoggedXid | None:
    """The Xid that a message of the kernel's tells of, None where it tells of something else."""
    found = _XID.search(message)
    place = None if found is None else place_of(found[1])
    return None if found is None or place is None else LoggedXid(place=place, code=int(found[2]), at=at)


class KernelLog:
    """Follows the kernel's messages from where the last agent was, through any end of journalctl."""

    def __init__(
        self, command: Sequence[str] = COMMAND, *, world: World = REAL, mark: JournalMark | None = None
    ) -> None:
        """Nothing is started before `run`. `command` answers in journalctl's JSON, an entry a line."""
        self._command = tuple(command)
        self._world = world
        self._mark = mark or JournalMark()
        self._waiting: deque[LoggedXid] = deque(maxlen=MOST_WAITING)
        self._cursor: str | None = None
        self._behind = 0  # messages since the one that the cursor names
        self._taken: str | None = None
        self._told: str | None = None
        self.problem: str | None = None  # why nothing is heard

    def take(self) -> tuple[LoggedXid, ...]:
        """What came up since the last call, oldest first; of a flood the latest MOST_WAITING."""
        self._taken = self._cursor
        taken = tuple(self._waiting)
        self._waiting.clear()
        return taken

    def told(self) -> None:
        """What was taken is told, and not to be told by the next agent."""
        if self._taken is not None:
            self._mark.told(self._taken)

    async def run(self) -> None:
        """Follow until cancelled."""
        start = await self._mark.begin(self._world.clock())
        failures = 0
        while True:
            began = self._world.monotonic()
            problem = await self._follow(start if self._cursor is None else f"--after-cursor={self._cursor}")
            failures = 1 if self._world.monotonic() - began > _AGAIN.cap_s else failures + 1
            self.problem = problem
            if problem != self._told:
                logger.warning("the kernel's log can't be followed: %s", problem)
            self._told = problem
            await self._world.sleep(backoff_s(_AGAIN, failures, None, self._world.draw()))

    async def _follow(self, start: str) -> str:
        """One run of journalctl, from there on; why it ended."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, start, limit=_LONGEST_LINE, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            return f"{self._command[0]}: {error.strerror}"
        self.problem = None
        complaints = asyncio.create_task(_last_line(process.stderr))
        try:
            await self._hear(process.stdout)
            await process.wait()
            return await complaints or f"{self._command[0]} ended with status {process.returncode}"
        finally:
            complaints.cancel()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _hear(self, stdout: asyncio.StreamReader | None) -> None:
        assert stdout is not None
        while True:
            try:
                line = await stdout.readline()
            except ValueError:  # longer than any message of the driver's
                continue
            if not line:
                return
            self._behind += 1
            if b"NVRM: Xid" in line or b'"MESSAGE":[' in line or self._behind >= MARK_EVERY:
                self._note(line)

    def _note(self, line: bytes) -> None:
        with contextlib.suppress(msgspec.MsgspecError, ValueError, OverflowError):
            entry = _decoder.decode(line)
            message = (
                entry.message if isinstance(entry.message, str) else bytes(entry.message).decode("latin-1")
            )
            found = xid_in(message, _EPOCH + timedelta(microseconds=int(entry.realtime)))
            self._cursor, self._behind = entry.cursor, 0
            if found is not None:
                self._waiting.append(found)


async def _last_line(stderr: asyncio.StreamReader | None) -> str:
    assert stderr is not None
    last = b""
    with contextlib.suppress(ValueError):
        while line := await stderr.readline():
            last = line
    return last.decode(errors="replace").strip()[:200]
