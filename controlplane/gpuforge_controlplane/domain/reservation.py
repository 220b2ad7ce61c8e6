"""The earliest start of a job that cannot be placed now, and the nodes kept for it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import merge
from itertools import groupby, takewhile
from operator import itemgetter

from gpuforge_controlplane.domain.durations import re_estimated_end
from gpuforge_controlplane.domain.placement import ONE_NODE_GPUS, IdleNodes
from gpuforge_controlplane.domain.snapshot import Pool, PoolKey

# An expected end: (seconds since the epoch, job id, what it frees as (node id, GPUs)).
End = tuple[float, int, tuple[tuple[int, int], ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """The promise to the first job, in order, that could not be placed in a pool."""

    pool: PoolKey
    job_id: int
    gpu_count: int
    start: float  # earliest, by the estimates: seconds since the epoch
    node_ids: tuple[int, ...]  # kept for it; a job that ends before `start` may borrow them


def expected_ends(pool: Pool, started: Iterable[End], now: float) -> Iterator[End]:
    """Ends of the pool's running jobs and of those `started` in this plan, soonest first."""
    overrun = [job for _, _, job in takewhile(lambda entry: entry[0] <= now, pool.running)]
    believed = ((end, job_id, job.held) for end, job_id, job in pool.running[len(overrun) :])
    mended = ((re_estimated_end(job.started_at, job.time_limit_s, now), job.id, job.held) for job in overrun)
    return merge(believed, sorted([*mended, *started]))


class Outlook:
    """Which GPUs of a pool are idle as time passes and jobs end."""

    __slots__ = ("_idle", "_largest", "_limit", "_now", "_owned", "_whole")

    def __init__(self, owned: Mapping[int, int], idle: Mapping[int, int]) -> None:
        """`owned`: GPUs of every schedulable node, by id; `idle`: of them idle now."""
        self._owned = owned
        self._now = idle
        self._idle = dict(idle)
        self._limit = min(ONE_NODE_GPUS, max(owned.values(), default=0))
        self._whole = sum(count for node_id, count in idle.items() if count >= owned[node_id])
        self._largest = max(idle.values(), default=0)

    def earliest(self, count: int, ends: Iterable[End]) -> tuple[float, tuple[int, ...]] | None:
        """When and on which nodes `count` GPUs can be had, or None if no end of a job brings that."""
        for at, together in groupby(ends, key=itemgetter(0)):
            grown = self._free(together)
            node_ids = self._on_one_node(count, grown) if count <= self._limit else self._on_several(count)
            if node_ids:
                return at, node_ids
        return None

    def _free(self, ends: Iterable[End]) -> list[int]:
        grown: list[int] = []
        for _, _, held in ends:
            for node_id, gpus in held:
                # What a cordoned or lost node frees is nobody's.
                owned = self._owned.get(node_id)
                if owned is None:
                    continue
                # A GPU may have left its node under the job: no node frees more than it owns.
                before = self._idle.get(node_id, 0)
                idle = self._idle[node_id] = min(owned, before + gpus)
                self._whole += owned if before < idle == owned else 0
                self._largest = max(self._largest, idle)
                grown.append(node_id)
        return grown

    def _on_one_node(self, count: int, grown: Iterable[int]) -> tuple[int, ...]:
        # Only a node that has just grown can hold what no node could hold before.
        able = [node_id for node_id in grown if self._idle[node_id] >= count]
        return self._choose(count, able) if able else ()

    def _on_several(self, count: int) -> tuple[int, ...]:
        # A cheap upper bound first: choosing costs a pass over the nodes.
        if self._whole + self._largest < count:
            return ()
        return self._choose(count, self._idle)

    def _choose(self, count: int, node_ids: Iterable[int]) -> tuple[int, ...]:
        # Of nodes that would do equally well, those with most idle already: what is idle now hangs on
        # nobody's estimate, and the next plan chooses the same ones, so that they fill up no more.
        ranked = sorted(node_ids, key=lambda node_id: (-self._now.get(node_id, 0), node_id))
        nodes = (
            (rank, self._owned[node_id], range(self._idle[node_id])) for rank, node_id in enumerate(ranked)
        )
        return tuple(ranked[share.node_id] for share in IdleNodes(nodes).take(count, kept=True))
