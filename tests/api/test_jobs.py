"""Jobs over HTTP: submitting, every move from status to status, dry runs, lists, who sees what."""

import asyncio
from collections.abc import Sequence
from itertools import product

import pytest

from gpuforge_controlplane.domain.lifecycle import TERMINAL, TRANSITIONS, Actor, JobStatus
from gpuforge_controlplane.storage import jobs as stored_jobs
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.jobs import StoredJob
from gpuforge_controlplane.storage.statements import Row
from gpuforge_shared.errors import Conflict
from tests.api.harness import START, Caller, Json, Plane
from tests.api.work import A100, H100, Work, broken

JOB = {"cluster_id": 1, "name": "train"}


def wire(moment: object) -> str:
    return str(moment).replace(" ", "T").replace("+00:00", "Z")


async def in_status(work: Work, status: JobStatus) -> int:
    """A new job's id, brought to this status by requests."""
    job_id = int((await work.submit(1))["id"])
    if status is not JobStatus.QUEUED:
        by_way_of = status in (JobStatus.COMPLETED, JobStatus.FAILED)
        for word in ["running", status] if by_way_of else [status]:
            answer = await work.move(job_id, word)
            assert (answer.status, answer.body["status"]) == (200, word)
    return job_id


async def test_a_submission_reads_as_documented(work: Work) -> None:
    await work.cluster(8)
    answer = await work.admin.post(
        "/api/jobs",
        {
            "cluster_id": 1,
            "name": "llama-3-70b-finetune",
            "gpu_count": 8,
            "gpu_type": "NVIDIA H100 80GB",
            "priority": 1,
            "tenant_id": await work.tenant(16),
            "submitted_by": "ci",
            "estimated_duration_min": 90,
            "time_limit_min": 120,
            "on_node_loss": "fail",
        },
    )
    assert answer.status == 201
    assert answer.body == {
        "id": 1,
        "cluster_id": 1,
        "tenant_id": 1,
        "name": "llama-3-70b-finetune",
        "status": "queued",
        "gpu_count": 8,
        "gpu_type": "NVIDIA H100 80GB",
        "priority": 1,
        "block_reason": None,
        "pending_reason": "the next scheduling cycle decides",
        "submitted_by": "ci",
        "estimated_duration_min": 90,
        "time_limit_min": 120,
        "on_node_loss": "fail",
        "submitted_at": wire(START),
        "started_at": None,
        "ended_at": None,
        "end_reason": None,
    }
    defaults = await work.admin.write("/api/jobs", JOB)
    assert (defaults["gpu_count"], defaults["priority"], defaults["on_node_loss"]) == (1, 5, "requeue")
    assert [defaults[name] for name in ("gpu_type", "tenant_id", "submitted_by")] == [None] * 3


async def test_what_no_submission_may_say(work: Work) -> None:
    await work.cluster(8)
    tenant = await work.tenant(8)
    await work.admin.delete(f"/api/tenants/{tenant}")
    before = await work.plane.contents()
    table: list[tuple[Json, int, str]] = [
        ({**JOB, "gpu_count": 0}, 422, "gpu_count"),
        ({**JOB, "gpu_count": -1}, 422, "gpu_count"),
        ({**JOB, "gpu_count": 2**31}, 422, "gpu_count"),
        ({**JOB, "gpu_count": 1.5}, 422, "gpu_count"),
        ({**JOB, "gpu_count": "8"}, 422, "gpu_count"),
        ({**JOB, "gpu_count": None}, 422, "gpu_count"),
        ({**JOB, "priority": 0}, 422, "priority"),
        ({**JOB, "priority": 11}, 422, "priority"),
        ({**JOB, "estimated_duration_min": 0}, 422, "estimated_duration_min"),
        ({**JOB, "time_limit_min": 0}, 422, "time_limit_min"),
        ({**JOB, "on_node_loss": "retry"}, 422, "on_node_loss"),
        ({**JOB, "name": "  "}, 422, "name"),
        ({**JOB, "name": "x" * 256}, 422, "name"),
        ({**JOB, "gpus": 8}, 422, "gpus"),
        ({**JOB, "status": "running"}, 422, "status"),
        ({"name": "train"}, 422, "cluster_id"),
        ({"cluster_id": 1}, 422, "name"),
        ({**JOB, "cluster_id": 99}, 404, "cluster_not_found"),
        ({**JOB, "tenant_id": 99}, 404, "tenant_not_found"),
        ({**JOB, "tenant_id": tenant}, 404, "tenant_not_found"),  # deleted
    ]
    for body, status, word in table:
        for path in ("/api/jobs", "/api/jobs?dry_run=true"):
            answer = await work.admin.post(path, body)
            assert answer.status == status, (body, answer.raw)
            assert word in (answer.paths if status == 422 else [answer.code]), body
    assert await work.plane.contents() == before


