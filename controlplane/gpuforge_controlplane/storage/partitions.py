"""Tables that PostgreSQL keeps in partitions by time, so that the old is dropped and not deleted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Literal

from sqlalchemy import text

from gpuforge_controlplane.storage.database import Connection

_LOCK = 0x67706D70  # "gpmp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Partitioned:
    """A table and how long a stretch one of its partitions holds."""

    table: str
    stretch: Literal["day", "month"]

    def start(self, moment: datetime) -> datetime:
        """The start of the partition that a moment falls into."""
        first = moment.astimezone(UTC).date()
        return datetime.combine(first.replace(day=1) if self.stretch == "month" else first, time(), UTC)

    def following(self, start: datetime) -> datetime:
        """The start of the next one."""
        return self.start(start + timedelta(days=32 if self.stretch == "month" else 1))

    def name(self, start: datetime) -> str:
        """The partition's own name; names sort as times do."""
        return f"{self.table}_{start:%Y%m}" if self.stretch == "month" else f"{self.table}_{start:%Y%m%d}"


SAMPLES = Partitioned(table="gpu_metrics", stretch="day")
FIVE_MINUTES = Partitioned(table="gpu_rollup_5m", stretch="day")
HOURS = Partitioned(table="gpu_rollup_1h", stretch="month")


async def ensure(tx: Connection, table: Partitioned, first: datetime, last: datetime) -> None:
    """PostgreSQL: make the partitions from `first`'s to `last`'s. SQLite has none."""
    if tx.dialect.name != "postgresql":
        return
    there = await _names(tx, table)
    start = table.start(first)
    while start <= last:
        end = table.following(start)
        if table.name(start) not in there:  # making one holds up who writes, for a moment
            await tx.execute(
                text(
                    f"CREATE TABLE {table.name(start)} PARTITION OF {table.table}"
                    f" FOR VALUES FROM ('{start:%Y-%m-%d}T00:00:00Z') TO ('{end:%Y-%m-%d}T00:00:00Z')"
                )
            )
        start = end


async def drop(tx: Connection, table: Partitioned, before: datetime) -> None:
    """PostgreSQL: drop the partitions that end at or before `before`."""
    keep_from = table.name(table.start(before))
    for name in sorted(await _names(tx, table)):
        if name < keep_from:
            await tx.execute(text(f'DROP TABLE "{name}"'))


async def _names(tx: Connection, table: Partitioned) -> set[str]:
    """The partitions there are; no other replica makes or drops one until this transaction ends."""
    await tx.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    names = await tx.scalars(
        text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = CAST(:t AS regclass)"),
        {"t": table.table},
    )
    return set(names)
