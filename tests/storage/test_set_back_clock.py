"""A clock that is set back, or a replica's that runs ahead: no second of a GPU is two jobs'."""

from datetime import timedelta

from sqlalchemy import select

from gpuforge_controlplane.domain.lifecycle import JobStatus
from gpuforge_controlplane.services.scheduling import end_job, start
from gpuforge_controlplane.storage.schema import allocations, jobs
from tests.api.work import broken
from tests.storage.rows import NOW, Shelf


async def begin(shelf: Shelf) -> list[int]:
    plan = await shelf.plan()
    async with shelf.database.write() as tx:
        return await start(tx, plan.starts, shelf.now, "test")


async def end(shelf: Shelf, *job_ids: int) -> None:
    async with shelf.database.write() as tx:
        await end_job(tx, job_ids, JobStatus.COMPLETED, shelf.now, None, "test", shelf.now)


async def test_a_job_starts_where_the_last_one_on_its_gpus_ended(shelf: Shelf) -> None:
    await shelf.node(3)
    first, second = await shelf.queue(2, 1)
    await begin(shelf)
    shelf.now += timedelta(minutes=50)
    await end(shelf, first)
    shelf.now += timedelta(minutes=10)
    await end(shelf, second)
    shelf.now = NOW - timedelta(hours=1)
    alone, gang = [*await shelf.queue(1, 1), *await shelf.queue(1, 2)]
    assert sorted(await begin(shelf)) == [alone, gang]
    rows = await shelf.all(select(allocations).order_by(allocations.c.id))
    ends = {row.gpu_id: row.ended_at for row in rows if row.ended_at is not None}
    assert len(ends) == 2  # the third GPU was never held
    began = {row.id: row.started_at for row in await shelf.all(select(jobs))}
    for job in (alone, gang):
        held = [row for row in rows if row.job_id == job]
        expected = max(ends.get(row.gpu_id, shelf.now) for row in held)
        assert [row.started_at for row in held] == [expected] * len(held)  # a gang starts as one
        assert began[job] == expected


async def test_what_ends_before_its_late_start_holds_nothing(shelf: Shelf) -> None:
    await shelf.node(1)
    (first,) = await shelf.queue(1, 1)
    await begin(shelf)
    shelf.now += timedelta(hours=1)
    await end(shelf, first)
    shelf.now -= timedelta(minutes=30)
    (second,) = await shelf.queue(1, 1)
    await begin(shelf)
    shelf.now += timedelta(minutes=5)
    await end(shelf, second)
    rows = await shelf.all("SELECT job_id, sum(gpu_seconds) FROM usage_events GROUP BY job_id")
    assert [tuple(row) for row in rows] == [(first, 3600)]
    assert await broken(shelf.database) == []
