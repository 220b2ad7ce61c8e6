"""The folder where a demo keeps what must survive it: the database, the keys, the logs."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gpuforge_shared import apikey

_READY, _LOCK = "gpuforge.db", "lock"


class DemoError(Exception):
    """The demo can't start or go on; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoFolder:
    """Where things are."""

    path: Path

    @property
    def database(self) -> Path:
        """The control plane's default name, so that it needs no URL with this path in it."""
        return self.path / _READY

    @property
    def admin_key(self) -> Path:
        return self.path / "admin.key"

    def cluster_key(self, cluster: str) -> Path:
        return self.path / f"cluster-{cluster}.key"

    def notify_secret(self) -> str:
        """Made when it is first asked for, and kept: channels sealed with another could not be opened."""
        file = self.path / "notify.secret"
        if not file.exists():
            write_key(file, secrets.token_hex(32))
        return file.read_text(encoding="ascii").strip()

    def log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    def forget_keys(self) -> None:
        """Keys without the database that knows them open nothing."""
        for file in self.path.glob("*.key"):
            file.unlink()


@contextmanager
def opened(path: Path, url: str) -> Iterator[DemoFolder]:
    """The folder, made if it is not there, and nobody else's until the end of the block.

    Raises DemoError where another demo holds it or it can't be made.
    """
    folder = DemoFolder(path=path)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.log("any").parent.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DemoError(f"can't use {path}: {error.strerror}; name another folder with --data") from None
    try:
        _hold(lock, path, url)
        if not folder.database.exists():
            folder.forget_keys()
        yield folder
    finally:
        os.close(lock)


def _hold(lock: int, path: Path, url: str) -> None:
    """The kernel lets go of the lock when this process ends, however it ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 255).decode(errors="replace").strip() or "another process"
        raise DemoError(
            f"a demo runs on {path} already ({holder}); stop it, or start another with --data FOLDER --port N"
        ) from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{url}, process {os.getpid()}\n".encode())


def write_key(file: Path, raw: str) -> None:
    """Keep a raw key or other secret for its owner's eyes alone; the file is there whole or not at all."""
    fresh = file.with_name(file.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(raw + "\n")
    fresh.replace(file)


def read_key(file: Path) -> str | None:
    """The raw key of that file; None where there is none that could be one."""
    try:
        raw = file.read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return raw if apikey.is_well_formed(raw) else None


def fresh_log(file: Path) -> None:
    """Put the last run's log aside."""
    if file.exists():
        shutil.move(file, file.with_name(file.name + ".1"))


def last_lines(file: Path, count: int = 10) -> str:
    """The end of a log, indented; what a person wants to see when its writer has died."""
    try:
        with file.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 16_384))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        lines = []
    return "\n".join(f"    {line}" for line in lines[-count:]) or "    (it is empty)"
