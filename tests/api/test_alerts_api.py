"""Alert rules and events by way of HTTP: the reference's answers, tuning, and whose event is whose."""

import pytest

from gpuforge_controlplane.storage.alert_schema import alert_events
from tests.api.harness import ON_SQLITE, START, Json, Plane, Site
from tests.api.work import Work


async def raised(plane: Plane, count: int, **fields: object) -> list[int]:
    """Ids of new events, as an evaluation would leave them."""
    row = {
        "rule_id": 2, "rule_type": "quota_breach", "severity": "warning", "state": "firing",
        "subject_type": "tenant", "subject": "Acme ML", "value": 95.0, "threshold": 90.0, "message": "full",
        "started_at": START, "fired_at": START,
    }  # fmt: skip
    async with plane.database.write() as tx:
        made = await tx.execute(
            alert_events.insert().returning(alert_events.c.id),
            [{**row, "subject_id": 100 + number, **fields} for number in range(count)],
        )
        return sorted(made.scalars())


async def events(plane: Plane, query: str = "") -> list[Json]:
    found: list[Json] = await plane.admin.read(f"/api/alerts/events{query}")
    return found


async def test_the_rules_as_the_reference_shows_them(plane: Plane) -> None:
    rules = await plane.admin.read("/api/alerts/rules")
    shown = [{name: rule[name] for name in ("id", "rule_type", "threshold", "enabled")} for rule in rules]
    assert shown[:3] == [
        {"id": 1, "rule_type": "idle_gpu", "threshold": 60, "enabled": True},
        {"id": 2, "rule_type": "quota_breach", "threshold": 90, "enabled": True},
        {"id": 3, "rule_type": "health_degraded", "threshold": 100, "enabled": True},
    ]
    assert [rule["rule_type"] for rule in rules[3:]] == [
        "gpu_fault", "gpu_thermal", "node_offline", "idle_allocated", "queue_wait", "budget",
        "invoice_overdue", "metering_gap",
    ]  # fmt: skip
    assert {rule["active_events"] for rule in rules} == {0}


async def test_an_event_from_quota_to_resolution(work: Work) -> None:
    plane, cluster = work.plane, await work.cluster(8)
    tenant = await work.tenant(quota=4)
    job = await work.running(cluster, 4, tenant_id=tenant)
    await plane.evaluate()
    (event,) = await events(plane)
    assert event == {
        "id": event["id"], "rule_id": 2, "rule_type": "quota_breach", "severity": "warning",
        "state": "firing", "subject_type": "tenant", "subject_id": tenant, "subject": "Acme ML",
        "tenant_id": tenant, "cluster_id": None, "value": 100, "threshold": 90,
        "message": "tenant Acme ML uses 4 of its quota of 4 GPUs (100 %)", "reason": None,
        "started_at": "2026-05-09T12:00:00Z", "fired_at": "2026-05-09T12:00:00Z", "resolved_at": None,
        "acknowledged_at": None, "acknowledged_by": None, "note": None, "silenced": False,
    }  # fmt: skip
    assert (await plane.admin.read("/api/alerts/rules"))[1]["active_events"] == 1
    await work.move(job, "completed")
    plane.clock.forward(seconds=30)
    await plane.evaluate()
    (event,) = await events(plane)
    assert (event["state"], event["reason"]) == ("resolved", "recovered")
    assert event["resolved_at"] == "2026-05-09T12:00:30Z"
    assert (await plane.admin.read("/api/alerts/rules"))[1]["active_events"] == 0


async def test_a_node_that_falls_silent_and_returns(plane: Plane, site: Site) -> None:
    plane.clock.forward(seconds=91)
    await plane.evaluate()
    seen = {event["rule_type"]: event for event in await events(plane)}
    assert {name: event["state"] for name, event in seen.items()} == {
        "node_offline": "firing",
        "health_degraded": "pending",
    }
    assert seen["node_offline"]["message"] == "node east-01 was last heard at 2026-05-09T12:00:00Z"
    assert seen["node_offline"]["cluster_id"] == site.cluster_id
    plane.clock.forward(seconds=60)
    await plane.evaluate()
    assert {event["state"] for event in await events(plane)} == {"firing"}
    await site.agent.write("/api/clusters/nodes", {"cluster_id": site.cluster_id, "hostname": "east-01"})
    samples = [{"gpu_id": gpu_id, "utilization_pct": 50} for gpu_id in site.gpu_ids]
    await site.agent.write("/api/clusters/metrics", {"metrics": samples})
    await plane.evaluate()
    assert {(event["state"], event["reason"]) for event in await events(plane)} == {("resolved", "recovered")}


async def test_disabling_resolves_at_once_and_enabling_lets_it_fire_again(plane: Plane, site: Site) -> None:
    plane.clock.forward(seconds=91)
    await plane.evaluate()
    answer = await plane.admin.patch("/api/alerts/rules/6", {"enabled": False})
    assert (answer.status, answer.body["enabled"], answer.body["active_events"]) == (200, False, 0)
    (event,) = await events(plane, "?rule_id=6")
    assert (event["state"], event["reason"]) == ("resolved", "rule_disabled")
    assert (await plane.admin.patch("/api/alerts/rules/3", {"enabled": False})).status == 200
    assert await events(plane, "?rule_id=3") == []  # it had not fired yet
    await plane.evaluate()
    assert len(await events(plane, "?state=firing")) == 0
    await plane.admin.patch("/api/alerts/rules/6", {"enabled": True})
    await plane.evaluate()
    assert [event["state"] for event in await events(plane, "?rule_id=6")] == ["firing", "resolved"]


