"""The agent's folder on disk, which keeps queue and identity over restarts: one agent at a time."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from gpuforge_shared.aside import aside

logger = logging.getLogger(__name__)

HANG_S = 10.0  # how long a start waits for the disk


class FolderTaken(OSError):
    """Another agent has it."""


class Claim:
    """A folder that is ours from the first moment on at which it can be: its disk may come later than we."""

    def __init__(self, folder: Path) -> None:
        """Nothing is touched before `hold`."""
        self.folder = folder
        self._lock: int | None = None
        self._mutex = threading.Lock()

    def hold(self) -> None:
        """Make it ours, if it is not yet. May block; raises OSError: FolderTaken where another has it."""
        with self._mutex:
            if self._lock is None:
                self._lock = _locked(self.folder)

    def release(self) -> None:
        """Leave it to others."""
        if self._lock is not None:
            os.close(self._lock)


@contextlib.asynccontextmanager
async def claimed(folder: Path | None) -> AsyncIterator[Claim | None]:
    """The folder, ours until the end; None where there is none.

    An agent whose folder can't be used (yet) reads and delivers all the same. Raises FolderTaken where
    another agent has it. The kernel lets go of the lock even after kill -9, once no call of it hangs.
    """
    if folder is None:
        logger.info("the queue is in memory: it does not outlive the agent unless state_dir is set")
        yield None
        return
    claim = Claim(folder)
    try:
        async with asyncio.timeout(HANG_S):
            await aside(claim.hold)
    except FolderTaken as error:
        raise FolderTaken(f"state_dir: {error}; stop it, or give this one a folder of its own") from None
    except OSError as error:  # who needs the folder goes on trying, and says so
        logger.debug("the state folder can't be used yet: %s", error)
    try:
        yield claim
    finally:
        claim.release()


def holder(folder: Path) -> str | None:
    """The process id of the agent that has the folder, None while nobody has it. Raises OSError."""
    try:
        lock = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(lock, 20).decode(errors="replace").strip() or "unknown"
    else:
        return None
    finally:
        os.close(lock)


def replace_file(file: Path, content: bytes) -> None:
    """Replace the file, so that a power cut leaves the old one or the new one. Raises OSError."""
    fresh = file.with_suffix(".new")
    opened = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(opened, "wb") as writer:
        writer.write(content)
        writer.flush()
        os.fsync(writer.fileno())
    fresh.replace(file)


def _locked(folder: Path) -> int:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(OSError):  # for people: on a full disk it is ours all the same
            os.truncate(lock, 0)
            os.write(lock, b"%d\n" % os.getpid())
    except BlockingIOError:
        os.close(lock)
        raise FolderTaken(f"another agent (process {holder(folder)}) uses {folder}") from None
    except OSError:
        os.close(lock)
        raise
    return lock
