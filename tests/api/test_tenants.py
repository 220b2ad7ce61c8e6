"""Tenants over HTTP: their records, their quotas, and what is left of them when they go."""

import asyncio
from pathlib import Path

from tests.api.harness import START
from tests.api.test_reference_curls import run
from tests.api.work import Work, broken

TENANTS = "/api/tenants"
CREATED = START.isoformat().replace("+00:00", "Z")
# The curls of the reference's "Tenant Management" and "Job Management", as they are printed there.
CURLS = (Path(__file__).parent / "reference_curls_work.txt").read_text().splitlines()


async def test_the_references_curls_in_turn(work: Work) -> None:
    await work.cluster(8)
    answers = [await run(work.plane, line) for line in CURLS[:4]]
    assert [answer.status for answer in answers] == [200, 201, 200, 201]
    nobody, created, changed, job = (answer.body for answer in answers)
    assert nobody == []
    assert created == {
        "id": 1,
        "name": "Acme ML",
        "plan_tier": "enterprise",
        "gpu_quota": 16,
        "gpus_in_use": 0,
        "running_jobs": 0,
        "queued_jobs": 0,
        "status": "active",
        "contact_email": "billing@acme.ai",
        "created_at": CREATED,
    }
    assert changed == {**created, "gpu_quota": 20}
    assert (job["id"], job["status"], job["block_reason"], job["submitted_at"]) == (
        1,
        "queued",
        None,
        CREATED,
    )
    await work.cycle()
    waiting = await work.submit(1, 2, tenant_id=1)
    (listed,) = (await run(work.plane, CURLS[0])).body
    assert (listed["gpus_in_use"], listed["running_jobs"], listed["queued_jobs"]) == (8, 1, 1)
    ended = await run(work.plane, CURLS[4].replace("/42", f"/{job['id']}"))
    assert (ended.status, ended.body["status"]) == (200, "completed")
    metrics, logs = [(await run(work.plane, line)).body for line in CURLS[5:7]]
    assert metrics["queue_depth"] == {"running": 0, "queued": 1, "blocked": 0}
    assert [cycle["started"] for cycle in logs] == [1]
    final = await run(work.plane, CURLS[7])
    assert (final.status, final.body["name"], final.body["queued_jobs"]) == (200, "Acme ML", 1)
    assert [(await work.job(job_id))["tenant_id"] for job_id in (job["id"], waiting["id"])] == [None, None]
    assert (await run(work.plane, CURLS[0])).body == []


async def test_what_no_tenant_may_be(work: Work) -> None:
    good = {"name": "Acme ML", "gpu_quota": 16}
    made = await work.admin.write(TENANTS, good)
    defaults = ("starter", "active", None)
    assert (made["plan_tier"], made["status"], made["contact_email"]) == defaults
    before = await work.plane.contents()
    changes: list[tuple[dict[str, object], str]] = [
        ({"gpu_quota": 0}, "gpu_quota"),
        ({"gpu_quota": -1}, "gpu_quota"),
        ({"gpu_quota": 2**31}, "gpu_quota"),
        ({"gpu_quota": True}, "gpu_quota"),
        ({"gpu_quota": "8"}, "gpu_quota"),
        ({"gpu_quota": 1.5}, "gpu_quota"),
        ({"name": ""}, "name"),
        ({"name": "\t"}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"plan_tier": "gold"}, "plan_tier"),
        ({"status": "deleted"}, "status"),
        ({"contact_email": "nobody"}, "contact_email"),
        ({"contact_email": "a@b\u0000"}, "contact_email"),
        ({"quota": 8}, "quota"),
        ({"gpus_in_use": 0}, "gpus_in_use"),
    ]
    for change, path in changes:
        created = await work.admin.post(TENANTS, {"name": "Other", "gpu_quota": 1, **change})
        assert (created.status, created.paths) == (422, [path]), change
        changed = await work.admin.put(f"{TENANTS}/{made['id']}", change)
        assert (changed.status, changed.paths) == (422, [path]), change
    for path in ("name", "gpu_quota", "plan_tier", "status"):
        nulled = await work.admin.put(f"{TENANTS}/{made['id']}", {path: None})
        assert (nulled.status, nulled.paths) == (422, [path])
    assert (await work.admin.post(TENANTS, {"name": "x"})).paths == ["gpu_quota"]
    taken = await work.admin.post(TENANTS, good)
    assert (taken.status, taken.code) == (409, "name_taken")
    for method, body in (("GET", None), ("PUT", {"gpu_quota": 1}), ("DELETE", None)):
        assert (await work.admin.call(method, f"{TENANTS}/99", body)).code == "tenant_not_found"
    assert await work.plane.contents() == before


async def test_an_update_changes_what_it_names(work: Work) -> None:
    tenant = await work.tenant(16, contact_email="billing@acme.ai", plan_tier="pro")
    await work.tenant(1, "NovAI Labs")
    path = f"{TENANTS}/{tenant}"
    told = await work.admin.read(path)
    audited = await work.plane.count("audit_log")
    assert await work.change(path) == told
    assert await work.change(path, gpu_quota=16, name="Acme ML") == told
    assert await work.plane.count("audit_log") == audited  # nothing changed, nobody is woken for it
    changes: tuple[dict[str, object], ...] = (
        {"gpu_quota": 1},
        {"contact_email": None},
        {"status": "inactive"},
        {"name": "Acme"},
    )
    for change in changes:
        told |= change
        assert await work.change(path, **change) == told
    assert await work.plane.count("audit_log") == audited + 4
    taken = await work.admin.put(path, {"name": "NovAI Labs"})
    assert (taken.status, taken.code) == (409, "name_taken")


