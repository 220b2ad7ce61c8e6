"""Transactions on both databases: snapshots, turns, deadlocks, and a database that goes away."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gpuforge_controlplane.storage.database import Connection, Database, DatabaseUrlError, parse_url
from gpuforge_shared.errors import Unavailable

ON_SQLITE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """With one table: `counters(name, n)`, holding a=0 and b=0."""
    database = Database(database_url)
    async with database.write() as tx:
        await tx.execute(text("CREATE TABLE counters (name TEXT PRIMARY KEY, n INTEGER NOT NULL)"))
        await tx.execute(text("INSERT INTO counters VALUES ('a', 0), ('b', 0)"))
    yield database
    await database.close()


async def add(tx: Connection, name: str = "a", by: int = 1) -> None:
    await tx.execute(text("UPDATE counters SET n = n + :by WHERE name = :name"), {"by": by, "name": name})


async def value(tx: Connection, name: str = "a") -> int:
    found = await tx.execute(text("SELECT n FROM counters WHERE name = :name"), {"name": name})
    return int(found.scalar_one())


async def seen(database: Database, name: str = "a") -> int:
    async with database.read() as tx:
        return await value(tx, name)


async def look(database: Database) -> None:
    async with database.read() as tx:
        await tx.execute(text("SELECT 1"))


async def test_a_reader_sees_one_moment(database: Database) -> None:
    async with database.read() as reader:
        assert await value(reader) == 0
        async with database.write() as writer:
            await add(writer)
            assert await value(reader) == 0
        assert await value(reader) == 0, "a commit came into the snapshot"
    assert await seen(database) == 1


async def test_a_snapshot_begins_with_the_first_look_at_the_latest(database: Database) -> None:
    async with database.write() as writer:
        await add(writer)
    async with database.read() as reader:
        assert await value(reader) == 1
        assert await value(reader, "b") == 0


async def test_readers_are_never_held_up_by_a_writer(database: Database) -> None:
    async with database.write() as writer:
        await add(writer)
        assert await asyncio.gather(*(seen(database) for _ in range(8))) == [0] * 8


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises((DBAPIError, Unavailable)):
        async with database.read() as tx:
            await add(tx)
    assert await seen(database) == 0


async def test_an_exception_takes_all_back(database: Database) -> None:
    async def breaks() -> None:
        async with database.write() as tx:
            await add(tx)
            raise LookupError

    with pytest.raises(LookupError):
        await breaks()
    assert await seen(database) == 0


async def test_writers_lose_nothing(database: Database) -> None:
    async def one() -> None:
        await database.transact(add)

    await asyncio.gather(*(one() for _ in range(50)))
    assert await seen(database) == 50


async def test_transact_answers_after_the_commit(database: Database) -> None:
    async def work(tx: Connection) -> int:
        await add(tx)
        return await value(tx)

    told = await database.transact(work)
    other = Database(database.url.render_as_string(hide_password=False))
    assert await seen(other) == told == 1
    await other.close()


async def test_a_work_that_fails_takes_no_other_with_it(database: Database) -> None:
    async def fails(tx: Connection) -> None:
        await add(tx, "b")
        raise LookupError("mine alone")

    works = [fails if number % 3 == 1 else add for number in range(12)]
    results = await asyncio.gather(*(database.transact(work) for work in works), return_exceptions=True)
    assert [isinstance(result, LookupError) for result in results] == [n % 3 == 1 for n in range(12)]
    assert (await seen(database), await seen(database, "b")) == (8, 0)


async def test_a_statement_that_fails_takes_no_other_work_with_it(database: Database) -> None:
    async def fails(tx: Connection) -> None:
        await tx.execute(text("INSERT INTO counters VALUES ('a', 1)"))

    works = [fails if number == 1 else add for number in range(4)]
    results = await asyncio.gather(*(database.transact(work) for work in works), return_exceptions=True)
    assert [isinstance(result, DBAPIError) for result in results] == [False, True, False, False]
    assert await seen(database) == 3


# SQLite's one writer


@ON_SQLITE
async def test_sqlite_writers_take_turns_in_order_of_arrival(database: Database) -> None:
    order: list[int] = []
    first_in, go = asyncio.Event(), asyncio.Event()

    async def write(number: int) -> None:
        async with database.write() as tx:
            order.append(number)
            if number == 0:
                first_in.set()
                await go.wait()
            await add(tx)

    tasks = [asyncio.create_task(write(0))]
    await first_in.wait()
    for number in range(1, 10):
        tasks.append(asyncio.create_task(write(number)))
        await asyncio.sleep(0)
    go.set()
    await asyncio.gather(*tasks)
    assert order == list(range(10))


@ON_SQLITE
async def test_sqlite_is_set_up_to_survive_a_power_cut(database: Database) -> None:
    async with database.write() as tx:
        settings = {
            name: (await tx.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


@ON_SQLITE
async def test_a_full_disk_is_told_as_such(database: Database) -> None:
    """By way of the driver, too, which samples take: SQLAlchemy would not name its errors."""
    from gpuforge_controlplane.storage.statements import sqlite_driver

    async with database.write() as tx:
        pages = (await tx.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await tx.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unavailable):
        async with database.write() as tx:
            await tx.exec_driver_sql("INSERT INTO counters VALUES (zeroblob(100000), 1)")
    with pytest.raises(Unavailable):
        async with database.write() as tx:
            await (await sqlite_driver(tx)).execute("INSERT INTO counters VALUES (zeroblob(100000), 1)")
    assert await seen(database) == 0
    await database.transact(add)
    assert await seen(database) == 1


# PostgreSQL


@ON_POSTGRESQL
async def test_postgresql_breaks_a_deadlock_and_both_get_through(database: Database) -> None:
    meeting = asyncio.Barrier(2)
    attempts: list[str] = []

    async def crossed(tx: Connection, first: str, second: str) -> None:
        attempts.append(first)
        await add(tx, first)
        if attempts.count(first) == 1:
            await meeting.wait()  # both hold their first lock now
        await add(tx, second)

    await asyncio.gather(
        database.transact(lambda tx: crossed(tx, "a", "b")),
        database.transact(lambda tx: crossed(tx, "b", "a")),
    )
    assert len(attempts) >= 3
    assert (await seen(database), await seen(database, "b")) == (2, 2)


@ON_POSTGRESQL
async def test_a_connection_cut_in_a_transaction_is_unavailable_and_the_next_one_works(
    database: Database,
) -> None:

    async def is_cut() -> None:
        async with database.write() as tx:
            own = (await tx.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            async with database.write() as other:
                await other.execute(text("SELECT pg_terminate_backend(:own)"), {"own": own})
            await add(tx)

    with pytest.raises(Unavailable) as told:
        await is_cut()
    assert told.value.retry_after
    assert await seen(database) == 0


@ON_POSTGRESQL
async def test_connections_cut_while_idle_are_not_noticed(database: Database) -> None:
    await asyncio.gather(*(seen(database) for _ in range(5)))
    other = Database(database.url.render_as_string(hide_password=False))
    async with other.write() as tx:
        await tx.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    await other.close()
    assert await asyncio.gather(*(seen(database) for _ in range(5))) == [0] * 5


@ON_POSTGRESQL
async def test_a_server_that_takes_no_more_connections_is_unavailable(database: Database) -> None:
    async with database.write() as tx:
        await tx.execute(text(f"ALTER DATABASE {database.url.database} CONNECTION LIMIT 0"))
        await tx.execute(text("CREATE ROLE somebody LOGIN PASSWORD 'x'"))
    limited = database.url.set(username="somebody", password="x")
    refused = Database(limited.render_as_string(hide_password=False))
    with pytest.raises(Unavailable):
        await look(refused)
    await refused.close()
    async with database.write() as tx:
        await tx.execute(text("DROP ROLE somebody"))


async def test_nobody_listening_is_unavailable(free_port: int) -> None:
    away = Database(f"postgresql+asyncpg://gpuforge:x@127.0.0.1:{free_port}/gpuforge")
    with pytest.raises(Unavailable) as told:
        await look(away)
    assert isinstance(told.value.__cause__, ConnectionError)
    await away.close()


async def test_a_server_that_never_answers_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuforge_controlplane.storage.database.CONNECT_S", 0.05)

    connected: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: connected.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    away = Database(f"postgresql+asyncpg://gpuforge:x@127.0.0.1:{port}/gpuforge")
    with pytest.raises(Unavailable):
        await look(away)
    await away.close()
    server.close()
    for writer in connected:
        writer.close()
        await writer.wait_closed()


async def test_a_file_in_no_folder_is_unavailable() -> None:
    away = Database("sqlite+aiosqlite:////nowhere/at/all/gpuforge.db")
    with pytest.raises(Unavailable):
        await look(away)
    await away.close()
    for thread in threading.enumerate():  # aiosqlite's has a last word for this loop
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join)


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "",
        "mysql://x/y",
        "postgresql://gpuforge@localhost/gpuforge",
        "sqlite:///gpuforge.db",
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///:memory:",
        "sqlite+aiosqlite:///file:x?mode=memory&uri=true",
        "postgresql+asyncpg://gpuforge@localhost:port/gpuforge",
        "postgresql+asyncpg://gpuforge:s3cret@localhost",
    ],
)
def test_a_url_that_gpuforge_does_not_run_on(url: str) -> None:
    with pytest.raises(DatabaseUrlError) as refused:
        parse_url(url)
    assert "s3cret" not in str(refused.value)
    assert "sqlite+aiosqlite:///" in str(refused.value)
