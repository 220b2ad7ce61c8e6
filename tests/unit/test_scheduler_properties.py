"""What no plan may ever do, over generated fleets. `--hypothesis-profile=thorough` runs thousands of them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.domain.decisions import Plan
from gpuforge_controlplane.domain.quota import Tenant
from gpuforge_controlplane.domain.reservation import Reservation
from gpuforge_controlplane.domain.scheduler import blocking_reason, plan, waiting_reason
from gpuforge_controlplane.domain.snapshot import Node, QueuedJob, RunningJob, Snapshot, snapshot_of

NOW = 1_000_000
DAY = 86_400
FAMILIES = ("A100", "H100")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Everything a snapshot is made of."""

    nodes: list[Node]
    tenants: list[Tenant]
    running: list[RunningJob]
    waiting: list[QueuedJob]

    def snapshot(self, order: Random | None = None) -> Snapshot:
        """The snapshot, its rows in any order."""
        rows: tuple[list[Node], list[Tenant], list[RunningJob], list[QueuedJob]]
        rows = ([*self.nodes], [*self.tenants], [*self.running], [*self.waiting])
        for column in rows if order else ():
            assert order
            order.shuffle(column)
        return snapshot_of(*rows)


def fleets() -> st.SearchStrategy[Fleet]:
    """Fleets by size and seed: drawing every field would take Hypothesis longer than all the plans.

    A failing fleet still shrinks, to the fewest nodes and jobs.
    """
    return st.builds(_fleet, st.integers(1, 7), st.integers(0, 14), st.integers(0, 2**32))


def _fleet(nodes: int, jobs: int, seed: int) -> Fleet:
    """One or two clusters of one or two families; what nodes do not list as idle is held by running jobs."""
    dice = Random(seed)
    fleet = Fleet(nodes=[], tenants=[], running=[], waiting=[])
    for node_id in range(1, nodes + 1):
        owned = dice.choice([8, 8, 8, 4, 2, 16])
        held = dice.choice([0, owned, dice.randint(0, owned)])
        cluster, family, up = dice.choice([1, 1, 2]), dice.choice(FAMILIES), dice.random() < 0.75
        idle = tuple(range(100 * node_id, 100 * node_id + owned - held)) if up else ()
        fleet.nodes.append(Node(node_id, cluster, family, owned, up, idle))
        if held:
            fleet.running.append(_running(dice, node_id, cluster, family, held))
    for tenant_id in range(1, dice.randint(1, 5)):
        fleet.tenants.append(Tenant(id=tenant_id, quota=dice.randint(1, 40), active=dice.random() < 0.75))
    fleet.waiting.extend(_waiting(dice, 1_000 + at) for at in range(jobs))
    return fleet


def _running(dice: Random, node_id: int, cluster: int, family: str, held: int) -> RunningJob:
    return RunningJob(
        id=node_id,
        tenant_id=dice.choice([None, 1, 2, 3]),
        cluster_id=cluster,
        family=family,
        started_at=NOW - dice.choice([0, 60, 3_600, 2 * DAY]),
        estimate_s=dice.choice([None, 0, 300, 3_600, 7_200]),
        time_limit_s=dice.choice([None, None, 3_600]),
        held=((node_id, held),),
    )


def _waiting(dice: Random, job_id: int) -> QueuedJob:
    return QueuedJob(
        priority=dice.choice([5, 5, 1, 10]),
        submitted_at=dice.randint(0, 3),
        id=job_id,
        cluster_id=dice.choice([1, 1, 1, 2]),
        family=dice.choice([None, "H100", "H100", "A100", "B200"]),
        gpu_count=dice.choice([1, 1, 2, 3, 4, 8, 8, 12, 16, 24]),
        tenant_id=dice.choice([None, None, 1, 2, 3, 4]),
        estimate_s=dice.choice([None, 0, 60, 300, 3_600, 2 * DAY]),
        block_reason=dice.choice([None, None, None, "TENANT_INACTIVE: tenant 1 is inactive", "mine"]),
    )


