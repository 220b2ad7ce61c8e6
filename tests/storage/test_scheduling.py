"""Plans applied: what has changed since is left alone, and whatever breaks, nothing is left half-done."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from gpuforge_controlplane.domain.decisions import Plan, Start
from gpuforge_controlplane.services import scheduling
from gpuforge_controlplane.services.scheduling import run_cycle, start
from gpuforge_controlplane.storage import jobs
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.jobs import StoredJob, Taken
from gpuforge_controlplane.storage.snapshots import Rows
from gpuforge_controlplane.storage.statements import Row
from gpuforge_shared.errors import Unavailable
from tests.api.work import broken
from tests.storage.rows import Shelf, cut_off


async def apply(shelf: Shelf, starts: Sequence[Start]) -> list[int]:
    """The ids of the jobs that `start` starts."""
    async with shelf.database.write() as tx:
        started = await start(tx, starts, shelf.now, "scheduler")
    assert await broken(shelf.database) == []
    return sorted(started)


async def test_a_plan_is_applied_as_it_stands(shelf: Shelf) -> None:
    node = await shelf.node(8)
    (job,) = await shelf.queue(1, 3, tenant_id=await shelf.tenant(3))
    assert await apply(shelf, (await shelf.plan()).starts) == [job]
    held = await shelf.all("SELECT job_id, gpu_id, node_id, family, tenant_id, ended_at FROM allocations")
    assert [tuple(row) for row in held] == [(job, gpu, node, "H100", 1, None) for gpu in (1, 2, 3)]


async def test_the_laws_that_all_these_tests_rely_on_are_broken_by_what_breaks_them(shelf: Shelf) -> None:
    await shelf.node(2)
    await shelf.node(2, model="NVIDIA A100-SXM4-80GB")
    (job,) = await shelf.queue(1, 2, family="H100")
    assert await apply(shelf, (await shelf.plan()).starts) == [job]
    held = "INSERT INTO allocations (job_id, gpu_id, node_id, family, started_at)"
    mend = "DELETE FROM allocations WHERE id > 2"
    for breach, remedy, law in (
        (f"{held} SELECT 1, 3, 1, 'A100', started_at FROM jobs", mend, "other than gpu_count GPUs"),
        (f"{held} SELECT 1, 3, 1, 'A100', started_at FROM jobs", mend, "two families"),
        (f"{held} SELECT 1, 1, 1, 'H100', started_at FROM jobs", mend, "a GPU held twice"),
        ("UPDATE jobs SET family = 'A100'", "UPDATE jobs SET family = 'H100'", "of another one"),
        ("UPDATE jobs SET status = 'queued'", "UPDATE jobs SET status = 'running'", "other than gpu_count"),
        (
            "UPDATE jobs SET status = 'failed'",
            "UPDATE jobs SET status = 'running'",
            "does not end where it is",
        ),
        ("UPDATE jobs SET block_reason = 'x'", "UPDATE jobs SET block_reason = NULL", "with one and not"),
        ("UPDATE jobs SET ended_at = started_at", "UPDATE jobs SET ended_at = NULL", "contradict its status"),
        (
            "UPDATE job_events SET from_status = 'blocked' WHERE id = 2",
            "UPDATE job_events SET from_status = 'queued' WHERE id = 2",
            "does not follow the one before",
        ),
    ):
        if "twice" in law:
            await shelf.run("DROP INDEX uq_allocations_live_gpu")  # nothing else lets it happen
        await shelf.run(breach)
        assert any(law in found for found in await broken(shelf.database)), law
        await shelf.run(remedy)
        assert await broken(shelf.database) == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE jobs SET status = 'blocked', block_reason = 'wait for the data set' WHERE id = 1",
        "UPDATE jobs SET status = 'cancelled', ended_at = submitted_at WHERE id = 1",
        "UPDATE nodes SET state = 'cordoned'",
        "UPDATE nodes SET retired_at = created_at",
        "UPDATE tenants SET gpu_quota = 3",
        "UPDATE tenants SET status = 'inactive'",
    ],
    ids=["held by a client", "cancelled", "node cordoned", "node retired", "quota lowered", "inactive"],
)
async def test_what_has_changed_since_the_plan_is_not_started(shelf: Shelf, change: str) -> None:
    await shelf.node(8)
    await shelf.queue(1, 4, tenant_id=await shelf.tenant(8))
    starts = (await shelf.plan()).starts
    assert len(starts) == 1
    await shelf.run(change)
    before = await shelf.statuses()
    await shelf.run("UPDATE job_events SET to_status = :status", status=before[1])  # as a service would have
    assert await apply(shelf, starts) == []
    assert await shelf.statuses() == before
    assert await shelf.all("SELECT id FROM allocations") == []


async def test_a_plan_applied_twice_starts_once(shelf: Shelf) -> None:
    await shelf.node(8)
    await shelf.queue(3, 2)
    starts = (await shelf.plan()).starts
    assert await apply(shelf, starts) == [1, 2, 3]
    assert await apply(shelf, starts) == []


async def test_two_plans_of_one_moment_share_the_gpus_and_the_quota(shelf: Shelf) -> None:
    """Two leaders at once, which the lease forbids, could still not give away anything twice."""
    await shelf.node(8)
    tenant = await shelf.tenant(5)
    await shelf.queue(4, 2, tenant_id=tenant)
    starts = (await shelf.plan()).starts
    outcomes = await asyncio.gather(apply(shelf, starts), apply(shelf, [*reversed(starts)]))
    assert sorted(map(len, outcomes)) == [0, 2]
    assert len(await shelf.all("SELECT id FROM allocations WHERE ended_at IS NULL")) == 4


async def test_the_database_itself_forbids_to_give_a_gpu_twice(shelf: Shelf) -> None:
    await shelf.node(2)
    first, second = await shelf.queue(2)
    await apply(shelf, (await shelf.plan()).starts[:1])
    taken = Taken(job_id=second, gpu_id=1, node_id=1, family="H100", tenant_id=None, started_at=shelf.now)
    with pytest.raises(IntegrityError):
        async with shelf.database.write() as tx:
            await jobs.allocate(tx, [taken])
    async with shelf.database.write() as tx:  # once it is free, another may have it; history is no hindrance
        await jobs.free(tx, [first], shelf.now)
    async with shelf.database.write() as tx:
        await jobs.allocate(tx, [taken])
    assert len(await shelf.all("SELECT id FROM allocations WHERE gpu_id = 1")) == 2


async def test_a_hold_in_mid_cycle_is_not_overwritten_by_a_block(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shelf.node(8)
    tenant = await shelf.tenant(1)
    (queued,) = await shelf.queue(1, 2, tenant_id=tenant)
    token = await shelf.lease()
    decide = scheduling._decide

    async def hold() -> None:
        await shelf.run("UPDATE jobs SET status = 'blocked', block_reason = 'mine' WHERE id = :id", id=queued)
        await shelf.run("UPDATE job_events SET to_status = 'blocked'")

    loop = asyncio.get_running_loop()

    def meanwhile(rows: Rows, now: float) -> Plan:
        asyncio.run_coroutine_threadsafe(hold(), loop).result(10)
        return decide(rows, now)

    monkeypatch.setattr(scheduling, "_decide", meanwhile)
    await run_cycle(shelf.database, shelf.clock, token)
    assert [tuple(row) for row in await shelf.all("SELECT status, block_reason FROM jobs")] == [
        ("blocked", "mine")
    ]
    assert await broken(shelf.database) == []


@pytest.mark.parametrize("at", range(4))
async def test_a_cycle_that_dies_half_way_leaves_no_job_half_started(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    for _ in range(3):
        await shelf.node(8)
    await shelf.queue(4, 5)
    await shelf.queue(2, 1)
    token = await shelf.lease()
    monkeypatch.setattr(scheduling, "CHUNK", 1)
    note, calls = jobs.note, 0

    async def dying(tx: Connection, events: Sequence[jobs.Event]) -> None:
        nonlocal calls
        calls += bool(events)
        if calls > at:
            raise ZeroDivisionError
        await note(tx, events)

    monkeypatch.setattr(jobs, "note", dying)
    with pytest.raises(ZeroDivisionError):
        await run_cycle(shelf.database, shelf.clock, token)
    assert list((await shelf.statuses()).values()).count("running") == at
    assert await broken(shelf.database) == []
    assert await shelf.all("SELECT id FROM scheduler_cycles") == []
    monkeypatch.setattr(jobs, "note", note)
    await run_cycle(shelf.database, shelf.clock, token)
    assert list((await shelf.statuses()).values()).count("running") == 5
    assert await broken(shelf.database) == []


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=False)
async def test_a_connection_that_is_cut_leaves_nothing_half_done(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shelf.node(8)
    await shelf.queue(3, 2)
    token = await shelf.lease()
    allocate = jobs.allocate

    async def cut(tx: Connection, taken: Sequence[Taken]) -> None:
        await allocate(tx, taken)
        await cut_off(tx)

    monkeypatch.setattr(jobs, "allocate", cut)
    with pytest.raises(Unavailable):
        await run_cycle(shelf.database, shelf.clock, token)
    assert set((await shelf.statuses()).values()) == {"queued"}
    assert await broken(shelf.database) == []
    monkeypatch.setattr(jobs, "allocate", allocate)
    await run_cycle(shelf.database, shelf.clock, token)
    assert set((await shelf.statuses()).values()) == {"running"}
    assert await broken(shelf.database) == []


async def test_submissions_do_not_wait_for_a_cycle(shelf: Shelf) -> None:
    """While starts are applied and not yet committed, the same tenant submits to the same cluster."""
    await shelf.node(8)
    tenant = await shelf.tenant(8)
    await shelf.queue(1, 1, tenant_id=tenant)
    starts = (await shelf.plan()).starts
    async with shelf.database.write() as tx:
        assert len(await start(tx, starts, shelf.now, "scheduler")) == 1
        if shelf.database.dialect == "postgresql":  # SQLite has one writer
            async with asyncio.timeout(5):
                await shelf.queue(1, 1, tenant_id=tenant)


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=False)
async def test_a_cycle_that_loses_a_deadlock_takes_that_step_again(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shelf.node(8)
    await shelf.queue(3, 2)
    token = await shelf.lease()
    allocate, calls = jobs.allocate, 0

    async def losing(tx: Connection, taken: Sequence[Taken]) -> None:
        nonlocal calls
        calls += 1
        await allocate(tx, taken)
        if calls == 1:
            await tx.execute(text("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$"))

    monkeypatch.setattr(jobs, "allocate", losing)
    await run_cycle(shelf.database, shelf.clock, token)
    assert calls == 2
    assert set((await shelf.statuses()).values()) == {"running"}
    assert await broken(shelf.database) == []
    assert [row[0] for row in await shelf.all("SELECT started FROM scheduler_cycles")] == [3]


async def test_blocks_and_unblocks_go_in_slices(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota that changes may block 100,000 jobs: no transaction holds them all."""
    await shelf.node(8)
    tenant = await shelf.tenant(1)
    await shelf.queue(5, 2, tenant_id=tenant)
    token = await shelf.lease()
    monkeypatch.setattr(scheduling, "CHUNK", 2)
    move, sizes = jobs.move, []

    async def counted(
        tx: Connection, job_ids: Sequence[int], *, expected: Sequence[str], values: Row
    ) -> list[StoredJob]:
        sizes.append(len(job_ids))
        return await move(tx, job_ids, expected=expected, values=values)

    monkeypatch.setattr(jobs, "move", counted)
    await run_cycle(shelf.database, shelf.clock, token)
    assert (set((await shelf.statuses()).values()), sizes) == ({"blocked"}, [2, 2, 1])
    sizes.clear()
    await shelf.run("UPDATE tenants SET gpu_quota = 3")
    await run_cycle(shelf.database, shelf.clock, token)
    assert sizes[:3] == [2, 2, 1]
    assert sorted((await shelf.statuses()).values()) == ["queued"] * 4 + ["running"]
    assert await broken(shelf.database) == []
