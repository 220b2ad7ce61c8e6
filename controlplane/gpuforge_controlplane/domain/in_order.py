"""A cycle's order: the head of the queue, then by size, until a pool meets a job that it cannot place."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heapreplace
from itertools import islice
from math import inf
from operator import itemgetter

from gpuforge_controlplane.domain.cycle import Cycle, PoolState
from gpuforge_controlplane.domain.durations import UNESTIMATED_S
from gpuforge_controlplane.domain.size import Key, size_key
from gpuforge_controlplane.domain.snapshot import Line, QueuedJob, Scope

# A job behind what it is sorted by, or None for jobs that come no sooner than that and are not sorted yet.
_Entry = tuple[Key, QueuedJob | None]
# The next entry of a line, the line's number in the snapshot, and the entries behind. No two numbers are
# equal, so that nothing behind them is ever compared.
_Lines = list[tuple[_Entry, int, Iterator[_Entry]]]
_Sorting = Callable[[Sequence[QueuedJob]], Iterator[_Entry]]

_priority = itemgetter(0)


def place_in_order(cycle: Cycle, live: Sequence[tuple[int, Line]]) -> None:
    """Start jobs, in each pool until its reservation is granted. `live`: the lines that may run.

    First the head of each pool's queue by (priority, submitted_at, id): nobody overtakes it, and where it
    cannot be placed the reservation is its own. Then by size: were the others taken by age as well,
    whatever a large end frees would go to the oldest, however long they keep it.
    """
    _place(cycle, _Queue(cycle, live, _by_age, lambda state: state.untouched))
    _place(cycle, _Queue(cycle, live, _by_size, lambda state: state.reservation is None))


def _place(cycle: Cycle, queue: "_Queue") -> None:
    while (first := queue.first()) is not None:
        job, number, states = first
        if cycle.quota.left(job.tenant_id) < job.gpu_count:
            queue.drop_line()
        elif cycle.start(job, number, _where(cycle, job)):
            queue.advance_line()
        else:
            _reserve(cycle, job, number, states)
            # Nothing frees within a plan: the line's other jobs, being alike, cannot be placed either.
            queue.drop_line()


def _by_age(jobs: Sequence[QueuedJob]) -> Iterator[_Entry]:
    return (((job[0], False, 0, job[1], job[2]), job) for job in jobs)


def _by_size(jobs: Sequence[QueuedJob]) -> Iterator[_Entry]:
    # Jobs of a line ask for equally many GPUs and come by priority: few of what may be 100,000 are sorted.
    first = 0
    while first < len(jobs):
        priority = jobs[first].priority
        yield (priority, False, -1, 0.0, 0), None
        last = bisect_right(jobs, priority, first, key=_priority)
        for job in sorted(jobs[first:last], key=_estimate):
            yield size_key(job), job
        first = last


def _estimate(job: QueuedJob) -> float:
    return inf if job[7] is None else job[7]


def _where(cycle: Cycle, job: QueuedJob) -> list[tuple[PoolState, bool]]:
    """Every pool in which the job may run. In one that has its reservation it keeps to what is not kept
    for that, or ends before: a job of any family must not be promised one pool while another has room."""
    length = UNESTIMATED_S if job.estimate_s is None else job.estimate_s
    return [
        (state, state.reservation is not None and cycle.now + length <= state.reservation.start)
        for state in cycle.options(job.scope)
    ]


def _reserve(cycle: Cycle, job: QueuedJob, line: int, states: Iterable[PoolState]) -> None:
    found = [(state.earliest(job, cycle.now), state) for state in states]
    able = [(reservation.start, at) for at, (reservation, _) in enumerate(found) if reservation]
    if able:
        reservation, state = found[min(able)[1]]
        assert reservation is not None
        cycle.promise(state, reservation, line)


class _Queue:
    """First jobs of lines in a heap for each scope, and the scopes in a heap by their first job.

    A scope of which no pool is open any more leaves at once, however many lines it has.
    """

    __slots__ = ("_cycle", "_is_open", "_scopes")

    def __init__(
        self,
        cycle: Cycle,
        live: Iterable[tuple[int, Line]],
        sorting: _Sorting,
        is_open: Callable[[PoolState], bool],
    ) -> None:
        self._cycle = cycle
        self._is_open = is_open
        by_scope: dict[Scope, _Lines | None] = {}
        for number, line in live:
            if line.scope not in by_scope:
                by_scope[line.scope] = [] if self._open(line.scope) else None
            lines = by_scope[line.scope]
            # A tenant at its quota never enters a heap.
            if lines is not None and cycle.quota.left(line.tenant_id) >= line.gpu_count:
                entries = sorting(cycle.undecided(number, line))
                lines.extend((first, number, entries) for first in islice(entries, 1))
        heaps = [lines for lines in by_scope.values() if lines]
        for lines in heaps:
            heapify(lines)
        self._scopes = [(lines[0][0], lines) for lines in heaps]
        heapify(self._scopes)

    def first(self) -> tuple[QueuedJob, int, list[PoolState]] | None:
        """The first job that an open pool may run, its line's number, and those pools."""
        while self._scopes:
            (_, job), lines = self._scopes[0]
            number = lines[0][1]
            states = self._open(self._cycle.snapshot.lines[number].scope)
            if not states:
                heappop(self._scopes)
            elif job is None:
                self.advance_line()
            else:
                return job, number, states
        return None

    def drop_line(self) -> None:
        """Take the line of the present first job out."""
        _, lines = self._scopes[0]
        heappop(lines)
        self._settle(lines)

    def advance_line(self) -> None:
        """Put the line's next entry in place of the present first one."""
        _, lines = self._scopes[0]
        _, number, entries = lines[0]
        following = next(entries, None)
        if following is None:
            heappop(lines)
        else:
            heapreplace(lines, (following, number, entries))
        self._settle(lines)

    def _open(self, scope: Scope) -> list[PoolState]:
        return [state for state in self._cycle.options(scope) if self._is_open(state)]

    def _settle(self, lines: _Lines) -> None:
        if lines:
            heapreplace(self._scopes, (lines[0][0], lines))
        else:
            heappop(self._scopes)
