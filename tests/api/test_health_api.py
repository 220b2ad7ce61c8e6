"""Reports of health over HTTP: kept and shown, faults that take a GPU out, and what brings it back."""

import asyncio
from typing import Any

import pytest

from gpuforge_controlplane.services.health import PAST_FAULTS_SHOWN
from gpuforge_controlplane.services.reports import XIDS_KEPT
from gpuforge_shared.wire.health import GpuHealth, HostReading
from tests.api.harness import ON_SQLITE, Answer, Caller, Json, Plane, Site, build_site

NODES = "/api/clusters/nodes"
HOST = {
    "boot_id": "b6f1",
    "cpu_pct": 12.5,
    "load_1m": 3.0,
    "ram_used_mb": 1000,
    "missing": {"disk_used_mb": "x"},
}
WELL = {
    "remap_pending": False,
    "remap_failed": False,
    "recovery_action": "none",
    "ecc_volatile_uncorrected": 0,
    "throttle_reasons": ["sw_power_cap"],
    "missing": {"nvlink_links": "not_supported"},
}
PROCESS = {
    "pid": 4711,
    "kind": "compute",
    "name": "python",
    "memory_mb": 512,
    "user": "ada",
    "job": "slurm:7",
}
RUN = {
    "name": "health",
    "period_s": 30,
    "deadline_s": 2,
    "duration_s": 0.01,
    "succeeded": True,
    "failed": 0,
    "ran_at": "2026-05-09T12:00:00Z",
}


async def report(site: Site, *gpus: Json, **whole: Json) -> Json:
    return await site.agent.write(f"{NODES}/{site.node_id}/health", {"gpus": list(gpus), **whole})


def told(site: Site, index: int = 0, **fields: Json) -> Json:
    """What a report says of a GPU."""
    return {"gpu_id": site.gpu_ids[index], "health": WELL, "processes": [], **fields}


async def gpu(plane: Plane, site: Site, index: int = 0) -> dict[str, Any]:
    node = await plane.admin.read(f"{NODES}/{site.node_id}")
    return dict(node["gpus"][index])


async def clear(caller: Caller, site: Site, index: int = 0, **body: Json) -> Answer:
    return await caller.post(f"/api/gpus/{site.gpu_ids[index]}/clear-fault", body)


async def test_a_report_is_shown_with_the_node(plane: Plane, site: Site) -> None:
    answer = await report(site, told(site, processes=[PROCESS]), host=HOST, collectors=[RUN])
    assert answer == {"gpus": 1, "unknown_gpus": [], "opened": [], "cleared": []}
    node = await plane.admin.read(f"{NODES}/{site.node_id}")
    assert node["reported_at"] == "2026-05-09T12:00:00Z"
    assert node["host"] == {**dict.fromkeys(HostReading.__annotations__), **HOST}
    assert (node["collectors"], node["driver_fault"]) == ([RUN], None)
    first, second = node["gpus"]
    assert first["health"] == {**dict.fromkeys(GpuHealth.__annotations__), **WELL}
    assert (first["processes"], first["processes_missing"], first["faults"]) == ([PROCESS], None, [])
    assert (second["health"], second["processes"], second["xids"]) == (None, None, [])


async def test_a_node_that_never_reported_says_so(plane: Plane, site: Site) -> None:
    node = await plane.admin.read(f"{NODES}/{site.node_id}")
    nothing: dict[str, Json] = {"reported_at": None, "host": None, "driver_fault": None, "collectors": []}
    assert {name: node[name] for name in nothing} == nothing


async def test_what_was_not_looked_at_this_time_is_as_it_was(plane: Plane, site: Site) -> None:
    await report(site, told(site))
    await report(site, told(site, health=None, unreadable="hung", processes=None, processes_missing="hung"))
    shown = await gpu(plane, site)
    assert shown["health"]["throttle_reasons"] == ["sw_power_cap"]
    assert (shown["processes"], shown["processes_missing"]) == (None, "hung")


@ON_SQLITE
async def test_an_agent_of_tomorrow_is_understood(plane: Plane, site: Site) -> None:
    body = told(site, health={**WELL, "tensor_doubt": 3}, mood="fine")
    await report(site, body, host={"fans": 3}, weather="warm")
    assert "tensor_doubt" not in (await gpu(plane, site))["health"]


