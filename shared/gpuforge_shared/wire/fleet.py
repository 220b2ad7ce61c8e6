"""Clusters, nodes, GPUs and their metrics on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing\'s own from 3.12 on only

from gpuforge_shared.wire.base import (
    Address,
    AgentBody,
    Count,
    HumanBody,
    Id,
    Instant,
    Name,
    PageQuery,
    Text,
    Whole,
)
from gpuforge_shared.wire.jobs import JobRecord

ClusterStatus = Literal["active", "degraded", "offline"]
NodeState = Literal["active", "cordoned", "draining"]  # what an operator wants
NodeStatus = Literal["active", "cordoned", "draining", "offline", "retired"]  # what is
GpuStatus = Literal["active", "idle", "unhealthy", "offline"]

MAX_GPUS_PER_CALL = 1024
MAX_METRICS_PER_CALL = 10_000


class ClusterCreate(HumanBody):
    """POST /api/clusters."""

    name: Name = Field(description="Human-readable cluster name.")
    region: Text | None = Field(default=None, description='AWS-style region code, e.g. "us-east-1".')


class ClusterRecord(TypedDict):
    """A cluster with its live counts. `active_jobs` counts running jobs."""

    id: int
    name: str
    region: str | None
    status: ClusterStatus
    node_count: int
    gpu_count: int
    active_jobs: int
    queued_jobs: int
    created_at: datetime


class ClusterCreated(ClusterRecord):
    """The record, and the raw key its agents use: in this one answer and nowhere else."""

    api_key: str


class NodeRegister(AgentBody):
    """POST /api/clusters/nodes: registration and heartbeat. Absent fields keep their value."""

    cluster_id: Id = Field(description="Parent cluster ID.")
    hostname: Name = Field(description="Unique node hostname.")
    ip_address: Address | None = Field(default=None, description="Node IP address.")
    total_gpus: Annotated[int, Field(ge=0, le=MAX_GPUS_PER_CALL)] | None = Field(
        default=None, description="Number of GPUs on this node."
    )
    cpu_cores: Count | None = Field(default=None, description="CPU core count.")
    ram_gb: Count | None = Field(default=None, description="RAM in GB.")
    agent_version: Text | None = Field(default=None, description="Version of the agent that calls.")
    clock_offset_s: Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)] | None = Field(
        default=None, description="The node's clock minus the control plane's, seconds, by its agent."
    )
    queued_samples: Whole | None = Field(default=None, description="Samples that wait at the agent.")
    dropped_samples: Whole | None = Field(
        default=None, description="Samples that the agent lost: its queue was full, or damaged."
    )
    gap_since: Instant | None = Field(default=None, description="Of the last loss, its oldest sample.")
    gap_until: Instant | None = Field(
        default=None, description="Of the last loss, where it ends: the oldest sample that was kept."
    )


class NodeUpdate(HumanBody):
    """PATCH /api/clusters/nodes/{id}."""

    state: NodeState = Field(description="cordoned: no new jobs; draining: the same, and empties; active.")


class GpuObject(AgentBody):
    """One GPU of POST /api/clusters/gpus. `gpu_index` defaults to the object's position in the array."""

    gpu_index: Annotated[int, Field(ge=0, lt=MAX_GPUS_PER_CALL)] | None = Field(
        default=None, description="0-based GPU index on the node (default: position in the array)."
    )
    model: Text | None = Field(default=None, description='GPU model string, e.g. "NVIDIA H100 80GB".')
    vram_mb: Count | None = Field(default=None, description="VRAM in MB.")
    uuid: Name | None = Field(default=None, description="NVML UUID: a card that moves keeps its history.")


class GpuRegister(AgentBody):
    """POST /api/clusters/gpus: idempotent per `(node_id, gpu_index)` and per UUID."""

    node_id: Id = Field(description="Parent node ID.")
    gpus: Annotated[list[GpuObject], Field(min_length=1, max_length=MAX_GPUS_PER_CALL)] = Field(
        description="GPU objects."
    )


class GpuRecord(TypedDict):
    """A GPU with its latest metrics flat; null where unknown, with the reason in `missing`."""

    id: int
    node_id: int
    gpu_index: int | None
    uuid: str | None
    model: str | None
    vram_mb: int | None
    status: GpuStatus
    utilization_pct: float | None
    memory_used_mb: int | None
    memory_total_mb: int | None
    temperature_c: float | None
    power_draw_w: float | None
    recorded_at: datetime | None
    missing: dict[str, str]
    job_id: int | None  # the job that holds it; allocated is not active, so both are shown


