"""Which usage an invoice reaches: of the last days, or of any period that is over."""

import asyncio
from datetime import datetime, timedelta

import pytest

from gpuforge_controlplane.storage import invoices
from gpuforge_controlplane.storage.invoices import StoredInvoice
from tests.api.harness import ON_SQLITE, START, Json, Plane
from tests.api.work import Work


async def worked(work: Work, hours: int = 1, gpus: int = 1) -> int:
    """A tenant's id whose one job has run from noon on, and ended."""
    cluster_id, tenant_id = await work.cluster(8), await work.tenant()
    await run(work, cluster_id, tenant_id, hours, gpus)
    return tenant_id


async def run(work: Work, cluster_id: int, tenant_id: int, hours: int = 1, gpus: int = 1) -> None:
    await work.beat()
    job_id = await work.running(cluster_id, gpus, tenant_id=tenant_id)
    work.plane.clock.forward(hours=hours)
    await work.move(job_id, "completed")


async def invoice(plane: Plane, tenant_id: int, **period: object) -> Json:
    asked = "&".join(f"{name}={_told(value)}" for name, value in period.items()).replace("since", "from")
    return await plane.admin.write(f"/api/tenants/{tenant_id}/invoice?{asked}", None)


def _told(value: object) -> str:
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else str(value)


async def test_what_an_old_void_invoice_freed_is_billed_by_naming_its_period(work: Work) -> None:
    plane, tenant_id = work.plane, await worked(work)
    first = await invoice(plane, tenant_id)
    plane.clock.forward(days=200)
    await plane.admin.write(f"/api/invoices/{first['invoice']['id']}/void", {"reason": "wrong address"})
    refused = await plane.admin.post(f"/api/tenants/{tenant_id}/invoice?days=90")
    assert (refused.status, refused.code) == (422, "nothing_to_bill")
    (lost,) = (await plane.admin.read("/api/dashboard/leakage"))["expired_usage"]
    assert lost["amount_cents"] == first["total_amount_cents"] == 476
    period = f"from={first['invoice']['period_start']}&to={first['invoice']['period_end']}"
    draft = await plane.admin.read(f"/api/tenants/{tenant_id}/invoice/preview?{period}")
    second = await plane.admin.write(f"/api/tenants/{tenant_id}/invoice?{period}", None)
    assert second["lines"] == first["lines"] == draft["lines"]
    for name in ("period_start", "period_end", "total_amount"):
        assert second["invoice"][name] == first["invoice"][name]
    assert (await plane.admin.read("/api/dashboard/leakage"))["expired_usage"] == []


async def test_periods_that_follow_each_other_bill_each_second_once(work: Work) -> None:
    """Three hours over two periods: the ledger's row that ends in the second belongs to the second."""
    plane, tenant_id = work.plane, await worked(work, hours=30)
    midnight = START.replace(hour=0) + timedelta(days=1)
    parts = [
        await invoice(plane, tenant_id, since=START, to=midnight),
        await invoice(plane, tenant_id, since=midnight),
    ]
    assert [part["lines"][0]["gpu_seconds"] for part in parts] == [12 * 3600, 18 * 3600]
    assert (await plane.rows("SELECT count(*) FROM usage_events WHERE invoice_id IS NULL"))[0][0] == 0


async def test_what_runs_is_billed_to_the_periods_end_and_no_further(work: Work) -> None:
    plane, cluster_id, tenant_id = work.plane, await work.cluster(8), await work.tenant()
    job_id = await work.running(cluster_id, 2, tenant_id=tenant_id)
    plane.clock.forward(hours=5)
    await work.beat()
    until = START + timedelta(hours=3)
    draft = await plane.admin.read(f"/api/tenants/{tenant_id}/invoice/preview?to={_told(until)}&days=1")
    first = await invoice(plane, tenant_id, to=until, days=1)
    assert first["lines"] == draft["lines"]
    assert first["lines"][0]["gpu_seconds"] == 2 * 3 * 3600
    await plane.admin.patch(f"/api/invoices/{first['invoice']['id']}/status", {"status": "paid"})
    await work.move(job_id, "completed")
    assert (await invoice(plane, tenant_id))["lines"][0]["gpu_seconds"] == 2 * 2 * 3600


