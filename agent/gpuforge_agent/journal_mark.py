"""Up to where all Xids of the kernel's log are told, on disk: those of while no agent ran are the next's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

import msgspec

from gpuforge_agent.state import HANG_S, replace_file
from gpuforge_shared.aside import aside

logger = logging.getLogger(__name__)

FILE = "kernel-log.json"


class _Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    since: float  # seconds since 1970: when the log was followed first
    cursor: str | None = None  # journald's, of an entry behind that


class JournalMark:
    """Of one follower. Without a folder it is forgotten with the process."""

    def __init__(self, folder: Path | None = None, hold: Callable[[], None] = lambda: None) -> None:
        """`hold` comes before anything is written, and may raise OSError."""
        self._file = None if folder is None else folder / FILE
        self._hold = hold
        self._mark: _Mark | None = None
        self._unsaved = False
        self._saving: asyncio.Future[None] | None = None

    async def begin(self, now: datetime) -> str:
        """Where journalctl is to begin, as its flag: where the last agent was, or `now` at a first start."""
        with contextlib.suppress(OSError):  # as at a first start: better an Xid untold than told twice
            async with asyncio.timeout(HANG_S):
                self._mark = None if self._file is None else await aside(partial(_read, self._file))
        if self._mark is None:
            self._note(_Mark(since=now.timestamp()))
        assert self._mark is not None
        cursor = self._mark.cursor
        return f"--since=@{int(self._mark.since)}" if cursor is None else f"--after-cursor={cursor}"

    def told(self, cursor: str) -> None:
        """All up to that entry is told. Waits for no disk."""
        if self._mark is not None and self._mark.cursor != cursor:
            self._note(msgspec.structs.replace(self._mark, cursor=cursor))

    async def saved(self) -> None:
        """Until what was told is on disk, or could not be written; takes as long as the disk does."""
        if self._saving is not None:
            await asyncio.wait([self._saving])

    async def forget(self) -> None:
        """Nobody follows the log in this life: what NVML tells in it must not be told again by the next."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                async with asyncio.timeout(HANG_S):
                    await aside(partial(self._file.unlink, missing_ok=True))

    def _note(self, mark: _Mark) -> None:
        self._mark, self._unsaved = mark, True
        if self._file is not None and (self._saving is None or self._saving.done()):
            self._saving = asyncio.ensure_future(self._save(self._file))

    async def _save(self, file: Path) -> None:
        """The latest, as often as there is a later one."""
        while self._unsaved:
            self._unsaved = False
            content = msgspec.json.encode(self._mark)
            try:
                await aside(self._hold)
                await aside(partial(replace_file, file, content))
            except OSError as error:
                logger.warning("which Xids were told can't be remembered: %s", error)


def _read(file: Path) -> _Mark | None:
    """None where there is none, or nothing to be read in it. Raises OSError."""
    with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
        return msgspec.json.decode(file.read_bytes(), type=_Mark)
    return None