async def test_all_moves_are_as_the_table_says(work: Work) -> None:
    await work.cluster(8, 8)
    for before in JobStatus:
        stays = await in_status(work, before)
        told, audited = await work.job(stays), await work.plane.count("audit_log")
        for after in JobStatus:
            work.plane.clock.forward(seconds=1)
            if Actor.CLIENT in TRANSITIONS.get((before, after), ()):
                await see_it_move(work, before, after)
                audited = await work.plane.count("audit_log")
                continue
            answer = await work.move(stays, after)
            if before is after:
                assert answer.status == 200
            else:
                assert (answer.status, answer.code) == (409, "illegal_transition"), (before, after)
                assert before in answer.body["detail"]
                assert after in answer.body["detail"]
            assert await work.job(stays) == told, (before, after)
            assert await work.plane.count("audit_log") == audited
    assert await broken(work.plane.database) == []


async def see_it_move(work: Work, before: JobStatus, after: JobStatus) -> None:
    """From one status to the other, with all that belongs to it."""
    job_id = await in_status(work, before)
    told = await work.job(job_id)
    work.plane.clock.forward(seconds=1)
    answer = await work.move(job_id, after)
    assert (answer.status, answer.body["status"]) == (200, after), (before, after)
    ended = await work.job(job_id)
    assert ended["history"][:-1] == told["history"]
    last = ended["history"][-1]
    assert (last["from_status"], last["to_status"], last["actor"]) == (before, after, "key 1 (the admin)")
    assert last["at"] == wire(work.plane.clock.now)
    assert ended["ended_at"] == (last["at"] if after in TERMINAL else None)
    if before is JobStatus.RUNNING:
        assert [gpu["ended_at"] for gpu in ended["allocation"]] == [last["at"]]
    newest = (await work.admin.read("/api/audit?limit=1"))[0]
    assert (newest["action"], newest["object_id"]) == ("job.update", job_id)
    assert (newest["before"]["status"], newest["after"]["status"]) == (before, after)


async def test_what_no_move_may_say(work: Work) -> None:
    await work.cluster(1)
    job = await work.submit(1)
    for body, path in (
        ({"status": "paused"}, "status"),
        ({"status": None}, "status"),
        ({}, "status"),
        ({"status": "blocked", "reason": "typo"}, "reason"),
        ({"status": "blocked", "block_reason": "x" * 256}, "block_reason"),
        ({"status": "blocked", "block_reason": "a\u0000b"}, "block_reason"),
    ):
        answer = await work.admin.patch(f"/api/jobs/{job['id']}", body)
        assert (answer.status, answer.paths) == (422, [path]), body
    for path in ("/api/jobs/99", "/api/jobs/99/explain"):
        assert (await work.admin.get(path)).code == "job_not_found"
    assert (await work.move(99, "cancelled")).code == "job_not_found"


