"""GET /api/usage/export.csv: FOCUS columns, whose rows, which period, and what a spreadsheet makes of it."""

import csv
import io
from decimal import Decimal

import pytest

from gpuforge_controlplane.services import usage_export
from tests.api.conftest import Serve
from tests.api.harness import ON_SQLITE, Answer, Json, Plane
from tests.api.work import A100, Work

EXPORT = "/api/usage/export.csv"
# https://focus.finops.org: the names that any tool which reads FOCUS looks for.
FOCUS = {
    "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodStart", "BillingPeriodEnd",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodStart",
    "ChargePeriodEnd", "ConsumedQuantity", "ConsumedUnit", "PricingQuantity", "PricingUnit", "ListUnitPrice",
    "ContractedUnitPrice", "ListCost", "ContractedCost", "EffectiveCost", "BilledCost", "InvoiceId",
    "ProviderName", "PublisherName", "InvoiceIssuerName", "ServiceName", "ServiceCategory", "SkuId",
    "ResourceId", "ResourceType", "RegionId", "SubAccountId", "SubAccountName",
}  # fmt: skip


def rows_of(answer: Answer) -> list[dict[str, str]]:
    assert answer.status == 200, answer.raw
    text = answer.raw.decode()
    assert text.endswith("\r\n")
    assert "\n" not in text.replace("\r\n", "")
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


async def exported(plane: Plane, query: str = "") -> list[dict[str, str]]:
    return rows_of(await plane.admin.get(EXPORT + query))


async def used(work: Work, tenant_id: int | None, *, gpus: int = 1, hours: int = 1, cluster: int = 1) -> int:
    """The id of a job that took so many GPUs for so long, and has just ended."""
    fields: Json = {} if tenant_id is None else {"tenant_id": tenant_id}
    job_id = await work.running(cluster, gpus, **fields)
    work.plane.clock.forward(hours=hours)
    assert (await work.move(job_id, "completed")).status == 200
    await work.beat()
    return job_id


async def test_a_row_as_focus_has_it(work: Work) -> None:
    await work.cluster(2)
    tenant_id = await work.tenant()
    work.plane.clock.forward(hours=-1)
    await work.admin.put("/api/rates/H100", {"rate_per_hour": 4, "tenant_id": tenant_id})
    work.plane.clock.forward(hours=1)
    job_id = await used(work, tenant_id)
    await work.admin.write(f"/api/tenants/{tenant_id}/invoice", None)
    answer = await work.admin.get(EXPORT)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    disposition = answer.headers["Content-Disposition"]
    assert disposition == 'attachment; filename="gpuforge-usage-19700101-20260509.csv"'
    (row,) = rows_of(answer)
    assert row.keys() >= FOCUS
    assert row == {
        "BillingAccountId": str(tenant_id),
        "BillingAccountName": "Acme ML",
        "BillingCurrency": "USD",
        "BillingPeriodStart": "2026-05-01T00:00:00Z",
        "BillingPeriodEnd": "2026-06-01T00:00:00Z",
        "ChargeCategory": "Usage",
        "ChargeClass": "",
        "ChargeDescription": f"H100 GPU time of job {job_id}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": "2026-05-09T12:00:00Z",
        "ChargePeriodEnd": "2026-05-09T13:00:00Z",
        "ConsumedQuantity": "3600",
        "ConsumedUnit": "GPU-Seconds",
        "PricingQuantity": "1.0000000000",
        "PricingUnit": "GPU-Hours",
        "ListUnitPrice": "4.76",
        "ContractedUnitPrice": "4.00",
        "ListCost": "4.7600000000",
        "ContractedCost": "4.0000000000",
        "EffectiveCost": "4.0000000000",
        "BilledCost": "4.0000000000",
        "InvoiceId": "GF-000001",
        "ProviderName": "GPUForge",
        "PublisherName": "GPUForge",
        "InvoiceIssuerName": "GPUForge",
        "ServiceName": "GPU Compute",
        "ServiceCategory": "Compute",
        "SkuId": "H100",
        "ResourceId": "GPU-east-01-0",
        "ResourceType": "GPU",
        "RegionId": "",
        "SubAccountId": "1",
        "SubAccountName": "east",
        "x_UsageEventId": "1",
        "x_JobId": str(job_id),
    }


async def test_rows_add_up_to_the_invoices_total(work: Work) -> None:
    await work.cluster(4)
    west = await work.cluster(4, name="west", model=A100)
    tenant_id = await work.tenant()
    await used(work, tenant_id, gpus=3, hours=30)
    await used(work, tenant_id, gpus=2, hours=5, cluster=west)
    issued = await work.admin.write(f"/api/tenants/{tenant_id}/invoice", None)
    rows = await exported(work.plane)
    assert len(rows) == 3 * 2 + 2  # the first job reached over midnight
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal(str(issued["total_amount"]))
    assert sum(int(row["ConsumedQuantity"]) for row in rows) == issued["invoice"]["total_gpu_seconds"]
    assert [row["ChargePeriodStart"] for row in rows] == sorted(row["ChargePeriodStart"] for row in rows)


