"""Alert rules and events, silences and notification channels on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing's own from 3.12 on only

from gpuforge_shared.wire.base import HumanBody, Id, Instant, Name, PageQuery, Text

RuleType = Literal[
    "idle_gpu", "quota_breach", "health_degraded", "gpu_fault", "gpu_thermal", "node_offline",
    "idle_allocated", "queue_wait", "budget", "invoice_overdue", "metering_gap",
]  # fmt: skip
Severity = Literal["info", "warning", "critical"]
SubjectType = Literal["cluster", "tenant", "node", "gpu", "invoice", "control_plane"]
EventState = Literal["pending", "firing", "resolved"]
ChannelType = Literal["webhook", "alertmanager", "apprise"]
EndReason = Literal["recovered", "gone", "node_offline", "rule_disabled", "superseded"]


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
    """An alert event. `value` is as it was when the event opened or fired, in the rule's unit."""

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
    silenced: bool  # a silence holds back its notifications now


class EventsQuery(PageQuery):
    """Alert events: unresolved first, newest first; 50 without `limit`."""

    state: EventState | None = None
    rule_id: Id | None = None


class Acknowledge(HumanBody):
    """POST /api/alerts/events/{id}/acknowledge: somebody is on it, so it is not repeated."""

    note: Text | None = Field(default=None, description="What you found or do, for the others.")


class SilenceCreate(HumanBody):
    """POST /api/alerts/silences: events that match are kept, but nobody is notified of them."""

    subject: Annotated[Name, Field(description="Pattern of type/name: node/gpu-0*, gpu/gpu-07/3, tenant/*.")]
    rule_type: RuleType | None = Field(default=None, description="Only events of this rule.")
    until: Instant = Field(description="When it ends by itself; at most a year ahead.")
    reason: Name = Field(description="Why, for whoever wonders later.")


class SilenceRecord(TypedDict):
    """A silence. `active`: it holds now."""

    id: int
    subject: str
    rule_type: RuleType | None
    until: datetime
    reason: str
    created_by: str
    created_at: datetime
    ended_at: datetime | None
    active: bool


class SilencesQuery(PageQuery):
    """Silences, newest first: those that hold now, or all."""

    active: bool | None = Field(default=None, description="Only those that hold now.")


class ChannelCreate(HumanBody):
    """POST /api/alerts/channels."""

    name: Name = Field(description="Display name, unique.")
    type: ChannelType = Field(
        description="webhook: signed JSON; alertmanager: its own API, v2; apprise: Slack, e-mail, PagerDuty …"
    )
    url: Annotated[Name, Field(description="Where to; stored sealed, and shown without path and password.")]
    min_severity: Severity = Field(default="info", description="Events below it are not sent there.")


class ChannelRecord(TypedDict):
    """A notification channel and how it fares. `waiting`: notifications that are still to be delivered."""

    id: int
    name: str
    type: ChannelType
    address: str
    min_severity: Severity
    waiting: int
    last_success_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    created_at: datetime


class ChannelCreated(ChannelRecord):
    """The record and, of a webhook, the secret that its signatures are made with: in this one answer."""

    signing_secret: str


NoticeKind = Literal["firing", "repeated", "resolved"]


class Notice(TypedDict):
    """What a notification says of one event. `repeated`: it still fires, four hours after the last word."""

    kind: NoticeKind
    event_id: int
    rule_type: RuleType
    severity: Severity
    subject_type: SubjectType
    subject_id: int
    subject: str
    tenant_id: int | None
    cluster_id: int | None
    value: float
    threshold: float
    message: str
    what_to_do: str
    reason: EndReason | None
    fired_at: datetime
    resolved_at: datetime | None
