"""The scheduler's decisions as named cases: every reason code with its numbers, every rule of order."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from gpuforge_controlplane.domain.decisions import Plan
from gpuforge_controlplane.domain.quota import Tenant
from gpuforge_controlplane.domain.reasons import Code
from gpuforge_controlplane.domain.scheduler import plan, waiting_reason
from gpuforge_controlplane.domain.snapshot import Node, QueuedJob, RunningJob, Snapshot, snapshot_of

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
MINUTE, HOUR, DAY = 60, 3_600, 86_400


def node(
    node_id: int, idle: int, *, owned: int = 8, family: str = "H100", up: bool = True, cluster: int = 1
) -> Node:
    """Its idle GPUs' ids tell the node."""
    return Node(node_id, cluster, family, owned, up, tuple(100 * node_id + gpu for gpu in range(idle)))


def running(
    job_id: int,
    held: dict[int, int],
    *,
    ends_in: int | None = None,
    since: int = HOUR,
    limit: int | None = None,
    tenant: int | None = None,
    family: str = "H100",
) -> RunningJob:
    """A job that has run for `since` seconds, and by its estimate runs `ends_in` seconds more."""
    estimate = None if ends_in is None else since + ends_in
    return RunningJob(job_id, tenant, 1, family, NOW - since, estimate, limit, tuple(held.items()))


