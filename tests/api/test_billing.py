"""Billing as clients see it: usage, rates, invoices, payments; with a Stripe that is ours."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gpuforge_controlplane.domain.lifecycle import JobStatus
from gpuforge_controlplane.migrations import migrate
from gpuforge_controlplane.services import budgets, invoices, metering
from gpuforge_controlplane.services.scheduling import end_job
from tests import fake_stripe
from tests.api.conftest import Serve
from tests.api.harness import ON_SQLITE, START, Json, Plane, serving
from tests.api.work import Work
from tests.fake_stripe import FakeStripe, running_fake_stripe


async def worked(
    work: Work, *, gpus: int = 4, hours: float = 1, model: str | None = None, **fields: Any
) -> int:
    """A tenant's id that used so many GPUs for so long."""
    options = {} if model is None else {"model": model}
    cluster_id = await work.cluster(8, **options)
    tenant_id = await work.tenant(**fields)
    await run(work, cluster_id, tenant_id, gpus=gpus, hours=hours)
    return tenant_id


async def run(work: Work, cluster_id: int, tenant_id: int, *, gpus: int = 4, hours: float = 1) -> None:
    """A job that runs and ends."""
    await work.beat()
    job_id = await work.running(cluster_id, gpus, tenant_id=tenant_id)
    work.plane.clock.forward(hours=hours)
    assert (await work.move(job_id, "completed")).status == 200


async def invoice(plane: Plane, tenant_id: int, days: int = 30) -> Json:
    return await plane.admin.write(f"/api/tenants/{tenant_id}/invoice?days={days}", None)


async def test_an_hour_of_four_h100_from_allocation_to_payment(work: Work) -> None:
    plane, tenant_id = work.plane, await worked(work)
    usage = await plane.admin.read(f"/api/tenants/{tenant_id}/usage")
    assert (usage["total_gpu_hours"], usage["total_cost"], usage["total_cost_cents"]) == (4.0, 19.04, 1904)
    assert [part["gpu_type"] for part in usage["by_gpu_type"]] == ["H100"]
    assert [day["cost_cents"] for day in usage["by_day"]][-1] == 1904
    assert len(usage["by_day"]) == 30
    assert [event["gpu_seconds"] for event in usage["events"]] == [3600] * 4
    preview = await plane.admin.read(f"/api/tenants/{tenant_id}/invoice/preview")
    first = await plane.admin.post(f"/api/tenants/{tenant_id}/invoice?days=30")
    again = await plane.admin.post(f"/api/tenants/{tenant_id}/invoice?days=30")
    assert (first.status, again.status) == (201, 200)
    issued = first.body
    assert issued["lines"] == preview["lines"] == again.body["lines"]
    assert (issued["total_gpu_hours"], issued["total_amount"]) == (4.0, 19.04)
    assert issued["invoice"]["status"] == "pending"
    assert issued["invoice"]["number"] == "GF-000001"
    assert issued["payment_url"] is None
    assert "GPUFORGE_STRIPE_API_KEY" in issued["payment_url_reason"]
    assert again.body["invoice"]["id"] == issued["invoice"]["id"]
    paid = await plane.admin.patch(f"/api/invoices/{issued['invoice']['id']}/status", {"status": "paid"})
    assert (paid.body["status"], paid.body["paid_by"]) == ("paid", "manual")
    summary = await plane.admin.read("/api/billing/summary")
    assert (summary["total_invoiced"], summary["total_paid"], summary["total_pending"]) == (19.04, 19.04, 0)
    assert [each["tenant_id"] for each in summary["tenants"]] == [tenant_id]
    revenue = await plane.admin.read("/api/dashboard/revenue?days=1")
    assert (revenue["total_revenue"], revenue["tenants"][0]["tenant_name"]) == (19.04, "Acme ML")


async def test_what_runs_is_on_the_invoice_up_to_this_second_and_the_rest_on_the_next(work: Work) -> None:
    plane, cluster_id = work.plane, await work.cluster(8)
    tenant_id = await work.tenant()
    job_id = await work.running(cluster_id, 2, tenant_id=tenant_id)
    plane.clock.forward(minutes=30)
    await work.beat()
    usage = await plane.admin.read(f"/api/tenants/{tenant_id}/usage")
    assert (usage["total_gpu_seconds"], usage["accruing_gpu_seconds"], usage["events"]) == (3600, 3600, [])
    first = await invoice(plane, tenant_id)
    assert first["total_gpu_hours"] == 1.0
    await plane.admin.patch(f"/api/invoices/{first['invoice']['id']}/status", {"status": "paid"})
    plane.clock.forward(minutes=15)
    await work.move(job_id, "completed")
    second = await invoice(plane, tenant_id)
    assert (second["total_gpu_hours"], second["invoice"]["number"]) == (0.5, "GF-000002")


