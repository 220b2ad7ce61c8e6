"""Means from rollups, by hand, and the alerts that follow from them."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from gpuforge_controlplane.domain.buckets import Kept
from gpuforge_controlplane.services import retention, watching
from gpuforge_controlplane.services.rollup import roll_up
from gpuforge_controlplane.storage import means, metrics, watch
from gpuforge_controlplane.storage.means import Lately
from gpuforge_controlplane.storage.metrics import Sample
from gpuforge_controlplane.storage.schema import allocations
from tests.storage.rows import NOW, Shelf

MINUTE = timedelta(minutes=1)


async def reports(shelf: Shelf, token: int, load: dict[int, float | None], minutes: range) -> None:
    """A sample a minute of each of these GPUs, so many minutes ago, rolled up as far as it has settled."""
    await retention.prepare(shelf.database, NOW, Kept())
    names = (
        "memory_used_mb",
        "memory_total_mb",
        "temperature_c",
        "power_draw_w",
        "missing",
        "within_cluster",
    )
    figures: Any = dict.fromkeys(names)
    samples = [
        Sample(gpu_id, NOW - ago * MINUTE, used, **figures)
        for gpu_id, used in load.items()
        for ago in minutes
    ]
    async with shelf.database.write() as tx:
        await metrics.store(tx, samples, NOW - timedelta(days=1))
    await roll_up(shelf.database, NOW, token, Kept())


async def hold(shelf: Shelf, node: int, *gpu_ids: int, since: timedelta) -> None:
    (job,) = await shelf.queue(gpu_count=len(gpu_ids), status="running", started_at=NOW - since)
    row = {"job_id": job, "node_id": node, "family": "H100", "started_at": NOW - since}
    await shelf.insert(allocations, *({**row, "gpu_id": gpu_id} for gpu_id in gpu_ids))


async def seen(shelf: Shelf) -> tuple[dict[int, float], dict[int, float]]:
    async with shelf.database.read() as tx:
        until = await means.rolled_until(tx, NOW)
        assert until is not None
        holdings = (await watch.load(tx, NOW, NOW)).holdings
        means_of = {each.gpu_id: each.mean_pct for each in holdings if each.mean_pct is not None}
        return await means.of_clusters(tx, until), means_of


async def test_by_hand(shelf: Shelf) -> None:
    """80 and 20 of 15 min give 50; the third can't tell. Who holds since 40 min counts 30, since 11 min 5."""
    token, node = await shelf.lease(), await shelf.node(4)
    await reports(shelf, token, {1: 80.0, 2: 20.0, 3: None}, range(1, 60))
    await hold(shelf, node, 1, 3, 4, since=40 * MINUTE)
    await hold(shelf, node, 2, since=11 * MINUTE)
    clusters, held = await seen(shelf)
    assert clusters == {1: pytest.approx(50)}
    assert held == {1: pytest.approx(80), 2: pytest.approx(20)}


async def test_means_are_read_once_as_long_as_rollups_stand(shelf: Shelf) -> None:
    """A job that comes meanwhile on the GPU of another takes nothing over from it."""
    token, node, lately = await shelf.lease(), await shelf.node(2), Lately()
    await reports(shelf, token, {1: 80.0, 2: 20.0}, range(1, 60))
    await hold(shelf, node, 1, 2, since=40 * MINUTE)

    async def look(now: datetime) -> list[float | None]:
        async with shelf.database.read() as tx:
            seen = await watch.load(tx, now, NOW, lately)
        return [seen.clusters[0].mean_pct, *(each.mean_pct for each in sorted(seen.holdings))]

    first = await look(NOW)
    assert first == [pytest.approx(50), pytest.approx(80), pytest.approx(20)]
    await shelf.run("DELETE FROM gpu_rollup_5m WHERE gpu_id = 1")
    assert await look(NOW) == first
    await shelf.run("UPDATE allocations SET ended_at = started_at WHERE gpu_id = 2")
    await hold(shelf, node, 2, since=MINUTE)
    assert await look(NOW) == [*first[:2], None]
    await roll_up(shelf.database, NOW + 5 * MINUTE, token, Kept())
    await shelf.run("DELETE FROM gpu_rollup_5m WHERE gpu_id = 1")
    assert (await look(NOW + 5 * MINUTE))[1:] == [None, None]


async def test_of_a_few_minutes_a_cluster_tells_nothing(shelf: Shelf) -> None:
    token = await shelf.lease()
    await shelf.node(2)
    await reports(shelf, token, {1: 5.0, 2: 5.0}, range(1, 12))
    assert (await seen(shelf))[0] == {}


async def test_what_was_rolled_up_long_ago_tells_nothing_of_now(shelf: Shelf) -> None:
    token = await shelf.lease()
    await shelf.node(1)
    await reports(shelf, token, {1: 5.0}, range(1, 60))
    async with shelf.database.read() as tx:
        assert await means.rolled_until(tx, NOW + 10 * MINUTE) is not None
        assert await means.rolled_until(tx, NOW + 21 * MINUTE) is None


async def test_idle_clusters_and_idle_jobs_are_told(shelf: Shelf) -> None:
    token, node = await shelf.lease(), await shelf.node(3)
    await reports(shelf, token, {1: 90.0, 2: 2.0, 3: 2.0}, range(60))
    await hold(shelf, node, 1, 2, since=40 * MINUTE)
    changes = await watching.run_evaluation(
        shelf.database, shelf.clock, token, hearing_since=NOW - timedelta(days=1)
    )
    told = {(change.rule.rule_type, change.subject_id, change.kind) for change in changes}
    assert {("idle_gpu", 1, "firing"), ("idle_allocated", 2, "firing")} <= told
    assert not {each for each in told if each[0] == "idle_allocated" and each[1] != 2}
    (row,) = await shelf.all("SELECT held_s, idle_gpus FROM allocation_hours")
    assert tuple(row) == (0, 1)
