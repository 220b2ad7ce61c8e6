"""The scheduler's log is kept a week."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gpuforge_controlplane.domain.buckets import Kept
from gpuforge_controlplane.services import retention
from gpuforge_controlplane.storage import cycles
from gpuforge_controlplane.storage.database import Database

NOW = datetime(2026, 5, 9, 12, tzinfo=UTC)
ROW = {
    "duration_ms": 1.5,
    "processed": 0,
    "started": 0,
    "blocked": 0,
    "unblocked": 0,
    "reasons": {},
    "input_hash": "0" * 32,
    "shortages": {},
}


async def test_cycles_older_than_a_week_go(migrated_database_url: str) -> None:
    database = Database(migrated_database_url)
    try:
        async with database.write() as tx:
            for age in (timedelta(days=7, seconds=1), timedelta(days=7), timedelta()):
                await cycles.append(tx, {**ROW, "started_at": NOW - age})
        await retention.enforce(database, NOW, Kept())
        async with database.read() as tx:
            left = await cycles.page(tx, before_id=10**9, limit=10)
    finally:
        await database.close()
    assert [cycle["started_at"] for cycle in left] == [NOW, NOW - timedelta(days=7)]