async def test_running_at_a_clients_word_is_atomic(work: Work) -> None:
    await work.cluster(8, 8)
    ahead = await work.submit(1, 16, priority=1)
    gang = await work.submit(1, 12)
    started = await work.move(gang["id"], "running")
    assert (started.status, started.body["started_at"]) == (200, wire(START))
    assert (started.body["pending_reason"], started.body["block_reason"]) == (None, None)
    held = (await work.job(gang["id"]))["allocation"]
    assert [(gpu["hostname"], gpu["gpu_index"], gpu["uuid"]) for gpu in held] == [
        *(("east-01", index, f"GPU-east-01-{index}") for index in range(8)),
        *(("east-02", index, f"GPU-east-02-{index}") for index in range(4)),
    ]
    assert {(gpu["started_at"], gpu["ended_at"]) for gpu in held} == {(wire(START), None)}
    too_many = await work.submit(1, 5)
    refused = await work.move(too_many["id"], "running")
    assert (refused.status, refused.code) == (409, "no_capacity")
    assert await work.history(too_many["id"]) == [(None, "queued", None)]
    assert (await work.move(too_many["id"], "cancelled")).status == 200
    assert (await work.move(ahead["id"], "blocked")).status == 200
    blocked = await work.move(ahead["id"], "running")
    assert (blocked.status, blocked.code) == (409, "illegal_transition")
    work.plane.clock.forward(seconds=30)
    ended = await work.move(gang["id"], "completed")
    assert ended.body["ended_at"] == wire(work.plane.clock.now)
    assert {gpu["ended_at"] for gpu in (await work.job(gang["id"]))["allocation"]} == {ended.body["ended_at"]}
    allocation = await work.admin.read("/api/dashboard/gpu-allocation")
    assert [gpu["job"] for gpu in allocation] == [None] * 16
    assert await broken(work.plane.database) == []


async def test_a_queued_job_that_can_no_longer_run_is_not_started_by_hand(work: Work) -> None:
    await work.cluster(8)
    tenant = await work.tenant(8)
    job = await work.submit(1, 4, tenant_id=tenant)
    await work.change(f"/api/tenants/{tenant}", gpu_quota=3)
    refused = await work.move(job["id"], "running")
    assert (refused.status, refused.code) == (409, "can_not_run")
    assert f"EXCEEDS_TENANT_QUOTA: needs 4 GPUs; the quota of tenant {tenant} is 3" in refused.body["detail"]


async def test_many_started_by_hand_at_once_get_a_gpu_each(work: Work) -> None:
    await work.cluster(8)
    jobs = [(await work.submit(1))["id"] for _ in range(9)]
    cycle = asyncio.create_task(work.plane.cycle())
    answers = await asyncio.gather(*(work.move(job_id, "running") for job_id in jobs))
    await cycle
    assert {answer.status for answer in answers} <= {200, 409}
    states = await work.states(*jobs)
    assert (states.count("running"), states.count("queued")) == (8, 1)
    assert await broken(work.plane.database) == []


async def test_a_dry_run_tells_when_and_stores_nothing(work: Work) -> None:
    await work.cluster(8, 8)
    await work.running(1, 8, estimated_duration_min=60)
    await work.running(1, 4, estimated_duration_min=30)
    before = await work.plane.contents()

    async def foretold(**body: object) -> Json:
        answer = await work.admin.post("/api/jobs?dry_run=true", {**JOB, **body})
        assert answer.status == 200
        assert (answer.body["dry_run"], answer.body["job_id"]) == (True, None)
        return answer.body

    now = await foretold(gpu_count=4)
    assert (now["status"], now["reason"], now["would_start_on"]) == (
        "running",
        "would start now",
        ["east-02"],
    )
    assert now["estimated_start"] == wire(START)
    later = await foretold(gpu_count=8, estimated_duration_min=10)
    assert (later["status"], later["would_start_on"]) == ("queued", [])
    assert later["reason"] == "WAITING_CAPACITY: needs 8 GPUs; 4 of 16 idle"
    assert (later["position"], later["estimated_start"]) == (1, "2026-05-09T12:30:00Z")
    gang = await foretold(gpu_count=16)
    assert gang["estimated_start"] == "2026-05-09T13:00:00Z"
    never = await foretold(gpu_count=17)
    assert (never["status"], never["code"]) == ("blocked", "NEVER_FITS_CLUSTER")
    assert (never["position"], never["estimated_start"], never["would_start_on"]) == (None, None, [])
    assert await work.plane.contents() == before
    wet = await work.submit(1, 8, estimated_duration_min=10)
    explained = await work.explain(wet["id"])
    assert {name: later[name] for name in explained} == {**explained, "job_id": None}


