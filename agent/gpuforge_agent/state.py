"""The agent's folder on disk, which keeps queue and identity over restarts: one agent at a time."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from gpuforge_shared.settings import SettingsError

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def claimed(folder: Path | None) -> Iterator[Path | None]:
    """The folder, made if need be and ours until the end; None where there is none, or it can't be used.

    An agent without a folder reads and delivers all the same, so that is logged and no more. Raises
    SettingsError where another agent has it. The kernel lets go of the lock even after kill -9.
    """
    if folder is None:
        logger.info("the queue is in memory: it does not outlive the agent unless state_dir is set")
        yield None
        return
    try:
        lock = _locked(folder)
    except OSError as error:
        logger.warning(
            "the state folder can't be used, the queue is in memory: %s", error, extra={"folder": str(folder)}
        )
        yield None
        return
    try:
        yield folder
    finally:
        os.close(lock)


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
        raise SettingsError(
            f"state_dir: another agent (process {holder(folder)}) uses {folder}; stop it, or give this one "
            "a folder of its own"
        ) from None
    except OSError:
        os.close(lock)
        raise
    return lock