async def test_an_end_in_what_is_metered_moves_to_its_end(work: Work) -> None:
    """The clock was set back after an invoice: seconds on it were used, and stay."""
    plane, cluster_id = work.plane, await work.cluster(8)
    tenant_id = await work.tenant()
    job_id = await work.running(cluster_id, 1, tenant_id=tenant_id)
    plane.clock.forward(hours=2)
    await work.beat()
    await invoice(plane, tenant_id)
    async with plane.database.write() as tx:
        await end_job(tx, [job_id], JobStatus.FAILED, START + timedelta(hours=1), None, "test", START)
    (row,) = await plane.rows("SELECT ended_at, metered_until FROM allocations")
    assert row.ended_at == row.metered_until
    assert (await plane.rows("SELECT sum(gpu_seconds) FROM usage_events"))[0][0] == 7200


async def test_a_job_of_a_silent_node_is_metered_to_its_last_heartbeat(work: Work) -> None:
    plane, cluster_id = work.plane, await work.cluster(8)
    tenant_id = await work.tenant()
    await work.running(cluster_id, 1, tenant_id=tenant_id)
    plane.clock.forward(minutes=10)
    await work.beat()
    plane.clock.forward(minutes=10)
    usage = await plane.admin.read(f"/api/tenants/{tenant_id}/usage")
    assert usage["total_gpu_seconds"] == 600
    assert (await invoice(plane, tenant_id))["total_gpu_hours"] == round(600 / 3600, 4)


async def test_a_new_rate_splits_the_bill_and_changes_nothing_before_it(work: Work) -> None:
    plane, cluster_id = work.plane, await work.cluster(8)
    tenant_id = await work.tenant()
    job_id = await work.running(cluster_id, 1, tenant_id=tenant_id)
    plane.clock.forward(hours=1)
    await work.beat()
    changed = await plane.admin.put("/api/rates/NVIDIA%20H100%2080GB", {"rate_per_hour": 10})
    assert (changed.body["family"], changed.body["rate_per_hour"]) == ("H100", 10)
    plane.clock.forward(hours=1)
    await work.beat()
    own = {"rate_per_hour": 1.5, "tenant_id": tenant_id}
    assert (await plane.admin.put("/api/rates/H100", own)).status == 200
    plane.clock.forward(hours=1)
    await work.move(job_id, "completed")
    issued = await invoice(plane, tenant_id)
    assert [(line["rate_per_hour"], line["gpu_seconds"]) for line in issued["lines"]] == [
        (4.76, 3601), (10, 3600), (1.5, 3599),
    ]  # fmt: skip
    assert issued["total_amount_cents"] == sum(line["amount_cents"] for line in issued["lines"])
    history = await plane.admin.read(f"/api/rates?history=true&tenant_id={tenant_id}")
    assert [rate["rate_per_hour"] for rate in history if rate["family"] == "H100"] == [4.76, 10, 1.5]
    theirs = await plane.holder_of(permissions=["read"], tenant_id=tenant_id)
    card = {rate["family"]: rate["rate_per_hour"] for rate in await theirs.read("/api/rates")}
    assert card == {"A100": 2.21, "A6000": 1.28, "H100": 1.5}
    ended = await plane.admin.put("/api/rates/H100", {"rate_per_hour": None, "tenant_id": tenant_id})
    assert ended.status == 200
    plane.clock.forward(seconds=2)
    assert {rate["family"]: rate["rate_per_hour"] for rate in await theirs.read("/api/rates")}["H100"] == 10


@ON_SQLITE
async def test_the_published_rate_card(plane: Plane) -> None:
    card = await plane.admin.read("/api/rates")
    assert {rate["family"]: rate["rate_per_hour"] for rate in card} == {
        "H100": 4.76, "A100": 2.21, "A6000": 1.28,
    }  # fmt: skip
    assert all(rate["currency"] == "USD" and rate["effective_from"] for rate in card)