async def test_unrated_time_and_jobs_of_nobody_have_rows_too(work: Work) -> None:
    await work.cluster(2, model="NVIDIA L40S")
    await used(work, None)
    (row,) = await exported(work.plane)
    names = ("BillingAccountId", "SkuId", "ListUnitPrice", "ContractedUnitPrice", "BilledCost", "InvoiceId")
    assert [row[name] for name in names] == ["", "L40S", "", "", "0.0000000000", ""]


async def test_the_period_is_half_open(work: Work) -> None:
    await work.cluster(1)
    tenant_id = await work.tenant()
    for _ in range(3):
        await used(work, tenant_id)  # begun at 12, 13 and 14 o'clock
    for query, hours in (
        ("", [12, 13, 14]),
        ("?from=2026-05-09T13:00:00Z", [13, 14]),
        ("?to=2026-05-09T14:00:00Z", [12, 13]),
        ("?from=2026-05-09T13:00:00Z&to=2026-05-09T14:00:00Z", [13]),
        ("?from=2026-05-09T15:00:00%2B02:00&to=2026-05-09T15:00:00Z", [13, 14]),
        ("?to=2026-05-09T12:00:00Z", []),
    ):
        rows = await exported(work.plane, query)
        assert [int(row["ChargePeriodStart"][11:13]) for row in rows] == hours, query


@ON_SQLITE
@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("from=yesterday", "query.from"),
        ("from=2026-05-09T13:00:00", "query.from"),
        ("from=2026-05-09T12:00:00Z&to=2026-05-09T12:00:00Z", "query.from"),
        ("from=2027-01-01T00:00:00Z", "query.from"),
        ("tenant_id=0", "query.tenant_id"),
        ("days=3", "query.days"),
    ],
)
async def test_a_period_that_is_none(plane: Plane, query: str, path: str) -> None:
    answer = await plane.admin.get(f"{EXPORT}?{query}")
    assert (answer.status, answer.paths) == (422, [path])


async def test_whose_rows(work: Work) -> None:
    await work.cluster(2)
    acme, nova = await work.tenant(), await work.tenant(name="NovAI Labs")
    await used(work, acme)
    await used(work, nova)
    tenant = await work.plane.holder_of(permissions=["read"], tenant_id=acme)
    for answer in (
        await work.admin.get(f"{EXPORT}?tenant_id={acme}"),
        await tenant.get(EXPORT),
        await tenant.get(f"{EXPORT}?tenant_id={acme}"),
    ):
        assert [row["BillingAccountName"] for row in rows_of(answer)] == ["Acme ML"]
    assert (await tenant.get(f"{EXPORT}?tenant_id={nova}")).status == 404
    assert (await work.admin.get(f"{EXPORT}?tenant_id=999")).status == 404
    assert (await work.admin.delete(f"/api/tenants/{nova}")).status == 200
    rows = await exported(work.plane, f"?tenant_id={nova}")
    assert [row["BillingAccountName"] for row in rows] == ["NovAI Labs"]


@ON_SQLITE
async def test_no_name_becomes_a_formula(work: Work) -> None:
    await work.cluster(1)
    names = ("=1+1", "+1", "-1", "@SUM(A1)", '=cmd|"/c calc"!A1', '"', "a, b", "Söhne")
    for name in names:
        await used(work, await work.tenant(name=name))
    found = [row["BillingAccountName"] for row in await exported(work.plane)]
    assert found == [f"'{name}" if name[0] in "=+-@" else name for name in names]


async def test_more_than_a_page(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_export, "PAGE", 2)
    await work.cluster(5)
    await used(work, await work.tenant(), gpus=5)
    assert [row["x_UsageEventId"] for row in await exported(work.plane)] == ["1", "2", "3", "4", "5"]


@ON_SQLITE
async def test_exports_leave_connections_for_others(plane: Plane) -> None:
    async with plane.api.exports, plane.api.exports:
        answer = await plane.admin.get(EXPORT)
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "too_many_exports", "10")
    assert (await plane.admin.get(EXPORT)).status == 200


@ON_SQLITE
async def test_a_reader_that_leaves_gives_its_connection_back(work: Work) -> None:
    await work.cluster(1)
    await used(work, await work.tenant())
    async with work.plane.database.write() as tx:
        await tx.exec_driver_sql(
            "INSERT INTO usage_events"
            " (allocation_id, job_id, gpu_id, family, started_at, ended_at, gpu_seconds, metered_at)"
            " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)"
            " SELECT 1, 1, 1, 'H100', i, i + 1, 1, i FROM n"
        )
    headers = {"Authorization": f"Bearer {work.plane.admin_key}"}
    for _ in range(6):  # more than there are connections
        async with work.plane.session.get(work.plane.url + EXPORT, headers=headers) as response:
            await response.content.readexactly(1000)
            response.close()
    while work.plane.api.exports.locked():
        await work.admin.read("/healthz")
    assert (await work.admin.get(EXPORT + "?from=2026-05-09T00:00:00Z")).status == 200


@ON_SQLITE
async def test_the_sample_is_exported_to_anybody(serve: Serve) -> None:
    plane = await serve(demo="sample")
    answer = await plane.anonymous.get(EXPORT)
    assert answer.headers["X-GPUForge-Demo"] == "sample"
    assert {row["BillingAccountName"] for row in rows_of(answer)} == {"NovAI Labs", "Acme ML"}