async def test_submissions_that_arrive_together_get_each_its_own_answer(work: Work) -> None:
    await work.cluster(8)
    tenant = await work.tenant(4)
    kinds: list[tuple[Json, int, str]] = [
        ({}, 201, "queued"),
        ({"gpu_count": 9}, 201, "blocked"),
        ({"cluster_id": 99}, 404, "cluster_not_found"),
        ({"tenant_id": tenant, "gpu_count": 5}, 201, "blocked"),
        ({"tenant_id": 99}, 404, "tenant_not_found"),
    ]
    asked = [{**JOB, **kinds[number % 5][0], "name": f"job {number}"} for number in range(40)]
    answers = await asyncio.gather(
        *(
            work.admin.post("/api/jobs", body, headers={"X-Request-Id": f"request-{number}"})
            for number, body in enumerate(asked)
        )
    )
    for number, answer in enumerate(answers):
        _, status, word = kinds[number % 5]
        assert (answer.status, answer.body["status"] if status == 201 else answer.code) == (status, word)
    made = {answer.body["id"]: answer.body["name"] for answer in answers if answer.status == 201}
    stored = {job["id"]: job["name"] for job in await work.admin.read("/api/jobs")}
    assert made == stored
    audited = await work.admin.read("/api/audit?object_type=job&limit=100")
    assert {(row["object_id"], row["request_id"]) for row in audited} == {
        (job_id, name.replace("job ", "request-")) for job_id, name in made.items()
    }
    assert await broken(work.plane.database) == []


