"""Jobs, their reasons and the scheduler's log on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing's own from 3.12 on only

from gpuforge_shared.wire.base import MAX_INT, HumanBody, Id, Name, PageQuery, Query, Text

JobStatus = Literal["queued", "running", "completed", "failed", "cancelled", "blocked"]
OnNodeLoss = Literal["requeue", "fail"]

_Minutes = Annotated[int, Field(ge=1, le=10 * 366 * 24 * 60)]


class JobCreate(HumanBody):
    """POST /api/jobs."""

    cluster_id: Id = Field(description="Target cluster ID.")
    name: Name = Field(description="Job display name.")
    gpu_count: Annotated[int, Field(ge=1, le=MAX_INT)] = Field(
        default=1, description="Number of GPUs to request (default: 1)."
    )
    gpu_type: Text | None = Field(default=None, description="GPU model preference; binds by its family.")
    priority: Annotated[int, Field(ge=1, le=10)] = Field(
        default=5, description="1 = highest priority (default: 5), 10 = lowest."
    )
    tenant_id: Id | None = Field(default=None, description="Tenant to bill and quota-check against.")
    submitted_by: Text | None = Field(default=None, description="Submitter identifier for audit trail.")
    estimated_duration_min: _Minutes | None = Field(
        default=None, description="Estimated runtime in minutes: lets the scheduler fit it in sooner."
    )
    time_limit_min: _Minutes | None = Field(
        default=None, description="The job is ended as failed once it has run this long, in minutes."
    )
    on_node_loss: OnNodeLoss = Field(
        default="requeue", description="What becomes of the job when a node under it is lost (once)."
    )


class JobSubmit(Query):
    """POST /api/jobs."""

    dry_run: bool = Field(default=False, description="Only say what would happen; nothing is stored.")


class JobUpdate(HumanBody):
    """PATCH /api/jobs/{id}."""

    status: JobStatus = Field(description="New status value.")
    block_reason: Text | None = Field(default=None, description='Reason string when status = "blocked".')


class JobRecord(TypedDict):
    """A job. `block_reason`: someone must change something; `pending_reason`: time will mend it."""

    id: int
    cluster_id: int
    tenant_id: int | None
    name: str
    status: JobStatus
    gpu_count: int
    gpu_type: str | None
    priority: int
    block_reason: str | None
    pending_reason: str | None
    submitted_by: str | None
    estimated_duration_min: int | None
    time_limit_min: int | None
    on_node_loss: OnNodeLoss
    submitted_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    end_reason: str | None


class AllocatedGpu(TypedDict):
    """A GPU that a job holds or held, over `[started_at, ended_at)`."""

    gpu_id: int
    node_id: int
    hostname: str
    gpu_index: int | None
    uuid: str | None
    model: str | None
    started_at: datetime
    ended_at: datetime | None


class JobEvent(TypedDict):
    """A change of a job's status or of the reason for it."""

    at: datetime
    from_status: JobStatus | None
    to_status: JobStatus
    reason: str | None
    actor: str


class JobDetail(JobRecord):
    """A job with the GPUs it holds or last held, and its history, oldest first."""

    allocation: list[AllocatedGpu]
    history: list[JobEvent]


class JobExplanation(TypedDict):
    """Why a job is where it is. `position` counts from 1 among the waiting jobs of its cluster."""

    job_id: int | None
    status: JobStatus
    code: str | None
    reason: str
    position: int | None
    jobs_ahead: int | None
    estimated_start: datetime | None


class DryRun(JobExplanation):
    """What submitting would do: the status it would have, and the nodes it would run on now."""

    dry_run: Literal[True]
    would_start_on: list[str]


class JobsQuery(PageQuery):
    """Filters of the job list; newest first."""

    status: JobStatus | None = None
    cluster_id: Id | None = None
    tenant_id: Id | None = None


class SchedulerLog(TypedDict):
    """One cycle of the scheduler."""

    id: int
    started_at: datetime
    duration_ms: float
    processed: int
    started: int
    blocked: int
    unblocked: int
    reasons: dict[str, int]
    input_hash: str


class Waits(TypedDict):
    """Seconds from submission to start, of jobs that started within 24 h; null where none did."""

    mean_s: float | None
    p50_s: float | None
    p95_s: float | None


class Throughput(TypedDict):
    """Jobs over the last 24 h."""

    submitted: int
    started: int
    completed: int
    failed: int
    cancelled: int


class ClusterQueue(TypedDict):
    """A cluster's live queue: its first 20 waiting jobs in scheduling order."""

    cluster_id: int
    cluster_name: str
    running: int
    queued: int
    blocked: int
    queue: list[JobRecord]


class QueueDepth(TypedDict):
    """Jobs by status, now."""

    running: int
    queued: int
    blocked: int


class SchedulingMetrics(TypedDict):
    """GET /api/dashboard/scheduling-metrics."""

    queue_depth: QueueDepth
    wait: Waits
    throughput_24h: Throughput
    clusters: list[ClusterQueue]


class LogQuery(PageQuery):
    """The scheduler's log, newest first; 20 rows without `limit`."""
