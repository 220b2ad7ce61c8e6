"""Schema migrations. They expand, then contract; a landed one is never edited."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import Connection, text

from gpuforge_controlplane.storage.database import Database, parse_url, schema_revision

_HERE = Path(__file__).parent
_LOCK = 0x67706675  # "gpfu": one migration at a time on a PostgreSQL


def head() -> str:
    """The newest revision this code knows, from the file names alone: `0001_spine.py` is `0001`."""
    return max(file.name.split("_")[0] for file in (_HERE / "versions").glob("[0-9]*.py"))


async def migrate(url: str) -> None:
    """Bring the database at `url` to the newest schema. Safe to call at once from many processes."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
    database = Database(url)
    try:
        async with database.write() as connection:
            if (await schema_revision(connection) or "") <= head():  # a newer one is fine: it only expanded
                await connection.run_sync(_upgrade)
    finally:
        await database.close()


def _upgrade(connection: Connection) -> None:
    """Run what is missing inside the caller's transaction; a crash half-way leaves nothing."""
    # 0.2 s and 8 MiB: imported only where used
    logging.getLogger("alembic").setLevel(logging.WARNING)  # its plugins' start is nobody's news
    from alembic import command
    from alembic.config import Config

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
