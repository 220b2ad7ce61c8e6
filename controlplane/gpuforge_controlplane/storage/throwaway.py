"""A database for as long as it is looked at."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from gpuforge_controlplane.storage import alert_schema, billing_schema, health_schema, rollup_schema, schema
from gpuforge_controlplane.storage.database import Database

SETTLED_S = 60.0  # a folder younger than this may be another process's that has not locked it yet


@asynccontextmanager
async def throwaway(prefix: str) -> AsyncIterator[Database]:
    """An empty SQLite database of today's schema in a folder of its own, removed at the end; what processes
    that were killed left under that prefix goes now."""
    with _folder(prefix) as folder:
        database = Database(f"sqlite+aiosqlite:///{folder}/gpuforge.db")
        try:
            async with database.write() as connection:
                # they share their metadata, but only when all are imported
                for tables in (schema, billing_schema, alert_schema, health_schema, rollup_schema):
                    await connection.run_sync(tables.metadata.create_all)
            yield database
        finally:
            await database.close()


@contextmanager
def _folder(prefix: str) -> Iterator[Path]:
    """The kernel lets go of the lock on it when this process ends, however it ends."""
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_left_over(prefix, before=os.fstat(lock).st_mtime - SETTLED_S)
            yield Path(folder)
        finally:
            os.close(lock)


def _remove_left_over(prefix: str, *, before: float) -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        try:
            # others may write there, too: nothing is followed, and only what is ours is touched
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            found = os.fstat(lock)
            if found.st_uid == os.geteuid() and found.st_mtime < before:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass  # its process lives
        finally:
            os.close(lock)
