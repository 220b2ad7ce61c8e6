"""Migrations from empty: they make what schema.py says, once, and all or nothing."""

import asyncio
import sys
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine.interfaces import ReflectedIndex

from gpuforge_controlplane import migrations
from gpuforge_controlplane.storage.database import Database, schema_revision
from gpuforge_controlplane.storage.schema import metadata

Shape = dict[str, dict[str, Any]]

ON_SQLITE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def shape_of(connection: Connection) -> Shape:
    """What a database is made of, but for the daily partitions, and in no particular order."""
    found = inspect(connection)
    names = [name for name in found.get_table_names() if name in metadata.tables]
    return {
        name: {
            "columns": sorted(
                (column["name"], str(column["type"]), column["nullable"], column["default"])
                for column in found.get_columns(name)
            ),
            "key": found.get_pk_constraint(name)["constrained_columns"],
            "uniques": sorted(str(each["column_names"]) for each in found.get_unique_constraints(name)),
            "references": sorted(
                f"{each['constrained_columns']} {each['referred_table']} {each['options']}"
                for each in found.get_foreign_keys(name)
            ),
            "checks": sorted(each["sqltext"] for each in found.get_check_constraints(name)),
            "indexes": sorted(map(_index, found.get_indexes(name))),
        }
        for name in sorted(names)
    }


def _index(index: ReflectedIndex) -> str:
    options = sorted(f"{name} {value}" for name, value in index.get("dialect_options", {}).items())
    return f"{index['name']} {index['column_names']} {index['unique']} {options}"


async def look(url: str, how: Any) -> Any:
    """What `how` sees on a connection."""
    database = Database(url)
    try:
        async with database.write() as tx:
            return await tx.run_sync(how)
    finally:
        await database.close()


async def test_migrations_make_what_the_schema_says(migrated_database_url: str, database_url: str) -> None:
    """Reflected from both: the migrated database, and one that SQLAlchemy made from the schema."""
    if database_url != migrated_database_url:
        await look(database_url, metadata.create_all)
        expected = await look(database_url, shape_of)
    else:  # SQLite: both fixtures name one file, which was migrated
        await look(database_url + "-2", metadata.create_all)
        expected = await look(database_url + "-2", shape_of)
    assert await look(migrated_database_url, shape_of) == expected


async def test_alembic_finds_nothing_to_do(migrated_database_url: str) -> None:
    def differences(sync: Connection) -> list[Any]:
        context = MigrationContext.configure(
            sync, opts={"compare_type": True, "include_name": _is_ours, "compare_server_default": True}
        )
        return list(compare_metadata(context, metadata))

    assert await look(migrated_database_url, differences) == []


def _is_ours(name: str | None, kind: str, _: Any) -> bool:
    return kind != "table" or name in metadata.tables


@ON_SQLITE
async def test_ids_are_never_given_twice(migrated_database_url: str) -> None:
    """SQLite would hand the last id out again after a delete; an id on an invoice must stay its own."""
    made = await look(
        migrated_database_url,
        lambda sync: dict(
            sync.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'")).all()
        ),
    )
    for name, table in metadata.tables.items():
        assert ("AUTOINCREMENT" in made[name]) == table.dialect_options["sqlite"]["autoincrement"], name


async def test_migrating_again_changes_nothing(migrated_database_url: str) -> None:
    before = await look(migrated_database_url, shape_of)
    await migrations.migrate(migrated_database_url)
    assert await look(migrated_database_url, shape_of) == before


async def test_from_nothing_to_the_newest(database_url: str) -> None:
    await migrations.migrate(database_url)
    database = Database(database_url)
    async with database.read() as tx:
        assert await schema_revision(tx) == migrations.head()
    await database.close()


async def test_two_processes_at_once(database_url: str) -> None:
    command = [sys.executable, "-m", "gpuforge_controlplane", "migrate", "--database-url", database_url]
    processes = [
        await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE) for _ in range(2)
    ]
    said = [(await process.communicate())[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert len(await look(database_url, shape_of)) == len(metadata.tables)


async def test_a_crash_half_way_leaves_nothing(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any, **__: Any) -> None:
        raise RuntimeError("half way")

    with monkeypatch.context() as patch:
        patch.setattr("alembic.op.create_index", breaks)
        with pytest.raises(RuntimeError, match="half way"):
            await migrations.migrate(database_url)
    assert await look(database_url, lambda sync: inspect(sync).get_table_names()) == []
    await migrations.migrate(database_url)


def test_revisions_are_a_line_and_file_names_tell_them() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations._HERE))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [migrations.head()]
    for script in scripts.walk_revisions():
        assert script.path.split("/")[-1].startswith(f"{script.revision}_")
        assert script.doc