@given(fleets())
def test_never_over_capacity_and_nothing_twice(fleet: Fleet) -> None:
    idle = {node.id: set(node.idle_gpu_ids) for node in fleet.nodes}
    starts = plan(fleet.snapshot(), NOW).starts
    for start in starts:
        for share in start.shares:
            gpus = set(share.gpu_ids)
            assert len(gpus) == len(share.gpu_ids)
            assert gpus <= idle[share.node_id]
            idle[share.node_id] -= gpus
    assert max(Counter(start.job.id for start in starts).values(), default=1) == 1


@given(fleets())
def test_gangs_whole_families_kept_one_node_up_to_eight(fleet: Fleet) -> None:
    nodes = {node.id: node for node in fleet.nodes}
    largest: dict[tuple[int, str], int] = defaultdict(int)
    for node in fleet.nodes:
        largest[node.cluster_id, node.family] = max(largest[node.cluster_id, node.family], node.owned)
    for start in plan(fleet.snapshot(), NOW).starts:
        job, at = start.job, [nodes[share.node_id] for share in start.shares]
        assert sum(len(share.gpu_ids) for share in start.shares) == job.gpu_count
        assert {(node.cluster_id, node.family) for node in at} == {(job.cluster_id, start.family)}
        assert job.family in (None, start.family)
        if job.gpu_count <= min(8, largest[job.cluster_id, start.family]):
            assert len(at) == 1


@given(fleets())
def test_never_over_quota(fleet: Fleet) -> None:
    tenants = {tenant.id: tenant for tenant in fleet.tenants}
    used = Counter[int | None]()
    for job in fleet.running:
        used[job.tenant_id] += job.gpu_count
    decided = plan(fleet.snapshot(), NOW)
    for start in decided.starts:
        used[start.job.tenant_id] += start.job.gpu_count
    for tenant_id in {start.job.tenant_id for start in decided.starts} - {None}:
        assert tenant_id is not None
        assert tenants[tenant_id].active
        assert used[tenant_id] <= tenants[tenant_id].quota
    assert {tenant: gpus for tenant, gpus in decided.used.items() if gpus} == used


@given(fleets())
def test_a_reservation_is_never_delayed(fleet: Fleet) -> None:
    decided = plan(fleet.snapshot(), NOW)
    assert len({reservation.pool for reservation in decided.reservations}) == len(decided.reservations)
    for reservation in decided.reservations:
        idle = _idle_at(fleet, decided, reservation)
        owned = {node.id: node.owned for node in fleet.nodes}
        assert _holds(
            {node: (idle[node], owned[node]) for node in reservation.node_ids}, reservation.gpu_count
        )
        started = {start.job.id for start in decided.starts}
        assert reservation.job_id not in started


@given(fleets())
def test_a_reservation_is_no_later_than_it_must_be(fleet: Fleet) -> None:
    decided = plan(fleet.snapshot(), NOW)
    owned = {node.id: node.owned for node in fleet.nodes}
    for reservation in decided.reservations:
        pool = [n for n in fleet.nodes if (n.cluster_id, n.family) == reservation.pool and n.schedulable]
        idle = _idle_at(fleet, decided, reservation, sooner=True)
        now_there = {node.id: (idle[node.id], owned[node.id]) for node in pool}
        biggest = max(n.owned for n in fleet.nodes if (n.cluster_id, n.family) == reservation.pool)
        assert not _holds(now_there, reservation.gpu_count, one_node_up_to=min(8, biggest))


