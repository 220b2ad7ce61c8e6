"""What the scheduler sees: one immutable view of nodes, tenants, running jobs and the queue."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from gpuforge_controlplane.domain.durations import believed_end
from gpuforge_controlplane.domain.quota import Tenant, in_use

# A pool is the nodes of one GPU family in one cluster: no job spans two.
PoolKey = tuple[int, str]

# A scope is where a job may run: (cluster, family), or (cluster, None) for any one family of it.
Scope = tuple[int, str | None]


# These three are tuples, not dataclasses, because a snapshot may hold 100,000 of each: storage reads
# columns in this order and calls `_make` on its rows.
class Node(NamedTuple):
    """A node's GPUs of one family. A node with two families appears once for each."""

    id: int
    cluster_id: int
    family: str
    owned: int  # GPUs of this family, healthy or not: what the cluster owns
    schedulable: bool  # active, not cordoned, heartbeat fresh
    idle_gpu_ids: tuple[int, ...]  # healthy and not allocated; () where not schedulable


class RunningJob(NamedTuple):
    """A running job and what it holds."""

    id: int
    tenant_id: int | None
    cluster_id: int
    family: str
    started_at: float  # seconds since the epoch, as all times here
    estimate_s: int | None
    time_limit_s: int | None
    held: tuple[tuple[int, int], ...]  # (node id, GPUs held there)

    @property
    def gpu_count(self) -> int:
        """GPUs the job holds."""
        return sum(count for _, count in self.held)


class QueuedJob(NamedTuple):
    """A waiting job. The first three fields are the order of the queue: tuples compare by it."""

    priority: int  # 1..10, 1 first
    submitted_at: float
    id: int
    cluster_id: int
    family: str | None  # None: any one family of the cluster
    gpu_count: int
    tenant_id: int | None  # None: no quota applies
    estimate_s: int | None  # seconds it is expected to run, cut to its time limit
    block_reason: str | None = None  # None: queued; else blocked, with this text

    @property
    def scope(self) -> Scope:
        """Where the job may run."""
        return self.cluster_id, self.family


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Waiting jobs that differ in nothing but order and estimate: what is decided once for all of them."""

    scope: Scope
    gpu_count: int
    tenant_id: int | None
    block_reason: str | None
    jobs: Sequence[QueuedJob]  # in the order of the queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One family of one cluster."""

    key: PoolKey
    nodes: Sequence[Node]  # by id
    running: Sequence[tuple[float, int, RunningJob]]  # (believed end, job id, job), soonest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An indexed view; build it with `snapshot_of`, so that equal input gives an equal view."""

    pools: Mapping[PoolKey, Pool]  # by key
    owned: Mapping[int, Mapping[str, int]]  # GPUs of each cluster by family, healthy or not
    tenants: Mapping[int, Tenant]
    used: Mapping[int | None, int]  # GPUs in use by tenant
    lines: Sequence[Line]
    waiting: int  # jobs in all lines
    digest: bytes  # covers every field of every row

    def tenant(self, tenant_id: int | None) -> Tenant | None:
        """The tenant to check a job against; None where no quota applies.

        One that is gone since the job was read is as good as inactive.
        """
        if tenant_id is None:
            return None
        return self.tenants.get(tenant_id) or Tenant(id=tenant_id, quota=0, active=False)

    def pool_keys(self, scope: Scope) -> list[PoolKey]:
        """The pools in which a job of this scope may run."""
        cluster_id, family = scope
        if family is None:
            return [(cluster_id, known) for known in self.owned.get(cluster_id, ())]
        return [(cluster_id, family)] if (cluster_id, family) in self.pools else []


def snapshot_of(
    nodes: Iterable[Node],
    tenants: Iterable[Tenant],
    running: Iterable[RunningJob],
    waiting: Iterable[QueuedJob],
) -> Snapshot:
    """Index rows, in any order, into a snapshot. Sorting is cheap where the rows come sorted."""
    in_order = sorted(waiting, key=_queue_order)
    lines = _lines(in_order)
    ended = sorted((believed_end(*job[4:7]), job.id, job) for job in running)
    pools = _pools(sorted(nodes), ended)
    known = {tenant.id: tenant for tenant in sorted(tenants, key=lambda tenant: tenant.id)}
    owned: dict[int, dict[str, int]] = defaultdict(dict)
    for (cluster_id, family), pool in pools.items():
        owned[cluster_id][family] = sum(node.owned for node in pool.nodes)
    return Snapshot(
        pools=pools,
        owned=dict(owned),
        tenants=known,
        used=in_use((job.tenant_id, job.gpu_count) for _, _, job in ended),
        lines=lines,
        waiting=len(in_order),
        digest=_digest(pools, known, lines),
    )


def _queue_order(job: QueuedJob) -> tuple[int, float, int]:
    return job[:3]


def _lines(in_order: Iterable[QueuedJob]) -> list[Line]:
    groups: dict[tuple[int, str | None, int, int | None, str | None], list[QueuedJob]] = {}
    for job in in_order:
        key = (job[3], job[4], job[5], job[6], job[8])
        group = groups.get(key)
        if group is None:
            groups[key] = [job]
        else:
            group.append(job)
    return [
        Line(scope=(cluster, family), gpu_count=count, tenant_id=tenant, block_reason=reason, jobs=jobs)
        for (cluster, family, count, tenant, reason), jobs in groups.items()
    ]


def _pools(nodes: Iterable[Node], ended: Iterable[tuple[float, int, RunningJob]]) -> dict[PoolKey, Pool]:
    nodes_of: dict[PoolKey, list[Node]] = defaultdict(list)
    for node in nodes:
        nodes_of[node.cluster_id, node.family].append(node)
    running_of: dict[PoolKey, list[tuple[float, int, RunningJob]]] = defaultdict(list)
    for entry in ended:
        running_of[entry[2].cluster_id, entry[2].family].append(entry)
    return {
        key: Pool(key=key, nodes=nodes_of[key], running=running_of.get(key, ())) for key in sorted(nodes_of)
    }


def _digest(pools: Mapping[PoolKey, Pool], tenants: Mapping[int, Tenant], lines: Iterable[Line]) -> bytes:
    digest = blake2b(digest_size=16)
    for pool in pools.values():
        digest.update(repr((pool.key, pool.nodes, pool.running)).encode())
    digest.update(repr(list(tenants.values())).encode())
    # The queue is the long part: its per-job columns go in as machine words, six times as fast as text.
    for line in lines:
        priorities, submitted, ids, *_, estimates, _ = zip(*line.jobs, strict=True)
        digest.update(repr((line.scope, line.gpu_count, line.tenant_id, line.block_reason)).encode())
        digest.update(array("q", ids))
        digest.update(bytes(priorities))
        digest.update(array("d", submitted))
        digest.update(array("q", [-1 if estimate is None else estimate for estimate in estimates]))
    return digest.digest()