async def test_a_rate_agreed_with_one_tenant_tells_no_other_of_its_family(work: Work) -> None:
    """No GPU of the fleet is of it, and it has no list price."""
    plane, one, other = work.plane, await work.tenant(), await work.tenant(name="another")
    agreed = {"rate_per_hour": 7.5, "tenant_id": one}
    assert (await plane.admin.put("/api/rates/B200", agreed)).status == 200
    plane.clock.forward(seconds=2)
    mine = await plane.holder_of(permissions=["read"], tenant_id=one)
    theirs = await plane.holder_of(permissions=["read"], tenant_id=other)
    assert {rate["family"] for rate in await mine.read("/api/rates")} == {"A100", "A6000", "B200", "H100"}
    for caller, query in ((theirs, ""), (theirs, f"?tenant_id={one}"), (plane.admin, "")):
        told = await caller.read(f"/api/rates{query}")
        assert {rate["family"] for rate in told} == {"A100", "A6000", "H100"}


async def test_what_has_no_rate_is_metered_listed_and_never_billed(work: Work) -> None:
    plane, tenant_id = work.plane, await worked(work, model="Tesla T4")
    refused = await plane.admin.post(f"/api/tenants/{tenant_id}/invoice")
    assert (refused.status, refused.code) == (422, "nothing_to_bill")
    assert "T4" in refused.body["error"]
    (t4,) = [rate for rate in await plane.admin.read("/api/rates") if rate["family"] == "T4"]
    assert (t4["unrated"], t4["rate_per_hour"]) == (True, None)
    preview = await plane.admin.read(f"/api/tenants/{tenant_id}/invoice/preview")
    assert [(part["gpu_type"], part["gpu_seconds"]) for part in preview["unrated"]] == [("T4", 14_400)]
    usage = await plane.admin.read(f"/api/tenants/{tenant_id}/usage")
    assert (usage["total_cost"], usage["by_gpu_type"][0]["unrated_gpu_seconds"]) == (0, 14_400)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"rate_per_hour": -1}, "rate_per_hour"),
        ({"rate_per_hour": 1e9}, "rate_per_hour"),
        ({"rate_per_hour": 1.2345678}, "rate_per_hour"),
        ({"rate_per_hour": None}, "rate_per_hour"),
        ({"rate_per_hour": "free"}, "rate_per_hour"),
        ({"rate": 1}, "rate_per_hour"),
        ({}, "rate_per_hour"),
    ],
)
@ON_SQLITE
async def test_rates_that_are_none(plane: Plane, body: Json, path: str) -> None:
    answer = await plane.admin.put("/api/rates/H100", body)
    assert (answer.status, answer.paths[0]) == (422, path)
    assert await plane.count("rates") == 3


@pytest.mark.parametrize(
    ("family", "hint"),
    [("H10O", "did you mean H100?"), ("a%20typo", "no GPU family"), ("%20", "no GPU family")],
)
@ON_SQLITE
async def test_a_rate_for_a_family_that_nobody_has_heard_of(plane: Plane, family: str, hint: str) -> None:
    answer = await plane.admin.put(f"/api/rates/{family}", {"rate_per_hour": 1})
    assert (answer.status, answer.paths) == (422, ["family"])
    assert hint in answer.body["errors"][0]["message"]


async def test_a_rate_for_a_card_newer_than_our_list(work: Work) -> None:
    await work.cluster(1, model="NVIDIA X900 200GB")
    answer = await work.admin.put("/api/rates/X900", {"rate_per_hour": 9.5})
    assert (answer.status, answer.body["family"], answer.body["rate_per_hour"]) == (200, "X900", 9.5)


@pytest.mark.parametrize("days", ["0", "91", "x", "1.5", "-1"])
@ON_SQLITE
async def test_days_outside_their_bounds(work: Work, days: str) -> None:
    tenant_id = await work.tenant()
    for path in (f"/api/tenants/{tenant_id}/usage", "/api/dashboard/revenue"):
        assert (await work.admin.get(f"{path}?days={days}")).status == 422
    assert (await work.admin.post(f"/api/tenants/{tenant_id}/invoice?days={days}")).status == 422


