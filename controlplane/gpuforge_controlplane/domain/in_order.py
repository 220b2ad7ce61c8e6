"""The queue in order: jobs are placed first come, first served, until a pool meets one it cannot place."""

from collections import defaultdict
from collections.abc import Iterable
from heapq import heapify, heappop, heapreplace

from gpuforge_controlplane.domain.cycle import Cycle, PoolState
from gpuforge_controlplane.domain.durations import UNESTIMATED_S
from gpuforge_controlplane.domain.snapshot import Line, QueuedJob, Scope

# The next job of a line, and the line's number in the snapshot.
_Head = tuple[QueuedJob, int]


def place_in_order(cycle: Cycle, live: Iterable[tuple[int, Line]]) -> dict[int, int]:
    """Start jobs by (priority, submitted_at, id), in each pool until its reservation is granted.

    `live`: the lines that may run. Returns, by line number, how many of a line's jobs were started.
    """
    queue = _Queue(cycle, live)
    begun: dict[int, int] = {}
    while (head := queue.head()) is not None:
        (job, number), states = head
        if cycle.quota.left(job.tenant_id) < job.gpu_count:
            queue.drop_line()
        elif cycle.start(job, number, _where(cycle, job)):
            begun[number] = begun.get(number, 0) + 1
            queue.advance_line(begun[number])
        else:
            _reserve(cycle, job, states)
            # Nothing frees within a plan: the line's other jobs, being alike, cannot be placed either.
            queue.drop_line()
    return begun


def _where(cycle: Cycle, job: QueuedJob) -> list[tuple[PoolState, bool]]:
    """Every pool in which the job may run. In one that has its reservation it keeps to what is not kept
    for that, or ends before: a job of any family must not be promised one pool while another has room."""
    length = UNESTIMATED_S if job.estimate_s is None else job.estimate_s
    return [
        (state, state.reservation is not None and cycle.now + length <= state.reservation.start)
        for state in cycle.options(job.scope)
    ]


def _reserve(cycle: Cycle, job: QueuedJob, states: Iterable[PoolState]) -> None:
    found = [(state.earliest(job, cycle.now), state) for state in states]
    able = [(reservation.start, at) for at, (reservation, _) in enumerate(found) if reservation]
    if able:
        reservation, state = found[min(able)[1]]
        assert reservation is not None
        state.grant(reservation)


class _Queue:
    """Heads of lines in a heap for each scope, and the scopes in a heap by their first head.

    A scope whose pools all have their reservation leaves at once, however many lines it has.
    """

    __slots__ = ("_cycle", "_lines", "_scopes")

    def __init__(self, cycle: Cycle, live: Iterable[tuple[int, Line]]) -> None:
        self._cycle = cycle
        self._lines = cycle.snapshot.lines
        by_scope: dict[Scope, list[_Head]] = defaultdict(list)
        for number, line in live:
            # A tenant at its quota never enters a heap.
            if cycle.quota.left(line.tenant_id) >= line.gpu_count:
                by_scope[line.scope].append((line.jobs[0], number))
        for heads in by_scope.values():
            heapify(heads)
        self._scopes = [(heads[0], heads) for heads in by_scope.values()]
        heapify(self._scopes)

    def head(self) -> tuple[_Head, list[PoolState]] | None:
        """The first job in order that some pool without a reservation may still run."""
        while self._scopes:
            first, _ = self._scopes[0]
            states = [state for state in self._cycle.options(first[0].scope) if state.reservation is None]
            if states:
                return first, states
            heappop(self._scopes)
        return None

    def drop_line(self) -> None:
        """Take the line of the present head out."""
        _, heads = self._scopes[0]
        heappop(heads)
        self._settle(heads)

    def advance_line(self, to: int) -> None:
        """Put job number `to` of the present head's line in its place."""
        (_, number), heads = self._scopes[0]
        jobs = self._lines[number].jobs
        if to < len(jobs):
            heapreplace(heads, (jobs[to], number))
        else:
            heappop(heads)
        self._settle(heads)

    def _settle(self, heads: list[_Head]) -> None:
        if heads:
            heapreplace(self._scopes, (heads[0], heads))
        else:
            heappop(self._scopes)
