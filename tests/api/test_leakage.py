"""GET /api/dashboard/leakage: small fleets worked out by hand."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from gpuforge_controlplane.services import leakage
from gpuforge_controlplane.services.rollup import roll_up
from gpuforge_controlplane.services.watching import run_evaluation
from gpuforge_controlplane.storage.alert_schema import allocation_hours
from gpuforge_controlplane.storage.billing_schema import invoices, usage_events
from tests.api.conftest import Serve
from tests.api.harness import ON_SQLITE, START, Json, Plane
from tests.api.work import A100, Work


async def leaks(work: Work) -> Json:
    return await work.admin.read("/api/dashboard/leakage")


async def told(work: Work, minutes: dict[int, dict[int, float | None]]) -> None:
    """Utilisation of GPUs so many minutes ago, by minutes and GPU."""
    now = work.plane.clock()
    metrics = [
        {"gpu_id": gpu_id, "recorded_at": (now - timedelta(minutes=ago)).isoformat(), "utilization_pct": pct}
        for ago, figures in minutes.items()
        for gpu_id, pct in figures.items()
    ]
    await work.admin.write("/api/clusters/metrics", {"metrics": metrics})


async def held(work: Work, tenant_id: int, *gpus: int, model: str | None = None) -> list[list[int]]:
    """GPUs of new jobs of so many GPUs each, held for an hour, and the nodes heard just now."""
    fields: dict[str, Any] = {"gpu_type": model} if model else {}
    jobs = [await work.running(1, count, tenant_id=tenant_id, **fields) for count in gpus]
    work.plane.clock.forward(hours=1)
    await work.beat()
    rows = await work.admin.read("/api/dashboard/gpu-allocation?allocated=true")
    return [[row["gpu_id"] for row in rows if row["job"]["id"] == job] for job in jobs]


@ON_SQLITE
async def test_of_an_empty_fleet_nothing_leaks(work: Work) -> None:
    found = await leaks(work)
    assert (found.pop("window_start"), found.pop("window_end")) == (
        "2026-05-09T11:30:00Z",
        "2026-05-09T12:00:00Z",
    )
    totals = found.pop("totals")
    assert found.pop("currency") == "USD"
    assert not any(found.values())
    assert totals == dict.fromkeys(totals, 0)


async def test_idle_is_a_mean_under_ten_over_half_an_hour(work: Work) -> None:
    await work.cluster(8)
    tenant_id = await work.tenant()
    ((idle, used, edge, spiky, silent, null),) = await held(work, tenant_id, 6)
    figures = {idle: 3.0, used: 90.0, edge: 10.0, spiky: 1.0, null: None}
    await told(work, {29: figures, 15: {**figures, spiky: 27.0}, 0: figures, 31: {silent: 0.0}})
    found = await leaks(work)
    assert [gpu["gpu_id"] for gpu in found["idle_gpus"]] == [idle, spiky]
    assert [gpu["gpu_id"] for gpu in found["no_telemetry"]] == [silent, null]
    assert found["idle_gpus"][0] == {
        "gpu_id": idle,
        "gpu_index": 0,
        "gpu_type": "H100",
        "hostname": "east-01",
        "cluster_id": 1,
        "job_id": 1,
        "job_name": "train",
        "tenant_id": tenant_id,
        "tenant_name": "Acme ML",
        "allocated_since": "2026-05-09T12:00:00Z",
        "rate_per_hour": 4.76,
        "mean_utilization_pct": 3.0,
        "idle_since": "2026-05-09T12:30:00Z",
        "idle_minutes": 30,
    }
    assert found["no_telemetry"][0]["last_sample_at"] == "2026-05-09T12:29:00Z"
    assert (
        found["totals"] | {"idle_gpus": 2, "no_telemetry_gpus": 2, "lost_per_hour": 9.52} == found["totals"]
    )


async def test_what_is_held_for_less_than_half_an_hour_may_still_begin(work: Work) -> None:
    await work.cluster(2)
    job = await work.running(1, 1, tenant_id=await work.tenant())
    (gpu,) = (await work.job(job))["allocation"]
    work.plane.clock.forward(minutes=29, seconds=59)
    await told(work, {1: {gpu["gpu_id"]: 0.0}})
    assert (await leaks(work))["idle_gpus"] == []
    work.plane.clock.forward(seconds=1)
    assert [each["gpu_id"] for each in (await leaks(work))["idle_gpus"]] == [gpu["gpu_id"]]


async def test_a_large_fleet_is_read_from_what_is_rolled_up(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same GPUs idle; and telemetry tells since when."""
    await work.cluster(2)
    ((idle, used),) = await held(work, await work.tenant(), 2)
    await told(work, {ago: {idle: 50.0 if ago == 44 else 2.0, used: 60.0} for ago in range(0, 56, 2)})
    work.plane.clock.forward(minutes=7)
    now, kept = work.plane.clock(), work.plane.api.kept
    await roll_up(work.plane.database, now, work.plane.token, kept)
    by_samples = await leaks(work)
    monkeypatch.setattr(leakage, "MOST_SAMPLES", 0)
    by_rollups = await leaks(work)
    await look(work)
    noted = await leaks(work)
    assert noted == by_rollups
    for found in (by_samples, by_rollups):
        assert [gpu["gpu_id"] for gpu in found["idle_gpus"]] == [idle]
        assert found["idle_gpus"][0]["idle_since"] == "2026-05-09T12:20:00Z"
    assert by_samples["idle_gpus"][0]["idle_minutes"] == 47
    assert by_rollups["idle_gpus"][0]["idle_minutes"] == 45
    assert (by_rollups["window_start"], by_rollups["window_end"]) == (
        "2026-05-09T12:35:00Z",
        "2026-05-09T13:05:00Z",
    )


