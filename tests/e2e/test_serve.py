"""The control plane's command in a process of its own: how it starts, stops and says what is wrong."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from gpuforge_controlplane.__main__ import main
from gpuforge_controlplane.services.keys import create_key_on_host
from gpuforge_controlplane.storage.database import Database
from gpuforge_shared import apikey
from gpuforge_shared.clock import utc_now
from gpuforge_shared.wire.keys import KeyCreate
from tests.postgres import run_apart
from tests.running_agent import environment, process
from tests.stream_reader import streaming

ON_SQLITE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


@contextlib.asynccontextmanager
async def serving(
    url: str, within: Sequence[str] = ()
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """The process, and the port it serves."""
    env = {**environment("", ""), "GPUFORGE_DATABASE_URL": url}
    async with process("gpuforge_controlplane", "serve", "--port", "0", env=env, within=within) as server:
        assert server.stderr
        async for line in server.stderr:
            event = json.loads(line)
            if event["event"] == "serving":
                yield server, int(event["url"].rpartition(":")[2])
                break


@ON_SQLITE
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_request_in_flight_ends_before_the_server_does(
    migrated_database_url: str, number: signal.Signals
) -> None:
    database = Database(migrated_database_url)
    key = await create_key_on_host(database, utc_now, KeyCreate(label="x", permissions=["admin"]))
    await database.close()
    body = b'{"name": "in flight"}'
    head = (
        f"POST /api/clusters HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    async with serving(migrated_database_url) as (server, port):
        server.send_signal(signal.SIGHUP)  # no terminal of its own has hung up
        _, idle = await asyncio.open_connection("127.0.0.1", port)  # must not hold the stop up
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")  # it waits for the body now
        server.send_signal(number)
        await _refused(port)
        writer.write(body)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 201")
        output, rest = await server.communicate()
        assert (server.returncode, output) == (0, b"")
        events = [json.loads(line) for line in rest.splitlines()]
        assert [event["event"] for event in events if event["logger"].endswith("app")] == [
            "stopping",
            "stopped",
        ]
        assert not [event for event in events if "exception" in event]
        for each in (idle, writer):
            each.close()
            with contextlib.suppress(ConnectionError):
                await each.wait_closed()


@ON_SQLITE
async def test_open_streams_do_not_hold_up_the_stop(migrated_database_url: str) -> None:
    database = Database(migrated_database_url)
    key = await create_key_on_host(database, utc_now, KeyCreate(label="x", permissions=["read"]))
    await database.close()
    async with serving(migrated_database_url) as (server, port):
        url = f"http://127.0.0.1:{port}"
        async with streaming(url, key) as live, streaming(url, None) as sample:
            for stream in (live, sample):
                await stream.until("frame")
            server.send_signal(signal.SIGTERM)
            for stream in (live, sample):
                await stream.to_its_end()
                assert stream.ended  # and not broken off
            _, rest = await server.communicate()
    events = [json.loads(line) for line in rest.splitlines()]
    assert (server.returncode, events[-1]["event"]) == (0, "stopped")
    assert not [event for event in events if "exception" in event]


@ON_SQLITE
async def test_a_shells_few_open_files_do_not_limit_connections(migrated_database_url: str) -> None:
    async with serving(migrated_database_url, within=("prlimit", "--nofile=128:1024")) as (_, port):
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(300)]
        for reader, writer in (idle[0], idle[-1]):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(20):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        for _, writer in idle:
            writer.close()


@ON_SQLITE
async def test_systemds_journal_is_told_the_priority_of_a_line(migrated_database_url: str) -> None:
    as_systemd = ("sh", "-c", 'JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec "$@"', "sh")
    env = {**environment("", ""), "GPUFORGE_DATABASE_URL": migrated_database_url}
    serve = ("gpuforge_controlplane", "serve", "--port", "0")
    async with process(*serve, env=env, within=as_systemd) as server:
        assert server.stderr
        async with asyncio.timeout(20):
            assert (await server.stderr.readline()).startswith(b'<6>{"at":')


async def _refused(port: int) -> None:
    """Until nobody listens."""
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:  # refused; or reset, where the socket was closed in the midst of it
                return
            writer.close()
            await asyncio.sleep(0.01)


# What the other commands say. In this process, so on no running loop: plain functions.


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting from outside."""
    for name in [name for name in os.environ if name.startswith("GPUFORGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout, stderr."""
    capsys.readouterr()
    status = main(arguments)
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return status, said.out, said.err


def test_create_key_prints_the_raw_key_alone(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """On a database without a table: this is the first command that anybody runs."""
    flags = ("--database-url", database_url, "--label", "first", "--permissions", "admin")
    status, out, err = run(capsys, "create-key", *flags)
    assert (status, err) == (0, "")
    assert apikey.is_well_formed(out.removesuffix("\n"))
    assert out.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        pytest.param(["--permissions", "root"], 2, "permissions", id="an unknown scope"),
        pytest.param(["--permissions", ""], 2, "permissions", id="no scope"),
        pytest.param(["--permissions", "read", "--label", ""], 2, "label", id="no label"),
        pytest.param(["--permissions", "read", "--tenant-id", "7"], 1, "no tenant 7", id="no such tenant"),
        pytest.param(["--permissions", "read", "--tenant-id", "0"], 2, "tenant_id", id="no tenant at all"),
    ],
)
def test_create_key_says_what_is_wrong(
    migrated_database_url: str,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    said: str,
) -> None:
    flags = ("--database-url", migrated_database_url, "--label", "x", *arguments)
    told, out, err = run(capsys, "create-key", *flags)
    assert (told, out) == (status, "")
    assert said in err


@pytest.mark.parametrize(
    ("flags", "environ", "said"),
    [
        pytest.param(
            [], {"GPUFORGE_PROT": "1"}, "GPUFORGE_PROT (environment); did you mean GPUFORGE_PORT?", id="typo"
        ),
        pytest.param(["--port", "70000"], {}, "port", id="no port"),
        pytest.param(["--database-url", "nonsense"], {}, "sqlite+aiosqlite:///", id="no URL"),
        pytest.param(
            ["--database-url", "postgresql://u:s3cret@h/d"], {}, "postgresql+asyncpg://", id="another driver"
        ),
        pytest.param(["--demo", "live", "--host", "0.0.0.0"], {}, "127.0.0.1", id="live for all"),
    ],
)
def test_a_bad_setting_is_named(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    environ: dict[str, str],
    said: str,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    for command in ("serve", "migrate", "check"):
        status, out, err = run(capsys, command, *flags)
        assert (status, out) == (2, "")
        assert said in err
        assert "s3cret" not in err


def test_a_taken_port_is_told_with_another(
    migrated_database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flags = ("--database-url", migrated_database_url, "--port", str(port))
        status, _, err = run(capsys, "serve", *flags)
        assert (status, f"port {port} on 127.0.0.1 is taken; choose another: --port {port + 1}" in err) == (
            1,
            True,
        )
        status, out, _ = run(capsys, "check", *flags)
        assert (status, "FAIL  port" in out, "ok    database" in out) == (1, True, True)


@ON_POSTGRESQL
def test_postgresql_is_migrated_by_a_person(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--database-url", database_url, "--port", "0")
    status, _, err = run(capsys, "serve", *flags)
    assert (status, "run gpuforge-controlplane migrate" in err) == (1, True)
    status, out, _ = run(capsys, "check", *flags)
    assert (status, "run gpuforge-controlplane migrate" in out) == (1, True)
    password = database_url.split(":")[2].split("@")[0]
    assert password not in out + err
    assert run(capsys, "migrate", *flags)[0] == 0
    assert run(capsys, "check", *flags)[0] == 0


@ON_SQLITE
def test_check_changes_nothing(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "check", "--database-url", database_url, "--port", "0")
    assert (status, "serve will make it" in out) == (0, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["serve", "migrate", "check", "create-key"])
def test_a_database_that_is_away(command: str, free_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"postgresql+asyncpg://gpuforge:s3cret@127.0.0.1:{free_port}/gpuforge"
    more = ("--label", "x") if command == "create-key" else ()
    status, out, err = run(capsys, command, "--database-url", url, "--port", "0", *more)
    assert status == 1
    assert "s3cret" not in out + err
    assert "database" in out + err


@ON_POSTGRESQL
@pytest.mark.parametrize("command", ["serve", "migrate", "check"])
def test_a_wrong_password(database_url: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    password = database_url.split(":")[2].split("@")[0]
    wrong = database_url.replace(password, "wrong")
    status, out, err = run(capsys, command, "--database-url", wrong, "--port", "0")
    assert status == 1
    assert "password" in out + err


@pytest.mark.parametrize("command", ["migrate", "create-key"])
def test_a_database_that_is_newer_than_the_code(
    migrated_database_url: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the middle of an upgrade: a newer replica has migrated it. It is used as it is."""

    async def grow() -> None:
        database = Database(migrated_database_url)
        async with database.write() as tx:
            await tx.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        await database.close()

    run_apart(grow())
    more = ("--label", "x") if command == "create-key" else ()
    status, _, err = run(capsys, command, "--database-url", migrated_database_url, *more)
    assert (status, err.count("Traceback")) == (0, 0)


def test_help_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    from gpuforge_controlplane.config import ControlPlaneSettings

    with pytest.raises(SystemExit) as left:
        main(["serve", "--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    for name in ControlPlaneSettings.model_fields:
        assert name in said or name.replace("_", "-") in said or f"GPUFORGE_{name.upper()}" in said
