"""Backfill: who may start behind a reservation, smallest estimated GPU-seconds first."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heapreplace
from math import inf

from gpuforge_controlplane.domain.cycle import Cycle, PoolState
from gpuforge_controlplane.domain.durations import UNESTIMATED_S
from gpuforge_controlplane.domain.size import Key, size_key
from gpuforge_controlplane.domain.snapshot import Line, QueuedJob, Scope

_Where = tuple[tuple[PoolState, bool], ...]
_Candidates = list[tuple[Key, QueuedJob]]


def backfill(cycle: Cycle, live: Iterable[tuple[int, Line]]) -> None:
    """Start what fits now without delaying a reservation. `live`: the lines that may run."""
    queue = _queue(cycle, live)
    while queue:
        _, number, where, candidates = queue[0]
        _, job = heappop(candidates)
        # Nothing frees within a plan: where one of these fails, all its like fail.
        allowed = cycle.quota.left(job.tenant_id) >= job.gpu_count
        if allowed and cycle.start(job, number, where) and candidates:
            heapreplace(queue, (candidates[0][0], number, where, candidates))
        else:
            heappop(queue)


def _queue(cycle: Cycle, live: Iterable[tuple[int, Line]]) -> list[tuple[Key, int, _Where, _Candidates]]:
    queue: list[tuple[Key, int, _Where, _Candidates]] = []
    ways: dict[tuple[Scope, int], _Ways] = {}
    for number, line in live:
        shape = line.scope, line.gpu_count
        known = ways.get(shape)
        if known is None:
            known = ways[shape] = _Ways(cycle.options(line.scope), line.gpu_count, cycle.now)
        if known.open_to_none or cycle.quota.left(line.tenant_id) < line.gpu_count:
            continue
        jobs = cycle.undecided(number, line)
        queue.extend((heap[0][0], number, where, heap) for where, heap in known.candidates(jobs))
    heapify(queue)
    return queue


class _Ways:
    """Where jobs of one shape may go, by how long they are.

    With the pools' distances to their reservations in ascending order, a job longer than k of them
    may borrow kept nodes in all but those k pools.
    """

    __slots__ = ("_distances", "_wheres", "open_to_none")

    def __init__(self, states: Iterable[PoolState], count: int, now: float) -> None:
        pools = [(s.reservation.start - now if s.reservation else inf, s) for s in states]
        self._distances = sorted(distance for distance, _ in pools)
        self._wheres: list[_Where] = []
        for length in [*self._distances, inf]:
            where = tuple((state, distance >= length) for distance, state in pools)
            if not any(state.idle.fits(count, kept=kept) for state, kept in where):
                break
            self._wheres.append(where)
        self.open_to_none = not self._wheres

    def candidates(self, jobs: Sequence[QueuedJob]) -> Iterator[tuple[_Where, _Candidates]]:
        """The jobs that can start somewhere, in heaps by what they may borrow."""
        longest = self._distances[len(self._wheres) - 1] if len(self._wheres) <= len(self._distances) else inf
        heaps: list[_Candidates] = [[] for _ in self._wheres]
        for job in jobs:
            length = UNESTIMATED_S if job[7] is None else job[7]
            if length <= longest:
                heaps[bisect_left(self._distances, length)].append((size_key(job), job))
        for where, heap in zip(self._wheres, heaps, strict=True):
            if heap:
                heapify(heap)
                yield where, heap