async def test_in_a_large_fleet_what_the_leader_noted_holds_until_the_job_ends(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle, silent and used; then the idle one changes hands, and idles on in its new ones."""
    monkeypatch.setattr(leakage, "MOST_SAMPLES", 0)
    await work.cluster(4)
    tenant_id = await work.tenant()
    (idle,), (silent, used) = await held(work, tenant_id, 1, 2)
    await told(work, {ago: {idle: 2.0, used: 60.0} for ago in range(0, 56, 2)})
    work.plane.clock.forward(minutes=7)
    await roll_up(work.plane.database, work.plane.clock(), work.plane.token, work.plane.api.kept)
    for _ in range(2):  # the same half hour: noted once
        await look(work)
        found = await leaks(work)
        assert [gpu["gpu_id"] for gpu in found["idle_gpus"]] == [idle]
        assert [gpu["gpu_id"] for gpu in found["no_telemetry"]] == [silent]
    other = await work.plane.holder_of(permissions=["read"], tenant_id=await work.tenant(name="other"))
    assert (await other.read("/api/dashboard/leakage"))["idle_gpus"] == []
    await work.move(1, "completed")
    assert (await leaks(work))["idle_gpus"] == []
    await work.beat()
    await work.running(1, 1, tenant_id=tenant_id)
    assert (await leaks(work))["idle_gpus"] == []


async def look(work: Work) -> None:
    """What the leader does every half a minute."""
    since = START - timedelta(days=1)
    plane = work.plane
    await run_evaluation(plane.database, plane.clock, plane.token, hearing_since=since, seconds=30)


async def test_the_price_is_the_tenants_own_and_dear_gpus_come_first(work: Work) -> None:
    await work.cluster(1)
    await work.host(1, "east-a", 1, A100)
    await work.host(1, "east-l", 1, "NVIDIA L40S")
    tenant_id = await work.tenant()
    await work.admin.put("/api/rates/A100", {"rate_per_hour": 9.5, "tenant_id": tenant_id})
    gpus = await held(work, tenant_id, 1, model="H100")
    gpus += await held(work, tenant_id, 1, model="A100")
    gpus += await held(work, tenant_id, 1, model="L40S")
    await told(work, {5: {gpu: 0.0 for (gpu,) in gpus}})
    found = await leaks(work)
    assert [(gpu["gpu_type"], gpu["rate_per_hour"]) for gpu in found["idle_gpus"]] == [
        ("A100", 9.5),
        ("H100", 4.76),
        ("L40S", None),
    ]
    assert found["totals"]["lost_per_hour"] == 14.26
    assert found["unrated"] == [{"gpu_type": "L40S", "gpu_seconds": 3600, "gpu_hours": 1.0}]


async def invoiced(work: Work, hours: int = 10) -> tuple[int, Json]:
    """A tenant and its invoice over so many H100-hours."""
    await work.cluster(1)
    tenant_id = await work.tenant()
    job = await work.running(1, 1, tenant_id=tenant_id)
    work.plane.clock.forward(hours=hours)
    await work.move(job, "completed")
    issued = await work.admin.write(f"/api/tenants/{tenant_id}/invoice", None)
    return tenant_id, issued["invoice"]


async def test_what_is_billed_in_full_has_no_gap(work: Work) -> None:
    tenant_id, invoice = await invoiced(work)
    found = await leaks(work)
    assert found["billing_gaps"] == [
        {
            "tenant_id": tenant_id,
            "tenant_name": "Acme ML",
            "periods": [{"start": invoice["period_start"], "end": invoice["period_end"]}],
            "invoice_count": 1,
            "metered": 47.6,
            "metered_cents": 4760,
            "billed": 47.6,
            "billed_cents": 4760,
            "gap": 0,
            "gap_cents": 0,
            "gap_percentage": 0,
            "flagged": False,
        }
    ]


@pytest.mark.parametrize(("seconds", "gap_cents", "flagged"), [(1_890, 250, False), (1_895, 251, True)])
async def test_a_gap_above_five_percent_is_flagged(
    work: Work, seconds: int, gap_cents: int, flagged: bool
) -> None:
    """Usage that came into an invoiced period afterwards: 2.51 $ of 50.11 are 5.009 %, 2.50 are less."""
    await invoiced(work)
    async with work.plane.database.write() as tx:
        begun = START + timedelta(seconds=1)
        row = {
            "allocation_id": 1, "job_id": 1, "gpu_id": 1, "tenant_id": 1, "family": "H100", "rate_id": 1,
            "started_at": begun, "ended_at": begun + timedelta(seconds=seconds), "gpu_seconds": seconds,
            "metered_at": begun,
        }  # fmt: skip
        (rate,) = (await tx.execute(usage_events.select().with_only_columns(usage_events.c.rate_id))).one()
        await tx.execute(usage_events.insert(), {**row, "rate_id": rate})
    found = await leaks(work)
    (gap,) = found["billing_gaps"]
    assert (gap["flagged"], gap["billed_cents"]) == (flagged, 4760)
    assert gap["gap_cents"] == gap["metered_cents"] - 4760 == gap_cents
    assert found["totals"]["flagged_tenants"] == flagged


async def test_overlapping_periods_count_once_and_void_invoices_apart(work: Work) -> None:
    tenant_id, first = await invoiced(work)
    await work.beat()
    job = await work.running(1, 1, tenant_id=tenant_id)
    work.plane.clock.forward(hours=10)
    await work.beat()
    await work.move(job, "completed")
    await work.admin.patch(f"/api/invoices/{first['id']}/status", {"status": "overdue"})
    second = (await work.admin.write(f"/api/tenants/{tenant_id}/invoice", None))["invoice"]
    (gap,) = (await leaks(work))["billing_gaps"]
    assert gap["periods"] == [{"start": first["period_start"], "end": second["period_end"]}]
    assert (gap["invoice_count"], gap["metered_cents"], gap["billed_cents"]) == (2, 9520, 9520)
    await work.admin.write(f"/api/invoices/{second['id']}/void", {"reason": "a test"})
    found = await leaks(work)
    (gap,) = found["billing_gaps"]
    assert (gap["invoice_count"], gap["metered_cents"], gap["flagged"]) == (1, 4760, False)
    assert found["void_invoices"] == [
        {"tenant_id": tenant_id, "tenant_name": "Acme ML", "invoice_count": 1, "amount": 47.6}
        | {"amount_cents": 4760}
    ]


async def test_a_total_that_was_changed_behind_our_back_is_a_gap(work: Work) -> None:
    await invoiced(work)
    async with work.plane.database.write() as tx:
        await tx.execute(update(invoices).values(total_cents=4000))
    (gap,) = (await leaks(work))["billing_gaps"]
    assert (gap["gap_cents"], gap["gap_percentage"], gap["flagged"]) == (760, 15.97, True)


async def test_what_no_invoice_reaches_any_more(work: Work) -> None:
    await work.cluster(1)
    tenant_id = await work.tenant()
    job = await work.running(1, 1, tenant_id=tenant_id)
    work.plane.clock.forward(hours=1)
    await work.move(job, "completed")
    work.plane.clock.forward(days=90, seconds=-1)
    assert (await leaks(work))["expired_usage"] == []
    work.plane.clock.forward(seconds=1)
    assert (await leaks(work))["expired_usage"] == [
        {"tenant_id": tenant_id, "tenant_name": "Acme ML", "gpu_seconds": 3600, "gpu_hours": 1.0}
        | {"amount": 4.76, "amount_cents": 476, "last_used_at": "2026-05-09T13:00:00Z"}
    ]
    answer = await work.admin.post(f"/api/tenants/{tenant_id}/invoice?days=90")
    assert (answer.status, answer.code) == (422, "nothing_to_bill")


async def hours(plane: Plane, *rows: tuple[float, int, int, int, float]) -> None:
    """Of so many hours ago: tenant, GPU-seconds held and with telemetry, percent used of these."""
    values = [
        {"hour": START - timedelta(hours=ago), "tenant_id": tenant, "family": "H100", "held_s": held_s}
        | {"idle_s": 0, "idle_gpus": 0, "told_s": told_s, "used_pct_s": pct * told_s}
        for ago, tenant, held_s, told_s, pct in rows
    ]
    async with plane.database.write() as tx:
        await tx.execute(allocation_hours.insert(), values)


async def test_underused_is_a_mean_under_thirty_in_24_hours(work: Work) -> None:
    names = ("low", "edge", "brief", "silent", "mixed", "yesterday")
    low, edge, brief, silent, mixed, yesterday = [await work.tenant(name=name) for name in names]
    await hours(
        work.plane,
        (0, low, 7_200, 3_600, 29.9),
        (0, edge, 3_600, 3_600, 30.0),
        (0, brief, 3_599, 3_599, 1.0),
        (0, silent, 9_000, 0, 0.0),
        (0, mixed, 3_600, 3_600, 80.0),
        (23, mixed, 36_000, 36_000, 10.0),
        (24, yesterday, 36_000, 36_000, 1.0),
    )
    found = await leaks(work)
    assert found["underutilized_tenants"] == [
        {"tenant_id": mixed, "tenant_name": "mixed", "gpu_hours": 11.0, "mean_utilization_pct": 16.4},
        {"tenant_id": low, "tenant_name": "low", "gpu_hours": 2.0, "mean_utilization_pct": 29.9},
    ]
    assert found["totals"]["underutilized_tenants"] == 2


async def test_use_adds_up_look_by_look(work: Work) -> None:
    """Two GPUs at 20 and 30 %, one without telemetry, over an hour in four looks."""
    plane = work.plane
    await work.cluster(4)
    tenant_id = await work.tenant()
    ((first, second, _),) = await held(work, tenant_id, 3)
    for _ in range(4):
        await work.beat()
        await told(work, {0: {first: 20.0, second: 30.0}})
        since = START - timedelta(days=1)
        await run_evaluation(plane.database, plane.clock, plane.token, hearing_since=since, seconds=900)
        plane.clock.forward(seconds=10)
    (tenant,) = (await leaks(work))["underutilized_tenants"]
    assert tenant == {
        "tenant_id": tenant_id,
        "tenant_name": "Acme ML",
        "gpu_hours": 3.0,
        "mean_utilization_pct": 25.0,
    }


async def test_a_tenants_key_sees_its_own_part(work: Work) -> None:
    await work.cluster(4)
    acme, nova = await work.tenant(), await work.tenant(name="NovAI Labs")
    await work.running(1, 1, tenant_id=nova)
    ((gpu,),) = await held(work, acme, 1)
    await told(work, {1: {gpu: 1.0}})
    await hours(work.plane, (0, acme, 7_200, 7_200, 5.0), (0, nova, 7_200, 7_200, 5.0))
    tenant = await work.plane.holder_of(permissions=["read"], tenant_id=acme)
    found = await tenant.read("/api/dashboard/leakage")
    assert [each["gpu_id"] for each in found["idle_gpus"]] == [gpu]
    assert found["no_telemetry"] == []
    assert [each["tenant_id"] for each in found["underutilized_tenants"]] == [acme]
    assert len((await leaks(work))["no_telemetry"]) == 1
    assert "NovAI" not in str(found)


@ON_SQLITE
async def test_the_sample_leaks(serve: Serve) -> None:
    plane = await serve(demo="sample")
    found = await plane.anonymous.read("/api/dashboard/leakage")
    assert found["idle_gpus"]
    assert found["totals"]["lost_per_hour"] > 0
