"""Connections and transactions, the same on SQLite and PostgreSQL.

SQLite has one writer: writes queue, in order of arrival, for a single connection and begin with BEGIN
IMMEDIATE; readers use WAL snapshots and are never held up. The driver's own transaction handling is off:
it would begin late, and a snapshot would not be one.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, cast

from sqlalchemy import event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from gpuforge_controlplane.storage.grouping import Grouped
from gpuforge_shared.errors import Unavailable

Connection = AsyncConnection
T = TypeVar("T")

Dialect = Literal["sqlite", "postgresql"]

READERS = 4
WORKS_A_COMMIT = 64
ATTEMPTS = 3
HANG_S = 4.0  # who is stopped in mid-transaction must not keep its locks, the leader least of all
CONNECT_S = 5.0
WAIT_S = 10.0  # for a connection; longer means overload, and the client is told to come back
# PostgreSQL's classes of errors: connection lost; not let in; no such database; no room left; shutting down.
_AWAY = frozenset({"08", "28", "3D", "53", "57"})
# PostgreSQL: serialization failure, deadlock; foreign key, unique key: another transaction came first,
# between our look and our write. Looking again tells what to answer. 25P03: we were stopped for longer than
# HANG_S, so the transaction was rolled back; what is started anew sees what came of it meanwhile.
_WORTH_A_SECOND_LOOK = frozenset({"40001", "40P01", "23503", "23505", "25P03"})
_ROW_HELD = "55P03"  # PostgreSQL: lock_timeout


Work = Callable[[Connection], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class _Failed:
    """What a work of a shared commit raised; the others go on."""

    error: Exception


class DatabaseUrlError(Exception):
    """The database URL is not one that GPUForge runs on; the text says which are."""


class Database:
    """The pools of one database. `close()` it."""

    def __init__(self, url: str) -> None:
        parsed = parse_url(url)
        self.url = parsed
        self.dialect: Dialect = "sqlite" if parsed.get_backend_name() == "sqlite" else "postgresql"
        self._turn: AbstractAsyncContextManager[object]
        self._commits: Grouped[Work, object] = Grouped(
            self._transact_together, weight=lambda _: 1, most=WORKS_A_COMMIT
        )
        if self.dialect == "sqlite":
            self._writer = _sqlite_engine(parsed, pool_size=1, begin="BEGIN IMMEDIATE", query_only=False)
            self._reader = _sqlite_engine(parsed, pool_size=READERS, begin="BEGIN", query_only=True)
            self._turn = asyncio.Lock()  # asyncio's lock is fair: first come, first served
        else:
            self._writer = self._reader = _postgresql_engine(parsed)
            self._turn = nullcontext()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Connection]:
        """One read-only snapshot."""
        async with _told_when_away(), self._reader.connect() as connection:
            if self.dialect == "postgresql":
                await connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            async with connection.begin():
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Connection]:
        """One transaction, committed at the end of the block and rolled back by an exception."""
        async with _told_when_away(), self._turn, self._writer.begin() as connection:
            yield connection

    async def transact(
        self, work: Callable[[Connection], Awaitable[T]], *, lock_wait_s: float | None = None
    ) -> T:
        """`work` in a write transaction; returns after commit.

        SQLite: works that wait for the one writer share a commit, each in a savepoint of its own, so that
        a burst pays for one sync, not for each. PostgreSQL: run again where a deadlock was broken at its
        expense, where another transaction took away what it had looked at, or where it was thrown out because
        this process had been stopped. With `lock_wait_s`, raises Unavailable (`row_held`) where another
        transaction holds a row for longer.
        """
        if self.dialect == "sqlite":
            outcome = await self._commits.submit(work)
            if isinstance(outcome, _Failed):
                raise outcome.error
            return cast(T, outcome)
        if lock_wait_s is None:
            return await self._transact_apart(work)

        async def impatient(connection: Connection) -> T:
            await connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(1000 * lock_wait_s)}")
            return await work(connection)

        return await self._transact_apart(impatient)

    async def _transact_together(self, works: Sequence[Work]) -> list[object]:
        async with self.write() as connection:
            if len(works) == 1:
                return [await works[0](connection)]
            return [await _in_savepoint(connection, work) for work in works]

    async def _transact_apart(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        for attempt in range(1, ATTEMPTS):
            try:
                async with self.write() as connection:
                    return await work(connection)
            except (DBAPIError, Unavailable) as error:
                if _states(error).isdisjoint(_WORTH_A_SECOND_LOOK):
                    raise
            # The other one takes what it waited for first; at once again, and both would meet again.
            await asyncio.sleep(random.uniform(0.01, 0.05) * attempt)  # noqa: S311  # no secret
        async with self.write() as connection:
            return await work(connection)

    def is_new(self) -> bool:
        """Whether this is an SQLite file that does not exist yet; only a writer may make it."""
        return self.dialect == "sqlite" and not Path(str(self.url.database)).exists()

    async def close(self) -> None:
        await self._writer.dispose()
        if self._reader is not self._writer:
            await self._reader.dispose()


_FORMS = "GPUForge runs on sqlite+aiosqlite:///PATH or postgresql+asyncpg://USER@HOST/NAME"


def parse_url(url: str) -> URL:
    """`sqlite+aiosqlite:///…` or `postgresql+asyncpg://…`, else DatabaseUrlError."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # whose words would repeat the URL, and its password
        raise DatabaseUrlError(f"{_FORMS}; this is no URL") from None
    if parsed.drivername not in ("sqlite+aiosqlite", "postgresql+asyncpg"):
        raise DatabaseUrlError(f"{_FORMS}, not {parsed.drivername}")
    if not parsed.database:
        raise DatabaseUrlError(f"{_FORMS}; the path or name is missing")
    if parsed.database.startswith((":memory:", "file:")):
        raise DatabaseUrlError(f"{_FORMS}; PATH must be a plain path: reader and writer each open the file")
    return parsed


