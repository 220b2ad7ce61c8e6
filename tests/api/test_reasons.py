"""Every reason of the contract, brought about by requests, its numbers worked out by hand."""

from tests.api.harness import START, Json
from tests.api.work import A100, H100, Work


async def told(work: Work, job_id: int) -> tuple[str, str | None]:
    """Status and reason of a job: the same in the record, the list and the explanation."""
    record = await work.job(job_id)
    reason = record["block_reason"] or record["pending_reason"]
    (listed,) = [job for job in await work.admin.read("/api/jobs") if job["id"] == job_id]
    assert listed == {name: value for name, value in record.items() if name in listed}
    explained = await work.explain(job_id)
    assert (explained["job_id"], explained["status"]) == (job_id, record["status"])
    assert (explained["reason"], explained["code"]) == (reason, reason and reason.partition(":")[0])
    return record["status"], reason


async def blocked_at_once(work: Work, body: Json, reason: str) -> int:
    """The id of a job that is blocked for this reason: foretold, when submitted, and after a cycle."""
    foretold = await work.admin.write("/api/jobs?dry_run=true", body)
    assert (foretold["status"], foretold["reason"]) == ("blocked", reason)
    answer = await work.admin.post("/api/jobs", body)
    assert answer.status == 201
    job = answer.body
    assert (job["status"], job["block_reason"], job["pending_reason"]) == ("blocked", reason, None)
    await work.cycle()
    assert await told(work, job["id"]) == ("blocked", reason)
    assert await work.history(job["id"]) == [(None, "blocked", reason)]
    return int(job["id"])


async def test_exceeds_tenant_quota_until_it_is_raised(work: Work) -> None:
    cluster, tenant = await work.cluster(8), await work.tenant(4)
    body = {"cluster_id": cluster, "name": "big", "gpu_count": 8, "tenant_id": tenant}
    reason = f"EXCEEDS_TENANT_QUOTA: needs 8 GPUs; the quota of tenant {tenant} is 4"
    job = await blocked_at_once(work, body, reason)
    await work.change(f"/api/tenants/{tenant}", gpu_quota=7)
    await work.cycle()
    nearer = f"EXCEEDS_TENANT_QUOTA: needs 8 GPUs; the quota of tenant {tenant} is 7"
    assert await told(work, job) == ("blocked", nearer)
    await work.change(f"/api/tenants/{tenant}", gpu_quota=8)
    decided = await work.cycle()
    assert (len(decided.unblocks), len(decided.starts)) == (1, 1)
    assert await work.history(job) == [
        (None, "blocked", reason),
        ("blocked", "blocked", nearer),
        ("blocked", "queued", None),
        ("queued", "running", "8 H100 on east-01"),
    ]


async def test_never_fits_cluster_until_gpus_are_added(work: Work) -> None:
    cluster = await work.cluster(8)
    body = {"cluster_id": cluster, "name": "big", "gpu_count": 12, "gpu_type": "h100"}
    job = await blocked_at_once(work, body, "NEVER_FITS_CLUSTER: needs 12 H100 GPUs; the cluster owns 8")
    untyped = await blocked_at_once(
        work, {**body, "gpu_type": None}, "NEVER_FITS_CLUSTER: needs 12 GPUs; the cluster owns 8"
    )
    await work.host(cluster, "more", 8)
    await work.cycle()
    assert await work.states(job, untyped) == ["running", "queued"]


async def test_never_fits_any_one_type_of_the_cluster(work: Work) -> None:
    cluster = await work.cluster(4)
    await work.host(cluster, "other", 6, A100)
    reason = "NEVER_FITS_CLUSTER: needs 10 GPUs; the cluster owns of one type, 6 at most"
    await blocked_at_once(work, {"cluster_id": cluster, "name": "big", "gpu_count": 10}, reason)


async def test_a_billion_gpus(work: Work) -> None:
    cluster = await work.cluster(8)
    reason = "NEVER_FITS_CLUSTER: needs 1000000000 GPUs; the cluster owns 8"
    await blocked_at_once(work, {"cluster_id": cluster, "name": "all", "gpu_count": 10**9}, reason)


async def test_a_cluster_without_gpus(work: Work) -> None:
    cluster = await work.cluster()
    body = {"cluster_id": cluster, "name": "early", "gpu_type": H100}
    typed = await blocked_at_once(work, body, "NO_SUCH_GPU_TYPE: needs H100; the cluster has no GPUs")
    untyped = await blocked_at_once(
        work, {**body, "gpu_type": None}, "NEVER_FITS_CLUSTER: needs 1 GPU; the cluster owns 0"
    )
    await work.host(cluster, "first", 2)
    await work.cycle()
    assert await work.states(typed, untyped) == ["running", "running"]


