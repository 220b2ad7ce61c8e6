"""Fixtures every tier shares: databases, ports, the loopback guard, Hypothesis's profiles."""

import logging
import shutil
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.loopback import free_loopback_port
from tests.network import NetworkGuard
from tests.postgres import PostgresServer, find_binaries, run_apart, running_postgres
from tests.tiers import C_COMPILER, IN_CI, PARTS, POSTGRESQL, Part, notice

GUARD = pytest.StashKey[NetworkGuard]()

# No deadline: a loaded machine is no bug. In CI the same examples every time: red means the code changed.
settings.register_profile("default", deadline=None, derandomize=IN_CI)
settings.register_profile("thorough", deadline=None, derandomize=False, max_examples=5_000)
settings.load_profile("default")


def pytest_configure(config: pytest.Config) -> None:
    """Install the guard once a process: an audit hook can't be taken out again."""
    config.stash[GUARD] = NetworkGuard()
    sys.addaudithook(config.stash[GUARD])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """Say last of all, too, what this run could not see: a skip alone is one line among hundreds."""
    yield
    missing = [part for part in PARTS if not part.present()]
    if missing:
        terminalreporter.write_line(notice(missing), red=True, bold=True)


@pytest.fixture(autouse=True)
def network_guard(request: pytest.FixtureRequest) -> Iterator[NetworkGuard]:
    """Fail the test if anything in it tried to leave loopback, swallowed or not."""
    guard = request.config.stash[GUARD]
    guard.refused.clear()
    yield guard
    assert not guard.refused, f"tried to leave loopback: {guard.refused}"


@pytest.fixture(autouse=True)
def root_logger_as_it_was() -> Iterator[None]:
    """Undo what a command under test does to logging, which is one for the whole process."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture
def free_port() -> int:
    """A TCP port that was free on 127.0.0.1 a moment ago, for a process that can't be given port 0."""
    return free_loopback_port()


@pytest.fixture(scope="session")
def c_compiler() -> str:
    """The path of gcc; what it builds may include libc's headers."""
    require(C_COMPILER)
    compiler = shutil.which("gcc")
    assert compiler
    return compiler


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for the session (with xdist: for each worker)."""
    require(POSTGRESQL)
    binaries = find_binaries()
    assert binaries
    with running_postgres(binaries) as server, pytest.MonkeyPatch.context() as patch:
        # a busy machine stops this process for longer than a control plane's host should; whoever tests what
        # comes of that sets it back
        patch.setattr("gpuforge_controlplane.storage.database.HANG_S", 60.0)
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    """Whatever asks for a database runs on both."""
    return str(request.param)


@pytest.fixture
def database_url(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database of this test's own, without a table in it."""
    if dialect == "sqlite":
        yield _sqlite_url(tmp_path / "gpuforge.db")
    else:
        yield from _fresh_database(request.getfixturevalue("postgres"))


@pytest.fixture
def migrated_database_url(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database of this test's own, with the schema of today and no row in it."""
    if dialect == "sqlite":
        shutil.copyfile(request.getfixturevalue("migrated_sqlite"), tmp_path / "gpuforge.db")
        yield _sqlite_url(tmp_path / "gpuforge.db")
    else:
        template = request.getfixturevalue("migrated_postgres_template")
        yield from _fresh_database(request.getfixturevalue("postgres"), template)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy: migrating takes many times as long as copying."""
    path = tmp_path_factory.mktemp("migrated") / "gpuforge.db"
    _migrate(_sqlite_url(path))
    return path


@pytest.fixture(scope="session")
def migrated_postgres_template(postgres: PostgresServer) -> str:
    """The name of a migrated database to copy."""
    name = postgres.create_database()
    _migrate(postgres.url(name))
    return name


def _migrate(url: str) -> None:
    from gpuforge_controlplane.migrations import migrate

    run_apart(migrate(url))


def _fresh_database(server: PostgresServer, template: str = "template0") -> Iterator[str]:
    name = server.create_database(template)
    yield server.url(name)
    server.drop_database(name)


def _sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


def require(part: Part) -> None:
    """Leave the test out where a part of the system is missing; in CI that is a failure, if avoidable."""
    if part.present():
        return
    if IN_CI and part.possible():
        pytest.fail(f"{part.name} is missing: {part.line}")
    pytest.skip(f"{part.name} is missing")
