"""Alert rules and events, silences and notification channels on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing's own from 3.12 on only

from gpuforge_shared.wire.base import HumanBody, Id, PageQuery, Text

RuleType = Literal[
    "idle_gpu", "quota_breach", "health_degraded", "gpu_fault", "gpu_thermal", "node_offline",
    "idle_allocated", "queue_wait", "budget", "invoice_overdue", "metering_gap",
]  # fmt: skip
Severity = Literal["info", "warning", "critical"]
SubjectType = Literal["cluster", "tenant", "node", "gpu", "invoice", "control_plane"]
EventState = Literal["pending", "firing", "resolved"]
EndReason = Literal["recovered", "gone", "node_offline", "rule_disabled"]


class RuleRecord(TypedDict):
    """An alert rule. `active_events` counts what is pending or firing; a tenant's key counts its own."""

    id: int
    rule_type: RuleType
    threshold: float
    clear_threshold: float  # an event ends once the value is past this one, so that it does not flap
    for_seconds: int
    severity: Severity
    enabled: bool
    active_events: int
    subject_type: SubjectType
    unit: str
    meaning: str
    what_to_do: str


class RuleUpdate(HumanBody):
    """PATCH /api/alerts/rules/{id}. A new threshold alone moves `clear_threshold` by as much."""

    enabled: bool | None = Field(default=None, description="Disabling resolves the rule's events.")
    threshold: float | None = Field(default=None, description="In the rule's unit.")
    clear_threshold: float | None = Field(default=None, description="In the rule's unit.")
    for_seconds: Annotated[int, Field(ge=0, le=86_400)] | None = Field(
        default=None, description="How long a breach must be watched before it fires."
    )


class EventRecord(TypedDict):
    """An alert event. `value` is as it was when the event opened, fired or recovered, in the rule's unit."""

    id: int
    rule_id: int
    rule_type: RuleType
    severity: Severity
    state: EventState
    subject_type: SubjectType
    subject_id: int
    subject: str
    tenant_id: int | None
    cluster_id: int | None
    value: float
    threshold: float
    message: str
    reason: EndReason | None
    started_at: datetime
    fired_at: datetime | None
    resolved_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    note: str | None


class EventsQuery(PageQuery):
    """Alert events: unresolved first, newest first; 50 without `limit`."""

    state: EventState | None = None
    rule_id: Id | None = None


class Acknowledge(HumanBody):
    """POST /api/alerts/events/{id}/acknowledge: somebody is on it, so it is not repeated."""

    note: Text | None = Field(default=None, description="What you found or do, for the others.")
