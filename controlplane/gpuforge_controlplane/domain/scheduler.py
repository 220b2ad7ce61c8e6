"""The scheduler's decision: from one snapshot, who starts where, who is blocked, and why the rest wait."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from struct import pack

from gpuforge_controlplane.domain.admission import refusal
from gpuforge_controlplane.domain.backfill import backfill
from gpuforge_controlplane.domain.cycle import Cycle
from gpuforge_controlplane.domain.decisions import Block, Plan, Unblock, Wait
from gpuforge_controlplane.domain.in_order import place_in_order
from gpuforge_controlplane.domain.quota import remaining
from gpuforge_controlplane.domain.reasons import BLOCKING, Code, Reason, code_of
from gpuforge_controlplane.domain.shortage import quota_full, shortage
from gpuforge_controlplane.domain.snapshot import Line, QueuedJob, Scope, Snapshot


def plan(snapshot: Snapshot, now: float) -> Plan:
    """Decide one cycle. `now` is seconds since the epoch; equal arguments give equal plans.

    1. What is over has ended before the snapshot was taken (`durations.is_overdue`, `lifecycle`).
    2. Blocked jobs are reconsidered, and jobs that can never run are blocked.
    3. Each pool takes the head of its queue, by (priority, submitted_at, id), then the others by size,
    4. each checked against its tenant's quota,
    5. and placed, until the pool meets the first job that it cannot place:
    6. that job gets the pool's one reservation, and others start behind it if they do not delay it.
    7. Whoever still waits is counted under one dominant reason.
    """
    cycle = Cycle(snapshot, now)
    verdict = _reconsider(snapshot)
    place_in_order(cycle, verdict.live)
    backfill(cycle, verdict.live)
    counts, shortages = _count_waiting(cycle, verdict.live)
    return Plan(
        starts=cycle.starts,
        blocks=verdict.blocks,
        unblocks=verdict.unblocks,
        reservations=cycle.reservations(),
        processed=verdict.processed,
        reason_counts={code: total for code in Code if (total := counts[code] + verdict.counts[code])},
        input_hash=blake2b(snapshot.digest + pack("<d", now), digest_size=16).hexdigest(),
        used=cycle.quota.used,
        shortages=shortages,
    )


def blocking_reason(snapshot: Snapshot, job: QueuedJob | Line) -> Reason | None:
    """Why a job, or every job of a line, is to be blocked; None if it may run."""
    cluster_id, family = job.scope
    owned = snapshot.owned.get(cluster_id, {})
    return refusal(job.gpu_count, family, snapshot.tenant(job.tenant_id), owned)


def waiting_reason(snapshot: Snapshot, decided: Plan, job: QueuedJob) -> Wait:
    """Why a job that `decided` leaves queued waits. Made when asked: a plan may leave 100,000."""
    tenant = snapshot.tenant(job.tenant_id)
    used = decided.used.get(job.tenant_id, 0)
    if tenant and remaining(tenant.quota, used) < job.gpu_count:
        return Wait(job=job, reason=quota_full(job.gpu_count, tenant, used))
    return Wait(job=job, reason=decided.shortages[job.scope, job.gpu_count])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """Step 2: which lines may run, by their number in the snapshot, and what becomes of the others."""

    live: list[tuple[int, Line]] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    unblocks: list[Unblock] = field(default_factory=list)
    counts: Counter[Code] = field(default_factory=Counter)
    processed: int = 0


def _reconsider(snapshot: Snapshot) -> _Verdict:
    verdict = _Verdict()
    held = 0
    for number, line in enumerate(snapshot.lines):
        before = line.block_reason
        if before is not None and code_of(before) not in BLOCKING:
            # A client blocked it, in words of its own: it is the client's to release.
            held += len(line.jobs)
            continue
        reason = blocking_reason(snapshot, line)
        if reason is None:
            verdict.live.append((number, line))
            if before is not None:
                verdict.unblocks.extend(Unblock(job=job) for job in line.jobs)
            continue
        verdict.counts[reason.code] += len(line.jobs)
        if before != str(reason):
            verdict.blocks.extend(Block(job=job, reason=reason) for job in line.jobs)
    return replace(verdict, processed=snapshot.waiting - held)


def _count_waiting(
    cycle: Cycle, live: list[tuple[int, Line]]
) -> tuple[Counter[Code], Mapping[tuple[Scope, int], Reason]]:
    """Step 7: jobs by dominant reason, and the reasons by shape. What is alike waits for the same."""
    counts: Counter[Code] = Counter()
    waiting: dict[tuple[Scope, int], int] = defaultdict(int)
    for number, line in live:
        jobs = len(line.jobs) - cycle.started_of.get(number, 0)
        if cycle.quota.left(line.tenant_id) < line.gpu_count:
            counts[Code.QUOTA_FULL] += jobs
        elif jobs:
            waiting[line.scope, line.gpu_count] += jobs
    shortages = {shape: shortage(cycle.options(shape[0]), shape[1], shape[0][1]) for shape in waiting}
    for shape, reason in shortages.items():
        counts[reason.code] += waiting[shape]
    return counts, shortages
