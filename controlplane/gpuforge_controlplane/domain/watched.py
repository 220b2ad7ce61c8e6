"""What alert rules look at: a picture of the fleet, its tenants and its money. Times: seconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from gpuforge_controlplane.domain.fleet import OFFLINE_AFTER

FRESH_S = OFFLINE_AFTER.total_seconds()  # a heartbeat or a sample older than this is none


class Cluster(NamedTuple):
    """A cluster. `mean_pct`: utilisation of its reporting GPUs over 15 min; None where that is unknown."""

    id: int
    name: str
    mean_pct: float | None = None
    oldest_queued_at: float | None = None


class Node(NamedTuple):
    """A node that is not retired."""

    id: int
    cluster_id: int
    hostname: str
    heard_at: float


class Gpu(NamedTuple):
    """A GPU in place. `reported_at`: its latest sample, or its registration if none came yet."""

    id: int
    node_id: int
    gpu_index: int
    reported_at: float
    temperature_c: float | None = None
    faults: tuple[str, ...] = ()
    utilization_pct: float | None = None


class Holding(NamedTuple):
    """A GPU that a job holds. `mean_pct`: its utilisation over 30 min, None where no telemetry tells."""

    gpu_id: int
    job_id: int
    tenant_id: int | None
    since: float
    family: str
    mean_pct: float | None = None


class Tenant(NamedTuple):
    """An active tenant. `budget_pct`: the highest part of this month's budget that is crossed, 0: none, None:
    there is no budget; `budget_told_pct`: the highest that an event told of."""

    id: int
    name: str
    quota: int
    in_use: int
    budget_pct: int | None = None
    budget_told_pct: int = 0


class Invoice(NamedTuple):
    """An invoice that is neither paid nor void."""

    id: int
    number: str
    tenant_id: int | None
    due_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """All of it at one moment.

    `hearing_since`: from when on a heartbeat or a sample would have been heard without a break. After an
    outage of our own everything looks silent.
    """

    hearing_since: float
    clusters: Sequence[Cluster] = ()
    nodes: Sequence[Node] = ()
    gpus: Sequence[Gpu] = ()
    holdings: Sequence[Holding] = ()
    tenants: Sequence[Tenant] = ()
    invoices: Sequence[Invoice] = ()
    usage_owed_since: float | None = None  # when the meter should have written what it has not; None: nothing


class View:
    """What is watched, with what rules ask of it again and again."""

    def __init__(self, watched: Watched, now: float) -> None:
        self.watched = watched
        self.now = now
        # Long enough at the ear: whoever is silent now is silent indeed.
        self.listening = now - watched.hearing_since >= FRESH_S

    @cached_property
    def clusters(self) -> Mapping[int, Cluster]:
        return {cluster.id: cluster for cluster in self.watched.clusters}

    @cached_property
    def nodes(self) -> Mapping[int, Node]:
        return {node.id: node for node in self.watched.nodes}

    @cached_property
    def gpus(self) -> Mapping[int, Gpu]:
        return {gpu.id: gpu for gpu in self.watched.gpus}

    @cached_property
    def holdings(self) -> Mapping[int, Holding]:
        return {holding.gpu_id: holding for holding in self.watched.holdings}

    @cached_property
    def tenants(self) -> Mapping[int, Tenant]:
        return {tenant.id: tenant for tenant in self.watched.tenants}

    @cached_property
    def invoices(self) -> Mapping[int, Invoice]:
        return {invoice.id: invoice for invoice in self.watched.invoices}

    @cached_property
    def silent(self) -> frozenset[int]:
        """Nodes without a fresh heartbeat."""
        return frozenset(node.id for node in self.watched.nodes if self.now - node.heard_at > FRESH_S)

    @cached_property
    def down(self) -> frozenset[int]:
        """Silent nodes that would have been heard: alerts about their GPUs are held back."""
        return self.silent if self.listening else frozenset()

    @cached_property
    def gpus_by_node(self) -> Mapping[int, Sequence[Gpu]]:
        found: dict[int, list[Gpu]] = {node_id: [] for node_id in self.nodes}
        for gpu in self.watched.gpus:
            if gpu.node_id in found:
                found[gpu.node_id].append(gpu)
        return found

    @cached_property
    def fresh(self) -> frozenset[int]:
        """GPUs that still report, by way of a node that does."""
        since, silent = self.now - FRESH_S, self.silent
        return frozenset(
            gpu.id for gpu in self.watched.gpus if gpu.reported_at >= since and gpu.node_id not in silent
        )
