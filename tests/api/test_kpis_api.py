"""GET /api/dashboard/kpis: a small fleet's figures, worked out by hand."""

from datetime import timedelta
from typing import Any

import pytest

from gpuforge_controlplane.services.watching import run_evaluation
from gpuforge_controlplane.storage.alert_schema import allocation_hours
from tests.api.harness import START, Json, Plane
from tests.api.work import A100, Work


async def kpis(plane: Plane) -> Json:
    return await plane.admin.read("/api/dashboard/kpis")


async def samples(work: Work, utilization: dict[int, float | None]) -> None:
    """Of these GPUs, now."""
    metrics = [
        {"gpu_id": gpu_id, "utilization_pct": pct, "temperature_c": 50} for gpu_id, pct in utilization.items()
    ]
    await work.admin.write("/api/clusters/metrics", {"metrics": metrics})


async def look(plane: Plane, seconds: int = 30) -> None:
    """What the leader does every half minute."""
    plane.clock.forward(seconds=seconds)
    await run_evaluation(
        plane.database, plane.clock, plane.token, hearing_since=START - timedelta(days=1), seconds=seconds
    )


async def hours(plane: Plane, *rows: tuple[float, int, str, int, int]) -> None:
    """Of so many hours ago: tenant, family, GPU-seconds held and idle."""
    values = [
        {"hour": START - timedelta(hours=ago), "tenant_id": tenant, "family": family, "held_s": held}
        | {"idle_s": idle, "idle_gpus": 0}
        for ago, tenant, family, held, idle in rows
    ]
    async with plane.database.write() as tx:
        await tx.execute(allocation_hours.insert(), values)


async def test_the_references_fields_and_the_contracts(plane: Plane) -> None:
    empty: dict[str, Any] = await kpis(plane)
    assert empty == {
        "fleet_utilization": {"percentage": None, "active_gpus": 0, "total_gpus": 0, "status": "no_data"},
        "revenue_leakage": {"percentage": 0, "idle_allocated_gpus": 0, "direction": "flat"},
        "quota_utilization": {"percentage": 0, "gpus_in_use": 0, "total_quota": 0, "tenants": []},
        "fleet_health": {"healthy": 0, "total": 0, "status": "healthy"},
        "active_jobs": {"running": 0, "queued": 0, "blocked": 0},
    }


async def test_a_small_fleet_by_hand(work: Work) -> None:
    """Nodes of 8, 8 and 4; the last one goes silent. 3 jobs run, 2 wait, 1 is blocked."""
    plane, cluster = work.plane, await work.cluster(8, 8)
    other = await work.cluster(4, name="west", model=A100)
    first, second, third = work.hosts
    acme = await work.tenant(quota=12, name="Acme ML")
    nova = await work.tenant(quota=6, name="NovAI Labs")
    gone = await work.tenant(quota=100, name="gone")
    await work.running(cluster, 8, tenant_id=acme)
    await work.running(cluster, 4, tenant_id=nova)
    await work.running(other, 2, tenant_id=nova)
    await work.submit(cluster, 6, tenant_id=acme)
    await work.submit(cluster, 4, tenant_id=nova)
    await work.submit(cluster, 50, tenant_id=gone)
    await work.change(f"/api/tenants/{gone}", status="inactive")
    await work.cycle()
    await samples(work, dict.fromkeys(third.gpu_ids, 99.0))
    plane.clock.forward(seconds=91)
    await work.beat(third)
    # 5 of 8 work at 90 %, 3 idle; beside them 4 at 40 %, one that can't tell, and 3 that have fallen silent
    await samples(work, {gpu_id: 90.0 if number < 5 else 4.0 for number, gpu_id in enumerate(first.gpu_ids)})
    await samples(work, {**dict.fromkeys(second.gpu_ids[:4], 40.0), second.gpu_ids[4]: None})
    found = await kpis(plane)
    assert found["fleet_utilization"] == {
        "percentage": round((5 * 90 + 3 * 4 + 4 * 40) / 12, 1),  # 51.8
        "active_gpus": 9,
        "total_gpus": 20,
        "status": "fair",
    }
    assert found["quota_utilization"] == {
        "percentage": 77.8,  # 14 of 18
        "gpus_in_use": 14,
        "total_quota": 18,
        "tenants": [
            {"tenant_id": acme, "name": "Acme ML", "gpus_in_use": 8, "gpu_quota": 12, "percentage": 66.7},
            {"tenant_id": nova, "name": "NovAI Labs", "gpus_in_use": 6, "gpu_quota": 6, "percentage": 100},
        ],
    }
    assert found["fleet_health"] == {"healthy": 13, "total": 20, "status": "critical"}
    assert found["active_jobs"] == {"running": 3, "queued": 2, "blocked": 1}


async def test_a_fault_is_no_health(work: Work) -> None:
    await work.cluster(10)
    (host,) = work.hosts
    assert (await kpis(work.plane))["fleet_health"] == {"healthy": 10, "total": 10, "status": "healthy"}
    async with work.plane.database.write() as tx:
        await tx.exec_driver_sql(f"UPDATE gpus SET status = 'unhealthy' WHERE id = {host.gpu_ids[0]}")
    assert (await kpis(work.plane))["fleet_health"] == {"healthy": 9, "total": 10, "status": "has_issues"}


