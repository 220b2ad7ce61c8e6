"""Raw samples and each GPU's latest ones: written together, many requests a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, cast

import msgspec
from sqlalchemy import func, select

from gpuforge_controlplane.domain.buckets import start_of
from gpuforge_controlplane.domain.fleet import ACTIVE_ABOVE_PCT
from gpuforge_controlplane.storage import partitions, rollups
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.schema import from_micros, gpu_metrics, gpus, nodes, to_micros
from gpuforge_controlplane.storage.statements import is_among, sqlite_driver

Fate = Literal["accepted", "duplicate", "unknown_gpu"]
Stored = Sequence[tuple[int, int | datetime]]  # (GPU, time) of new rows, the time as the driver gives it

PRUNE_SLICE = timedelta(minutes=5)  # what one transaction deletes on SQLite, so that writers wait little


class Sample(NamedTuple):
    """One sample on its way to storage; units as on the wire."""

    gpu_id: int
    recorded_at: datetime
    utilization_pct: float | None
    memory_used_mb: int | None
    memory_total_mb: int | None
    temperature_c: float | None
    power_draw_w: float | None
    missing: dict[str, str] | None
    within_cluster: int | None  # a cluster key's samples count only for GPUs of that cluster


# Both databases run the same two statements over `staged`; they differ in how rows get there. In order: of
# two samples of one instant the first counts, for the raw row as for the latest.
_COLUMNS = "utilization_pct, memory_used_mb, memory_total_mb, temperature_c, power_draw_w"
_ANYWHERE = "s.within_cluster IS NULL"
_OWN_CLUSTER = "s.within_cluster = nodes.cluster_id"
_INSERT = f"""
INSERT INTO gpu_metrics (recorded_at, gpu_id, {_COLUMNS})
SELECT s.recorded_at, s.gpu_id, {_COLUMNS.replace("u", "s.u", 1).replace(", ", ", s.")}
FROM {{staged}} AS s JOIN gpus ON gpus.id = s.gpu_id JOIN nodes ON nodes.id = gpus.node_id
WHERE {_ANYWHERE} OR {_OWN_CLUSTER}
ORDER BY s.{{place}}
ON CONFLICT (recorded_at, gpu_id) DO NOTHING
RETURNING gpu_id, recorded_at
"""  # noqa: S608  # constants of this module, no input
# Null utilisation leaves the status; unhealthy is for an operator or a health reading to end.
_UPDATE = f"""
UPDATE gpus SET
    recorded_at = s.recorded_at, missing = s.missing, utilization_pct = s.utilization_pct,
    memory_used_mb = s.memory_used_mb, memory_total_mb = s.memory_total_mb,
    temperature_c = s.temperature_c, power_draw_w = s.power_draw_w,
    status = CASE WHEN s.utilization_pct IS NULL OR gpus.status NOT IN ('active', 'idle') THEN gpus.status
                  WHEN s.utilization_pct > {ACTIVE_ABOVE_PCT} THEN 'active' ELSE 'idle' END
FROM {{staged}} AS s, nodes
WHERE s.newest AND gpus.id = s.gpu_id AND nodes.id = gpus.node_id AND {{scope}}
    AND (gpus.recorded_at IS NULL OR gpus.recorded_at < s.recorded_at)