@ON_SQLITE
@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"gpus": [{"unreadable": "lost"}]}, "gpus[0].gpu_id"),
        ({"gpus": [{"gpu_id": 1, "health": {"pcie_width": -1}}]}, "gpus[0].health.pcie_width"),
        ({"gpus": [{"gpu_id": 1, "health": {"missing": {"x": "y" * 65}}}]}, "gpus[0].health.missing.x"),
        ({"gpus": [{"gpu_id": 1, "unreadable": "\x00"}]}, "gpus[0].unreadable"),
        ({"gpus": [{"gpu_id": 1, "xids": [{"code": 48}]}]}, "gpus[0].xids[0].seen_at"),
        ({"gpus": [{"gpu_id": 1, "processes": [{"pid": 1}] * 257}]}, "gpus[0].processes"),
        ({"gpus": [{"gpu_id": 1}] * 1025}, "gpus"),
        ({"host": {"load_1m": 1e300}}, "host.load_1m"),
    ],
)
async def test_what_is_out_of_bounds_is_named(plane: Plane, site: Site, body: Json, path: str) -> None:
    answer = await site.agent.post(f"{NODES}/{site.node_id}/health", body)
    assert answer.status == 422
    assert answer.body["errors"][0]["path"].startswith(path)


async def test_a_report_speaks_of_its_own_node_alone(plane: Plane, site: Site) -> None:
    other = await build_site(plane, "west")
    stranger = {"gpu_id": other.gpu_ids[0], "unreadable": "lost"}
    answer = await report(site, stranger, {"gpu_id": 4711})
    assert (answer["gpus"], answer["unknown_gpus"]) == (0, [other.gpu_ids[0], 4711])
    assert (await gpu(plane, other))["faults"] == []
    foreign = await site.agent.post(f"{NODES}/{other.node_id}/health", {})
    assert (foreign.status, foreign.code) == (404, "node_not_found")


# Faults


async def test_a_gpu_that_cannot_be_read_is_unhealthy_until_it_can(plane: Plane, site: Site) -> None:
    answer = await report(site, told(site, health=None, unreadable="lost"), told(site, 1))
    assert [(fault["kind"], fault["code"]) for fault in answer["opened"]] == [("unreadable", "lost")]
    shown = await gpu(plane, site)
    assert (shown["status"], [fault["code"] for fault in shown["faults"]]) == ("unhealthy", ["lost"])
    assert (await gpu(plane, site, 1))["status"] == "idle"
    sample = {"metrics": [{"gpu_id": site.gpu_ids[0], "utilization_pct": 99}]}
    await site.agent.write("/api/clusters/metrics", sample)
    assert (await gpu(plane, site))["status"] == "unhealthy", "a sample is no all-clear"
    again = await report(site, told(site, health=None, unreadable="lost"))
    assert (again["opened"], again["cleared"]) == ([], [])
    plane.clock.forward(seconds=30)
    well = await report(site, told(site))
    assert [fault["cleared_at"] for fault in well["cleared"]] == ["2026-05-09T12:00:30Z"]
    shown = await gpu(plane, site)
    assert (shown["status"], shown["faults"]) == ("idle", [])
    later = {"metrics": [{"gpu_id": site.gpu_ids[0], "utilization_pct": 99}]}
    await site.agent.write("/api/clusters/metrics", later)
    assert (await gpu(plane, site))["status"] == "active"


async def test_a_faulty_gpu_takes_no_job_and_a_well_one_does_again(plane: Plane, site: Site) -> None:
    await report(site, told(site, unreadable="hung", health=None), told(site, 1))
    job = {"cluster_id": site.cluster_id, "name": "wide", "gpu_count": 2}
    job_id = (await plane.admin.write("/api/jobs", job))["id"]
    await plane.cycle()
    waiting = await plane.admin.read(f"/api/jobs/{job_id}")
    assert waiting["status"] == "queued"
    await report(site, told(site))
    await plane.cycle()
    assert (await plane.admin.read(f"/api/jobs/{job_id}"))["status"] == "running"


