"""Samples rolled up by five minutes and by hour, and which buckets are to be rolled up again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Column, FunctionElement, Table, delete, func, literal, select
from sqlalchemy.dialects import postgresql, sqlite

from gpuforge_controlplane.domain.buckets import HOUR, start_of
from gpuforge_controlplane.storage import partitions
from gpuforge_controlplane.storage.columns import UtcTime
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.rollup_schema import (
    gpu_rollup_1h,
    gpu_rollup_5m,
    late_buckets,
    rollup_progress,
)
from gpuforge_controlplane.storage.schema import gpu_metrics, gpus
from gpuforge_controlplane.storage.statements import insert, is_among, time_literal, tuples

_COLUMNS = [column.name for column in gpu_rollup_5m.c if column.name not in ("bucket", "gpu_id")]
PRUNED_GPUS = 500  # what one transaction deletes for on SQLite, so that writers wait little

Rolled = tuple[int | float | None, ...]  # gpu_id and then `_COLUMNS`


class Late(NamedTuple):
    """Buckets that got samples after their end, and the marks that say so."""

    ids: list[int]
    pairs: list[tuple[datetime, int]]  # bucket and GPU, in order


async def progress(tx: Connection) -> datetime | None:
    """Up to where samples are rolled up; None before the first time."""
    found: datetime | None = await tx.scalar(select(rollup_progress.c.done_until))
    return found


async def advance(tx: Connection, done_until: datetime) -> None:
    """Everything before `done_until` is rolled up."""
    statement = insert(tx, rollup_progress).values(id=1, done_until=done_until)
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=[rollup_progress.c.id], set_={"done_until": done_until}
        )
    )


async def oldest_sample(tx: Connection, since: datetime | None) -> datetime | None:
    """When the oldest sample was recorded, of all or of those since then."""
    query = select(func.min(gpu_metrics.c.recorded_at))
    found: datetime | None = await tx.scalar(
        query if since is None else query.where(gpu_metrics.c.recorded_at >= since)
    )
    return found


async def oldest_late(tx: Connection) -> datetime | None:
    """The oldest bucket that waits to be rolled up again."""
    found: datetime | None = await tx.scalar(select(func.min(late_buckets.c.bucket)))
    return found


async def mark_late(tx: Connection, pairs: Iterable[tuple[datetime, int]]) -> None:
    """Note buckets (and the GPU) that get samples after their end, in the samples' own transaction."""
    rows = [{"bucket": bucket, "gpu_id": gpu_id} for bucket, gpu_id in pairs]
    if rows:
        await tx.execute(insert(tx, late_buckets), rows)


async def late(tx: Connection, first: datetime, before: datetime, limit: int) -> Late:
    """The oldest marks of buckets in [first, before), at most `limit` of them."""
    query = (
        select(late_buckets.c.id, late_buckets.c.bucket, late_buckets.c.gpu_id)
        .where(late_buckets.c.bucket >= first, late_buckets.c.bucket < before)
        .order_by(late_buckets.c.id)
        .limit(limit)
    )
    found = (await tx.execute(query)).all()
    return Late([row[0] for row in found], sorted({(row[1], row[2]) for row in found}))


async def forget_late(tx: Connection, ids: Sequence[int]) -> None:
    """These marks are dealt with. By id, and not up to one: a lower one may be committed later."""
    await tx.execute(delete(late_buckets).where(is_among(tx, late_buckets.c.id, ids)))


async def summed(
    tx: Connection, start: datetime, end: datetime, gpu_ids: Sequence[int] | None = None
) -> list[Rolled]:
    """The samples recorded in [start, end), a row a GPU in order of id; of all GPUs unless some are named."""
    only = "" if gpu_ids is None else f" AND gpu_id IN ({','.join(map(str, gpu_ids))})"
    sums = ", ".join(
        (
            "count(*)",
            *_measures("utilization_pct", "sum", "min", "max"),
            *_measures("memory_used_mb", "bigsum", "max"),
            *_measures("temperature_c", "sum", "max"),
            *_measures("power_draw_w", "sum", "max"),
        )
    )
    query = (
        f"SELECT gpu_id, {sums} FROM gpu_metrics"  # noqa: S608  # constants, times and numbers of ours
        f" WHERE recorded_at >= {time_literal(tx, start)} AND recorded_at < {time_literal(tx, end)}{only}"
        " GROUP BY gpu_id ORDER BY gpu_id"
    )
    return list(await tuples(tx, query))


async def store(tx: Connection, bucket: datetime, rows: Sequence[Rolled]) -> None:
    """Write a bucket's rows over what was there, and the hour that it belongs to anew."""
    if not rows:
        return
    values = [
        {"bucket": bucket, "gpu_id": row[0], **dict(zip(_COLUMNS, row[1:], strict=True))} for row in rows
    ]
    await tx.execute(_over(gpu_rollup_5m, insert(tx, gpu_rollup_5m)), values)
    await _sum_hour(tx, start_of(bucket, HOUR), [int(row[0] or 0) for row in rows])


async def prune(tx: Connection, table: partitions.Partitioned, before: datetime, after_gpu: int) -> int:
    """Forget buckets that ended before; the last GPU dealt with, 0 when all are.

    PostgreSQL drops whole partitions at once; SQLite deletes for some GPUs a call, by the key.
    """
    if tx.dialect.name == "postgresql":
        await partitions.drop(tx, table, before)
        return 0
    ids = select(gpus.c.id).where(gpus.c.id > after_gpu).order_by(gpus.c.id).limit(PRUNED_GPUS)
    gpu_ids = list((await tx.scalars(ids)).all())
    rolled = gpu_rollup_1h if table is partitions.HOURS else gpu_rollup_5m
    await tx.execute(delete(rolled).where(is_among(tx, rolled.c.gpu_id, gpu_ids), rolled.c.bucket < before))
    return gpu_ids[-1] if len(gpu_ids) == PRUNED_GPUS else 0


def _measures(column: str, *functions: str) -> list[str]:
    """Count and the others of one column; PostgreSQL would make a sum of integers a decimal."""
    big = f"CAST(sum({column}) AS BIGINT)"
    return [f"count({column})", *(big if name == "bigsum" else f"{name}({column})" for name in functions)]


def _over(table: Table, statement: postgresql.Insert | sqlite.Insert) -> postgresql.Insert | sqlite.Insert:
    """The same, written over rows that are there."""
    return statement.on_conflict_do_update(
        index_elements=[table.c.gpu_id, table.c.bucket],
        set_={name: statement.excluded[name] for name in _COLUMNS},
    )


def _of_parts(column: Column[Any]) -> FunctionElement[Any]:
    """A column of an hour out of its buckets': least and most of them, counts and sums added."""
    if column.name.endswith("_min"):
        return func.min(column)
    return func.max(column) if column.name.endswith("_max") else func.sum(column)


async def _sum_hour(tx: Connection, hour: datetime, gpu_ids: Sequence[int]) -> None:
    """The hour's rows of these GPUs out of its buckets so far."""
    rolled = gpu_rollup_5m.c
    parts = [_of_parts(rolled[name]).cast(rolled[name].type) for name in _COLUMNS]
    query = (
        select(literal(hour, UtcTime), rolled.gpu_id, *parts)
        .where(is_among(tx, rolled.gpu_id, gpu_ids), rolled.bucket >= hour, rolled.bucket < hour + HOUR)
        .group_by(rolled.gpu_id)
    )
    made = insert(tx, gpu_rollup_1h).from_select(["bucket", "gpu_id", *_COLUMNS], query)
    await tx.execute(_over(gpu_rollup_1h, made))
