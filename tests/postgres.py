"""A PostgreSQL server of the suite's own, from the distribution's binaries, in a temporary folder."""

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from tests.loopback import free_loopback_port

USER = "gpuforge"
START_DEADLINE_SECONDS = 30.0
FOLDER_PREFIX = "gpuforge-postgres-"
MEMORY_FOLDER = Path("/dev/shm")
MEMORY_BYTES = 1 << 30

# Durability is PostgreSQL's own affair; what the suite needs from a server that it throws away is speed.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "min_wal_size": "32MB",
    "max_wal_size": "64MB",
    "jit": "off",
    "timezone": "UTC",
}


def find_binaries() -> Path | None:
    """The folder that holds initdb and postgres: Debian's newest version, else where PATH finds them."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    on_path = shutil.which("initdb")
    candidates = [*reversed(debian), *([Path(on_path).resolve().parent] if on_path else [])]
    return next(
        (bin_ for bin_ in candidates if (bin_ / "initdb").exists() and (bin_ / "postgres").exists()), None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """A running server; its databases belong to whoever creates them here."""

    port: int
    password: str

    def url(self, database: str) -> str:
        """The URL as a setting of the control plane would hold it."""
        return f"postgresql+asyncpg://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str = "template0") -> str:
        """Copy `template` to a new database and return its name; nobody may be connected to the template."""
        name = f"test_{secrets.token_hex(6)}"
        self._administer(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, and whatever connection a test left open on it."""
        self._administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _administer(self, statement: str) -> None:
        async def execute() -> None:
            connection = await asyncpg.connect(
                host="127.0.0.1", port=self.port, user=USER, password=self.password, database="postgres"
            )
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        run_apart(execute())


def run_apart(work: Coroutine[object, object, None]) -> None:
    """Run a coroutine on a thread of its own: a fixture may run inside a test's event loop."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, work).result()


@contextmanager
def running_postgres(binaries: Path) -> Iterator[PostgresServer]:
    """Make a cluster, serve it on a free loopback port, and leave neither process nor folder behind.

    Raises RuntimeError with the server's log when it does not come up.
    """
    _sweep_abandoned_folders()
    password = secrets.token_hex(16)
    prefix = f"{FOLDER_PREFIX}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=_parent_folder()) as temporary:
        folder = Path(temporary)
        _initialise(binaries, folder, password)
        process, port = _serve(binaries, folder)
        try:
            yield PostgresServer(port=port, password=password)
        finally:
            process.send_signal(signal.SIGQUIT)  # at once: nothing in there is worth a checkpoint
            process.wait(timeout=START_DEADLINE_SECONDS)


def _initialise(binaries: Path, folder: Path, password: str) -> None:
    password_file = folder / "password"
    password_file.write_text(password)
    if os.geteuid() == 0:
        shutil.chown(folder, _unprivileged_user())
        shutil.chown(password_file, _unprivileged_user())
    # `password` and not scram: a test opens hundreds of connections, and scram is slow on purpose.
    options = ["--auth=password", f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C", "--no-sync"]
    made = subprocess.run(
        _unprivileged([str(binaries / "initdb"), "-D", str(folder / "data"), "-U", USER, *options]),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise RuntimeError(f"initdb failed:\n{made.stdout}{made.stderr}")


def _serve(binaries: Path, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    # Between our choice of a free port and the server's bind another process may take it: choose again.
    for _attempt in range(5):
        port = free_loopback_port()
        settings = {**SETTINGS, "port": str(port)}
        command = [str(binaries / "postgres"), "-D", str(folder / "data")]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (folder / "server.log").open("ab") as log:
            process = subprocess.Popen(_unprivileged(command), cwd=folder, stdout=log, stderr=log)
        if _ready(process, folder / "data" / "postmaster.pid"):
            return process, port
        process.kill()
        process.wait()
    raise RuntimeError(f"PostgreSQL did not start:\n{(folder / 'server.log').read_text()}")


def _ready(process: subprocess.Popen[bytes], status_file: Path) -> bool:
    """Wait as pg_ctl does: until line 8 of postmaster.pid says so."""
    deadline = time.monotonic() + START_DEADLINE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        lines = status_file.read_text().splitlines() if status_file.exists() else []
        if len(lines) >= 8 and lines[7].strip() == "ready":
            return True
        time.sleep(0.01)
    return False


def _unprivileged(command: Sequence[str]) -> list[str]:
    """Drop root, which PostgreSQL refuses, and have the kernel end the server with us, even by kill -9."""
    prefix = ["setpriv", "--pdeathsig", "QUIT"]
    if os.geteuid() == 0:
        user = _unprivileged_user()
        prefix += ["--reuid", user, "--regid", str(_group_of(user)), "--clear-groups"]
    return [*prefix, *command]


def _unprivileged_user() -> str:
    return "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"


def _group_of(user: str) -> int:
    return pwd.getpwnam(user).pw_gid


def _parent_folder() -> Path:
    """Memory where there is enough of it: a database is 900 small files, made ten times as fast there."""
    roomy = MEMORY_FOLDER.is_dir() and shutil.disk_usage(MEMORY_FOLDER).free >= MEMORY_BYTES
    return MEMORY_FOLDER if roomy and os.access(MEMORY_FOLDER, os.W_OK) else Path(tempfile.gettempdir())


def _sweep_abandoned_folders() -> None:
    """Remove what a killed run left: its server went with it, its folder could not."""
    for folder in _parent_folder().glob(f"{FOLDER_PREFIX}*"):
        owner = folder.name.removeprefix(FOLDER_PREFIX).split("-")[0]
        if not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)
