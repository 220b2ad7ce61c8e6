"""History of metrics over HTTP: from samples and rollups to the same figures, and who sees which of them."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from gpuforge_controlplane.domain.buckets import Kept
from gpuforge_controlplane.domain.resolution import Window, resolve
from gpuforge_controlplane.services.rollup import roll_up
from tests.api.conftest import Serve
from tests.api.harness import ON_SQLITE, START, Caller, Plane, build_site
from tests.api.work import Work

HOUR = timedelta(hours=1)


async def told(plane: Plane, gpu_id: int, at: datetime, **figures: Any) -> None:
    body = {"metrics": [{"gpu_id": gpu_id, "recorded_at": at.isoformat(), **figures}]}
    await plane.admin.write("/api/clusters/metrics", body)


async def rolled(plane: Plane) -> None:
    await roll_up(plane.database, plane.clock(), plane.token, Kept())


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def asked(since: datetime, until: datetime, step: int | None = None) -> str:
    return f"?from={stamp(since)}&to={stamp(until)}" + ("" if step is None else f"&step={step}")


async def test_raw_and_rolled_up_come_to_the_same_figures(plane: Plane) -> None:
    site = await build_site(plane, "east")
    one, other = site.gpu_ids
    begin = START - HOUR
    for minute, load, gpu in (
        (0, 10.0, one),
        (1, 30.0, one),
        (2, 95.0, other),
        (7, None, one),
        (12, 40.0, one),
    ):
        await told(
            plane, gpu, begin + timedelta(minutes=minute), utilization_pct=load, memory_used_mb=1000 * minute,
            temperature_c=50.0 + minute, power_draw_w=None,
        )  # fmt: skip
    path = f"/api/clusters/nodes/{site.node_id}/metrics{asked(begin, begin + timedelta(minutes=20), 300)}"
    fresh = await plane.admin.read(path)
    await rolled(plane)
    kept = await plane.admin.read(path)
    assert (fresh["source"], kept["source"]) == ("raw", "5m")
    for history in (fresh, kept):
        assert history["step_s"] == 300
        assert history["timestamps"] == [stamp(begin + timedelta(minutes=5 * each)) for each in range(4)]
        assert history["gpus"] == [2, 1, 1, 0]
        assert history["samples"] == [3, 1, 1, 0]
        assert history["utilization_pct"] == [45.0, None, 40.0, None]
        assert history["utilization_min_pct"] == [10.0, None, 40.0, None]
        assert history["utilization_max_pct"] == [95.0, None, 40.0, None]
        assert history["memory_used_mb"] == [1000.0, 7000.0, 12000.0, None]
        assert history["memory_used_max_mb"] == [2000.0, 7000.0, 12000.0, None]
        assert history["temperature_max_c"] == [52.0, 57.0, 62.0, None]
        assert history["power_draw_w"] == [None] * 4
    everybody = await plane.admin.read(path.replace(f"nodes/{site.node_id}", str(site.cluster_id)))
    assert everybody == kept


async def test_what_is_not_rolled_up_yet_is_added(plane: Plane) -> None:
    site = await build_site(plane, "east")
    gpu = site.gpu_ids[0]
    await told(plane, gpu, START - timedelta(minutes=50), utilization_pct=20.0)
    await rolled(plane)
    await told(plane, gpu, START + timedelta(minutes=2), utilization_pct=60.0)
    await told(plane, gpu, START + timedelta(minutes=3), utilization_pct=80.0)
    plane.clock.forward(minutes=4)
    path = f"/api/gpus/{gpu}/metrics{asked(START - HOUR, START + HOUR, 3600)}"
    history = await plane.admin.read(path)
    assert (history["source"], history["step_s"]) == ("1h", 3600)
    assert history["utilization_pct"] == [20.0, 70.0]
    assert history["complete_until"] == stamp(plane.clock())


async def test_a_jobs_history_is_of_its_own_time(plane: Plane, work: Work) -> None:
    cluster = await work.cluster(1)
    (gpu,) = work.hosts[0].gpu_ids
    await told(plane, gpu, START, utilization_pct=1.0)
    plane.clock.forward(minutes=10)
    await work.beat()
    job = await work.running(cluster)
    plane.clock.forward(minutes=10)
    await told(plane, gpu, START + timedelta(minutes=11), utilization_pct=70.0)
    await told(plane, gpu, START + timedelta(minutes=16), utilization_pct=90.0)
    await work.move(job, "completed")
    plane.clock.forward(minutes=10)
    await told(plane, gpu, START + timedelta(minutes=25), utilization_pct=2.0)
    for _ in range(2):
        history = await plane.admin.read(f"/api/jobs/{job}/metrics?step=300")
        assert history["timestamps"][0] == stamp(START + timedelta(minutes=10))
        assert history["utilization_pct"] == [70.0, 90.0]
        await rolled(plane)
    # A bucket that it held in part is not told.
    wide = await plane.admin.read(f"/api/jobs/{job}/metrics{asked(START, START + HOUR, 3600)}")
    assert (wide["source"], wide["samples"]) == ("1h", [0])


async def test_a_tenant_sees_a_gpu_while_its_jobs_held_it(plane: Plane, work: Work) -> None:
    cluster = await work.cluster(1)
    (gpu,) = work.hosts[0].gpu_ids
    keys: list[Caller] = []
    ids: list[int] = []
    for number, name in enumerate(("first", "second")):
        tenant = await work.tenant(name=name)
        ids.append(tenant)
        keys.append(await plane.holder_of(tenant_id=tenant))
        await work.beat()
        job = await work.running(cluster, tenant_id=tenant)
        plane.clock.forward(minutes=10)
        await told(plane, gpu, plane.clock() - timedelta(minutes=5), utilization_pct=10.0 + number)
        await work.move(job, "completed")
    window = asked(START, START + timedelta(minutes=20), 300)
    for number, caller in enumerate(keys):
        for path in (f"gpus/{gpu}", f"tenants/{ids[number]}", f"clusters/{cluster}"):
            history = await caller.read(f"/api/{path}/metrics{window}")
            assert [each for each in history["utilization_pct"] if each is not None] == [10.0 + number], path
        foreign = await caller.get(f"/api/tenants/{ids[1 - number]}/metrics")
        assert (foreign.status, foreign.code) == (404, "tenant_not_found")
    outsider = await plane.holder_of(tenant_id=await work.tenant(name="third"))
    for path, code in ((f"gpus/{gpu}", "gpu_not_found"), ("jobs/1", "job_not_found")):
        answer = await outsider.get(f"/api/{path}/metrics")
        assert (answer.status, answer.code) == (404, code)


@pytest.mark.parametrize(
    ("query", "path", "words"),
    [
        pytest.param("?step=0", "query.step", "greater", id="no step"),
        pytest.param("?step=1", "query.step", "a step of 58 or more", id="too many points"),
        pytest.param(
            "?from=2026-05-09T12:00:00Z&to=2026-05-09T12:00:00Z", "query.from", "before", id="nothing"
        ),
        pytest.param(
            "?from=2020-01-01T00:00:00Z", "query.from", "400 days", id="longer than anything is kept"
        ),
        pytest.param("?to=0001-01-01T00:00:00Z", "query.to", "after 1970", id="an end before all time"),
        pytest.param(
            "?from=0001-01-01T00:00:00Z&to=0001-03-05T00:00:00Z&step=2678400",
            "query.to",
            "after 1970",
            id="a step that begins before all time",
        ),
        pytest.param(
            "?from=1969-12-31T00:00:00Z&to=1970-01-02T00:00:00Z", "query.from", "before 1970", id="long ago"
        ),
        pytest.param("?from=yesterday", "query.from", "datetime", id="no time"),
        pytest.param("?form=2026-05-09T12:00:00Z", "query.form", "did you mean from?", id="a typo"),
    ],
)
@ON_SQLITE
async def test_what_is_wrong_is_told(plane: Plane, query: str, path: str, words: str) -> None:
    site = await build_site(plane, "east")
    answer = await plane.admin.get(f"/api/gpus/{site.gpu_ids[0]}/metrics{query}")
    assert (answer.status, answer.paths) == (422, [path])
    assert words in answer.body["detail"]


@pytest.mark.parametrize("noun", ["gpus", "clusters/nodes", "clusters", "jobs", "tenants"])
@ON_SQLITE
async def test_of_nothing_there_is_no_history(plane: Plane, noun: str) -> None:
    assert (await plane.admin.get(f"/api/{noun}/999/metrics")).status == 404


@ON_SQLITE
async def test_the_sample_has_a_history(serve: Serve) -> None:
    plane = await serve(demo="sample")
    plane.clock.forward(seconds=1)
    history = await plane.anonymous.read("/api/clusters/1/metrics")
    assert any(each is not None for each in history["utilization_pct"])


@pytest.mark.parametrize(
    ("days", "length", "step", "gpus", "source", "step_s"),
    [
        pytest.param(0, HOUR, None, 1, "raw", 30, id="an hour, finely"),
        pytest.param(0, timedelta(days=1), None, 1, "5m", 300, id="a day"),
        pytest.param(0, timedelta(days=7), None, 1, "1h", 3600, id="a week"),
        pytest.param(0, HOUR, 10, 1, "raw", 10, id="as asked"),
        pytest.param(0, HOUR, 700, 1, "5m", 900, id="whole buckets"),
        pytest.param(3, HOUR, 10, 1, "5m", 300, id="raw samples are gone"),
        pytest.param(30, HOUR, 10, 1, "1h", 3600, id="five minutes are gone, too"),
        pytest.param(0, HOUR, 10, 10_000, "5m", 300, id="too many samples to read"),
        pytest.param(0, timedelta(days=1), None, 10_000, "1h", 3600, id="too many rollups to read"),
        pytest.param(0, timedelta(days=400), None, 1, "1h", 7 * 86_400, id="a year"),
    ],
)
def test_how_finely_it_is_told(
    days: int, length: timedelta, step: int | None, gpus: int, source: str, step_s: int
) -> None:
    until = START - timedelta(days=days)
    window = Window(since=until - length, until=until, step_s=step)
    found = resolve(window, gpus=gpus, fleet=gpus, now=START, kept=Kept(), rolled_up=True)
    assert (found.source, found.step_s) == (source, step_s)
    assert found.first <= window.since < found.first + timedelta(seconds=step_s)
