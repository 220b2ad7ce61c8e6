"""Rollups on both databases, beside a calculator that knows nothing of buckets in a database."""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuforge_controlplane.domain.buckets import Kept, start_of
from gpuforge_controlplane.services import retention
from gpuforge_controlplane.services.rollup import roll_up
from gpuforge_controlplane.storage import metrics, rollups
from gpuforge_controlplane.storage.leases import LeaseLostError
from gpuforge_controlplane.storage.metrics import Sample
from gpuforge_controlplane.storage.rollup_schema import gpu_rollup_1h, gpu_rollup_5m
from gpuforge_shared.errors import Unavailable
from tests.storage.rows import NOW, Shelf, shelf_at

FIVE, HOUR, MINUTE = timedelta(minutes=5), timedelta(hours=1), timedelta(minutes=1)
KEPT = Kept()
TABLES = ("gpu_metrics", "gpu_rollup_5m", "gpu_rollup_1h", "rollup_progress", "late_buckets")
Row = tuple[Any, ...]


@pytest.fixture
async def shelf(migrated_database_url: str) -> AsyncIterator[Shelf]:
    async with shelf_at(migrated_database_url) as shelf:
        await shelf.node(3)
        await retention.prepare(shelf.database, NOW, KEPT)
        yield shelf


def sample(gpu_id: int, at: datetime, load: float | None = 50.0, **figures: Any) -> Sample:
    known = {"memory_used_mb": None, "memory_total_mb": None, "temperature_c": None, "power_draw_w": None}
    return Sample(gpu_id, at, load, **{**known, **figures}, missing=None, within_cluster=None)


async def report(shelf: Shelf, samples: Sequence[Sample]) -> None:
    """As ingest does, by the shelf's clock."""
    async with shelf.database.write() as tx:
        await metrics.store(tx, samples, start_of(shelf.now))


async def rolled(shelf: Shelf, table: str = "gpu_rollup_5m") -> dict[tuple[datetime, int], Row]:
    """Figures by bucket and GPU."""
    found = await shelf.all(gpu_rollup_5m.select() if table.endswith("5m") else gpu_rollup_1h.select())
    return {(row[0], row[1]): tuple(row[2:]) for row in found}