async def test_no_such_gpu_type_until_there_is_one(work: Work) -> None:
    cluster = await work.cluster(2)
    await work.host(cluster, "lab", 2, "NVIDIA RTX A6000")
    body = {"cluster_id": cluster, "name": "other", "gpu_type": "A100-SXM4-80GB"}
    job = await blocked_at_once(work, body, "NO_SUCH_GPU_TYPE: needs A100; the cluster has A6000, H100")
    await work.host(cluster, "added", 1, A100)
    await work.cycle()
    assert [gpu["model"] for gpu in (await work.job(job))["allocation"]] == [A100]


async def test_a_preference_that_names_no_known_family_does_not_bind(work: Work) -> None:
    cluster = await work.cluster(1)
    job = await work.submit(cluster, gpu_type="something fast")
    assert (job["status"], job["gpu_type"]) == ("queued", "something fast")
    await work.cycle()
    assert await work.states(job) == ["running"]


async def test_tenant_inactive_while_its_jobs_wait_and_run(work: Work) -> None:
    cluster, tenant = await work.cluster(2), await work.tenant(8)
    runs = await work.running(cluster, 2, tenant_id=tenant)
    waits = await work.submit(cluster, 1, tenant_id=tenant)
    await work.change(f"/api/tenants/{tenant}", status="inactive")
    reason = f"TENANT_INACTIVE: tenant {tenant} is inactive"
    assert (await work.explain(waits["id"]))["reason"] == reason  # before any cycle has said so
    await work.cycle()
    assert await work.states(runs) == ["running"]
    assert await told(work, waits["id"]) == ("blocked", reason)
    await blocked_at_once(work, {"cluster_id": cluster, "name": "new", "tenant_id": tenant}, reason)
    await work.move(runs, "completed")
    await work.change(f"/api/tenants/{tenant}", status="active")
    await work.cycle()
    assert await work.states(waits) == ["running"]


async def test_quota_full_and_nobody_else_waits_for_it(work: Work) -> None:
    cluster, tenant = await work.cluster(8), await work.tenant(4)
    first = await work.running(cluster, 3, tenant_id=tenant)
    second = await work.submit(cluster, 2, tenant_id=tenant)
    others = await work.submit(cluster, 4)
    await work.cycle()
    reason = f"QUOTA_FULL: needs 2 GPUs; tenant {tenant} uses 3 of its quota of 4"
    assert await told(work, second["id"]) == ("queued", reason)
    assert await work.states(others) == ["running"]
    refused = await work.move(second["id"], "running")
    assert (refused.status, refused.code) == (409, "no_capacity")
    assert reason in refused.body["detail"]
    await work.move(first, "completed")
    await work.cycle()
    assert await work.states(second) == ["running"]


async def test_waiting_capacity(work: Work) -> None:
    cluster = await work.cluster(8)
    first = await work.running(cluster, 6, estimated_duration_min=60)
    second = await work.submit(cluster, 4, gpu_type=H100)
    await work.cycle()
    assert await told(work, second["id"]) == ("queued", "WAITING_CAPACITY: needs 4 H100 GPUs; 2 of 8 idle")
    explained = await work.explain(second["id"])
    assert (explained["position"], explained["jobs_ahead"]) == (1, 0)
    assert explained["estimated_start"] == "2026-05-09T13:00:00Z"
    refused = await work.move(second["id"], "running")
    assert (refused.status, refused.code) == (409, "no_capacity")
    assert refused.body["detail"].endswith("WAITING_CAPACITY: needs 4 H100 GPUs; 2 of 8 idle")
    await work.move(first, "completed")
    await work.cycle()
    assert await work.states(second) == ["running"]


async def test_capacity_on_cordoned_and_silent_nodes_is_waited_for(work: Work) -> None:
    cluster = await work.cluster(8, 8)
    cordoned, silent = work.hosts
    await work.node_state(cordoned, "cordoned")
    work.plane.clock.forward(seconds=91)
    job = await work.submit(cluster, 1)
    await work.cycle()
    assert await told(work, job["id"]) == ("queued", "WAITING_CAPACITY: needs 1 GPU; 0 of 16 idle")
    assert (await work.explain(job["id"]))["estimated_start"] is None
    await work.beat(silent)
    await work.cycle()
    assert await work.states(job) == ["queued"]
    await work.beat()
    await work.cycle()
    assert {gpu["hostname"] for gpu in (await work.job(job["id"]))["allocation"]} == {silent.hostname}


