"""Where a job's GPUs come from: best fit on one node, whole nodes first for a gang."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

# A job of up to this many GPUs stays on one node, where the pool has nodes that large.
ONE_NODE_GPUS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeShare:
    """GPUs taken on one node."""

    node_id: int
    gpu_ids: Sequence[int]


class IdleNodes:
    """Idle GPUs of one (cluster, family), nodes in buckets by idle count, while one plan hands them out.

    Nothing frees within a plan, so a node only ever moves to a lower bucket. Nodes that are kept for
    a reservation sit in buckets of their own, which only a job that ends before it may ask for.
    Within a bucket the lowest node id goes first.
    """

    __slots__ = ("_idle", "_kept", "_owned", "_tiers", "largest_node", "owned", "total")

    def __init__(self, nodes: Iterable[tuple[int, int, Sequence[int]]]) -> None:
        """Take (node id, GPUs owned, ids of its idle GPUs) of every node of the pool."""
        self._owned: dict[int, int] = {}
        self._idle: dict[int, Sequence[int]] = {}
        self._kept: frozenset[int] = frozenset()
        for node_id, owned, gpu_ids in nodes:
            self._owned[node_id] = owned
            if gpu_ids:
                self._idle[node_id] = gpu_ids
        self.largest_node = max(self._owned.values(), default=0)
        self.owned = sum(self._owned.values())
        self.total = sum(map(len, self._idle.values()))
        self._tiers = self._bucketed()

    def keep(self, node_ids: Iterable[int]) -> None:
        """Set these nodes apart for a reservation."""
        self._kept = frozenset(node_ids)
        self._tiers = self._bucketed()

    def fits(self, count: int, *, kept: bool) -> bool:
        """Whether `count` GPUs can be had now, from kept nodes too if `kept`."""
        if self._best_fit(count, kept=kept):
            return True
        # Whole nodes, largest first, until one node holds the rest: that works exactly if all the
        # whole nodes and the best partly used one add up to enough.
        spread = self._whole_gpus(kept=kept) + self._largest_partial(kept=kept)
        return count > min(ONE_NODE_GPUS, self.largest_node) and count <= spread

    def take(self, count: int, *, kept: bool) -> tuple[NodeShare, ...]:
        """Take `count` GPUs, or none at all: () means that they do not fit."""
        if bucket := self._best_fit(count, kept=kept):
            return (self._take_from(heappop(bucket), count),)
        if not self.fits(count, kept=kept):
            return ()
        shares: list[NodeShare] = []
        while count:
            bucket = self._best_fit(count, kept=kept) or self._largest_whole(kept=kept)
            share = self._take_from(heappop(bucket), count)
            shares.append(share)
            count -= len(share.gpu_ids)
        return tuple(shares)

    def largest(self) -> int:
        """Idle GPUs of the node that has most of them, kept ones included."""
        for idle in range(self.largest_node, 0, -1):
            if any(tier[idle] for tier in self._tiers):
                return idle
        return 0

    def whole_nodes(self) -> int:
        """Nodes that are wholly idle, kept ones included."""
        return sum(len(bucket) for tier in self._tiers[2:] for bucket in tier)

    def snugness(self, count: int, *, kept: bool) -> int:
        """Idle GPUs of the node that `count` would go to; for a gang, all that it takes."""
        bucket = self._best_fit(count, kept=kept)
        return len(self._idle[bucket[0]]) if bucket else count

    def counts(self) -> dict[int, int]:
        """Idle GPUs of every node that has any."""
        return {node_id: len(gpu_ids) for node_id, gpu_ids in self._idle.items()}

    def _bucketed(self) -> tuple[list[list[int]], ...]:
        # Tiers: kept and partly used, free and partly used, kept and whole, free and whole. Whole nodes
        # are what gangs need, free ones what jobs of unknown length need.
        tiers: tuple[list[list[int]], ...] = tuple(
            [[] for _ in range(self.largest_node + 1)] for _ in range(4)
        )
        for node_id, gpu_ids in self._idle.items():
            tiers[2 * self._is_whole(node_id) + (node_id not in self._kept)][len(gpu_ids)].append(node_id)
        for tier in tiers:
            for bucket in tier:
                heapify(bucket)
        return tiers

    def _whole_gpus(self, *, kept: bool) -> int:
        tiers = self._tiers[2:] if kept else self._tiers[3:]
        return sum(size * len(bucket) for tier in tiers for size, bucket in enumerate(tier))

    def _largest_partial(self, *, kept: bool) -> int:
        tiers = self._tiers[0:2] if kept else self._tiers[1:2]
        return max((idle for tier in tiers for idle, bucket in enumerate(tier) if bucket), default=0)

    def _best_fit(self, count: int, *, kept: bool) -> list[int] | None:
        free = self._fullest(count, self._tiers[1::2])
        borrowed = self._fullest(count, self._tiers[0::2]) if kept else None
        if borrowed is None or free is None:
            return borrowed or free
        # Who may borrow leaves the free nodes to those who may not, unless that breaks up a whole node.
        return free if self._is_whole(borrowed[0]) and not self._is_whole(free[0]) else borrowed

    def _fullest(self, count: int, tiers: Sequence[list[list[int]]]) -> list[int] | None:
        for idle in range(count, self.largest_node + 1):
            for tier in tiers:
                if tier[idle]:
                    return tier[idle]
        return None

    def _is_whole(self, node_id: int) -> bool:
        return len(self._idle[node_id]) == self._owned[node_id]

    def _largest_whole(self, *, kept: bool) -> list[int]:
        tiers = self._tiers[2:] if kept else self._tiers[3:]
        return next(tier[size] for size in range(self.largest_node, 0, -1) for tier in tiers if tier[size])

    def _take_from(self, node_id: int, count: int) -> NodeShare:
        gpu_ids = self._idle[node_id]
        taken, left = gpu_ids[:count], gpu_ids[count:]
        self.total -= len(taken)
        if left:
            self._idle[node_id] = left
            heappush(self._tiers[node_id not in self._kept][len(left)], node_id)
        else:
            del self._idle[node_id]
        return NodeShare(node_id=node_id, gpu_ids=taken)