async def test_two_take_one_name_at_once(work: Work) -> None:
    first, second = await work.tenant(1, "first"), await work.tenant(1, "second")
    answers = await asyncio.gather(
        *(work.admin.put(f"{TENANTS}/{tenant}", {"name": "same"}) for tenant in (first, second)),
        *(work.admin.post(TENANTS, {"name": "new", "gpu_quota": 1}) for _ in range(3)),
    )
    assert sorted(answer.status for answer in answers[:2]) == [200, 409]
    assert sorted(answer.status for answer in answers[2:]) == [201, 409, 409]


async def test_the_list_by_page(work: Work) -> None:
    for number in range(5):
        await work.tenant(1, f"tenant {number}")
    pages = await work.admin.pages(f"{TENANTS}?limit=2")
    assert [[tenant["id"] for tenant in page.body] for page in pages] == [[1, 2], [3, 4], [5]]


async def test_a_quota_below_what_is_in_use_kills_nothing_and_starts_nothing(work: Work) -> None:
    cluster, tenant = await work.cluster(8), await work.tenant(6)
    running = [await work.running(cluster, 2, tenant_id=tenant) for _ in range(3)]
    waits = await work.submit(cluster, 1, tenant_id=tenant)
    changed = await work.change(f"{TENANTS}/{tenant}", gpu_quota=3)
    assert (changed["gpu_quota"], changed["gpus_in_use"]) == (3, 6)
    for _ in range(2):
        await work.cycle()
        assert await work.states(*running, waits) == ["running"] * len(running) + ["queued"]
        await work.move(running.pop(), "completed")
    assert (await work.move(waits["id"], "running")).status == 200  # 2 + 1 are within 3
    assert (await work.admin.read(f"{TENANTS}/{tenant}"))["gpus_in_use"] == 3


async def test_a_tenant_with_running_jobs_goes_by_force_alone(work: Work) -> None:
    cluster, tenant = await work.cluster(8), await work.tenant(8)
    keys = [await work.plane.holder_of(permissions=["read"], tenant_id=tenant) for _ in range(2)]
    other = await work.plane.holder_of(permissions=["read"])
    runs = await work.running(cluster, 4, tenant_id=tenant)
    waits = await work.submit(cluster, 6, tenant_id=tenant)
    blocked = await work.submit(cluster, 9, tenant_id=tenant)
    before = await work.plane.contents()
    for path in (f"{TENANTS}/{tenant}", f"{TENANTS}/{tenant}?force=false"):
        refused = await work.admin.delete(path)
        assert (refused.status, refused.code) == (409, "tenant_has_running_jobs")
        assert "1 running job" in refused.body["detail"]
    assert await work.plane.contents() == before
    final = await work.admin.delete(f"{TENANTS}/{tenant}?force=true")
    assert (final.status, final.body["gpus_in_use"], final.body["running_jobs"]) == (200, 4, 1)
    for key in keys:
        assert (await key.get("/api/jobs")).code == "key_revoked"
    assert (await other.get("/api/jobs")).status == 200
    for job_id in (runs, waits["id"], blocked["id"]):
        assert (await work.job(job_id))["tenant_id"] is None
    assert await work.states(runs, waits, blocked) == ["running", "queued", "blocked"]
    held = await work.plane.rows("SELECT DISTINCT tenant_id FROM allocations")
    assert [row[0] for row in held] == [tenant]  # what was used is still this tenant's to pay
    await work.move(runs, "completed")
    await work.cycle()
    assert await work.states(waits, blocked) == ["running", "blocked"]
    reason = (await work.job(blocked["id"]))["block_reason"]
    assert reason == "NEVER_FITS_CLUSTER: needs 9 GPUs; the cluster owns 8"
    assert (await work.admin.get(f"{TENANTS}/{tenant}")).status == 404
    assert await work.tenant(1) == tenant + 1  # an id once given is never given again


async def test_a_tenant_is_deleted_while_others_give_it_jobs_and_keys(work: Work) -> None:
    """A key that outlived its tenant would be bound to nobody: an operator's."""
    cluster = await work.cluster(8)
    for number in range(4):
        tenant = await work.tenant(8, f"tenant {number}")
        job = {"cluster_id": cluster, "name": "train", "tenant_id": tenant}
        key = {"label": "late", "tenant_id": tenant}
        *answers, deleted = await asyncio.gather(
            *(work.admin.post("/api/jobs", job) for _ in range(3)),
            *(work.admin.post("/api/api-keys", key) for _ in range(3)),
            work.admin.delete(f"{TENANTS}/{tenant}"),
        )
        assert deleted.status == 200
        assert {answer.status for answer in answers} <= {201, 404}
    assert await work.plane.rows("SELECT id FROM jobs WHERE tenant_id IS NOT NULL") == []
    alive = await work.plane.rows("SELECT label FROM api_keys WHERE revoked_at IS NULL AND label = 'late'")
    assert list(alive) == []
    assert await broken(work.plane.database) == []
