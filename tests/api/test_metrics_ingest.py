"""Telemetry over HTTP: counted once, screened by time, and what it makes of a GPU's status."""

import asyncio
from datetime import timedelta

from gpuforge_shared.wire.fleet import MAX_METRICS_PER_CALL
from tests.api.harness import ON_SQLITE, START, Json, Plane, Site

METRICS = "/api/clusters/metrics"


def sample(gpu_id: int, utilization: float | None = None, *, at: float = 0, **fields: Json) -> Json:
    """A sample `at` seconds from now."""
    moment = (START + timedelta(seconds=at)).isoformat()
    return {"gpu_id": gpu_id, "utilization_pct": utilization, "recorded_at": moment, **fields}


async def send(plane: Plane, *samples: Json) -> Json:
    return await plane.admin.write(METRICS, {"metrics": list(samples)})


async def gpu(plane: Plane, site: Site, place: int = 0) -> Json:
    node = await plane.admin.read(f"/api/clusters/nodes/{site.node_id}")
    return node["gpus"][place]


async def test_a_batch_sent_twice_counts_once(plane: Plane, site: Site) -> None:
    batch = [sample(gpu_id, 50, at=-at) for gpu_id in site.gpu_ids for at in range(3)]
    assert await send(plane, *batch) == {"accepted": 6, "duplicates": 0, "rejected": []}
    before = await plane.contents()
    assert await send(plane, *batch) == {"accepted": 0, "duplicates": 6, "rejected": []}
    assert await plane.contents() == before
    assert await send(plane, *batch, sample(site.gpu_ids[0], 51, at=1)) == {
        "accepted": 1,
        "duplicates": 6,
        "rejected": [],
    }


async def test_a_sample_twice_in_one_batch_counts_once(plane: Plane, site: Site) -> None:
    told = await send(plane, sample(site.gpu_ids[0], 10), sample(site.gpu_ids[0], 90))
    assert told == {"accepted": 1, "duplicates": 1, "rejected": []}
    assert (await gpu(plane, site))["utilization_pct"] == 10
    assert [row[0] for row in await plane.rows("SELECT utilization_pct FROM gpu_metrics")] == [10]


async def test_an_unknown_gpu_is_named_and_the_rest_stored(plane: Plane, site: Site) -> None:
    first, second = site.gpu_ids
    told = await send(plane, sample(first, 1), sample(9_999, 2), sample(second, 3), sample(2**63 - 1, 4))
    assert told["accepted"] == 2
    assert told["rejected"] == [
        {"index": 1, "gpu_id": 9_999, "reason": "unknown_gpu"},
        {"index": 3, "gpu_id": 2**63 - 1, "reason": "unknown_gpu"},
    ]
    assert await plane.count("gpu_metrics") == 2


async def test_times_are_screened_item_by_item(plane: Plane, site: Site) -> None:
    first = site.gpu_ids[0]
    day = 24 * 3600
    told = await send(
        plane,
        sample(first, 1, at=301),
        sample(first, 2, at=300),
        sample(first, 3, at=-day),
        sample(first, 4, at=-day - 1),
        sample(77, 5, at=301),
    )
    assert told["accepted"] == 2
    assert [(item["index"], item["reason"]) for item in told["rejected"]] == [
        (0, "recorded_in_future"),
        (3, "older_than_retention"),
        (4, "recorded_in_future"),
    ]


async def test_nothing_left_is_a_refusal(plane: Plane, site: Site) -> None:
    before = await plane.contents()
    batch = {"metrics": [sample(99, 1), sample(site.gpu_ids[0], 2, at=301)]}
    for headers in ({}, {"Idempotency-Key": "x"}):
        answer = await plane.admin.post(METRICS, batch, headers=headers)
        assert (answer.status, answer.code) == (422, "all_rejected")
        assert answer.body["errors"] == [
            {"path": "metrics[0]", "message": "unknown_gpu"},
            {"path": "metrics[1]", "message": "recorded_in_future"},
        ]
    assert await plane.contents() == before


async def test_duplicates_and_unknown_alone_are_no_refusal(plane: Plane, site: Site) -> None:
    await send(plane, sample(site.gpu_ids[0], 1))
    told = await send(plane, sample(site.gpu_ids[0], 1), sample(99, 1))
    assert (told["accepted"], told["duplicates"], len(told["rejected"])) == (0, 1, 1)


async def test_a_late_sample_is_kept_and_overwrites_nothing(plane: Plane, site: Site) -> None:
    await send(plane, sample(site.gpu_ids[0], 90, at=-10, temperature_c=70))
    await send(plane, sample(site.gpu_ids[0], 5, at=-20, temperature_c=30))
    now = await gpu(plane, site)
    assert (now["utilization_pct"], now["temperature_c"], now["status"]) == (90, 70, "active")
    assert now["recorded_at"] == "2026-05-09T11:59:50Z"
    assert await plane.count("gpu_metrics") == 2
    await send(plane, sample(site.gpu_ids[0], 5, at=-30), sample(site.gpu_ids[0], 6, at=-5))
    assert (await gpu(plane, site))["utilization_pct"] == 6