async def test_a_void_invoice_frees_its_usage_and_keeps_its_number(work: Work) -> None:
    plane, tenant_id = work.plane, await worked(work)
    first = await invoice(plane, tenant_id)
    url = f"/api/invoices/{first['invoice']['id']}"
    void = await plane.admin.post(f"{url}/void", {"reason": "wrong address"})
    assert (void.body["status"], void.body["void_reason"]) == ("void", "wrong address")
    second = await invoice(plane, tenant_id)
    assert (second["total_amount"], second["invoice"]["number"]) == (19.04, "GF-000002")
    again = await plane.admin.patch(f"{url}/status", {"status": "paid"})
    assert (again.status, again.code) == (409, "illegal_transition")
    assert "void" in again.body["error"]
    assert (await plane.admin.read(url))["lines"] == first["lines"]
    assert (await plane.admin.read("/api/billing/summary"))["total_invoiced"] == 19.04


async def test_a_tenant_sees_its_own_money_alone(work: Work) -> None:
    plane, tenant_id = work.plane, await worked(work)
    other = await work.tenant(name="another")
    issued = await invoice(plane, tenant_id)
    url = f"/api/invoices/{issued['invoice']['id']}"
    mine = await plane.holder_of(permissions=["read", "write", "admin"], tenant_id=tenant_id)
    theirs = await plane.holder_of(permissions=["read", "write", "admin"], tenant_id=other)
    assert (await mine.get(url)).status == 200
    for path in (url, f"/api/tenants/{tenant_id}/usage", f"/api/tenants/{tenant_id}/invoice/preview"):
        assert (await theirs.get(path)).status == 404
    assert await theirs.read(f"/api/invoices?tenant_id={tenant_id}") == []
    assert await theirs.read("/api/invoices") == []
    assert (await theirs.read("/api/dashboard/revenue"))["tenants"] == []
    assert (await theirs.read("/api/billing/summary"))["recent_invoices"] == []
    assert (await mine.post(f"/api/tenants/{tenant_id}/invoice")).status == 403
    assert (await mine.patch(f"{url}/status", {"status": "paid"})).status == 403


async def test_an_invoice_turns_overdue_after_thirty_days_and_once(work: Work) -> None:
    plane, tenant_id = work.plane, await worked(work)
    issued = await invoice(plane, tenant_id)

    async def turn() -> list[str]:
        async with plane.database.write() as tx:
            return await invoices.turn_overdue(tx, plane.clock())

    plane.clock.forward(days=30, seconds=-1)
    assert await turn() == []
    plane.clock.forward(seconds=1)
    assert (await turn(), await turn()) == (["GF-000001"], [])
    assert (await plane.admin.read(f"/api/invoices/{issued['invoice']['id']}"))["status"] == "overdue"
    assert (await plane.admin.read("/api/billing/summary"))["total_overdue"] == 19.04


async def test_a_tenant_with_unpaid_invoices_goes_only_by_force_and_its_money_stays(work: Work) -> None:
    plane, tenant_id = work.plane, await worked(work)
    issued = await invoice(plane, tenant_id)
    refused = await plane.admin.delete(f"/api/tenants/{tenant_id}")
    assert (refused.status, refused.code) == (409, "tenant_has_unpaid_invoices")
    assert (await plane.admin.delete(f"/api/tenants/{tenant_id}?force=true")).status == 200
    kept = await plane.admin.read(f"/api/invoices/{issued['invoice']['id']}")
    assert (kept["tenant_name"], kept["status"]) == ("Acme ML", "pending")
    revenue = await plane.admin.read("/api/dashboard/revenue")
    assert [(each["tenant_name"], each["revenue"]) for each in revenue["tenants"]] == [("Acme ML", 19.04)]


async def test_a_deleted_tenant_is_still_invoiced_for_what_it_used(work: Work) -> None:
    plane, tenant_id = work.plane, await worked(work)
    assert (await plane.admin.delete(f"/api/tenants/{tenant_id}")).status == 200
    issued = await invoice(plane, tenant_id)
    assert (issued["invoice"]["tenant_name"], issued["total_amount"]) == ("Acme ML", 19.04)
    await plane.admin.patch(f"/api/invoices/{issued['invoice']['id']}/status", {"status": "paid"})
    for unknown in (tenant_id, 999):
        assert (await plane.admin.post(f"/api/tenants/{unknown}/invoice")).status == 404


