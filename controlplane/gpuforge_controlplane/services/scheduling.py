"""One scheduler cycle: end what is over, look, decide, apply under guard, log."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

from gpuforge_controlplane.domain.decisions import Block, Plan, Start, Unblock
from gpuforge_controlplane.domain.durations import is_overdue
from gpuforge_controlplane.domain.fleet import OFFLINE_AFTER
from gpuforge_controlplane.domain.lifecycle import JobStatus, OnNodeLoss, after_node_loss
from gpuforge_controlplane.domain.quota import Tenant
from gpuforge_controlplane.domain.recheck import still_valid
from gpuforge_controlplane.domain.scheduler import plan
from gpuforge_controlplane.domain.snapshot import Scope, snapshot_of
from gpuforge_controlplane.services.metering import meter_ended
from gpuforge_controlplane.storage import cycles, fleet, jobs, leases, snapshots, tenants
from gpuforge_controlplane.storage.database import Connection, Database
from gpuforge_controlplane.storage.jobs import Event, LostJob, Taken
from gpuforge_controlplane.storage.snapshots import Rows
from gpuforge_shared.clock import Clock

T = TypeVar("T")

ACTOR = "scheduler"
_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
_RUNNING = {"status": "running", "ended_at": None, "end_reason": None, "block_reason": None}
CHUNK = 1_000  # decisions a transaction: other writers wait some 100 ms at most


async def run_cycle(
    database: Database, clock: Clock, token: int, *, hearing_since: datetime = _ALWAYS
) -> Plan:
    """Run one cycle under the lease's fencing token; the plan. Raises LeaseLostError if leadership has moved.

    `hearing_since`: from when on a heartbeat would have been heard. Who was away must not call a node lost
    for a silence of his own.

    Each transaction stands alone and names the state it expects: a cycle that dies half-way has started
    some jobs wholly and the others not at all.
    """
    began, started_at = time.perf_counter(), clock()

    async def guarded(work: Callable[[Connection], Awaitable[T]]) -> T:
        async def under_the_lease(tx: Connection) -> T:
            await leases.guard(tx, token)
            return await work(tx)

        return await database.transact(under_the_lease)

    await guarded(lambda tx: _end(tx, clock(), hearing_since))
    now = clock()
    async with database.read() as tx:
        rows = await snapshots.load(tx, now - OFFLINE_AFTER)
    # In a thread: at 100,000 GPUs and as many jobs this takes 0.4 s, and requests are to go on.
    decided = await asyncio.to_thread(_decide, rows, now.timestamp())
    for blocks in _chunks(decided.blocks):
        await guarded(partial(_block, blocks=blocks, now=now))
    for unblocks in _chunks(decided.unblocks):
        await guarded(partial(_unblock, unblocks=unblocks, now=now))
    started = 0
    for starts in _chunks(decided.starts):
        started += len(await guarded(partial(_start, starts=starts, clock=clock)))
    milliseconds = round(1000 * (time.perf_counter() - began), 1)
    row = _log_row(decided, started_at, milliseconds, started)
    await guarded(partial(cycles.append, values=row))
    return decided


async def _start(tx: Connection, starts: Sequence[Start], clock: Clock) -> list[int]:
    return await start(tx, starts, clock(), ACTOR)


async def _end(tx: Connection, now: datetime, hearing_since: datetime) -> None:
    await end_lost(tx, now, hearing_since)
    await end_overdue(tx, now)


def _decide(rows: Rows, now: float) -> Plan:
    return plan(snapshot_of(*rows), now)


async def start(tx: Connection, starts: Sequence[Start], now: datetime, actor: str) -> list[int]:
    """Start the jobs whose start still holds, each whole or not at all; their ids.

    None starts before its GPUs were free, though the clock says so that was set back: a second of a GPU is
    metered once.
    """
    await fleet.lock_clusters(tx, sorted({one.job.cluster_id for one in starts}))
    tenant_ids = sorted({one.job.tenant_id for one in starts if one.job.tenant_id is not None})
    held = await tenants.lock(tx, tenant_ids)  # two starts of one tenant can't both see the last free quota
    gpu_ids = [gpu_id for one in starts for share in one.shares for gpu_id in share.gpu_ids]
    usable = await fleet.usable_nodes(tx, sorted({share.node_id for one in starts for share in one.shares}))
    valid = still_valid(
        starts,
        tenants={
            key: Tenant(id=key, quota=row["gpu_quota"], active=row["status"] == "active")
            for key, row in held.items()
        },
        used=dict(await tenants.gpus_in_use(tx, tenant_ids)),
        busy=await jobs.busy_gpus(tx, gpu_ids),
        usable=usable.keys(),
    )
    by_job = {one.job.id: one for one in valid}
    moved = []
    for began, job_ids in _by_begin(valid, await jobs.held_beyond(tx, gpu_ids, now), now).items():
        running = {**_RUNNING, "started_at": began}
        some = await jobs.move(tx, job_ids, expected=("queued",), values=running)
        taken = [gpu for job in some for gpu in _taken(by_job[job["id"]], job["tenant_id"], began)]
        if taken:
            await jobs.allocate(tx, taken)
        moved += some
    places = {job["id"]: _place(by_job[job["id"]], usable) for job in moved}
    await jobs.note(
        tx, [_event(job, now, "queued", "running", place, actor) for job, place in places.items()]
    )
    return list(places)


async def end_overdue(tx: Connection, now: datetime) -> list[int]:
    """End jobs that have reached their time limit, as failed; their ids."""
    ended = []
    for job in await jobs.limited(tx):
        limit_min, started_at = job["time_limit_min"], job["started_at"]
        assert started_at is not None
        assert limit_min is not None
        if is_overdue(started_at.timestamp(), 60 * limit_min, now.timestamp()):
            reason = f"TIME_LIMIT: ran for its limit of {limit_min} min"
            end = started_at + timedelta(minutes=limit_min)
            await end_job(tx, [job["id"]], JobStatus.FAILED, min(now, end), reason, ACTOR, now)
            ended.append(job["id"])
    return ended


async def end_lost(tx: Connection, now: datetime, hearing_since: datetime) -> None:
    """End the runs of jobs whose nodes are gone, at the last heartbeat; queue again those that may be.

    A job that had reached its time limit by then is left to `end_overdue`.
    """
    silent_since = now - OFFLINE_AFTER
    heard_before = silent_since if hearing_since <= silent_since else _ALWAYS
    for job in _first_loss(await jobs.on_lost_nodes(tx, heard_before)):
        heard, began, limit_min = job["last_heartbeat_at"], job["started_at"], job["time_limit_min"]
        limit_s = None if limit_min is None else 60 * limit_min
        if is_overdue(began.timestamp(), limit_s, heard.timestamp()):
            continue
        after = after_node_loss(OnNodeLoss(job["on_node_loss"]), job["requeues"])
        reason = f"NODE_LOST: node {job['hostname']} was last heard at {heard:%Y-%m-%dT%H:%M:%SZ}"
        await end_job(tx, [job["job_id"]], after, max(heard, began), reason, ACTOR, now)


async def end_job(
    tx: Connection,
    job_ids: Sequence[int],
    after: JobStatus,
    ended_at: datetime,
    reason: str | None,
    actor: str,
    now: datetime,
) -> None:
    """End running jobs: free their GPUs, close their allocations at `ended_at` and meter them to there, note
    it; one transaction."""
    again = after is JobStatus.QUEUED
    values: dict[str, object] = {"status": str(after), "end_reason": reason}
    values |= {"started_at": None, "requeues": 1} if again else {}
    over = None if again else ended_at
    moved = await jobs.move(tx, job_ids, expected=("running",), values=values, ended_at=over)
    ended = [job["id"] for job in moved]
    await jobs.free(tx, ended, ended_at)
    while await meter_ended(tx, now, job_ids=ended):
        pass
    await jobs.note(tx, [_event(job["id"], now, "running", after, reason, actor) for job in moved])


def shape_name(scope: Scope, gpu_count: int) -> str:
    """How the log names a shape: `cluster|family|gpus`, `*` for any family."""
    return f"{scope[0]}|{scope[1] or '*'}|{gpu_count}"


async def _block(tx: Connection, blocks: Iterable[Block], now: datetime) -> None:
    alike: dict[tuple[str, str], list[int]] = defaultdict(list)
    for block in blocks:
        before = "queued" if block.job.block_reason is None else "blocked"
        alike[before, str(block.reason)].append(block.job.id)
    for (before, reason), job_ids in alike.items():
        values = {"status": "blocked", "block_reason": reason}
        moved = await jobs.move(tx, job_ids, expected=(before,), values=values)
        await jobs.note(tx, [_event(job["id"], now, before, "blocked", reason, ACTOR) for job in moved])


async def _unblock(tx: Connection, unblocks: Iterable[Unblock], now: datetime) -> None:
    job_ids = [unblock.job.id for unblock in unblocks]
    values = {"status": "queued", "block_reason": None}
    moved = await jobs.move(tx, job_ids, expected=("blocked",), values=values)
    await jobs.note(tx, [_event(job["id"], now, "blocked", "queued", None, ACTOR) for job in moved])


def _log_row(decided: Plan, started_at: datetime, milliseconds: float, started: int) -> dict[str, object]:
    return {
        "started_at": started_at,
        "duration_ms": milliseconds,
        "processed": decided.processed,
        "started": started,
        "blocked": len(decided.blocks),
        "unblocked": len(decided.unblocks),
        "reasons": {str(code): count for code, count in decided.reason_counts.items()},
        "input_hash": decided.input_hash,
        "shortages": _shortages(decided),
    }


def _shortages(decided: Plan) -> Mapping[str, str]:
    return {shape_name(scope, count): str(why) for (scope, count), why in decided.shortages.items()}


def _chunks(decisions: Sequence[T]) -> Iterator[Sequence[T]]:
    for first in range(0, len(decisions), CHUNK):
        yield decisions[first : first + CHUNK]


def _place(start: Start, hostnames: Mapping[int, str]) -> str:
    """`8 H100 on gpu-07`, for a history that tells its story by itself; of many nodes the first four."""
    names = [hostnames[share.node_id] for share in start.shares]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{start.job.gpu_count} {start.family} on {', '.join(names[:4])}{more}"[:1024]


def _by_begin(
    starts: Sequence[Start], held: Mapping[int, datetime], now: datetime
) -> Mapping[datetime, Sequence[int]]:
    """Job ids by when they begin: now, or when the last of their GPUs is free. `held`: until when, by GPU."""
    begins: dict[datetime, list[int]] = defaultdict(list)
    for one in starts:
        gpu_ids = (gpu_id for share in one.shares for gpu_id in share.gpu_ids)
        begins[max((held[each] for each in gpu_ids if each in held), default=now)].append(one.job.id)
    return begins


def _taken(start: Start, tenant_id: int | None, now: datetime) -> Iterator[Taken]:
    for share in start.shares:
        for gpu_id in share.gpu_ids:
            yield Taken(
                job_id=start.job.id,
                gpu_id=gpu_id,
                node_id=share.node_id,
                family=start.family,
                tenant_id=tenant_id,
                started_at=now,
            )


def _first_loss(lost: Iterable[LostJob]) -> list[LostJob]:
    """One row a job: the node that fell silent first."""
    first: dict[int, LostJob] = {}
    for job in lost:
        first.setdefault(job["job_id"], job)
    return list(first.values())


def _event(job_id: int, at: datetime, before: str, after: str, reason: str | None, actor: str) -> Event:
    return Event(job_id=job_id, at=at, from_status=before, to_status=str(after), reason=reason, actor=actor)