def calculated(
    samples: Sequence[Sample], width: timedelta, until: datetime
) -> dict[tuple[datetime, int], Row]:
    """What should be there: every sample of a time before `until`, the first of each time, by plain sums."""
    first: dict[tuple[int, datetime], Sample] = {}
    for each in samples:
        first.setdefault((each.gpu_id, each.recorded_at), each)
    groups: dict[tuple[datetime, int], list[Sample]] = defaultdict(list)
    for each in first.values():
        if each.recorded_at < until:
            seconds = width.total_seconds()
            start = datetime.fromtimestamp(each.recorded_at.timestamp() // seconds * seconds, NOW.tzinfo)
            groups[start, each.gpu_id].append(each)
    return {key: _figures(group) for key, group in groups.items()}


def _figures(group: Sequence[Sample]) -> Row:
    row: list[Any] = [len(group)]
    for name, ends in (
        ("utilization_pct", (min, max)),
        ("memory_used_mb", (max,)),
        ("temperature_c", (max,)),
        ("power_draw_w", (max,)),
    ):
        told = [getattr(each, name) for each in group if getattr(each, name) is not None]
        row += [len(told), sum(told) if told else None, *(end(told) if told else None for end in ends)]
    return tuple(row)


FIGURES = st.sampled_from((None, 0.0, 0.5, 12.25, 99.5, 100.0))  # whose sums are exact in any order
SAMPLES = st.lists(
    st.builds(
        lambda gpu_id, age, load, memory, heat, power: (gpu_id, age, load, memory, heat, power),
        st.integers(1, 3), st.integers(-4 * 60, 3 * 3600), FIGURES,
        st.sampled_from((None, 0, 2**40)), FIGURES, FIGURES,
    ),
    min_size=1, max_size=25,
)  # fmt: skip
STEPS = st.lists(
    st.tuples(SAMPLES, st.integers(0, 900), st.booleans()), min_size=1, max_size=6
)  # what arrives, seconds until the next step, whether the leader looks


@given(steps=STEPS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_comes_late_twice_or_out_of_order_is_counted_once(shelf: Shelf, steps: Any) -> None:
    for table in TABLES:
        await shelf.run(f"DELETE FROM {table}")  # an example leaves its rows to the next
    token = await shelf.lease()
    shelf.now, told = NOW, []
    for arrived, pause, looks in steps:
        batch = [
            Sample(gpu, shelf.now - timedelta(seconds=age), load, memory, None, heat, power, None, None)
            for gpu, age, load, memory, heat, power in arrived
        ]
        told += batch
        await report(shelf, batch)
        shelf.now += timedelta(seconds=pause)
        if looks:
            await roll_up(shelf.database, shelf.now, token, KEPT)
    shelf.now += timedelta(minutes=11)
    for _ in range(2):  # again changes nothing
        await roll_up(shelf.database, shelf.now, token, KEPT)
        until = start_of(shelf.now - MINUTE)
        assert await rolled(shelf) == calculated(told, FIVE, until)
        assert await rolled(shelf, "gpu_rollup_1h") == calculated(told, HOUR, until)
    assert await shelf.all("SELECT id FROM late_buckets") == []


async def test_a_bucket_waits_a_minute_for_what_is_on_its_way(shelf: Shelf) -> None:
    token = await shelf.lease()
    await report(shelf, [sample(1, NOW + timedelta(seconds=1))])
    for second, there in ((300, 0), (359, 0), (360, 1)):
        await roll_up(shelf.database, NOW + timedelta(seconds=second), token, KEPT)
        assert len(await rolled(shelf)) == there


async def test_on_time_samples_mark_nothing(shelf: Shelf) -> None:
    await report(shelf, [sample(1, NOW), sample(2, NOW + timedelta(seconds=2))])
    assert await shelf.all("SELECT id FROM late_buckets") == []
    await report(shelf, [sample(1, NOW - timedelta(microseconds=1)), sample(1, NOW - timedelta(seconds=1))])
    assert len(await shelf.all("SELECT id FROM late_buckets")) == 1


async def test_a_crash_half_way_leaves_what_the_next_leader_finishes(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await shelf.lease()
    told = [sample(gpu, NOW + timedelta(seconds=20 * each), 25.0) for each in range(60) for gpu in (1, 2, 3)]
    await report(shelf, told)
    shelf.now = NOW + HOUR

    async def dies(*_: Any) -> None:
        raise Unavailable("the database does not answer")

    for victim in ("advance", "store", "forget_late"):
        with monkeypatch.context() as patch:
            patch.setattr(rollups, victim, dies)
            with pytest.raises(Unavailable):
                await roll_up(shelf.database, shelf.now, token, KEPT)
    await roll_up(shelf.database, shelf.now, token, KEPT)
    assert await rolled(shelf) == calculated(told, FIVE, shelf.now)
    assert await rolled(shelf, "gpu_rollup_1h") == calculated(told, HOUR, shelf.now)


async def test_a_leader_of_the_past_writes_nothing(shelf: Shelf) -> None:
    await report(shelf, [sample(1, NOW)])
    token = await shelf.lease()
    with pytest.raises(LeaseLostError):
        await roll_up(shelf.database, NOW + HOUR, token - 1, KEPT)
    assert await rolled(shelf) == {}


async def test_nothing_is_dropped_before_it_is_rolled_up(shelf: Shelf) -> None:
    async def raw() -> int:
        return int((await shelf.all("SELECT count(*) FROM gpu_metrics"))[0][0])

    token = await shelf.lease()
    await report(shelf, [sample(1, NOW - timedelta(minutes=age)) for age in range(60)])
    later = NOW + timedelta(days=3)
    await retention.enforce(shelf.database, later, KEPT)
    assert await raw() == 60
    await roll_up(shelf.database, later, token, KEPT)
    shelf.now = later
    async with shelf.database.write() as tx:
        await rollups.mark_late(tx, [(start_of(NOW - HOUR), 1)])
    await retention.enforce(shelf.database, later, KEPT)
    assert await raw() == 60  # one bucket is to be rolled up again
    await roll_up(shelf.database, later, token, KEPT)
    await retention.enforce(shelf.database, later, KEPT)
    assert await raw() == 0
    assert sum(row[0] for row in (await rolled(shelf)).values()) == 60


async def test_each_resolution_is_kept_for_its_time(shelf: Shelf) -> None:
    token = await shelf.lease()
    await report(shelf, [sample(gpu, NOW) for gpu in (1, 2, 3)])
    await roll_up(shelf.database, NOW + HOUR, token, KEPT)
    for days, fives, hours in ((13, 3, 3), (40, 0, 3), (440, 0, 0)):
        await retention.enforce(shelf.database, NOW + timedelta(days=days), KEPT)
        found = len(await rolled(shelf)), len(await rolled(shelf, "gpu_rollup_1h"))
        assert found == (fives, hours), days


async def test_a_long_pause_costs_no_empty_rounds(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[datetime] = []
    summed = rollups.summed

    async def counted(tx: Any, start: datetime, *more: Any) -> Any:
        rounds.append(start)
        return await summed(tx, start, *more)

    monkeypatch.setattr(rollups, "summed", counted)
    token = await shelf.lease()
    await report(shelf, [sample(1, NOW)])
    await roll_up(shelf.database, NOW + HOUR, token, KEPT)
    later = NOW + timedelta(days=1)
    shelf.now = later
    await report(shelf, [sample(1, later)])
    await roll_up(shelf.database, later + HOUR, token, KEPT)
    assert rounds == [NOW, later]