@given(fleets())
def test_nobody_waits_beside_gpus_it_could_have(fleet: Fleet) -> None:
    """In a pool without a reservation, no typed job that its tenant's quota admits fits what is left idle."""
    snapshot = fleet.snapshot()
    decided = plan(snapshot, NOW)
    left = {node.id: len(node.idle_gpu_ids) for node in fleet.nodes}
    for start in decided.starts:
        for share in start.shares:
            left[share.node_id] -= len(share.gpu_ids)
    reserved = {reservation.pool for reservation in decided.reservations}
    for job in _waiting_after(snapshot, decided):
        if job.family is None or (job.cluster_id, job.family) in reserved:
            continue
        if str(waiting_reason(snapshot, decided, job).reason).startswith("QUOTA_FULL"):
            continue
        pool = [n for n in fleet.nodes if (n.cluster_id, n.family) == (job.cluster_id, job.family)]
        biggest = max(node.owned for node in pool)
        there = {node.id: (left[node.id], node.owned) for node in pool}
        assert not _holds(there, job.gpu_count, one_node_up_to=min(8, biggest))


@given(fleets())
def test_everyone_is_accounted_for(fleet: Fleet) -> None:
    snapshot = fleet.snapshot()
    decided = plan(snapshot, NOW)
    assert decided.processed == sum(job.block_reason != "mine" for job in fleet.waiting)
    assert len(decided.starts) + sum(decided.reason_counts.values()) == decided.processed
    codes = Counter(
        waiting_reason(snapshot, decided, job).reason.code for job in _waiting_after(snapshot, decided)
    )
    for code, jobs in codes.items():
        assert decided.reason_counts[code] == jobs
    # A job is blocked, or it may run: never both.
    blocked = {block.job.id for block in decided.blocks}
    assert not blocked & {start.job.id for start in decided.starts}
    assert not blocked & {unblock.job.id for unblock in decided.unblocks}


@given(fleets(), st.randoms(use_true_random=False))
def test_same_input_same_plan(fleet: Fleet, order: Random) -> None:
    assert plan(fleet.snapshot(), NOW) == plan(fleet.snapshot(order), NOW)


def _waiting_after(snapshot: Snapshot, decided: Plan) -> Iterable[QueuedJob]:
    started = {start.job.id for start in decided.starts}
    for line in snapshot.lines:
        if line.block_reason != "mine" and blocking_reason(snapshot, line) is None:
            yield from (job for job in line.jobs if job.id not in started)


def _idle_at(
    fleet: Fleet, decided: Plan, reservation: Reservation, *, sooner: bool = False
) -> Mapping[int, int]:
    """Idle GPUs by node when the reservation starts by the estimates; `sooner`: just before that."""
    idle = {node.id: len(node.idle_gpu_ids) for node in fleet.nodes}
    down = {node.id for node in fleet.nodes if not node.schedulable}
    for job in fleet.running:
        end = _expected_end(job)
        if end < reservation.start or (end == reservation.start and not sooner):
            for node_id, gpus in job.held:
                idle[node_id] += gpus if node_id not in down else 0
    for start in decided.starts:
        end = NOW + (DAY if start.job.estimate_s is None else start.job.estimate_s)
        # Who was let in behind the reservation does not make the time before it any earlier.
        if end > reservation.start or (sooner and end == reservation.start):
            for share in start.shares:
                idle[share.node_id] -= len(share.gpu_ids)
    return idle


def _expected_end(job: RunningJob) -> float:
    length = DAY if job.estimate_s is None else job.estimate_s
    length = length if job.time_limit_s is None else min(length, job.time_limit_s)
    if job.started_at + length > NOW:
        return job.started_at + length
    again = job.started_at + 1.5 * (NOW - job.started_at)
    return again if job.time_limit_s is None else max(NOW, min(again, job.started_at + job.time_limit_s))


def _holds(nodes: Mapping[int, tuple[int, int]], gpus: int, *, one_node_up_to: int = 0) -> bool:
    """Whether nodes, as (idle, owned), hold a job; an oracle that tries every number of whole nodes."""
    if any(idle >= gpus for idle, _ in nodes.values()):
        return True
    if gpus <= one_node_up_to:
        return False
    whole: Sequence[int] = sorted((idle for idle, owned in nodes.values() if idle == owned), reverse=True)
    rest = max((idle for idle, owned in nodes.values() if idle < owned), default=0)
    return any(sum(whole[:taken]) + max([rest, *whole[taken:]]) >= gpus for taken in range(len(whole) + 1))
