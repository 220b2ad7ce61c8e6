"""Alert rules that were changed, and events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypedDict

from sqlalchemy import BigInteger, ColumnElement, bindparam, delete, func, literal, select, update

from gpuforge_controlplane.domain.alerts import OpenEvent, Transition
from gpuforge_controlplane.storage import transitions
from gpuforge_controlplane.storage.alert_schema import alert_events, alert_rules
from gpuforge_controlplane.storage.columns import from_micros
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.statements import Row, insert, is_among, record, records, tuples
from gpuforge_shared.wire.alerts import EndReason, EventState, RuleType, Severity, SubjectType


class StoredEvent(TypedDict):
    """What people see of a row of `alert_events`."""

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


_SHOWN = [alert_events.c[name] for name in StoredEvent.__annotations__]


class StoredRule(TypedDict):
    """A row of `alert_rules`: a rule that somebody changed."""

    id: int
    enabled: bool
    threshold: float
    clear_threshold: float
    for_seconds: int


async def changed_rules(tx: Connection) -> list[StoredRule]:
    columns = [alert_rules.c[name] for name in StoredRule.__annotations__]
    return records(await tx.execute(select(*columns)), StoredRule)


async def change_rule(tx: Connection, rule: StoredRule, now: datetime) -> None:
    """Keep how a rule is set from now on."""
    values = {**rule, "updated_at": now}
    statement = insert(tx, alert_rules).values(**values)
    await tx.execute(statement.on_conflict_do_update(index_elements=[alert_rules.c.id], set_=values))


async def active_counts(tx: Connection, tenant_id: int | None) -> dict[int, int]:
    """Unresolved events by rule; of one tenant where that is given."""
    query = (
        select(alert_events.c.rule_id, func.count())
        .where(alert_events.c.resolved_at.is_(None))
        .group_by(alert_events.c.rule_id)
    )
    if tenant_id is not None:
        query = query.where(alert_events.c.tenant_id == tenant_id)
    return {row[0]: row[1] for row in (await tx.execute(query)).all()}


async def open_events(tx: Connection) -> list[OpenEvent]:
    """All that are not resolved."""
    found = await tuples(
        tx,
        "SELECT id, rule_id, subject_id, state, started_at, threshold FROM alert_events"
        " WHERE resolved_at IS NULL",
    )
    return [
        OpenEvent(
            id=event_id,
            rule_id=rule_id,
            subject_id=subject_id,
            firing=state == "firing",
            since=(from_micros(since) if isinstance(since, int) else since).timestamp(),
            threshold=threshold,
        )
        for event_id, rule_id, subject_id, state, since, threshold in found
    ]


async def apply(tx: Connection, changes: Sequence[Transition], now: datetime) -> None:
    """Write what changes, and log it. Each names the state it expects; an event that moved on meanwhile is
    left alone."""
    # What ends comes first: it may make room for a subject's next event.
    fired = [_fired(change, now) for change in changes if change.event_id and change.kind == "firing"]
    await _move(tx, "pending", fired, now)
    resolved = [_resolved(change, now) for change in changes if change.kind == "resolved"]
    await _move(tx, "firing", resolved, now)
    dropped = [change.event_id for change in changes if change.event_id and change.kind == "dropped"]
    if dropped:
        await _drop(tx, is_among(tx, alert_events.c.id, dropped), now)
    opened = [_new(change, now) for change in changes if change.event_id is None]
    if opened:
        statement = insert(tx, alert_events).on_conflict_do_nothing().returning(alert_events.c.id)
        made = (await tx.execute(statement, opened)).scalars().all()
        await transitions.note(tx, made, now, came_from=None)


async def resolve_rule(tx: Connection, rule_id: int, now: datetime) -> None:
    """End all events of a rule that was disabled; what is only pending is dropped."""
    of_rule = alert_events.c.rule_id == rule_id
    await _drop(tx, of_rule, now)
    firing = await _held(tx, "firing", of_rule)
    ended = {"state": "resolved", "resolved_at": now, "reason": "rule_disabled"}
    await _move(tx, "firing", [{"event": event_id, **ended} for event_id in firing], now)


async def page(
    tx: Connection,
    *,
    resolved: bool,
    tenant_id: int | None,
    state: EventState | None,
    rule_id: int | None,
    before_id: int,
    limit: int,
) -> list[StoredEvent]:
    """The resolved or the unresolved events below `before_id`, newest first."""
    column = alert_events.c.resolved_at
    query = (
        select(*_SHOWN)
        .where(column.is_not(None) if resolved else column.is_(None), alert_events.c.id < before_id)
        .order_by(alert_events.c.id.desc())
        .limit(limit)
    )
    # a rule's id may be any id, and PostgreSQL takes none that its narrow column could not hold
    rule = None if rule_id is None else literal(rule_id, BigInteger)
    for name, wanted in (("tenant_id", tenant_id), ("state", state), ("rule_id", rule)):
        if wanted is not None:
            query = query.where(alert_events.c[name] == wanted)
    return records(await tx.execute(query), StoredEvent)


async def lock_event(tx: Connection, event_id: int) -> StoredEvent | None:
    """The event, held against others until the transaction ends."""
    query = select(*_SHOWN).where(alert_events.c.id == event_id).with_for_update()
    return record(await tx.execute(query), StoredEvent)


async def acknowledge(tx: Connection, event_id: int, values: Row, now: datetime) -> StoredEvent:
    """The firing event as it is now. The caller holds it, so it is there."""
    changed = update(alert_events).where(alert_events.c.id == event_id).values(**values).returning(*_SHOWN)
    (event,) = records(await tx.execute(changed), StoredEvent)
    await transitions.note(tx, [event_id], now, came_from="firing")
    return event


async def prune(tx: Connection, before: datetime) -> None:
    await tx.execute(delete(alert_events).where(alert_events.c.resolved_at < before))


async def _held(tx: Connection, expected: EventState, wanted: ColumnElement[bool]) -> list[int]:
    """Ids of the wanted events that are in that state, held until the transaction ends."""
    query = select(alert_events.c.id).where(wanted, alert_events.c.state == expected)
    return list((await tx.scalars(query.order_by(alert_events.c.id).with_for_update())).all())


async def _drop(tx: Connection, wanted: ColumnElement[bool], now: datetime) -> None:
    pending = await _held(tx, "pending", wanted)
    await transitions.note(tx, pending, now, came_from="pending", went_to="dropped")
    if pending:
        await tx.execute(delete(alert_events).where(is_among(tx, alert_events.c.id, pending)))


async def _move(tx: Connection, expected: EventState, moves: Sequence[Row], now: datetime) -> None:
    if not moves:
        return
    held = await _held(tx, expected, is_among(tx, alert_events.c.id, [row["event"] for row in moves]))
    there = set(held)
    moved = [row for row in moves if row["event"] in there]
    if not moved:
        return
    names = [name for name in moved[0] if name != "event"]
    statement = (
        update(alert_events)
        .where(alert_events.c.id == bindparam("event"))
        .values({name: bindparam(f"new_{name}") for name in names})
    )
    rows = [{"event": row["event"], **{f"new_{name}": row[name] for name in names}} for row in moved]
    await tx.execute(statement, rows)
    await transitions.note(tx, held, now, came_from=expected)


def _new(change: Transition, now: datetime) -> Row:
    assert change.words is not None
    return {
        "rule_id": change.rule.id,
        "rule_type": change.rule.rule_type,
        "severity": change.level.severity,
        "state": change.kind,
        "subject_type": change.subject_type,
        "subject_id": change.subject_id,
        "subject": change.words.subject[:300],
        "tenant_id": change.words.tenant_id,
        "cluster_id": change.words.cluster_id,
        "value": change.value,
        "threshold": change.level.threshold,
        "message": change.words.message[:1024],
        "started_at": now,
        "fired_at": now if change.kind == "firing" else None,
    }


def _fired(change: Transition, now: datetime) -> Row:
    assert change.words is not None
    return {
        "event": change.event_id,
        "state": "firing",
        "fired_at": now,
        "severity": change.level.severity,
        "value": change.value,
        "threshold": change.level.threshold,
        "message": change.words.message[:1024],
    }


def _resolved(change: Transition, now: datetime) -> Row:
    return {"event": change.event_id, "state": "resolved", "resolved_at": now, "reason": change.reason}
