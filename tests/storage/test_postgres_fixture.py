"""The suite's own PostgreSQL: what the storage tests stand on."""

from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import inspect
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from tests.postgres import PostgresServer


async def connect(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    return await asyncpg.connect(url.replace("+asyncpg", ""))


async def test_serves_an_empty_database(postgres: PostgresServer) -> None:
    name = postgres.create_database()
    connection = await connect(postgres.url(name))
    tables = await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    assert (await connection.fetchval("SELECT current_database()"), tables) == (name, 0)
    await connection.close()
    postgres.drop_database(name)


async def test_copies_a_template(postgres: PostgresServer) -> None:
    template = postgres.create_database()
    connection = await connect(postgres.url(template))
    await connection.execute("CREATE TABLE fleet (gpus integer); INSERT INTO fleet VALUES (96)")
    await connection.close()
    copy = postgres.create_database(template)
    connection = await connect(postgres.url(copy))
    assert await connection.fetchval("SELECT gpus FROM fleet") == 96
    await connection.close()
    for name in (template, copy):
        postgres.drop_database(name)


async def test_drops_a_database_that_is_in_use(postgres: PostgresServer) -> None:
    name = postgres.create_database()
    connection = await connect(postgres.url(name))
    postgres.drop_database(name)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.fetchval("SELECT 1")
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await connect(postgres.url(name))
    connection.terminate()


async def test_asks_for_the_password(postgres: PostgresServer) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await connect(postgres.url("postgres").replace(postgres.password, "wrong"))


def test_every_database_url_is_on_loopback_and_empty(database_url: str, dialect: str) -> None:
    url = make_url(database_url)
    assert url.get_backend_name() == dialect
    if dialect == "sqlite":
        assert url.database
        assert not Path(url.database).exists()
    else:
        assert url.host == "127.0.0.1"


def test_a_migrated_database_is_a_copy_of_its_own(
    migrated_database_url: str, dialect: str, tmp_path: Path
) -> None:
    url = make_url(migrated_database_url)
    assert url.get_backend_name() == dialect
    assert dialect == "postgresql" or Path(str(url.database)).parent == tmp_path


async def test_a_migrated_database_has_tables(migrated_database_url: str) -> None:
    engine = create_async_engine(migrated_database_url)
    async with engine.connect() as connection:
        tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    await engine.dispose()
    assert "clusters" in tables