async def test_leakage_adds_up_look_by_look(work: Work) -> None:
    """Two H100 at 4.76 $/h, one of which idles, and an A100 at 2.21 that idles, over two minutes."""
    plane = work.plane
    await work.running(await work.cluster(8), 2, tenant_id=await work.tenant(quota=4))
    await work.running(await work.cluster(4, name="west", model=A100), 1)
    held = await work.admin.read("/api/dashboard/gpu-allocation?allocated=true")
    for _ in range(4):
        await work.beat()
        await samples(work, {gpu["gpu_id"]: 80.0 if number == 0 else 3.0 for number, gpu in enumerate(held)})
        await look(plane)
    assert [
        tuple(row) for row in await plane.rows("SELECT family, held_s, idle_s FROM allocation_hours")
    ] == [
        ("A100", 120, 120),
        ("H100", 240, 120),
    ]
    share = 100 * (4.76 + 2.21) / (2 * 4.76 + 2.21)
    assert (await kpis(plane))["revenue_leakage"] == {
        "percentage": round(share, 1),
        "idle_allocated_gpus": 0,  # not for half an hour yet
        "direction": "up",
    }
    await samples(work, {gpu["gpu_id"]: None for gpu in held})
    await work.beat()
    await look(plane)  # no telemetry is not idleness
    assert [row[0] for row in await plane.rows("SELECT idle_s FROM allocation_hours")] == [120, 120]


@pytest.mark.parametrize(
    ("before", "direction"),
    [(3_000, "down"), (1_000, "up"), (2_000, "flat"), (2_003, "flat"), (2_400, "down")],
)
async def test_where_leakage_went(plane: Plane, before: int, direction: str) -> None:
    """20 % of the hours 0 to 23, against those 24 to 47 ago; what is older counts nowhere."""
    await hours(plane, (0, 0, "H100", 5_000, 2_000), (23, 0, "H100", 5_000, 0))
    await hours(
        plane, (24, 0, "H100", 9_000, before), (47, 0, "H100", 1_000, 0), (48, 0, "H100", 9_000, 9_000)
    )
    assert (await kpis(plane))["revenue_leakage"] == {
        "percentage": 20.0,
        "idle_allocated_gpus": 0,
        "direction": direction,
    }


async def test_a_tenants_key_sees_its_own_share(work: Work) -> None:
    plane, cluster = work.plane, await work.cluster(8)
    acme, nova = await work.tenant(quota=4), await work.tenant(quota=4, name="NovAI Labs")
    await work.running(cluster, 2, tenant_id=acme)
    await work.running(cluster, 4, tenant_id=nova)
    held = await work.admin.read(f"/api/dashboard/gpu-allocation?tenant_id={acme}")
    await samples(work, {gpu["gpu_id"]: 70.0 for gpu in held})
    await hours(plane, (0, acme, "H100", 1_000, 100), (0, nova, "H100", 1_000, 900))
    tenant = await plane.holder_of(permissions=["read"], tenant_id=acme)
    assert await tenant.read("/api/dashboard/kpis") == {
        "fleet_utilization": {"percentage": 70, "active_gpus": 2, "total_gpus": 2, "status": "good"},
        "revenue_leakage": {"percentage": 10, "idle_allocated_gpus": 0, "direction": "up"},
        "quota_utilization": {
            "percentage": 50,
            "gpus_in_use": 2,
            "total_quota": 4,
            "tenants": [
                {"tenant_id": acme, "name": "Acme ML", "gpus_in_use": 2, "gpu_quota": 4, "percentage": 50}
            ],
        },
        "fleet_health": {"healthy": 2, "total": 2, "status": "healthy"},
        "active_jobs": {"running": 1, "queued": 0, "blocked": 0},
    }


async def test_allocated_against_used_over_time(work: Work) -> None:
    """4 of 12 GPUs held, one of them idle; then 8 held, all used; between them nobody watched."""
    plane, path = work.plane, "/api/dashboard/allocation-history"
    cluster = await work.cluster(8, 4)
    await work.running(cluster, 4)
    held = await work.admin.read("/api/dashboard/gpu-allocation?allocated=true")
    for _ in range(2):
        await work.beat()
        await samples(work, {gpu["gpu_id"]: 80.0 if number else 3.0 for number, gpu in enumerate(held)})
        await look(plane)
    await look(plane, seconds=0)  # the first look after a change of leaders counts no time
    plane.clock.forward(seconds=1_800)
    await work.beat()
    await work.running(cluster, 4)
    await samples(work, dict.fromkeys((gpu for host in work.hosts for gpu in host.gpu_ids), 90.0))
    await look(plane)
    told = await work.admin.read(f"{path}?hours=1")
    assert told["step_s"] == 300
    assert (told["timestamps"][0], told["timestamps"][-1]) == ("2026-05-09T11:30:00Z", "2026-05-09T12:30:00Z")
    known = {
        time: (total, allocated, used)
        for time, total, allocated, used in zip(
            told["timestamps"], told["total_gpus"], told["allocated_gpus"], told["used_gpus"], strict=True
        )
        if total is not None
    }
    assert known == {"2026-05-09T12:00:00Z": (12, 4, 3), "2026-05-09T12:30:00Z": (12, 8, 8)}
    day = await work.admin.read(path)
    assert (day["step_s"], len(day["timestamps"])) == (300, 289)
    month = await work.admin.read(f"{path}?hours=720")
    assert month["step_s"] == 10_800
    assert month["allocated_gpus"][-1] == round((60 * 4 + 30 * 8) / 90, 2)