async def test_a_budget_crossed_in_a_months_last_minute_is_told_in_the_next(work: Work) -> None:
    plane = work.plane
    plane.clock.forward(days=22, hours=11)  # an hour before June
    tenant_id = await worked(work)
    await plane.admin.put(f"/api/tenants/{tenant_id}/budget", {"monthly_amount": 20})
    plane.clock.forward(minutes=1)
    found = await budgets.note_crossings(plane.database, plane.clock())
    assert found == [(tenant_id, 50), (tenant_id, 80)]
    assert await budgets.note_crossings(plane.database, plane.clock()) == []


async def test_budgets_tell_once_of_each_part_and_stop_nothing(work: Work) -> None:
    plane, tenant_id = work.plane, await worked(work)
    put = await plane.admin.put(f"/api/tenants/{tenant_id}/budget", {"monthly_amount": 30})
    assert (put.body["spent"], put.body["crossed_percent"]) == (19.04, [50])

    async def crossings() -> list[tuple[int, int]]:
        return await budgets.note_crossings(plane.database, plane.clock())

    assert (await crossings(), await crossings()) == ([(tenant_id, 50)], [])
    await run(work, 1, tenant_id)
    assert (await crossings(), await crossings()) == ([(tenant_id, 80), (tenant_id, 100)], [])
    assert (await plane.admin.read(f"/api/tenants/{tenant_id}/usage"))["budget"]["forecast"] >= 38.08
    gone = await plane.admin.put(f"/api/tenants/{tenant_id}/budget", {"monthly_amount": None})
    assert gone.body["budget"] is None


async def test_each_part_of_a_budget_is_an_alert_once_and_again_of_a_higher_budget(work: Work) -> None:
    """19.04 $ of 30 are 63 %, 38.08 $ 127 % and of 60 63 %, 57.12 $ 95 %."""
    plane, tenant_id = work.plane, await worked(work)

    async def told() -> list[tuple[str, float, str | None]]:
        """New crossings, evaluated; all events so far, newest last."""
        await budgets.note_crossings(plane.database, plane.clock())
        for _ in range(2):
            await plane.evaluate()
        events = sorted(await plane.admin.read("/api/alerts/events?rule_id=9"), key=lambda each: each["id"])
        return [(each["severity"], each["value"], each["reason"]) for each in events]

    await plane.admin.put(f"/api/tenants/{tenant_id}/budget", {"monthly_amount": 30})
    assert await told() == [("info", 50, None)]
    await run(work, 1, tenant_id)
    assert await told() == [("info", 50, "superseded"), ("critical", 100, None)]
    plane.clock.forward(seconds=30)
    await plane.admin.put(f"/api/tenants/{tenant_id}/budget", {"monthly_amount": 60})
    raised = [("info", 50, "superseded"), ("critical", 100, "recovered")]
    assert await told() == raised
    await run(work, 1, tenant_id)
    assert await told() == [*raised, ("warning", 80, None)]
    (event, *_) = await plane.admin.read("/api/alerts/events?rule_id=9")
    assert (event["subject"], event["tenant_id"], event["threshold"]) == ("Acme ML", tenant_id, 80)
    assert event["message"] == "tenant Acme ML has used 80 % of this month's budget"


async def test_the_meter_cuts_at_midnight(work: Work) -> None:
    plane, cluster_id = work.plane, await work.cluster(8)
    tenant_id = await work.tenant()
    await work.running(cluster_id, 1, tenant_id=tenant_id)
    plane.clock.forward(hours=13)
    await work.beat()
    for _ in range(2):
        await metering.run_meter(plane.database, plane.clock, plane.token)
    usage = await plane.admin.read(f"/api/tenants/{tenant_id}/usage?days=2")
    assert [event["gpu_seconds"] for event in usage["events"]] == [12 * 3600]
    assert [day["gpu_seconds"] for day in usage["by_day"]] == [12 * 3600, 3600]


# Stripe


@pytest.fixture
async def stripe() -> AsyncIterator[FakeStripe]:
    async with running_fake_stripe() as server:
        yield server


@pytest.fixture
async def paying(serve: Serve, stripe: FakeStripe) -> Work:
    """A fleet whose control plane has a Stripe."""
    settings = {"stripe_api_key": stripe.key, "stripe_api_base": stripe.url}
    return Work(plane=await serve(**settings, stripe_webhook_secret=stripe.webhook_secret))


