"""Samples in storage against a model of ten lines, on random histories; partitions and their end."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from gpuforge_controlplane.domain.buckets import Kept
from gpuforge_controlplane.domain.fleet import MAX_AHEAD
from gpuforge_controlplane.services import retention
from gpuforge_controlplane.storage import metrics, rollups
from gpuforge_controlplane.storage.database import Database
from gpuforge_controlplane.storage.metrics import Fate, Sample
from gpuforge_controlplane.storage.schema import clusters, gpu_metrics, gpus, nodes

NOW = datetime(2026, 5, 9, 12, tzinfo=UTC)
KEEP = timedelta(hours=24)
KEPT = Kept(raw=KEEP)
CLUSTER_OF = {1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 2}  # by GPU
STATUSES = {1: "idle", 2: "active", 3: "unhealthy", 4: "idle", 5: "offline", 6: "idle"}


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    """Two clusters of a node with three GPUs."""
    database = Database(migrated_database_url)
    await retention.prepare(database, NOW, KEPT)
    async with database.write() as tx:
        for cluster_id in (1, 2):
            await tx.execute(clusters.insert().values(id=cluster_id, name=f"c{cluster_id}", created_at=NOW))
            await tx.execute(
                nodes.insert().values(
                    id=cluster_id,
                    cluster_id=cluster_id,
                    hostname="n",
                    state="active",
                    last_heartbeat_at=NOW,
                    created_at=NOW,
                )
            )
        for gpu_id, cluster_id in CLUSTER_OF.items():
            row = {"id": gpu_id, "node_id": cluster_id, "gpu_index": gpu_id, "status": STATUSES[gpu_id]}
            await tx.execute(gpus.insert().values(created_at=NOW, **row))
    yield database
    await database.close()


@dataclass(slots=True)
class Model:
    """What should be stored."""

    raw: dict[tuple[int, datetime], Sample] = field(default_factory=dict)
    latest: dict[int, Sample] = field(default_factory=dict)
    status: dict[int, str] = field(default_factory=lambda: dict(STATUSES))

    def take(self, sample: Sample) -> Fate:
        """Store one sample."""
        if (
            sample.within_cluster not in (None, CLUSTER_OF.get(sample.gpu_id))
            or sample.gpu_id not in CLUSTER_OF
        ):
            return "unknown_gpu"
        if (sample.gpu_id, sample.recorded_at) in self.raw:
            return "duplicate"
        self.raw[sample.gpu_id, sample.recorded_at] = sample
        return "accepted"

    def settle(self, batch: list[Sample], fates: list[Fate]) -> None:
        """Bring the latest up to date, once for a whole batch: only its newest sample of a GPU counts."""
        newest: dict[int, Sample] = {}
        for sample, fate in zip(batch, fates, strict=True):
            if fate == "accepted":
                best = newest.get(sample.gpu_id)
                newest[sample.gpu_id] = (
                    sample if best is None or best.recorded_at < sample.recorded_at else best
                )
        for gpu_id, sample in newest.items():
            known = self.latest.get(gpu_id)
            if known is None or known.recorded_at < sample.recorded_at:
                self.latest[gpu_id] = sample
                if sample.utilization_pct is not None and self.status[gpu_id] in ("active", "idle"):
                    self.status[gpu_id] = "active" if sample.utilization_pct > 10 else "idle"


def random_batch(dice: random.Random) -> list[Sample]:
    """Up to 12 samples: repeats, unknown GPUs, foreign ones, gaps; in any order of time."""
    return [
        Sample(
            gpu_id=dice.randrange(1, 9),
            # callers of two kinds never tell of the very same instant: whose counts then is nobody's promise
            recorded_at=NOW - timedelta(seconds=dice.randrange(30), microseconds=scope or 0),
            utilization_pct=dice.choice([None, 0.0, 10.0, 10.5, 99.9]),
            memory_used_mb=dice.choice([None, 0, 2**40]),
            memory_total_mb=dice.choice([None, 81_559]),
            temperature_c=dice.choice([None, 71.5]),
            power_draw_w=dice.choice([None, 410.25]),
            missing=dice.choice([None, {"utilization_pct": "not_supported"}]),
            within_cluster=scope,
        )
        for scope in dice.choices([None, 1, 2], k=dice.randrange(1, 13))
    ]


@pytest.mark.parametrize("seed", range(4))
async def test_storage_does_as_the_model(database: Database, seed: int) -> None:
    dice = random.Random(seed)
    model = Model()
    for _ in range(25):
        batch = random_batch(dice)
        async with database.write() as tx:
            fates = await metrics.store(tx, batch)
        expected = [model.take(sample) for sample in batch]
        assert fates == expected
        model.settle(batch, expected)
    await assert_stored(database, model)


async def assert_stored(database: Database, model: Model) -> None:
    async with database.read() as tx:
        raw = await tx.execute(gpu_metrics.select())
        stored = {(row.gpu_id, row.recorded_at): row for row in raw}
        latest = {row.id: row for row in await tx.execute(gpus.select())}
    assert stored.keys() == model.raw.keys()
    for key, sample in model.raw.items():
        assert figures(stored[key]) == figures(sample)
    for gpu_id, row in latest.items():
        sample_or_none = model.latest.get(gpu_id)
        assert row.status == model.status[gpu_id]
        assert row.recorded_at == (sample_or_none.recorded_at if sample_or_none else None)
        if sample_or_none:
            assert figures(row) == figures(sample_or_none)
            assert row.missing == sample_or_none.missing


def figures(row: Any) -> tuple[object, ...]:
    """The five metrics."""
    return (
        row.utilization_pct,
        row.memory_used_mb,
        row.memory_total_mb,
        row.temperature_c,
        row.power_draw_w,
    )


async def test_one_history_in_any_cut_comes_to_the_same(database: Database) -> None:
    """All at once or one by one, the newest counts."""
    dice = random.Random(7)
    history = [sample._replace(within_cluster=None) for _ in range(10) for sample in random_batch(dice)]
    model = Model()
    model.settle(history, [model.take(sample) for sample in history])
    one_by_one = Model()
    for sample in history:
        one_by_one.settle([sample], [one_by_one.take(sample)])
    assert one_by_one.latest == model.latest
    async with database.write() as tx:
        await metrics.store(tx, history)
    await assert_stored(database, model)


async def test_two_replicas_store_the_same_batch_at_once(
    database: Database, migrated_database_url: str
) -> None:
    other = Database(migrated_database_url)
    dice = random.Random(11)
    for _ in range(5):
        batch = [sample._replace(within_cluster=None) for sample in random_batch(dice)]
        fates = await asyncio.gather(
            database.transact(lambda tx, batch=batch: metrics.store(tx, batch)),  # type: ignore[misc]  # mypy: default
            other.transact(lambda tx, batch=batch: metrics.store(tx, batch[::-1])),  # type: ignore[misc]
        )
        accepted = sum(each.count("accepted") for each in fates)
        known = {(sample.gpu_id, sample.recorded_at) for sample in batch if sample.gpu_id in CLUSTER_OF}
        assert accepted <= len(known)
    async with database.read() as tx:
        total = (await tx.execute(text("SELECT count(*) FROM gpu_metrics"))).scalar_one()
    assert total > 0
    await other.close()


# Partitions, and the end of samples


def at(moment: datetime, gpu_id: int = 1) -> Sample:
    return Sample(gpu_id, moment, 1.0, None, None, None, None, None, None)


async def times(database: Database) -> list[datetime]:
    async with database.read() as tx:
        return sorted((await tx.execute(gpu_metrics.select())).scalars())


async def test_every_welcome_time_has_a_place(database: Database) -> None:
    """To the microsecond, at both ends, two days without anybody making a partition."""
    for now in (NOW, NOW + timedelta(days=2)):
        edges = [at(now - KEEP), at(now + MAX_AHEAD), at(now)]
        async with database.write() as tx:
            if now == NOW:
                assert await metrics.store(tx, edges) == ["accepted"] * 3
            else:
                assert await metrics.store(tx, edges[1:]) == ["accepted"] * 2


async def roll_up_all(database: Database) -> None:
    """Say so: what is not rolled up is not dropped."""
    async with database.write() as tx:
        await rollups.advance(tx, NOW + timedelta(days=60))


async def test_old_samples_go_and_the_others_stay(database: Database) -> None:
    hours = [at(NOW - timedelta(hours=age), gpu_id) for age in range(25) for gpu_id in (1, 2)]
    async with database.write() as tx:
        await metrics.store(tx, hours)
    await roll_up_all(database)
    later = NOW + timedelta(hours=20)
    await retention.enforce(database, later, KEPT)
    left = await times(database)
    assert min(left) >= (later - KEEP).replace(hour=0, minute=0)  # PostgreSQL keeps whole days
    assert [moment for moment in left if moment >= later - KEEP] == sorted(
        sample.recorded_at for sample in hours if sample.recorded_at >= later - KEEP
    )


async def test_pruning_ends_when_all_is_gone(database: Database) -> None:
    async with database.write() as tx:
        await metrics.store(tx, [at(NOW - timedelta(minutes=age)) for age in range(0, 120, 7)])
    await roll_up_all(database)
    await retention.enforce(database, NOW + timedelta(days=30), KEPT)
    assert await times(database) == []
    await retention.enforce(database, NOW + timedelta(days=30), KEPT)


async def test_all_replicas_clear_up_at_once(database: Database, migrated_database_url: str) -> None:
    async with database.write() as tx:
        await metrics.store(tx, [at(NOW - timedelta(hours=age)) for age in range(20)])
    await roll_up_all(database)
    others = [Database(migrated_database_url) for _ in range(3)]
    for days in (3, 6):
        now = NOW + timedelta(days=days)
        await asyncio.gather(*(retention.enforce(each, now, KEPT) for each in (database, *others)))
        async with database.write() as tx:
            assert await metrics.store(tx, [at(now)]) == ["accepted"]
    for each in others:
        await each.close()
    assert await times(database) == [NOW + timedelta(days=6)] or len(await times(database)) == 1