async def test_a_submission_that_breaks_takes_no_other_with_it(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    await work.cluster(8)
    create = stored_jobs.create

    async def picky(tx: Connection, rows: Sequence[Row]) -> list[StoredJob]:
        made = await create(tx, rows)
        if any(row["name"] == "job 3" for row in rows):
            raise Conflict("this one alone")
        return made

    monkeypatch.setattr(stored_jobs, "create", picky)
    bodies = [{**JOB, "name": f"job {number}"} for number in range(12)]
    answers = await asyncio.gather(*(work.admin.post("/api/jobs", body) for body in bodies))
    assert [answer.status for answer in answers] == [409 if number == 3 else 201 for number in range(12)]
    assert len(await work.admin.read("/api/jobs")) == 11


async def test_a_dry_run_waits_for_no_writer(work: Work) -> None:
    await work.cluster(8)
    async with work.plane.database.write():
        answer = await asyncio.wait_for(work.admin.post("/api/jobs?dry_run=true", JOB), 10)
    assert (answer.status, answer.body["status"]) == (200, "running")


async def test_the_list_by_filter_and_page(work: Work) -> None:
    east, west = await work.cluster(4), await work.cluster(4, name="west")
    acme = await work.tenant(8)
    made = [
        (await work.submit(cluster, 1, tenant_id=tenant))["id"]
        for cluster, tenant in product((east, west), (acme, None, acme))
    ]
    await work.move(made[0], "cancelled")
    assert made == [1, 2, 3, 4, 5, 6]
    for query, expected in {
        "": [6, 5, 4, 3, 2, 1],
        "?limit=100": [6, 5, 4, 3, 2, 1],
        "?status=queued": [6, 5, 4, 3, 2],
        "?status=cancelled": [1],
        "?status=running": [],
        f"?cluster_id={east}": [3, 2, 1],
        f"?tenant_id={acme}": [6, 4, 3, 1],
        f"?tenant_id={acme}&cluster_id={west}&status=queued": [6, 4],
        "?cluster_id=99": [],
    }.items():
        assert [job["id"] for job in await work.admin.read(f"/api/jobs{query}")] == expected, query
    pages = await work.admin.pages("/api/jobs?limit=2&status=queued")
    assert [[job["id"] for job in page.body] for page in pages] == [[6, 5], [4, 3], [2]]
    for query in ("?status=paused", "?limit=0", "?limit=101", "?cursor=zzz", "?priority=1", "?cluster_id=x"):
        assert (await work.admin.get(f"/api/jobs{query}")).status == 422, query


async def test_the_history_tells_the_story_of_a_job(work: Work) -> None:
    await work.cluster(4)
    tenant = await work.tenant(1)
    clock = work.plane.clock
    job = (await work.submit(1, 2, tenant_id=tenant))["id"]
    for quota in (2, 8):
        clock.forward(seconds=10)
        await work.change(f"/api/tenants/{tenant}", gpu_quota=quota)
        await work.cycle()
    clock.forward(seconds=10)
    await work.move(job, "failed")
    admin, scheduler = "key 1 (the admin)", "scheduler"
    too_big = f"EXCEEDS_TENANT_QUOTA: needs 2 GPUs; the quota of tenant {tenant} is 1"
    assert (await work.job(job))["history"] == [
        {"at": at, "from_status": before, "to_status": after, "reason": reason, "actor": actor}
        for at, before, after, reason, actor in (
            ("2026-05-09T12:00:00Z", None, "blocked", too_big, admin),
            ("2026-05-09T12:00:10Z", "blocked", "queued", None, scheduler),
            ("2026-05-09T12:00:10Z", "queued", "running", "2 H100 on east-01", scheduler),
            ("2026-05-09T12:00:30Z", "running", "failed", None, admin),
        )
    ]


async def tenants_key(plane: Plane, tenant_id: int) -> Caller:
    return await plane.holder_of(permissions=["read", "write"], tenant_id=tenant_id)


async def test_a_tenants_key_knows_its_own_jobs_alone(work: Work) -> None:
    cluster = await work.cluster(8)
    acme, other = await work.tenant(8), await work.tenant(8, "NovAI Labs")
    ours, theirs = await tenants_key(work.plane, acme), await tenants_key(work.plane, other)
    mine = await ours.write("/api/jobs", {**JOB, "gpu_count": 2})
    assert mine["tenant_id"] == acme
    foreign = (await theirs.write("/api/jobs", {**JOB, "tenant_id": other, "gpu_count": 3}))["id"]
    nobodys = (await work.submit(cluster))["id"]
    await work.cycle()
    for job_id in (foreign, nobodys):
        for method, path, body in (
            ("GET", f"/api/jobs/{job_id}", None),
            ("GET", f"/api/jobs/{job_id}/explain", None),
            ("PATCH", f"/api/jobs/{job_id}", {"status": "cancelled"}),
        ):
            answer = await ours.call(method, path, body)
            assert (answer.status, answer.code) == (404, "job_not_found"), path
    for path in ("/api/jobs", "/api/jobs?dry_run=true"):
        answer = await ours.post(path, {**JOB, "tenant_id": other})
        assert (answer.status, answer.code) == (404, "tenant_not_found")
    assert await work.states(foreign, nobodys) == ["running", "running"]

    def ids(jobs: Json) -> list[int]:
        return [job["id"] for job in jobs]

    assert ids(await ours.read("/api/jobs")) == [mine["id"]]
    assert ids(await ours.read(f"/api/jobs?tenant_id={acme}")) == [mine["id"]]
    assert await ours.read(f"/api/jobs?tenant_id={other}") == []
    assert ids(await ours.read("/api/tenants")) == [acme]
    assert (await ours.get(f"/api/tenants/{other}")).code == "tenant_not_found"
    assert (await ours.read(f"/api/tenants/{acme}"))["gpus_in_use"] == 2
    shown = await ours.read(f"/api/clusters/{cluster}")
    assert ids(shown["recent_jobs"]) == [mine["id"]]
    assert (shown["active_jobs"], shown["queued_jobs"]) == (1, 0)
    assert [len(node["gpus"]) for node in shown["nodes"]] == [2]
    overview = await ours.read("/api/dashboard")
    assert ids(overview["recent_jobs"]) == [mine["id"]]
    assert (overview["stats"]["total_gpus"], overview["clusters"][0]["active_jobs"]) == (2, 1)
    allocation = await ours.read("/api/dashboard/gpu-allocation")
    assert [gpu["job"]["id"] for gpu in allocation] == [mine["id"]] * 2
    assert await ours.read(f"/api/dashboard/gpu-allocation?tenant_id={other}") == []
    metrics = await ours.read("/api/dashboard/scheduling-metrics")
    assert metrics["queue_depth"] == {"running": 1, "queued": 0, "blocked": 0}
    assert (metrics["throughput_24h"]["submitted"], metrics["throughput_24h"]["started"]) == (1, 1)
    assert (await ours.get("/api/scheduler/logs")).status == 403
    assert (await ours.patch(f"/api/jobs/{mine['id']}", {"status": "completed"})).status == 200


async def test_a_tenants_key_starts_nothing_past_the_queue(work: Work) -> None:
    await work.cluster(8)
    ours = await tenants_key(work.plane, await work.tenant(8))
    job_id = (await ours.write("/api/jobs", JOB))["id"]
    answer = await ours.patch(f"/api/jobs/{job_id}", {"status": "running"})
    assert (answer.status, answer.code) == (403, "past_the_queue")
    assert await work.states(job_id) == ["queued"]
    assert (await work.move(job_id, "running")).status == 200  # an operator's key may
    again = await ours.patch(f"/api/jobs/{job_id}", {"status": "running"})
    assert (again.status, again.body["status"]) == (200, "running")  # no change, as for any status


async def test_a_tenants_key_learns_nothing_of_whom_it_waits_for(work: Work) -> None:
    cluster = await work.cluster(8, 8)
    acme = await work.tenant(16)
    ours = await tenants_key(work.plane, acme)
    await work.running(cluster, 8, estimated_duration_min=60)
    secret = await work.submit(cluster, 16, priority=1, name="secret")
    mine = await ours.write("/api/jobs", {**JOB, "gpu_count": 8})
    await work.cycle()
    listed = (await ours.read("/api/jobs"))[0]["pending_reason"]
    foretold = await ours.post("/api/jobs?dry_run=true", {**JOB, "gpu_count": 8})
    explained = await ours.read(f"/api/jobs/{mine['id']}/explain")
    for told in (listed, foretold.body["reason"], explained["reason"]):
        assert told.startswith("RESERVED_FOR: needs 8 GPUs; 8 idle, but the place is kept for ")
        assert "another" in told
        assert f"job {secret['id']}" not in told
        assert "16 GPUs" not in told


async def test_the_allocation_map_by_filter(work: Work) -> None:
    east, west = await work.cluster(2), await work.cluster(1, name="west", model=A100)
    acme = await work.tenant(8)
    job = await work.running(east, 1, tenant_id=acme, name="mine")
    other = await work.running(west, 1, gpu_type=A100)
    path = "/api/dashboard/gpu-allocation"
    first, second, third = await work.admin.read(path)
    assert first == {
        "gpu_id": 1,
        "cluster_id": east,
        "cluster_name": "east",
        "node_id": 1,
        "hostname": "east-01",
        "gpu_index": 0,
        "model": H100,
        "status": "idle",
        "utilization_pct": None,
        "job": {
            "id": job,
            "name": "mine",
            "tenant_id": acme,
            "tenant_name": "Acme ML",
            "started_at": wire(START),
        },
    }
    assert (second["job"], third["job"]["id"], third["job"]["tenant_name"]) == (None, other, None)
    for query, expected in {
        f"?cluster_id={west}": [3],
        f"?tenant_id={acme}": [1],
        "?allocated=true": [1, 3],
        "?allocated=false": [2],
        f"?allocated=false&cluster_id={west}": [],
    }.items():
        assert [gpu["gpu_id"] for gpu in await work.admin.read(path + query)] == expected, query
    pages = await work.admin.pages(f"{path}?limit=2")
    assert [[gpu["gpu_id"] for gpu in page.body] for page in pages] == [[1, 2], [3]]