@pytest.mark.parametrize(
    "sick",
    [
        {"xids": [{"code": 79, "seen_at": "2026-05-09T11:59:00Z"}]},
        {"health": {**WELL, "ecc_volatile_uncorrected": 1}},
    ],
    ids=["Xid 79", "uncorrectable ECC"],
)
async def test_memory_in_doubt_needs_an_operators_word(plane: Plane, site: Site, sick: Json) -> None:
    await report(site, told(site, **sick))
    await report(site, told(site))
    shown = await gpu(plane, site)
    assert (shown["status"], [fault["needs_operator"] for fault in shown["faults"]]) == ("unhealthy", [True])
    assert (await clear(site.agent, site)).status == 403
    cleared = await clear(plane.admin, site, note="memory replaced")
    assert (cleared.status, cleared.body["status"], cleared.body["open"]) == (200, "idle", [])
    assert [fault["id"] for fault in cleared.body["cleared"]] == [shown["faults"][0]["id"]]
    (row,) = [each for each in await plane.admin.read("/api/audit") if each["action"] == "gpu.fault_clear"]
    assert row["after"]["note"] == "memory replaced"
    assert (await clear(plane.admin, site)).body["cleared"] == []


async def test_past_faults_say_when_they_ended_and_by_whose_word(plane: Plane, site: Site) -> None:
    lost = told(site, unreadable="lost", health=None)
    await report(site, {**lost, "xids": [{"code": 79, "seen_at": "2026-05-09T11:59:00Z"}]}, told(site, 1))
    assert (await gpu(plane, site))["past_faults"] == []
    plane.clock.forward(seconds=30)
    await report(site, told(site))
    plane.clock.forward(seconds=30)
    await clear(plane.admin, site, note="reseated")
    shown = await gpu(plane, site)
    assert (shown["status"], shown["faults"]) == ("idle", [])
    assert [
        (fault["code"], fault["seen_at"], fault["cleared_at"], fault["cleared_by"] is not None, fault["note"])
        for fault in shown["past_faults"]
    ] == [
        ("79", "2026-05-09T11:59:00Z", "2026-05-09T12:01:00Z", True, "reseated"),
        ("lost", "2026-05-09T12:00:00Z", "2026-05-09T12:00:30Z", False, None),
    ]
    (row,) = [each for each in await plane.admin.read("/api/audit") if each["action"] == "gpu.fault_clear"]
    assert shown["past_faults"][0]["cleared_by"] == row["principal"]
    assert (await gpu(plane, site, 1))["past_faults"] == []


async def test_a_card_that_falls_ill_again_and_again_shows_its_latest_faults(
    plane: Plane, site: Site
) -> None:
    for _ in range(PAST_FAULTS_SHOWN + 2):
        for ill in (told(site, unreadable="hung", health=None), told(site)):
            await report(site, ill)
            plane.clock.forward(seconds=60)
    await report(site, told(site, 1, unreadable="lost", health=None))
    await report(site, told(site, 1))
    past = (await gpu(plane, site))["past_faults"]
    ends = [fault["cleared_at"] for fault in past]
    assert len(ends) == PAST_FAULTS_SHOWN
    assert ends == sorted(ends, reverse=True)
    assert ends[0] == "2026-05-09T12:35:00Z"
    assert len((await gpu(plane, site, 1))["past_faults"]) == 1


async def test_a_counter_that_stays_does_not_take_a_cleared_gpu_out_again(plane: Plane, site: Site) -> None:
    sick = {**WELL, "ecc_volatile_uncorrected": 2}
    await report(site, told(site, health=sick))
    await clear(plane.admin, site)
    unknown = {**WELL, "ecc_volatile_uncorrected": None}
    for health in (sick, unknown, None, sick):
        await report(site, told(site, health=health))
        assert (await gpu(plane, site))["status"] == "idle"
    await report(site, told(site, health={**WELL, "ecc_volatile_uncorrected": 3}))
    assert (await gpu(plane, site))["status"] == "unhealthy"