async def test_active_is_strictly_above_10(plane: Plane, site: Site) -> None:
    edges = [(0, "idle"), (9.99, "idle"), (10, "idle"), (10.0001, "active"), (100, "active"), (10, "idle")]
    for at, (utilization, status) in enumerate(edges):
        await send(plane, *(sample(gpu_id, utilization, at=at) for gpu_id in site.gpu_ids))
        assert [(await gpu(plane, site, place))["status"] for place in (0, 1)] == [status, status]


async def test_null_utilisation_leaves_the_status_and_tells_why(plane: Plane, site: Site) -> None:
    await send(plane, sample(site.gpu_ids[0], 50, at=-1, power_draw_w=400))
    why = {"utilization_pct": "not_supported"}
    await send(plane, sample(site.gpu_ids[0], None, power_draw_w=410, missing=why))
    now = await gpu(plane, site)
    assert (now["status"], now["utilization_pct"], now["power_draw_w"]) == ("active", None, 410)
    assert now["missing"] == why
    await send(plane, sample(site.gpu_ids[0], 60, at=1))
    assert (await gpu(plane, site))["missing"] == {}


async def test_an_empty_missing_says_that_nothing_is(plane: Plane, site: Site) -> None:
    """Next to others of the same instant, whose samples share its transaction."""
    batches = [{"metrics": [sample(site.gpu_ids[0], 50, at=n, missing={})]} for n in (0, 1)]
    batches += [{"metrics": [sample(site.gpu_ids[1], 50, at=n)]} for n in (0, 1)]
    answers = await asyncio.gather(*(plane.admin.post(METRICS, body) for body in batches))
    assert [answer.status for answer in answers] == [200] * 4
    assert (await gpu(plane, site))["missing"] == {}


async def test_a_fault_is_never_overwritten(plane: Plane, site: Site) -> None:
    for at, status in enumerate(("unhealthy", "offline")):
        async with plane.database.write() as tx:
            await tx.exec_driver_sql(f"UPDATE gpus SET status = '{status}' WHERE id = {site.gpu_ids[0]}")
        await send(plane, *(sample(gpu_id, 99, at=at) for gpu_id in site.gpu_ids))
        assert [(await gpu(plane, site, place))["status"] for place in (0, 1)] == [status, "active"]
        assert (await gpu(plane, site))["utilization_pct"] == 99


@ON_SQLITE
async def test_any_zone_is_read_as_its_instant(plane: Plane, site: Site) -> None:
    same = ("2026-05-09T12:00:00Z", "2026-05-09T14:00:00+02:00", "2026-05-09T06:30:00-05:30")
    batch = [{"gpu_id": site.gpu_ids[0], "recorded_at": moment} for moment in same]
    assert (await send(plane, *batch)) == {"accepted": 1, "duplicates": 2, "rejected": []}


async def test_a_full_batch(plane: Plane, site: Site) -> None:
    batch = [sample(site.gpu_ids[n % 2], 50, at=-n / 2) for n in range(MAX_METRICS_PER_CALL)]
    told = await send(plane, *batch)
    assert told["accepted"] == MAX_METRICS_PER_CALL
    assert (await gpu(plane, site, 1))["recorded_at"] == "2026-05-09T11:59:59.500000Z"


async def test_batches_at_once_get_each_their_own_answer(plane: Plane, site: Site) -> None:
    """They share commits; what each is told is of its own items, in its own order."""
    first, second = site.gpu_ids
    batches = [[sample(first, n, at=-n), sample(99, n), sample(second, n, at=-(n % 5))] for n in range(20)]
    told = await asyncio.gather(*(send(plane, *batch) for batch in batches))
    assert all([item["index"] for item in each["rejected"]] == [1] for each in told)
    assert sum(each["accepted"] for each in told) == 20 + 5
    assert sum(each["duplicates"] for each in told) == 15
    assert await plane.count("gpu_metrics") == 25
    assert [(await gpu(plane, site, place))["recorded_at"] for place in (0, 1)] == [
        "2026-05-09T12:00:00Z"
    ] * 2


async def test_one_bad_batch_among_others_fails_alone(plane: Plane, site: Site) -> None:
    bad = {"metrics": [sample(99, 1)]}
    good = [{"metrics": [sample(site.gpu_ids[0], 1, at=-n)]} for n in range(12)]
    answers = await asyncio.gather(
        *(plane.admin.post(METRICS, bad if n % 3 == 0 else body) for n, body in enumerate(good))
    )
    assert [answer.status for answer in answers] == [422, 200, 200] * 4


async def test_callers_of_different_kinds_share_a_commit(plane: Plane, site: Site) -> None:
    """The cluster's key and an operator's, on the same GPU at the same time."""

    def batches(asks: int) -> Json:
        return {"metrics": [sample(gpu_id, asks, at=-asks) for gpu_id in site.gpu_ids]}

    answers = await asyncio.gather(
        *((plane.admin if n % 2 else site.agent).post(METRICS, batches(n)) for n in range(10))
    )
    assert [answer.body["accepted"] for answer in answers] == [2] * 10
    assert (await gpu(plane, site))["utilization_pct"] == 0


@ON_SQLITE
async def test_the_overview_counts_what_reports(plane: Plane, site: Site) -> None:
    await send(plane, sample(site.gpu_ids[0], 33.3))
    stats = (await plane.admin.read("/api/dashboard"))["stats"]
    assert (stats["active_gpus"], stats["idle_gpus"], stats["avg_utilization_pct"]) == (1, 1, 33.3)