def job(
    job_id: int,
    gpus: int,
    *,
    priority: int = 5,
    tenant: int | None = None,
    family: str | None = "H100",
    estimate: int | None = None,
    blocked: str | None = None,
    cluster: int = 1,
) -> QueuedJob:
    """Submitted in the order of ids."""
    return QueuedJob(priority, float(job_id), job_id, cluster, family, gpus, tenant, estimate, blocked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A fleet and its queue."""

    nodes: Iterable[Node]
    waiting: Iterable[QueuedJob]
    running: Iterable[RunningJob] = ()
    tenants: Iterable[Tenant] = field(default=())

    def snapshot(self) -> Snapshot:
        return snapshot_of(self.nodes, self.tenants, self.running, self.waiting)

    def plan(self) -> Plan:
        return plan(self.snapshot(), NOW)


def started(decided: Plan) -> dict[int, dict[int, int]]:
    """GPUs by node of every job that starts, in the order of decision."""
    return {
        start.job.id: {share.node_id: len(share.gpu_ids) for share in start.shares}
        for start in decided.starts
    }


def reason_of(case: Case, job_id: int) -> str:
    """Why a job waits or is blocked, as the API says it."""
    snapshot, decided = case.snapshot(), case.plan()
    for block in decided.blocks:
        if block.job.id == job_id:
            return str(block.reason)
    waiting = next(queued for line in snapshot.lines for queued in line.jobs if queued.id == job_id)
    return str(waiting_reason(snapshot, decided, waiting).reason)


REASONS = {
    "larger than the cluster": (
        Case(nodes=[node(1, 8), node(2, 8)], waiting=[job(1, 17)]),
        Code.NEVER_FITS_CLUSTER,
        "needs 17 H100 GPUs; the cluster owns 16",
    ),
    "larger than any one family": (
        Case(nodes=[node(1, 8), node(2, 4, owned=4, family="A100")], waiting=[job(1, 12, family=None)]),
        Code.NEVER_FITS_CLUSTER,
        "needs 12 GPUs; the cluster owns of one type, 8 at most",
    ),
    "an empty cluster": (
        Case(nodes=[], waiting=[job(1, 1, family=None)]),
        Code.NEVER_FITS_CLUSTER,
        "needs 1 GPU; the cluster owns 0",
    ),
    "a family it does not have": (
        Case(nodes=[node(1, 8), node(2, 8, family="A100")], waiting=[job(1, 1, family="B200")]),
        Code.NO_SUCH_GPU_TYPE,
        "needs B200; the cluster has A100, H100",
    ),
    "a family it has elsewhere": (
        Case(nodes=[node(1, 8), node(2, 8, family="A100", cluster=2)], waiting=[job(1, 1, family="A100")]),
        Code.NO_SUCH_GPU_TYPE,
        "needs A100; the cluster has H100",
    ),
    "larger than the quota": (
        Case(nodes=[node(1, 8)], waiting=[job(1, 8, tenant=7)], tenants=[Tenant(id=7, quota=4)]),
        Code.EXCEEDS_TENANT_QUOTA,
        "needs 8 GPUs; the quota of tenant 7 is 4",
    ),
    "an inactive tenant": (
        Case(
            nodes=[node(1, 8)], waiting=[job(1, 1, tenant=7)], tenants=[Tenant(id=7, quota=4, active=False)]
        ),
        Code.TENANT_INACTIVE,
        "tenant 7 is inactive",
    ),
    "a tenant that is gone": (
        Case(nodes=[node(1, 8)], waiting=[job(1, 1, tenant=7)]),
        Code.TENANT_INACTIVE,
        "tenant 7 is inactive",
    ),
    "its quota is full": (
        Case(
            nodes=[node(1, 2), node(2, 8)],
            waiting=[job(1, 4, tenant=7)],
            running=[running(9, {1: 6}, tenant=7)],
            tenants=[Tenant(id=7, quota=8)],
        ),
        Code.QUOTA_FULL,
        "needs 4 GPUs; tenant 7 uses 6 of its quota of 8",
    ),
    "its quota is filled by this very plan": (
        Case(
            nodes=[node(1, 8)],
            waiting=[job(1, 1, tenant=7), job(2, 3, tenant=7)],
            tenants=[Tenant(id=7, quota=3)],
        ),
        Code.QUOTA_FULL,
        "needs 3 GPUs; tenant 7 uses 1 of its quota of 3",
    ),
    "too few idle": (
        Case(nodes=[node(1, 3), node(2, 0)], waiting=[job(1, 4)], running=[running(9, {1: 5, 2: 8})]),
        Code.WAITING_CAPACITY,
        "needs 4 H100 GPUs; 3 of 16 idle",
    ),
    "spread over nodes": (
        Case(nodes=[node(1, 5), node(2, 4), node(3, 2)], waiting=[job(1, 8)]),
        Code.FRAGMENTED,
        "needs 8 H100 GPUs on one node; 11 idle, largest node has 5",
    ),
    "spread over nodes, just as many": (
        Case(nodes=[node(1, 4), node(2, 4)], waiting=[job(1, 8)]),
        Code.FRAGMENTED,
        "needs 8 H100 GPUs on one node; 8 idle, largest node has 4",
    ),
    "spread over nodes, a gang": (
        Case(nodes=[node(1, 8), node(2, 7), node(3, 7)], waiting=[job(1, 16)]),
        Code.FRAGMENTED,
        "needs 16 H100 GPUs on whole nodes; 22 idle, 1 node wholly idle",
    ),
    "untyped and spread over nodes": (
        Case(nodes=[node(1, 3), node(2, 4), node(3, 2, family="A100")], waiting=[job(1, 6, family=None)]),
        Code.FRAGMENTED,
        "needs 6 GPUs on one node; 7 idle, largest node has 4",
    ),
}


@pytest.mark.parametrize(("case", "code", "sentence"), REASONS.values(), ids=REASONS)
def test_the_reason_with_its_numbers(case: Case, code: Code, sentence: str) -> None:
    # In every case it is the last job that waits.
    last = max(queued.id for queued in case.waiting)
    assert reason_of(case, last) == f"{code}: {sentence}"
    assert case.plan().reason_counts == {code: 1}


BEHIND_A_GANG = Case(
    nodes=[node(1, 8), node(2, 0)],
    running=[running(9, {2: 8}, ends_in=30 * MINUTE)],
    waiting=[
        job(1, 16, estimate=HOUR),
        job(2, 2, estimate=40 * MINUTE),
        job(3, 2, estimate=30 * MINUTE),
        job(4, 2),
        job(5, 3, estimate=5 * MINUTE),
    ],
)


def test_a_gang_gets_a_reservation_and_whoever_ends_before_it_starts() -> None:
    decided = BEHIND_A_GANG.plan()
    [reservation] = decided.reservations
    assert (reservation.job_id, reservation.start - NOW, reservation.node_ids) == (1, 30 * MINUTE, (1, 2))
    assert started(decided) == {5: {1: 3}, 3: {1: 2}}


def test_the_others_are_told_for_whom_the_place_is_kept() -> None:
    said = "needs 2 H100 GPUs; 3 idle, but the place is kept for job 1 (16 GPUs, expected to start {})"
    assert reason_of(BEHIND_A_GANG, 2) == f"RESERVED_FOR: {said.format('2027-01-15T08:30:00Z')}"
    assert reason_of(BEHIND_A_GANG, 1) == "WAITING_CAPACITY: needs 16 H100 GPUs; 3 of 16 idle"
    assert BEHIND_A_GANG.plan().reason_counts == {Code.RESERVED_FOR: 2, Code.WAITING_CAPACITY: 1}


def test_other_nodes_than_the_reserved_are_free_to_all() -> None:
    case = Case(
        nodes=[node(1, 8), node(2, 0), node(3, 4)],
        running=[running(9, {2: 8}, ends_in=MINUTE), running(8, {3: 4}, ends_in=DAY)],
        waiting=[job(1, 16), job(2, 4)],
    )
    assert started(case.plan()) == {2: {3: 4}}


ORDER = {
    "by submission": ([job(2, 8), job(1, 8)], [1]),
    "priority before submission": ([job(1, 8, priority=6), job(2, 8, priority=5)], [2]),
    "in one instant by id": ([job(2, 8)._replace(submitted_at=0), job(1, 8)._replace(submitted_at=0)], [1]),
    "priority before submission, of other sizes": ([job(1, 8, priority=6), job(2, 7, priority=5)], [2]),
    "by submission, of other sizes": ([job(1, 8), job(2, 7, estimate=MINUTE)], [1]),
    "in one instant by id, of other sizes": (
        [job(1, 8)._replace(submitted_at=0), job(2, 7)._replace(submitted_at=0)],
        [1],
    ),
    "in one instant by id, the smaller first": (
        [job(1, 7)._replace(submitted_at=0), job(2, 8)._replace(submitted_at=0)],
        [1],
    ),
    "a typed and an untyped in one queue": ([job(1, 8, family=None), job(2, 8)], [1]),
}


@pytest.mark.parametrize(("waiting", "starts"), ORDER.values(), ids=ORDER)
def test_the_queue_is_taken_in_order(waiting: list[QueuedJob], starts: list[int]) -> None:
    assert list(started(Case(nodes=[node(1, 8)], waiting=waiting).plan())) == starts


def test_after_the_head_the_smallest_starts_first() -> None:
    waiting = [job(1, 4, estimate=DAY), job(2, 4, estimate=2 * HOUR), job(3, 4, estimate=HOUR)]
    assert list(started(Case(nodes=[node(1, 8)], waiting=waiting).plan())) == [1, 3]


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (job(2, 4, estimate=MINUTE), job(3, 3, estimate=HOUR)),
        (job(3, 3, estimate=MINUTE), job(2, 4, estimate=HOUR)),
    ],
)
def test_after_the_head_the_smallest_of_all_sizes_starts_first(small: QueuedJob, large: QueuedJob) -> None:
    case = Case(nodes=[node(1, 8)], waiting=[job(1, 2), small, large])
    assert list(started(case.plan())) == [1, small.id]


def test_a_head_that_takes_the_last_of_its_quota_is_overtaken_by_none() -> None:
    case = Case(
        nodes=[node(1, 8)],
        waiting=[job(1, 8, tenant=7), job(2, 8)],
        tenants=[Tenant(id=7, quota=8)],
    )
    assert list(started(case.plan())) == [1]


def test_the_head_is_overtaken_by_none_however_small() -> None:
    waiting = [job(1, 8, estimate=DAY), *(job(number, 1, estimate=MINUTE) for number in range(2, 9))]
    assert list(started(Case(nodes=[node(1, 8)], waiting=waiting).plan())) == [1]


def test_once_the_head_runs_the_first_by_size_that_does_not_fit_gets_the_reservation() -> None:
    waiting = [job(1, 4, estimate=HOUR), job(2, 5, estimate=2 * HOUR), job(3, 5, estimate=HOUR), job(4, 4)]
    decided = Case(nodes=[node(1, 8)], waiting=waiting).plan()
    assert list(started(decided)) == [1]
    assert [(reservation.job_id, reservation.start - NOW) for reservation in decided.reservations] == [
        (3, HOUR)
    ]


def test_each_pool_has_a_head_of_its_own() -> None:
    waiting = [job(1, 4), job(2, 4, family="A100"), job(3, 4, family="A100", estimate=MINUTE)]
    case = Case(nodes=[node(1, 8), node(2, 4, family="A100")], waiting=waiting)
    assert list(started(case.plan())) == [1, 2]


BACKFILL_ORDER = {
    "smallest GPU-seconds first": ([job(2, 4, estimate=HOUR), job(3, 2, estimate=HOUR)], [3, 2]),
    "one GPU for long before many for longer": (
        [job(2, 4, estimate=MINUTE), job(3, 1, estimate=HOUR)],
        [2, 3],
    ),
    "priority before size": ([job(2, 1, estimate=HOUR), job(3, 4, estimate=HOUR, priority=4)], [3, 2]),
    "the next of one shape before another shape": (
        [job(2, 2, estimate=10 * MINUTE), job(3, 2, estimate=20 * MINUTE), job(4, 1, estimate=HOUR)],
        [2, 3, 4],
    ),
    "no estimate comes last": ([job(2, 1), job(3, 4, estimate=HOUR)], [3, 2]),
    "no estimates in order": ([job(2, 4), job(3, 1)], [2, 3]),
}


@pytest.mark.parametrize(("waiting", "starts"), BACKFILL_ORDER.values(), ids=BACKFILL_ORDER)
def test_backfill_in_order(waiting: list[QueuedJob], starts: list[int]) -> None:
    head = job(1, 16, priority=1)
    busy = [running(9, {1: 8}, ends_in=2 * DAY), running(8, {2: 8}, ends_in=2 * DAY)]
    case = Case(nodes=[node(1, 0), node(2, 0), node(3, 6)], running=busy, waiting=[head, *waiting])
    decided = case.plan()
    assert list(started(decided)) == starts
    assert decided.reservations[0].node_ids == (1, 2)


def test_backfill_may_take_the_last_of_a_quota() -> None:
    case = Case(
        nodes=[node(1, 4), node(2, 0)],
        running=[running(9, {2: 8}, ends_in=HOUR), running(8, {1: 4}, ends_in=HOUR)],
        waiting=[job(1, 16), job(2, 2, tenant=7, estimate=MINUTE), job(3, 2, tenant=7, estimate=MINUTE)],
        tenants=[Tenant(id=7, quota=4)],
    )
    assert list(started(case.plan())) == [2, 3]


def test_a_kept_node_is_told_of_where_even_that_is_too_small() -> None:
    case = Case(
        nodes=[node(1, 5), node(2, 0), node(3, 3)],
        running=[running(9, {2: 8}, ends_in=HOUR), running(8, {1: 3}, ends_in=HOUR), running(7, {3: 5})],
        waiting=[job(1, 16), job(2, 8)],
    )
    assert case.plan().reservations[0].node_ids == (1, 2)
    assert reason_of(case, 2) == "FRAGMENTED: needs 8 H100 GPUs on one node; 8 idle, largest node has 5"


def test_a_reservation_keeps_what_is_idle_already() -> None:
    # Once job 9 ends three nodes would do; the one that is idle hangs on nobody's estimate.
    case = Case(
        nodes=[node(1, 0), node(2, 0), node(3, 8)],
        running=[running(9, {1: 8, 2: 8}, ends_in=HOUR)],
        waiting=[job(1, 16)],
    )
    assert case.plan().reservations[0].node_ids == (3, 1)


def test_a_gang_waits_for_the_last_of_many_nodes() -> None:
    case = Case(
        nodes=[node(1, 8), node(2, 8), node(3, 0)],
        running=[running(9, {3: 8}, ends_in=HOUR)],
        waiting=[job(1, 24)],
    )
    [reservation] = case.plan().reservations
    assert (reservation.start - NOW, sorted(reservation.node_ids)) == (HOUR, [1, 2, 3])


def test_a_gang_takes_its_rest_from_part_of_a_larger_node() -> None:
    case = Case(
        nodes=[node(1, 8), node(2, 0, owned=16)],
        running=[running(9, {2: 8}, ends_in=HOUR), running(8, {2: 8}, ends_in=DAY)],
        waiting=[job(1, 16)],
    )
    [reservation] = case.plan().reservations
    assert (reservation.start - NOW, sorted(reservation.node_ids)) == (HOUR, [1, 2])


def test_as_many_as_the_largest_node_has_are_one_nodes() -> None:
    case = Case(
        nodes=[node(1, 0), node(2, 0)],
        running=[running(9, {1: 4, 2: 4}, ends_in=HOUR), running(8, {1: 4, 2: 4}, ends_in=2 * HOUR)],
        waiting=[job(1, 8)],
    )
    [reservation] = case.plan().reservations
    assert (reservation.start - NOW, reservation.node_ids) == (2 * HOUR, (1,))


OVERRUNS = {
    "an estimate still good": (running(9, {1: 8}, since=HOUR, ends_in=HOUR), HOUR),
    "no estimate is a day": (running(9, {1: 8}, since=HOUR), DAY - HOUR),
    "half as long again once outlived": (running(9, {1: 8}, since=2 * HOUR, ends_in=-HOUR), HOUR),
    "never past its time limit": (
        running(9, {1: 8}, since=2 * HOUR, ends_in=-HOUR, limit=150 * MINUTE),
        30 * MINUTE,
    ),
    "a limit without an estimate": (running(9, {1: 8}, since=HOUR, limit=3 * HOUR), 2 * HOUR),
    "overdue: any moment": (running(9, {1: 8}, since=HOUR, limit=HOUR), 0),
}


@pytest.mark.parametrize(("busy", "start_in"), OVERRUNS.values(), ids=OVERRUNS)
def test_when_a_reservation_starts(busy: RunningJob, start_in: int) -> None:
    [reservation] = Case(nodes=[node(1, 0)], running=[busy], waiting=[job(1, 8)]).plan().reservations
    assert reservation.start - NOW == start_in


def test_a_reservation_counts_what_the_same_plan_starts() -> None:
    case = Case(nodes=[node(1, 8)], waiting=[job(1, 6, estimate=HOUR), job(2, 8)])
    [reservation] = case.plan().reservations
    assert (reservation.job_id, reservation.start - NOW) == (2, HOUR)


def test_what_a_cordoned_node_frees_is_not_counted_on() -> None:
    case = Case(
        nodes=[node(1, 0, up=False), node(2, 0)],
        running=[running(9, {1: 8}, ends_in=MINUTE), running(8, {2: 8}, ends_in=HOUR)],
        waiting=[job(1, 8)],
    )
    assert case.plan().reservations[0].node_ids == (2,)


def test_a_gpu_that_left_its_node_under_a_job_is_not_counted_on() -> None:
    # Eight are held on a node that owns four by now: no more than four come back.
    case = Case(
        nodes=[node(1, 0, owned=4), node(2, 0), node(3, 0)],
        running=[running(9, {1: 8}, ends_in=MINUTE), running(8, {2: 8, 3: 8}, ends_in=HOUR)],
        waiting=[job(1, 8)],
    )
    assert case.plan().reservations[0].node_ids == (2,)


def test_a_job_that_nothing_will_free_a_place_for_holds_nobody_up() -> None:
    case = Case(nodes=[node(1, 0, up=False), node(2, 4)], waiting=[job(1, 16), job(2, 4)])
    decided = case.plan()
    assert decided.reservations == ()
    assert started(decided) == {2: {2: 4}}


def test_families_and_clusters_do_not_hold_each_other_up() -> None:
    case = Case(
        nodes=[node(1, 4), node(2, 4, family="A100"), node(3, 4, cluster=2)],
        running=[running(9, {1: 4})],
        waiting=[job(1, 8), job(2, 4, family="A100"), job(3, 4, cluster=2)],
    )
    assert started(case.plan()) == {2: {2: 4}, 3: {3: 4}}


def test_an_untyped_job_goes_where_it_fits_most_snugly() -> None:
    nodes = [node(1, 8, family="A100"), node(2, 3), node(3, 8, family="L4")]
    assert started(Case(nodes=nodes, waiting=[job(1, 3, family=None)]).plan()) == {1: {2: 3}}


def test_an_untyped_job_reserves_where_it_starts_first() -> None:
    case = Case(
        nodes=[node(1, 0, family="A100"), node(2, 0)],
        running=[running(9, {1: 8}, ends_in=HOUR, family="A100"), running(8, {2: 8}, ends_in=MINUTE)],
        waiting=[job(1, 8, family=None)],
    )
    assert [reservation.pool for reservation in case.plan().reservations] == [(1, "H100")]


@pytest.mark.parametrize(("estimate", "starts"), [(2 * HOUR, {2: {1: 4}}), (2 * HOUR + 1, {})])
def test_an_untyped_job_is_promised_no_pool_while_another_has_room(
    estimate: int, starts: dict[int, dict[int, int]]
) -> None:
    case = Case(
        nodes=[node(1, 4), node(2, 0, owned=4, family="A100")],
        running=[running(9, {1: 4}, ends_in=2 * HOUR), running(8, {2: 4}, ends_in=HOUR, family="A100")],
        waiting=[job(1, 8), job(2, 4, family=None, estimate=estimate)],
    )
    decided = case.plan()
    assert started(decided) == starts
    promised = [(1, (1,))] if starts else [(2, (2,)), (1, (1,))]
    assert [(kept.job_id, kept.node_ids) for kept in decided.reservations] == promised


def test_an_untyped_job_may_borrow_only_where_it_ends_in_time() -> None:
    case = Case(
        nodes=[node(1, 4), node(2, 4, family="A100")],
        running=[running(9, {1: 4}, ends_in=MINUTE), running(8, {2: 4}, ends_in=HOUR, family="A100")],
        waiting=[job(1, 8), job(2, 8, family="A100"), job(3, 4, family=None, estimate=HOUR)],
    )
    assert started(case.plan()) == {3: {2: 4}}


def test_a_tenant_at_its_quota_holds_up_nobody_else() -> None:
    case = Case(
        nodes=[node(1, 8)],
        waiting=[job(1, 2, tenant=7), job(2, 2, tenant=7), job(3, 6, tenant=8)],
        tenants=[Tenant(id=7, quota=2), Tenant(id=8, quota=8)],
    )
    assert started(case.plan()) == {1: {1: 2}, 3: {1: 6}}


def test_quota_is_one_for_all_clusters() -> None:
    case = Case(
        nodes=[node(1, 8), node(2, 8, cluster=2)],
        waiting=[job(1, 4, tenant=7, cluster=2), job(2, 4, tenant=7)],
        tenants=[Tenant(id=7, quota=4)],
    )
    assert started(case.plan()) == {1: {2: 4}}


def test_a_lowered_quota_kills_nothing_and_starts_nothing() -> None:
    case = Case(
        nodes=[node(1, 4)],
        running=[running(9, {1: 4}, tenant=7)],
        waiting=[job(1, 1, tenant=7)],
        tenants=[Tenant(id=7, quota=2)],
    )
    assert case.plan().starts == []
    assert reason_of(case, 1) == "QUOTA_FULL: needs 1 GPU; tenant 7 uses 4 of its quota of 2"


BLOCKED_BEFORE = "EXCEEDS_TENANT_QUOTA: needs 8 GPUs; the quota of tenant 7 is 4"


def test_a_blocked_job_that_may_run_again_is_queued_and_started_at_once() -> None:
    case = Case(
        nodes=[node(1, 8)],
        waiting=[job(1, 8, tenant=7, blocked=BLOCKED_BEFORE)],
        tenants=[Tenant(id=7, quota=8)],
    )
    decided = case.plan()
    assert [unblock.job.id for unblock in decided.unblocks] == [1]
    assert started(decided) == {1: {1: 8}}


@pytest.mark.parametrize(("quota", "rewritten"), [(4, 0), (5, 1)], ids=["as before", "other numbers"])
def test_a_job_that_stays_blocked_is_rewritten_only_if_its_reason_changed(quota: int, rewritten: int) -> None:
    case = Case(
        nodes=[node(1, 8)],
        waiting=[job(1, 8, tenant=7, blocked=BLOCKED_BEFORE)],
        tenants=[Tenant(id=7, quota=quota)],
    )
    decided = case.plan()
    assert len(decided.blocks) == rewritten
    assert decided.reason_counts == {Code.EXCEEDS_TENANT_QUOTA: 1}
    assert decided.unblocks == []


@pytest.mark.parametrize("words", ["", "on hold until Monday", "NOTE: mine", "QUOTA_FULL: says the client"])
def test_what_a_client_blocked_is_the_clients_to_release(words: str) -> None:
    decided = Case(nodes=[node(1, 8)], waiting=[job(1, 1, blocked=words), job(2, 1)]).plan()
    assert list(started(decided)) == [2]
    assert (decided.unblocks, decided.processed) == ([], 1)


def test_a_job_without_a_tenant_has_no_quota() -> None:
    assert started(Case(nodes=[node(1, 8)], waiting=[job(1, 8)]).plan()) == {1: {1: 8}}


def test_the_log_counts_everyone() -> None:
    decided = BEHIND_A_GANG.plan()
    assert decided.processed == 5
    assert len(decided.starts) + sum(decided.reason_counts.values()) == 5


CHANGES = {
    "an idle GPU": Case(
        nodes=[node(1, 7), node(2, 0)], running=BEHIND_A_GANG.running, waiting=BEHIND_A_GANG.waiting
    ),
    "a node down": Case(
        nodes=[node(1, 8), node(2, 0, up=False)], running=BEHIND_A_GANG.running, waiting=BEHIND_A_GANG.waiting
    ),
    "a running job's estimate": Case(
        nodes=BEHIND_A_GANG.nodes, running=[running(9, {2: 8}, ends_in=HOUR)], waiting=BEHIND_A_GANG.waiting
    ),
    "a running job's limit": Case(
        nodes=BEHIND_A_GANG.nodes,
        running=[running(9, {2: 8}, ends_in=30 * MINUTE, limit=DAY)],
        waiting=BEHIND_A_GANG.waiting,
    ),
    "where it runs": Case(
        nodes=BEHIND_A_GANG.nodes,
        running=[running(9, {1: 4, 2: 4}, ends_in=30 * MINUTE)],
        waiting=BEHIND_A_GANG.waiting,
    ),
    "a tenant": Case(
        nodes=BEHIND_A_GANG.nodes,
        running=BEHIND_A_GANG.running,
        waiting=BEHIND_A_GANG.waiting,
        tenants=[Tenant(id=7, quota=1)],
    ),
    "a priority": Case(
        nodes=BEHIND_A_GANG.nodes,
        running=BEHIND_A_GANG.running,
        waiting=[job(1, 16, estimate=HOUR, priority=4), *list(BEHIND_A_GANG.waiting)[1:]],
    ),
    "an estimate": Case(
        nodes=BEHIND_A_GANG.nodes,
        running=BEHIND_A_GANG.running,
        waiting=[job(1, 16, estimate=HOUR + 1), *list(BEHIND_A_GANG.waiting)[1:]],
    ),
    "a job the less": Case(
        nodes=BEHIND_A_GANG.nodes, running=BEHIND_A_GANG.running, waiting=list(BEHIND_A_GANG.waiting)[1:]
    ),
}


@pytest.mark.parametrize("case", CHANGES.values(), ids=CHANGES)
def test_the_hash_covers_every_input(case: Case) -> None:
    assert case.plan().input_hash != BEHIND_A_GANG.plan().input_hash


def test_the_hash_covers_the_time_and_is_the_same_everywhere() -> None:
    snapshot = BEHIND_A_GANG.snapshot()
    assert plan(snapshot, NOW).input_hash != plan(snapshot, NOW + 1).input_hash
    # A golden value: the log of one replica must mean the same on another, and after a restart.
    assert plan(snapshot, NOW).input_hash == "6b7719dc9cf5de68b260432e0256719f"