async def test_a_row_is_billed_whole_in_the_period_it_ended_in(work: Work) -> None:
    """Rows never change: an end within one that was metered before moves all of it to the next period."""
    plane, tenant_id = work.plane, await worked(work, gpus=1, hours=4)
    path = f"/api/tenants/{tenant_id}/invoice"
    early = await plane.admin.post(f"{path}?from={_told(START)}&to={_told(START + timedelta(hours=1))}")
    assert (early.status, early.code) == (422, "nothing_to_bill")
    assert "no usage that ended between" in early.body["detail"]
    late = await invoice(plane, tenant_id, since=START + timedelta(hours=3))
    assert late["invoice"]["total_gpu_seconds"] == 4 * 3600


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        pytest.param("from=2026-05-01T00:00:00Z&days=3", "query.days", id="both"),
        pytest.param("from=2026-05-09T12:00:00Z", "query.from", id="nothing before now"),
        pytest.param("from=2026-05-02T00:00:00Z&to=2026-05-01T00:00:00Z", "query.from", id="backwards"),
        pytest.param("to=2026-05-09T12:00:01Z", "query.to", id="ahead"),
        pytest.param("from=2026-05-01", "query.from", id="without a time zone"),
        pytest.param("since=2026-05-01T00:00:00Z", "query.since", id="by another name"),
    ],
)
@ON_SQLITE
async def test_periods_that_are_none(work: Work, asked: str, path: str) -> None:
    tenant_id = await work.tenant()
    for answer in (
        await work.admin.get(f"/api/tenants/{tenant_id}/invoice/preview?{asked}"),
        await work.admin.post(f"/api/tenants/{tenant_id}/invoice?{asked}"),
    ):
        assert (answer.status, answer.paths) == (422, [path])


async def test_an_invoice_bills_what_it_claims_though_a_job_ends_meanwhile(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the ledger and the claim another transaction adds an hour to it."""
    plane, tenant_id = work.plane, await worked(work)
    create, added = invoices.create, asyncio.Event()

    async def meanwhile(*given: object) -> StoredInvoice:
        if plane.database.dialect == "postgresql":  # SQLite has one writer
            async with plane.database.write() as tx:
                await tx.exec_driver_sql(
                    "INSERT INTO usage_events SELECT 99, allocation_id, job_id, gpu_id, tenant_id, family,"
                    " rate_id, ended_at - interval '2 hours', ended_at - interval '1 hour', gpu_seconds,"
                    " metered_at, NULL FROM usage_events"
                )
            added.set()
        return await create(*given)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(invoices, "create", meanwhile)
    issued = await invoice(plane, tenant_id)
    rows = await plane.rows("SELECT sum(gpu_seconds), count(*) FROM usage_events WHERE invoice_id = 1")
    assert tuple(rows[0]) == ((7200, 2) if added.is_set() else (3600, 1))
    assert issued["invoice"]["total_gpu_seconds"] == rows[0][0]
    assert [line["gpu_seconds"] for line in issued["lines"]] == [rows[0][0]]


async def test_a_deleted_tenants_money_is_previewed_and_invoiced_once_by_many(work: Work) -> None:
    plane, tenant_id = work.plane, await worked(work)
    assert (await plane.admin.delete(f"/api/tenants/{tenant_id}")).status == 200
    draft = await plane.admin.read(f"/api/tenants/{tenant_id}/invoice/preview")
    assert (draft["tenant_name"], draft["total_amount"]) == ("Acme ML", 4.76)
    answers = await asyncio.gather(
        *(plane.admin.post(f"/api/tenants/{tenant_id}/invoice") for _ in range(10))
    )
    assert sorted(answer.status for answer in answers) == [200] * 9 + [201]
    assert await plane.count("invoices") == 1
