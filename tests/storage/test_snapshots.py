"""What the scheduler is shown: every column where it belongs, on both databases alike."""

from datetime import timedelta

import pytest

from gpuforge_controlplane.domain.quota import Tenant
from gpuforge_controlplane.domain.snapshot import Node, QueuedJob, RunningJob
from gpuforge_controlplane.services.scheduling import start
from gpuforge_controlplane.storage import snapshots
from gpuforge_controlplane.storage.schema import clusters
from gpuforge_controlplane.storage.snapshots import Rows
from tests.storage.rows import NOW, Shelf

FRESH = NOW - timedelta(seconds=90)
AT = NOW.timestamp()


async def loaded(shelf: Shelf, cluster_id: int | None = None) -> Rows:
    async with shelf.database.read() as tx:
        return await snapshots.load(tx, FRESH, cluster_id=cluster_id)


async def run_all(shelf: Shelf) -> None:
    starts = (await shelf.plan()).starts
    async with shelf.database.write() as tx:
        await start(tx, starts, shelf.now, "scheduler")


async def test_an_empty_database(shelf: Shelf) -> None:
    assert await loaded(shelf) == Rows([], [], [], [])


async def test_nodes_in_every_state(shelf: Shelf) -> None:
    just, late = FRESH, FRESH - timedelta(microseconds=1)
    await shelf.node(2, last_heartbeat_at=just)
    await shelf.node(1, last_heartbeat_at=late)
    await shelf.node(1, state="cordoned")
    await shelf.node(1, state="draining")
    await shelf.node(1, retired_at=NOW)
    await shelf.node(0)
    assert sorted((await loaded(shelf)).nodes) == [
        Node(1, 1, "H100", 2, True, (1, 2)),
        Node(2, 1, "H100", 1, False, ()),
        Node(3, 1, "H100", 1, False, ()),
        Node(4, 1, "H100", 1, False, ()),
    ]


async def test_gpus_in_every_status(shelf: Shelf) -> None:
    await shelf.node(6)
    for gpu, status in ((1, "active"), (3, "unhealthy"), (4, "offline")):
        await shelf.run("UPDATE gpus SET status = :status WHERE id = :gpu", status=status, gpu=gpu)
    await shelf.run("UPDATE gpus SET gpu_index = NULL WHERE id = 6")  # its slot was taken by another card
    assert (await loaded(shelf)).nodes == [Node(1, 1, "H100", 5, True, (1, 2, 5))]


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (("NVIDIA H100 80GB HBM3", "H100 PCIe"), [("H100", 4)]),
        (("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB"), [("A100", 2), ("H100", 2)]),
        ((None, "NVIDIA H100 80GB HBM3"), [("H100", 2), ("unknown", 2)]),
        (("Moore Threads S80", "Moore Threads S80"), [("Moore Threads S80", 4)]),
    ],
    ids=["two spellings", "two families", "unnamed", "unheard of"],
)
async def test_a_node_appears_once_for_each_family(
    shelf: Shelf, models: tuple[str | None, str | None], expected: list[tuple[str, int]]
) -> None:
    await shelf.node(2, model=models[0])
    await shelf.node(2, model=models[1])
    await shelf.run("UPDATE gpus SET node_id = 1, gpu_index = gpu_index + 2 WHERE node_id = 2")
    nodes = sorted((await loaded(shelf)).nodes)
    assert [(node.family, node.owned) for node in nodes] == expected
    assert sorted(gpu for node in nodes for gpu in node.idle_gpu_ids) == [1, 2, 3, 4]


async def test_tenants(shelf: Shelf) -> None:
    await shelf.tenant(4)
    await shelf.tenant(9, "inactive")
    assert (await loaded(shelf)).tenants == [Tenant(id=1, quota=4), Tenant(id=2, quota=9, active=False)]


async def test_waiting_jobs(shelf: Shelf) -> None:
    tenant = await shelf.tenant(4)
    late = NOW + timedelta(microseconds=123_456)
    await shelf.queue(1, 2, priority=7, family="A100", tenant_id=tenant, submitted_at=late)
    await shelf.queue(1, estimated_duration_min=90)
    await shelf.queue(1, estimated_duration_min=90, time_limit_min=60)
    await shelf.queue(1, estimated_duration_min=30, time_limit_min=60)
    await shelf.queue(1, time_limit_min=60)
    await shelf.queue(1, time_limit_min=2_000)  # longer than the day that a job without an estimate counts
    await shelf.queue(1, status="blocked", block_reason="held by somebody")
    for status in ("completed", "failed", "cancelled"):
        await shelf.queue(1, status=status)
    estimates = [None, 5_400, 3_600, 1_800, 3_600, None]
    assert sorted((await loaded(shelf)).waiting, key=lambda job: job.id) == [
        QueuedJob(7, late.timestamp(), 1, 1, "A100", 2, tenant, None),
        *(QueuedJob(5, AT, number, 1, None, 1, None, estimates[number - 1]) for number in range(2, 7)),
        QueuedJob(5, AT, 7, 1, None, 1, None, None, "held by somebody"),
    ]


async def test_running_jobs_and_what_they_leave_idle(shelf: Shelf) -> None:
    await shelf.node(8)
    await shelf.node(8)
    await shelf.queue(1, 12, tenant_id=await shelf.tenant(12), estimated_duration_min=90, time_limit_min=120)
    shelf.now += timedelta(microseconds=250_000)
    await run_all(shelf)
    rows = await loaded(shelf)
    assert rows.running == [RunningJob(1, 1, 1, "H100", AT + 0.25, 5_400, 7_200, ((1, 8), (2, 4)))]
    assert rows.nodes[0].idle_gpu_ids == ()
    assert rows.nodes[1] == Node(2, 1, "H100", 8, True, (13, 14, 15, 16))
    assert rows.waiting == []


async def test_one_cluster_is_shown_alone_but_for_what_its_tenants_run_elsewhere(shelf: Shelf) -> None:
    west = await shelf.insert(clusters, {"name": "west", "created_at": NOW})
    await shelf.node(2)
    node = await shelf.node(2, cluster_id=west)
    await shelf.queue(1, 1, cluster_id=1, tenant_id=await shelf.tenant(2))
    await run_all(shelf)
    (here,) = await shelf.queue(1, 1, cluster_id=west)
    await shelf.queue(1, 1, cluster_id=1)
    rows = await loaded(shelf, west)
    assert [found.id for found in rows.nodes] == [node]
    assert [job.id for job in rows.waiting] == [here]
    assert [job.cluster_id for job in rows.running] == [1]
