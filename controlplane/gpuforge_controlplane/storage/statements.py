"""Statements that both databases know under different names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

import aiosqlite
import msgspec
from sqlalchemy import BigInteger, ColumnElement, CursorResult, String, Table, any_, func, literal, select
from sqlalchemy.dialects import postgresql, sqlite

from gpuforge_controlplane.storage.columns import to_micros
from gpuforge_controlplane.storage.database import Connection

Row = dict[str, Any]
T = TypeVar("T")


def insert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows ON CONFLICT, in the connection's dialect."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def is_among(connection: Connection, column: ColumnElement[int], ids: Sequence[int]) -> ColumnElement[bool]:
    """`column IN (ids)` with one bound parameter however many ids: no limit on their number, one plan."""
    if connection.dialect.name == "postgresql":
        return column == any_(literal(list(ids), postgresql.ARRAY(BigInteger)))
    values = func.json_each("[" + ",".join(map(str, ids)) + "]").table_valued("value")
    return column.in_(select(values.c.value))


def is_one_of(
    connection: Connection, column: ColumnElement[str], words: Sequence[str]
) -> ColumnElement[bool]:
    """`is_among` for words."""
    if connection.dialect.name == "postgresql":
        return column == any_(literal(list(words), postgresql.ARRAY(String)))
    values = func.json_each(msgspec.json.encode(words).decode()).table_valued("value")
    return column.in_(select(values.c.value))


def records(found: CursorResult[Any], _kind: type[T]) -> list[T]:
    """The rows as TypedDicts of that kind, whose keys are the columns selected."""
    return [cast("T", dict(row)) for row in found.mappings()]


def record(found: CursorResult[Any], _kind: type[T]) -> T | None:
    """The only row, or None where there is none."""
    row = found.mappings().one_or_none()
    return None if row is None else cast("T", dict(row))


async def sqlite_driver(tx: Connection) -> aiosqlite.Connection:
    """The driver under an SQLite connection, inside the same transaction: for rows by the ten thousand,
    where SQLAlchemy's handling of each costs more than the database does."""
    driver = (await tx.get_raw_connection()).driver_connection
    assert isinstance(driver, aiosqlite.Connection)
    return driver


def time_literal(connection: Connection, moment: datetime) -> str:
    """A time as SQL text in the connection's dialect, for `tuples`."""
    if connection.dialect.name == "postgresql":
        return f"TIMESTAMPTZ '{moment.isoformat()}'"
    return str(to_micros(moment))


async def tuples(tx: Connection, sql: str) -> Iterable[tuple[Any, ...]]:
    """All rows of a query without parameters, as plain as the driver gives them."""
    if tx.dialect.name == "postgresql":
        return cast(Iterable[tuple[Any, ...]], (await tx.exec_driver_sql(sql)).all())
    return cast(Iterable[tuple[Any, ...]], await (await sqlite_driver(tx)).execute_fetchall(sql))