async def schema_revision(connection: Connection) -> str | None:
    """The migration that the database stands at; None for an empty one."""
    try:
        async with connection.begin_nested():
            found = await connection.execute(text("SELECT version_num FROM alembic_version"))
            return found.scalar_one_or_none()
    except DBAPIError:  # no such table
        return None


async def _in_savepoint(connection: Connection, work: Work) -> object:
    try:
        async with connection.begin_nested():
            return await work(connection)
    except Exception as error:  # noqa: BLE001  # whatever it was belongs to the caller of this work alone
        return _Failed(error)


@asynccontextmanager
async def _told_when_away() -> AsyncIterator[None]:
    """Turn a database that is gone, full or overloaded into a 503 that says to come back."""
    try:
        yield
    except (DBAPIError, PoolTimeout, OSError, sqlite3.OperationalError, _postgres_error()) as error:
        if _ROW_HELD in _states(error):
            held = "another transaction holds what this one needs; try again"
            raise Unavailable(held, code="row_held", retry_after=2.0) from error
        if isinstance(error, DBAPIError) and not _is_away(error):
            raise
        raise Unavailable("the database does not answer; try again", retry_after=2.0) from error


def _postgres_error() -> type[Exception]:
    """What asyncpg raises past SQLAlchemy while it connects. Looked up when something was raised, not before:
    a start on SQLite does without the driver."""
    import asyncpg

    return asyncpg.PostgresError


def _states(error: BaseException) -> set[str]:
    """The SQLSTATEs that an error and its causes tell: of a closed connection only the cause says why."""
    found = set()
    cause: BaseException | None = error
    while cause is not None:
        found.add(str(getattr(cause, "sqlstate", None) or ""))
        cause = cause.__cause__
    return found


def _is_away(error: DBAPIError) -> bool:
    if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
        return True
    return str(getattr(error.orig, "sqlstate", None) or "")[:2] in _AWAY


def _sqlite_engine(url: URL, *, pool_size: int, begin: str, query_only: bool) -> AsyncEngine:
    engine = create_async_engine(
        url, pool_size=pool_size, max_overflow=0, pool_timeout=WAIT_S, hide_parameters=True
    )  # an error's text goes to the log, what people wrote does not

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver begins nothing; `begin` below does
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",  # an answered write survives a power cut
            "foreign_keys=ON",
            "busy_timeout=5000",  # another process, such as create-key, may hold the write lock
            "temp_store=MEMORY",
            f"query_only={int(query_only)}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: object) -> None:
        connection.exec_driver_sql(begin)  # type: ignore[attr-defined]  # SQLAlchemy types the event loosely

    return engine


def _postgresql_engine(url: URL) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=10,
        max_overflow=0,
        pool_timeout=WAIT_S,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "timeout": CONNECT_S,
            "server_settings": {
                "application_name": "gpuforge",
                "timezone": "UTC",
                "jit": "off",
                "idle_in_transaction_session_timeout": str(round(1000 * HANG_S)),
            },
        },
    )