class NodeRecord(TypedDict):
    """A node. `state` is what the operator set, `status` adds what the heartbeat tells."""

    id: int
    cluster_id: int
    hostname: str
    ip_address: str | None
    state: NodeState
    status: NodeStatus
    total_gpus: int | None
    cpu_cores: int | None
    ram_gb: int | None
    agent_version: str | None
    clock_offset_s: float | None  # the node's clock minus ours
    clock_is_off: bool | None  # by more than 30 s; null where it was not measured
    queued_samples: int | None  # at the node, as it said last
    dropped_samples: int | None
    gap_since: datetime | None
    gap_until: datetime | None
    last_heartbeat_at: datetime
    created_at: datetime


class NodeDetail(NodeRecord):
    """A node with all its GPUs: how an agent that restarts learns their ids."""

    gpus: list[GpuRecord]


class ClusterDetail(ClusterRecord):
    """GET /api/clusters/{id}."""

    nodes: list[NodeDetail]
    recent_jobs: list[JobRecord]


# The hot path: 10,000 samples a second go through these, so msgspec, not pydantic. Bounds are the
# contract's; NaN and infinities are not JSON and are told apart from broken JSON by services/ingest.

_Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
_Amount = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
_Megabytes = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
# No control characters: PostgreSQL's JSON refuses NUL, for all whose samples share the transaction.
_Word = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[^\x00-\x1f\x7f-\x9f]*(?!\n)$")]


class Metric(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One sample of one GPU. None = could not be read; `missing` says why, by field name."""

    gpu_id: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    utilization_pct: _Percent | None = None
    memory_used_mb: _Megabytes | None = None
    memory_total_mb: _Megabytes | None = None
    temperature_c: _Amount | None = None
    power_draw_w: _Amount | None = None
    recorded_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None  # the server's clock if absent
    missing: Annotated[dict[_Word, _Word], msgspec.Meta(max_length=32)] | None = None


class MetricsBatch(msgspec.Struct, kw_only=True):
    """POST /api/clusters/metrics."""

    metrics: Annotated[list[Metric], msgspec.Meta(min_length=1, max_length=MAX_METRICS_PER_CALL)]


class RejectedMetric(TypedDict):
    """An item that was not stored: its place in the batch, its GPU, and a reason code."""

    index: int
    gpu_id: int
    reason: Literal["unknown_gpu", "recorded_in_future", "older_than_retention"]


class MetricsAccepted(TypedDict):
    """What became of a batch; answered only after commit."""

    accepted: int
    duplicates: int
    rejected: list[RejectedMetric]


class AllocationJob(TypedDict):
    """The job that holds a GPU."""

    id: int
    name: str
    tenant_id: int | None
    tenant_name: str | None
    started_at: datetime


class GpuAllocation(TypedDict):
    """One GPU of GET /api/dashboard/gpu-allocation."""

    gpu_id: int
    cluster_id: int
    cluster_name: str
    node_id: int
    hostname: str
    gpu_index: int | None
    model: str | None
    status: GpuStatus
    utilization_pct: float | None
    job: AllocationJob | None


class AllocationQuery(PageQuery):
    """Filters of the allocation map."""

    cluster_id: Id | None = None
    tenant_id: Id | None = None
    allocated: bool | None = Field(
        default=None, description="Only GPUs that a running job holds, or only free ones."
    )


class FleetStats(TypedDict):
    """Counts over the fleet. `avg_utilization_pct`: mean of the GPUs that report one, null if none does."""

    total_clusters: int
    total_nodes: int
    online_nodes: int
    total_gpus: int
    active_gpus: int
    idle_gpus: int
    unhealthy_gpus: int
    offline_gpus: int
    avg_utilization_pct: float | None


class DashboardOverview(TypedDict):
    """GET /api/dashboard: topology with latest metrics, stats, 20 recent jobs."""

    stats: FleetStats
    clusters: list[ClusterRecord]
    nodes: list[NodeDetail]
    recent_jobs: list[JobRecord]


class OverviewQuery(PageQuery):
    """Pages go by node."""

    cluster_id: Id | None = None
