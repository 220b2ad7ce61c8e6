"""The live stream on the wire: what the messages of GET /api/events carry."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing's own from 3.12 on only

from gpuforge_shared.wire.alerts import EndReason, RuleType, Severity, SubjectType
from gpuforge_shared.wire.base import Query

AlertState = Literal["pending", "firing", "resolved", "dropped"]


class EventsQuery(Query):
    """What a reader wants of the stream."""

    frames: bool = Field(
        default=True, description="Whether the fleet is shown as well: snapshot, allocation and frames."
    )


class HelloMessage(TypedDict):
    """`event: hello`: the first message. Not resumed: whatever is shown must be loaded anew."""

    resumed: bool


class Units(TypedDict):
    """What one step of a byte is worth in each column of a frame."""

    utilization_pct: float
    memory_pct: float
    temperature_c: float
    power_draw_w: float


class ClusterColumns(TypedDict):
    """Clusters, a list a field."""

    id: list[int]
    name: list[str]
    region: list[str | None]


class NodeColumns(TypedDict):
    """Nodes, a list a field; `cluster` is a place in the clusters' lists."""

    id: list[int]
    hostname: list[str]
    cluster: list[int]


class GpuColumns(TypedDict):
    """GPUs in order of id; `node` is a place in the nodes' lists, `model` one in `models`."""

    id: list[int]
    node: list[int]
    gpu_index: list[int]
    model: list[int | None]
    memory_total_mb: list[int | None]


class FleetSnapshot(TypedDict):
    """`event: snapshot`: what stands still. Sent at first, and again with a new version when it changed."""

    version: int
    at: datetime
    units: Units
    clusters: ClusterColumns
    nodes: NodeColumns
    models: list[str]
    gpus: GpuColumns


class TenantColumns(TypedDict):
    """Tenants whose jobs run, a list a field."""

    id: list[int]
    name: list[str]


class JobColumns(TypedDict):
    """Running jobs, a list a field; `tenant` is a place in the tenants' lists, null for nobody's."""

    id: list[int]
    name: list[str]
    tenant: list[int | None]
    started_at: list[datetime | None]


class FleetAllocation(TypedDict):
    """`event: allocation`: who holds what. Sent after each snapshot, and whenever it changed.

    `holder`: base64 of a little-endian uint32 a GPU, in the snapshot's order: 0 is free, k is held by the
    job at place k - 1 of `jobs`.
    """

    version: int
    tenants: TenantColumns
    jobs: JobColumns
    holder: str


class FleetFrame(TypedDict):
    """`event: frame`: the figures of now. Each column is base64 of one byte a GPU, in the snapshot's order.

    255 is unknown; another byte times the snapshot's unit is the figure, 254 meaning that or more.
    `memory_pct` is of the GPU's memory. `flags`: the lowest three bits are the status (0 idle, 1 active,
    2 unhealthy, 3 offline); 8 allocated, 16 cordoned, 32 draining, 64 no telemetry for 90 s.
    """

    version: int
    at: datetime
    utilization_pct: str
    memory_pct: str
    temperature_c: str
    power_draw_w: str
    flags: str


class JobMessage(TypedDict):
    """`event: job`: a job came to another status."""

    job_id: int
    name: str
    cluster_id: int
    tenant_id: int | None
    gpu_count: int
    from_status: str | None
    status: str
    reason: str | None
    at: datetime


class NodeMessage(TypedDict):
    """`event: node`: something was done to a node, or (`node.silent`, without an id) it fell silent."""

    node_id: int
    hostname: str | None
    cluster_id: int | None
    state: str | None
    action: str
    at: datetime


class InvoiceMessage(TypedDict):
    """`event: invoice`: an invoice was made or changed."""

    invoice_id: int | None
    tenant_id: int | None
    status: str | None
    action: str
    at: datetime


class ChangeMessage(TypedDict):
    """`event: change`: any other write, such as a tenant's or a rule's: what shows such objects reloads."""

    object_type: str
    object_id: int | None
    action: str
    at: datetime


class AlertMessage(TypedDict):
    """`event: alert`: an alert event opened, fired, was acknowledged (from firing to firing) or ended.

    `dropped`: it was only pending, and is gone from GET /api/alerts/events. `value` is in the rule's unit.
    """

    event_id: int
    rule_type: RuleType
    severity: Severity
    subject_type: SubjectType
    subject_id: int
    subject: str
    tenant_id: int | None
    cluster_id: int | None
    from_state: AlertState | None  # null: it is new
    state: AlertState
    acknowledged: bool
    value: float
    message: str
    reason: EndReason | None  # of its end
    at: datetime


class ClosedMessage(TypedDict):
    """`event: closed`: the last message where the key is no longer good; do not come back with it."""

    code: str
    reason: str


MESSAGES: tuple[tuple[str, type], ...] = (
    ("hello", HelloMessage),
    ("snapshot", FleetSnapshot),
    ("allocation", FleetAllocation),
    ("frame", FleetFrame),
    ("job", JobMessage),
    ("node", NodeMessage),
    ("invoice", InvoiceMessage),
    ("change", ChangeMessage),
    ("alert", AlertMessage),
    ("closed", ClosedMessage),
)