async def test_an_xid_told_twice_does_not_take_a_cleared_gpu_out_again(plane: Plane, site: Site) -> None:
    sick = told(site, xids=[{"code": 48, "seen_at": "2026-05-09T11:59:00Z"}])
    await report(site, sick)
    await clear(plane.admin, site)
    await report(site, sick)  # as an agent does that lost the answer
    assert (await gpu(plane, site))["status"] == "idle"
    await report(site, told(site, xids=[{"code": 48, "seen_at": "2026-05-09T11:59:01Z"}]))
    assert (await gpu(plane, site))["status"] == "unhealthy"


async def test_an_operators_word_leaves_what_still_is(plane: Plane, site: Site) -> None:
    await report(
        site,
        told(site, unreadable="lost", health=None, xids=[{"code": 79, "seen_at": "2026-05-09T11:59:00Z"}]),
    )
    answer = await clear(plane.admin, site)
    assert [fault["code"] for fault in answer.body["cleared"]] == ["79"]
    assert (answer.body["status"], [fault["code"] for fault in answer.body["open"]]) == (
        "unhealthy",
        ["lost"],
    )
    await report(site, told(site))
    assert (await gpu(plane, site))["status"] == "idle"


async def test_the_latest_xids_are_shown_whatever_they_are(plane: Plane, site: Site) -> None:
    xids = [{"code": code, "seen_at": f"2026-05-09T11:00:{code:02}Z"} for code in range(20)]
    await report(site, told(site, xids=xids[:10]))
    await report(site, told(site, xids=xids[10:]))
    await report(site, told(site))
    assert (await gpu(plane, site))["xids"] == xids[-XIDS_KEPT:]
    assert (await gpu(plane, site))["faults"] == []


async def test_an_xid_by_a_clock_that_runs_ahead_is_seen_now(plane: Plane, site: Site) -> None:
    await report(site, told(site, xids=[{"code": 48, "seen_at": "2026-05-09T13:00:00Z"}]))
    assert [fault["seen_at"] for fault in (await gpu(plane, site))["faults"]] == ["2026-05-09T12:00:00Z"]


async def test_reports_at_once_make_one_fault(plane: Plane, site: Site) -> None:
    sick = told(site, unreadable="lost", health=None)
    await asyncio.gather(*(report(site, sick) for _ in range(8)))
    assert await plane.count("gpu_faults") == 1
    assert len((await gpu(plane, site))["faults"]) == 1


@ON_SQLITE
async def test_a_report_without_news_leaves_no_audit_row(plane: Plane, site: Site) -> None:
    before = await plane.count("audit_log")
    await report(site, told(site), host=HOST)
    assert await plane.count("audit_log") == before
    await report(site, told(site, unreadable="lost"))
    assert await plane.count("audit_log") == before + 1


@ON_SQLITE
async def test_a_gpu_that_is_none_cannot_be_cleared(plane: Plane) -> None:
    answer = await plane.admin.post("/api/gpus/4711/clear-fault", {})
    assert (answer.status, answer.code) == (404, "gpu_not_found")


# Clocks


async def test_a_node_whose_clock_is_off_is_flagged(plane: Plane, site: Site) -> None:
    beat = {"cluster_id": site.cluster_id, "hostname": "east-01"}
    for offset, is_off in ((None, None), (29.0, False), (-31.5, True)):
        node = await site.agent.write(NODES, {**beat, "clock_offset_s": offset})
        assert (node["clock_offset_s"], node["clock_is_off"]) == (offset, is_off)
    kept = await site.agent.write(NODES, beat)
    assert kept["clock_is_off"] is True


async def test_what_a_node_lost_is_shown(plane: Plane, site: Site) -> None:
    lost = {
        "queued_samples": 1_200,
        "dropped_samples": 3_000_000_000,
        "gap_since": "2026-05-09T10:00:00Z",
        "gap_until": "2026-05-09T10:20:00.5Z",
    }
    beat = {"cluster_id": site.cluster_id, "hostname": "east-01"}
    before = await plane.count("audit_log")
    node = await site.agent.write(NODES, {**beat, **lost})
    shown = {name: node[name] for name in lost}
    assert shown == {**lost, "gap_until": "2026-05-09T10:20:00.500000Z"}
    later = await site.agent.write(NODES, {**beat, "queued_samples": 0})
    assert {name: later[name] for name in lost} == {**shown, "queued_samples": 0}
    assert await plane.count("audit_log") == before