async def test_a_new_threshold_counts_from_the_next_evaluation(work: Work) -> None:
    plane, cluster = work.plane, await work.cluster(8)
    await work.running(cluster, 4, tenant_id=await work.tenant(quota=8))
    await plane.evaluate()
    assert await events(plane) == []
    answer = await plane.admin.patch("/api/alerts/rules/2", {"threshold": 50})
    assert (answer.body["threshold"], answer.body["clear_threshold"]) == (50, 45)
    await plane.evaluate()
    assert [event["value"] for event in await events(plane)] == [50]
    await plane.admin.patch("/api/alerts/rules/2", {"threshold": 60, "clear_threshold": 55})
    await plane.evaluate()
    assert [event["state"] for event in await events(plane)] == ["resolved"]


@ON_SQLITE
@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({"threshold": 101}, ["threshold"]),
        ({"threshold": -1}, ["threshold"]),
        ({"clear_threshold": 59}, ["clear_threshold"]),
        ({"threshold": 90, "clear_threshold": 80}, ["clear_threshold"]),
        ({"for_seconds": -1}, ["for_seconds"]),
        ({"for_seconds": 86_401}, ["for_seconds"]),
        ({"enabled": "no"}, ["enabled"]),
        ({"treshold": 5}, ["treshold"]),
    ],
)
async def test_a_setting_that_makes_no_sense_is_refused(plane: Plane, body: Json, paths: list[str]) -> None:
    before = await plane.contents()
    answer = await plane.admin.patch("/api/alerts/rules/1", body)
    assert (answer.status, answer.paths) == (422, paths)
    assert await plane.contents() == before


@ON_SQLITE
async def test_what_changes_nothing_leaves_nothing(plane: Plane) -> None:
    before = await plane.contents()
    assert (await plane.admin.patch("/api/alerts/rules/1", {})).status == 200
    assert (await plane.admin.patch("/api/alerts/rules/1", {"enabled": True, "threshold": 60})).status == 200
    assert await plane.contents() == before
    assert (await plane.admin.patch("/api/alerts/rules/12", {"enabled": True})).code == "alert_rule_not_found"
    missing = await plane.admin.post("/api/alerts/events/1/acknowledge", {})
    assert missing.code == "alert_event_not_found"


async def test_unresolved_first_newest_first_in_pages(plane: Plane) -> None:
    first = await raised(plane, 4, state="resolved", resolved_at=START, reason="recovered")
    open_ = await raised(plane, 5)
    later = await raised(plane, 3, state="resolved", resolved_at=START, reason="recovered")
    wanted = [*reversed(open_), *reversed(later), *reversed(first)]
    assert [event["id"] for event in await events(plane)] == wanted
    for limit in (1, 2, 3, 5, 7, 12, 100):
        pages = await plane.admin.pages(f"/api/alerts/events?limit={limit}")
        assert [event["id"] for page in pages for event in page.body] == wanted, limit
        assert {len(page.body) for page in pages[:-1]} <= {limit}
    assert (await plane.admin.get("/api/alerts/events?limit=101")).status == 422
    assert (await plane.admin.get("/api/alerts/events?limit=0")).status == 422


@ON_SQLITE
async def test_fifty_without_a_limit(plane: Plane) -> None:
    await raised(plane, 60)
    assert len(await events(plane)) == 50


async def test_a_tenant_sees_what_is_about_itself(plane: Plane) -> None:
    own, other = await plane.tenant("own"), await plane.tenant("other")
    (mine,) = await raised(plane, 1, subject_id=own, tenant_id=own)
    await raised(plane, 1, subject_id=other, tenant_id=other)
    await raised(plane, 1, subject_id=1, subject_type="node", rule_id=6, rule_type="node_offline")
    tenant = await plane.holder_of(permissions=["read", "write"], tenant_id=own)
    assert [event["id"] for event in await tenant.read("/api/alerts/events")] == [mine]
    counts = {rule["id"]: rule["active_events"] for rule in await tenant.read("/api/alerts/rules")}
    assert {rule_id for rule_id, count in counts.items() if count} == {2}
    assert counts[2] == 1
    assert (await plane.admin.read("/api/alerts/rules"))[1]["active_events"] == 2


async def test_acknowledging(plane: Plane) -> None:
    (event,) = await raised(plane, 1)
    answer = await plane.admin.post(f"/api/alerts/events/{event}/acknowledge", {"note": "on it"})
    assert (answer.status, answer.body["acknowledged_at"]) == (200, "2026-05-09T12:00:00Z")
    assert (answer.body["acknowledged_by"], answer.body["note"]) == ("key 1 (the admin)", "on it")
    assert answer.body["state"] == "firing"
    plane.clock.forward(minutes=5)
    again = await plane.admin.post(f"/api/alerts/events/{event}/acknowledge", {})
    assert (again.body["acknowledged_at"], again.body["note"]) == ("2026-05-09T12:05:00Z", "on it")
    (over,) = await raised(plane, 1, state="resolved", resolved_at=START)
    refused = await plane.admin.post(f"/api/alerts/events/{over}/acknowledge", {})
    assert (refused.status, refused.code) == (409, "event_not_firing")