async def notify(plane: Plane, stripe: FakeStripe, event: Json) -> Json:
    """What the webhook answers to an event."""
    body, headers = stripe.webhook(event, at=int(plane.clock().timestamp()))
    answer = await plane.anonymous.call("POST", "/api/stripe/webhook", data=body, headers=headers)
    assert answer.status == 200, answer.raw
    return answer.body["outcome"]


async def test_fifty_at_once_get_one_invoice_and_one_link(paying: Work, stripe: FakeStripe) -> None:
    plane, tenant_id = paying.plane, await worked(paying)
    path = f"/api/tenants/{tenant_id}/invoice?days=30"
    answers = await asyncio.gather(*(plane.admin.post(path) for _ in range(50)))
    assert sorted(answer.status for answer in answers) == [200] * 49 + [201]
    assert len({answer.body["invoice"]["id"] for answer in answers}) == 1
    assert len(stripe.links) == 1
    (link,) = stripe.links.values()
    assert answers[0].body["payment_url"] == link["url"]
    assert {answer.body["payment_url"] for answer in answers} <= {link["url"], None}
    assert await plane.count("invoices") == 1


@ON_SQLITE
async def test_two_installations_in_one_stripe_account_share_no_link(
    paying: Work, stripe: FakeStripe, tmp_path: Path
) -> None:
    """Or a database that was begun anew: the same number, amount and period, a minute later."""
    first = await invoice(paying.plane, await worked(paying))
    url = f"sqlite+aiosqlite:///{tmp_path}/other.db"
    await migrate(url)
    async with serving(url, stripe_api_key=stripe.key, stripe_api_base=stripe.url) as plane:
        plane.clock.forward(minutes=1)
        other = await invoice(plane, await worked(Work(plane=plane)))
    for name in ("id", "number", "total_amount"):
        assert first["invoice"][name] == other["invoice"][name]
    assert len({first["payment_url"], other["payment_url"]}) == len(stripe.links) == 2


async def test_a_payment_by_link_marks_the_invoice_once(paying: Work, stripe: FakeStripe) -> None:
    plane, tenant_id = paying.plane, await worked(paying)
    issued = await invoice(plane, tenant_id)
    assert issued["payment_url"].startswith("https://")
    assert issued["invoice"]["stripe_payment_url"] == issued["payment_url"]
    (link_id,) = stripe.links
    event = stripe.complete_checkout(link_id)
    assert [await notify(plane, stripe, event) for _ in range(2)] == ["paid", "repeated"]
    paid = await plane.admin.read(f"/api/invoices/{issued['invoice']['id']}")
    assert (paid["status"], paid["paid_by"], paid["stripe_payment_url"]) == ("paid", "stripe", None)
    body, headers = stripe.webhook(event, at=int(plane.clock().timestamp()), secret="whsec_" + "x" * 32)
    forged = await plane.anonymous.call("POST", "/api/stripe/webhook", data=body, headers=headers)
    assert (forged.status, forged.code) == (400, "signature_mismatch")


async def test_a_payment_of_another_amount_marks_nothing_and_is_audited(
    paying: Work, stripe: FakeStripe
) -> None:
    plane, tenant_id = paying.plane, await worked(paying)
    issued = await invoice(plane, tenant_id)
    (link_id,) = stripe.links
    event = stripe.complete_checkout(link_id)
    event["data"]["object"]["amount_total"] = 1
    assert await notify(plane, stripe, event) == "other_amount"
    assert (await plane.admin.read(f"/api/invoices/{issued['invoice']['id']}"))["status"] == "pending"
    (row,) = await plane.admin.read("/api/audit?object_type=invoice&limit=1")
    assert (row["action"], row["after"]["outcome"]) == ("invoice.payment", "other_amount")