async def test_fragmented_on_one_node(work: Work) -> None:
    cluster = await work.cluster(8, 8)
    for _ in range(2):
        await work.running(cluster, 5)
    whole = await work.submit(cluster, 6, gpu_type="H100")
    await work.cycle()
    reason = "FRAGMENTED: needs 6 H100 GPUs on one node; 6 idle, largest node has 3"
    assert await told(work, whole["id"]) == ("queued", reason)


async def test_fragmented_on_whole_nodes(work: Work) -> None:
    cluster = await work.cluster(8, 8, 8)
    for gpus in (4, 5):
        await work.running(cluster, gpus)
    gang = await work.submit(cluster, 14)
    await work.cycle()
    reason = "FRAGMENTED: needs 14 GPUs on whole nodes; 15 idle, 1 node wholly idle"
    assert await told(work, gang["id"]) == ("queued", reason)


async def test_reserved_for(work: Work) -> None:
    cluster = await work.cluster(8, 8)
    await work.running(cluster, 8, estimated_duration_min=60)
    gang = await work.submit(cluster, 16, priority=1)
    long = await work.submit(cluster, 8, gpu_type="H100", estimated_duration_min=61)
    short = await work.submit(cluster, 8, estimated_duration_min=60)
    await work.cycle()
    assert await work.states(gang, long, short) == ["queued", "queued", "running"]
    # The short one has taken what was idle: what the long one is told is the plainer truth.
    assert (await told(work, long["id"]))[1] == "WAITING_CAPACITY: needs 8 H100 GPUs; 0 of 16 idle"
    await work.move(short["id"], "completed")
    await work.cycle()
    reason = (
        f"RESERVED_FOR: needs 8 H100 GPUs; 8 idle, but the place is kept for job {gang['id']} "
        "(16 GPUs, expected to start 2026-05-09T13:00:00Z)"
    )
    assert await told(work, long["id"]) == ("queued", reason)
    assert (await work.explain(gang["id"]))["estimated_start"] == "2026-05-09T13:00:00Z"
    behind = await work.explain(long["id"])
    assert (behind["position"], behind["jobs_ahead"]) == (2, 1)


async def test_a_job_that_a_client_holds_is_the_clients_to_release(work: Work) -> None:
    cluster = await work.cluster(8)
    silent, spoken, coded = [await work.submit(cluster, 1) for _ in range(3)]
    sentence = "EXCEEDS_TENANT_QUOTA: says its owner"
    assert (await work.move(silent["id"], "blocked")).body["block_reason"] == "held by key 1 (the admin)"
    held = await work.move(spoken["id"], "blocked", block_reason="wait for the data set")
    assert held.body["block_reason"] == "wait for the data set"
    held = await work.move(coded["id"], "blocked", block_reason=sentence)
    assert held.body["block_reason"].endswith(sentence)  # the scheduler must not take it for its own
    decided = await work.cycle()
    assert (decided.processed, decided.unblocks, decided.starts) == (0, [], [])
    assert await work.states(silent, spoken, coded) == ["blocked"] * 3
    assert (await work.explain(spoken["id"]))["code"] is None
    for job in (silent, spoken, coded):
        released = await work.move(job["id"], "queued")
        assert (released.status, released.body["block_reason"]) == (200, None)
    await work.cycle()
    assert await work.states(silent, spoken, coded) == ["running"] * 3


async def test_words_of_a_client_are_no_code(work: Work) -> None:
    job = await work.submit(await work.cluster(1), 1)
    await work.move(job["id"], "blocked", block_reason="GPU: broken")
    explained = await work.explain(job["id"])
    assert (explained["reason"], explained["code"]) == ("GPU: broken", None)


async def test_a_job_that_just_came_has_no_reason_yet(work: Work) -> None:
    cluster = await work.cluster(2)
    job = await work.submit(cluster, 1)
    assert job["pending_reason"] == "the next scheduling cycle decides"
    explained = await work.explain(job["id"])
    assert explained["reason"] == "the next scheduling cycle starts it"
    assert explained["estimated_start"] == START.isoformat().replace("+00:00", "Z")