"""  # noqa: S608

_STAGE_TABLE = f"""
CREATE TEMP TABLE IF NOT EXISTS staged (
    gpu_id INTEGER, recorded_at INTEGER, {_COLUMNS}, missing TEXT, within_cluster INTEGER, newest INTEGER
)"""
_STAGE = f"INSERT INTO staged VALUES ({', '.join('?' * 10)})"  # noqa: S608
_STAGE_ARRAYS = (
    "unnest($1::bigint[], $2::timestamptz[], $3::float8[], $4::bigint[], $5::bigint[], $6::float8[],"
    " $7::float8[], $8::jsonb[], $9::bigint[], $10::bool[])"
)
_STAGE_ROWS = (
    f"(SELECT * FROM {_STAGE_ARRAYS} WITH ORDINALITY"  # noqa: S608
    f" AS t(gpu_id, recorded_at, {_COLUMNS}, missing, within_cluster, newest, place))"
)


async def store(tx: Connection, samples: Sequence[Sample], late_before: datetime | None = None) -> list[Fate]:
    """Store what is new, bring each GPU's latest up to date; what became of each sample, in order.

    A sample is stored once per `(gpu_id, recorded_at)`. A late one never overwrites newer state. One from
    before `late_before` marks its bucket, which may have been rolled up.
    """
    by_driver = _store_postgresql if tx.dialect.name == "postgresql" else _store_sqlite
    stored = await by_driver(tx, samples)
    if late_before is not None and min(sample.recorded_at for sample in samples) < late_before:
        told = ((_moment(at), gpu_id) for gpu_id, at in stored)
        await rollups.mark_late(tx, {(start_of(at), gpu_id) for at, gpu_id in told if at < late_before})
    if len(stored) == len(samples):
        return ["accepted"] * len(samples)
    return await _fates(tx, samples, {(gpu_id, _moment(at)) for gpu_id, at in stored})


async def _store_sqlite(tx: Connection, samples: Sequence[Sample]) -> Stored:
    driver = await sqlite_driver(tx)
    await driver.execute(_STAGE_TABLE)
    await driver.executemany(_STAGE, _rows(samples))
    found = await driver.execute_fetchall(_INSERT.format(staged="staged", place="rowid"))
    for scope in _scopes(samples):
        await driver.execute(_UPDATE.format(staged="staged", scope=scope))
    await driver.execute("DELETE FROM staged")
    return cast(Stored, found)


async def _store_postgresql(tx: Connection, samples: Sequence[Sample]) -> Stored:
    newest = _newest(samples)
    columns: list[list[object]] = [list(column) for column in zip(*samples, strict=True)]
    columns[7] = [_json(missing) for missing in columns[7]]
    arrays = (*columns, [index in newest for index in range(len(samples))])
    found = await tx.exec_driver_sql(_INSERT.format(staged=_STAGE_ROWS, place="place"), arrays)
    stored = cast(Stored, found.all())
    for scope in _scopes(samples):
        await tx.exec_driver_sql(_UPDATE.format(staged=_STAGE_ROWS, scope=scope), arrays)
    return stored


def _moment(stored: int | datetime) -> datetime:
    return from_micros(stored) if isinstance(stored, int) else stored


def _rows(samples: Sequence[Sample]) -> list[tuple[object, ...]]:
    newest = _newest(samples)
    micros = {moment: to_micros(moment) for moment in {sample.recorded_at for sample in samples}}
    return [
        (s[0], micros[s[1]], s[2], s[3], s[4], s[5], s[6], _json(s[7]), s[8], index in newest)
        for index, s in enumerate(samples)
    ]


def _json(missing: object) -> str | None:
    return msgspec.json.encode(missing).decode() if missing else None


def _scopes(samples: Sequence[Sample]) -> list[str]:
    """The kinds of caller in this group. One UPDATE each: UPDATE … FROM would pick any of several rows."""
    kinds = {sample.within_cluster is None for sample in samples}
    return [scope for scope, kind in ((_ANYWHERE, True), (_OWN_CLUSTER, False)) if kind in kinds]


def _newest(samples: Sequence[Sample]) -> set[int]:
    """The places of each GPU's newest sample, by kind of caller."""
    newest: dict[tuple[int, int | None], tuple[datetime, int]] = {}
    for index, (gpu_id, recorded_at, *_, within_cluster) in enumerate(samples):
        best = newest.get((gpu_id, within_cluster))
        if best is None or best[0] < recorded_at:
            newest[gpu_id, within_cluster] = (recorded_at, index)
    return {index for _, index in newest.values()}


async def _fates(tx: Connection, samples: Sequence[Sample], stored: set[tuple[int, datetime]]) -> list[Fate]:
    found = await tx.execute(
        select(gpus.c.id, nodes.c.cluster_id)
        .join(nodes, nodes.c.id == gpus.c.node_id)
        .where(is_among(tx, gpus.c.id, sorted({sample.gpu_id for sample in samples})))
    )
    cluster_of: dict[int, int] = {row.id: row.cluster_id for row in found}
    fates: list[Fate] = []
    for sample in samples:
        cluster = cluster_of.get(sample.gpu_id)
        if cluster is None or sample.within_cluster not in (None, cluster):
            fates.append("unknown_gpu")
        elif (key := (sample.gpu_id, sample.recorded_at)) in stored:
            stored.discard(key)  # a second one in the same group is a duplicate of the first
            fates.append("accepted")
        else:
            fates.append("duplicate")
    return fates


async def prune(tx: Connection, before: datetime) -> bool:
    """Delete samples recorded before `before`; whether some are left for another call.

    PostgreSQL drops whole days; SQLite deletes a slice a call, so that no writer waits long.
    """
    if tx.dialect.name == "postgresql":
        await partitions.drop(tx, partitions.SAMPLES, before)
        return False
    oldest = await tx.scalar(select(func.min(gpu_metrics.c.recorded_at)))
    if oldest is None or oldest >= before:
        return False
    end = min(before, oldest + PRUNE_SLICE)
    await tx.execute(gpu_metrics.delete().where(gpu_metrics.c.recorded_at < end))
    return bool(end < before)
