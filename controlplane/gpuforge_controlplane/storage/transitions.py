"""The log of what became of alert events: appended to along with each change, read by the live stream."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, insert, literal, select

from gpuforge_controlplane.storage.alert_schema import alert_events, alert_transitions
from gpuforge_controlplane.storage.columns import UtcTime
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.statements import is_among
from gpuforge_shared.wire.alerts import EventState
from gpuforge_shared.wire.events import AlertState

_COPIED = (
    "rule_type", "severity", "subject_type", "subject_id", "subject", "tenant_id", "cluster_id", "value",
    "message", "reason",
)  # fmt: skip


async def note(
    tx: Connection,
    event_ids: Sequence[int],
    now: datetime,
    *,
    came_from: EventState | None,
    went_to: AlertState | None = None,
) -> None:
    """Log that these events, as they are now, came from that state; the caller holds them.

    `went_to`: where that is not the state in their rows.
    """
    if not event_ids:
        return
    events = alert_events.c
    values = {
        "event_id": events.id,
        **{name: events[name] for name in _COPIED},
        "from_state": literal(came_from, events.state.type),
        "to_state": events.state if went_to is None else literal(went_to, events.state.type),
        "acknowledged": events.acknowledged_at.is_not(None),
        "at": literal(now, UtcTime()),
    }
    chosen = select(*values.values()).where(is_among(tx, events.id, event_ids)).order_by(events.id)
    await tx.execute(insert(alert_transitions).from_select(list(values), chosen))


async def prune(tx: Connection, before: datetime) -> None:
    await tx.execute(delete(alert_transitions).where(alert_transitions.c.at < before))