@pytest.mark.parametrize("way", ["paid", "void"])
async def test_a_link_is_closed_when_nobody_is_to_pay(paying: Work, stripe: FakeStripe, way: str) -> None:
    plane, tenant_id = paying.plane, await worked(paying)
    url = f"/api/invoices/{(await invoice(plane, tenant_id))['invoice']['id']}"
    (link_id,) = stripe.links
    if way == "paid":
        await plane.admin.patch(f"{url}/status", {"status": "paid"})
    else:
        await plane.admin.post(f"{url}/void", {"reason": "a test"})
    await plane.api.desk.work()
    assert stripe.links[link_id]["active"] is False
    assert (await plane.admin.read(url))["stripe_payment_url"] is None
    if way == "paid":  # by mistake, as it turns out
        await plane.admin.patch(f"{url}/status", {"status": "pending"})
        await plane.api.desk.work()
        assert (await plane.admin.read(url))["stripe_payment_url"] is not None
        assert len(stripe.links) == 2


@pytest.mark.parametrize(
    "fault",
    [fake_stripe.INTERNAL_ERROR, fake_stripe.rate_limited(7), fake_stripe.DropAfter()],
    ids=["500", "429", "dropped"],
)
async def test_the_invoice_stands_while_stripe_is_down_and_gets_its_link_later(
    paying: Work, stripe: FakeStripe, fault: Any
) -> None:
    plane, tenant_id = paying.plane, await worked(paying)
    stripe.faults.append(fault)
    issued = await invoice(plane, tenant_id)
    assert issued["payment_url"] is None
    assert issued["payment_url_reason"]
    plane.clock.forward(seconds=10)
    await plane.api.desk.work()
    kept = await plane.admin.read(f"/api/invoices/{issued['invoice']['id']}")
    assert (kept["payment_url_reason"], len(stripe.links)) == (None, 1)
    assert kept["stripe_payment_url"] in {link["url"] for link in stripe.links.values()}


@pytest.mark.parametrize("way", ["paid", "deleted", "paid by mistake"])
async def test_a_link_that_was_made_unheard_is_closed_when_nobody_wants_it(
    paying: Work, stripe: FakeStripe, way: str
) -> None:
    """Stripe made it and the answer was lost; meanwhile somebody paid otherwise, or the tenant went."""
    plane, tenant_id = paying.plane, await worked(paying)
    stripe.faults.append(fake_stripe.DropAfter())
    url = f"/api/invoices/{(await invoice(plane, tenant_id))['invoice']['id']}"
    (lost,) = stripe.links
    if way == "deleted":
        assert (await plane.admin.delete(f"/api/tenants/{tenant_id}?force=true")).status == 200
    else:
        await plane.admin.patch(f"{url}/status", {"status": "paid"})
    if way == "paid by mistake":
        await plane.admin.patch(f"{url}/status", {"status": "pending"})
    for _ in range(3):
        plane.clock.forward(minutes=1)
        await plane.api.desk.work()
    assert stripe.links[lost]["active"] is False
    alive = [link["url"] for link in stripe.links.values() if link["active"]]
    shown = (await plane.admin.read(url))["stripe_payment_url"]
    assert alive == ([shown] if way == "paid by mistake" else [])


async def test_what_stripe_refuses_is_asked_again_when_the_account_may_be_mended(
    paying: Work, stripe: FakeStripe
) -> None:
    plane, tenant_id = paying.plane, await worked(paying)
    said = {
        "error": {"type": "invalid_request_error", "message": "Your account cannot currently make charges."}
    }
    stripe.faults.append(fake_stripe.Fault(status=400, body=json.dumps(said), stored=True))
    issued = await invoice(plane, tenant_id)
    assert "cannot currently make charges" in issued["payment_url_reason"]
    plane.clock.forward(hours=1, seconds=1)
    await plane.api.desk.work()
    assert (await plane.admin.read(f"/api/invoices/{issued['invoice']['id']}"))["stripe_payment_url"]


async def test_an_amount_that_stripe_takes_none_of_says_so(paying: Work, stripe: FakeStripe) -> None:
    plane, tenant_id = paying.plane, await worked(paying, gpus=1, hours=0.1)
    issued = await invoice(plane, tenant_id)
    assert (issued["total_amount"], issued["payment_url"], len(stripe.links)) == (0.48, None, 0)
    assert "0.50" in issued["payment_url_reason"]


@ON_SQLITE
async def test_a_webhook_without_a_secret_is_told_what_to_set(plane: Plane) -> None:
    answer = await plane.anonymous.post("/api/stripe/webhook", {})
    assert (answer.status, answer.code) == (503, "webhook_not_configured")
    assert "GPUFORGE_STRIPE_WEBHOOK_SECRET" in answer.body["error"]
