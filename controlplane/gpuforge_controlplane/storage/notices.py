"""Silences, channels, and the outbox between events and the outside world."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypedDict

import msgspec
from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update

from gpuforge_controlplane.domain.notices import REPEAT_S
from gpuforge_controlplane.storage.alert_schema import (
    alert_channels,
    alert_events,
    alert_silences,
    notifications,
)
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.statements import Row, insert, is_among, record, records
from gpuforge_shared.wire.alerts import ChannelType, EndReason, Notice, RuleType, Severity, SubjectType

_REPEAT = timedelta(seconds=REPEAT_S)
_UNDELIVERED = and_(notifications.c.delivered_at.is_(None), notifications.c.given_up_at.is_(None))


class StoredSilence(TypedDict):
    """A row of `alert_silences`."""

    id: int
    subject: str
    rule_type: RuleType | None
    until: datetime
    reason: str
    created_by: str
    created_at: datetime
    ended_at: datetime | None


class StoredChannel(TypedDict):
    """A row of `alert_channels` with what waits for it."""

    id: int
    name: str
    type: ChannelType
    address: str
    sealed_url: bytes
    nonce: bytes
    min_severity: Severity
    created_at: datetime
    last_success_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    waiting: int


class UntoldEvent(TypedDict):
    """An event that may have to be told."""

    id: int
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
    reason: EndReason | None
    fired_at: datetime
    resolved_at: datetime | None
    told_at: datetime | None
    acknowledged_at: datetime | None


class Notification(TypedDict):
    """What is to be sent next to a channel."""

    id: int
    channel_id: int
    uid: str
    notices: list[Notice]
    created_at: datetime
    attempts: int
    type: ChannelType
    sealed_url: bytes
    nonce: bytes


async def create_silence(tx: Connection, values: Row) -> StoredSilence:
    made = insert(tx, alert_silences).values(**values).returning(*alert_silences.c)
    return records(await tx.execute(made), StoredSilence)[0]


async def lock_silence(tx: Connection, silence_id: int) -> StoredSilence | None:
    query = select(alert_silences).where(alert_silences.c.id == silence_id).with_for_update()
    return record(await tx.execute(query), StoredSilence)


async def end_silence(tx: Connection, silence_id: int, now: datetime) -> None:
    await tx.execute(update(alert_silences).where(alert_silences.c.id == silence_id).values(ended_at=now))


async def silences_page(
    tx: Connection, *, active_at: datetime | None, before_id: int, limit: int
) -> list[StoredSilence]:
    """Newest first, below `before_id`; those that hold at a moment where that is given."""
    query = select(alert_silences).where(alert_silences.c.id < before_id)
    if active_at is not None:
        query = query.where(_holds(active_at))
    return records(await tx.execute(query.order_by(alert_silences.c.id.desc()).limit(limit)), StoredSilence)


async def active_silences(tx: Connection, now: datetime) -> list[StoredSilence]:
    return records(await tx.execute(select(alert_silences).where(_holds(now))), StoredSilence)


async def create_channel(tx: Connection, values: Row) -> int | None:
    """The new channel's id, or None where the name is taken."""
    made = insert(tx, alert_channels).values(**values).on_conflict_do_nothing()
    channel_id: int | None = await tx.scalar(made.returning(alert_channels.c.id))
    return channel_id


async def channels(tx: Connection, *, only: int | None = None) -> list[StoredChannel]:
    """All channels by id, or one."""
    waiting = (
        select(func.count())
        .where(notifications.c.channel_id == alert_channels.c.id, _UNDELIVERED)
        .scalar_subquery()
    )
    query = select(*alert_channels.c, waiting.label("waiting")).order_by(alert_channels.c.id)
    if only is not None:
        query = query.where(alert_channels.c.id == only)
    return records(await tx.execute(query), StoredChannel)


async def remove_channel(tx: Connection, channel_id: int) -> bool:
    """Delete it and what waits for it; whether it was there."""
    gone = await tx.execute(delete(alert_channels).where(alert_channels.c.id == channel_id))
    return gone.rowcount > 0


async def untold(tx: Connection, now: datetime) -> list[UntoldEvent]:
    """Events that fire and were not told lately, and ends of told ones that were not told yet."""
    table = alert_events.c
    fires = and_(
        table.resolved_at.is_(None),
        table.state == "firing",
        or_(table.told_at.is_(None), table.told_at <= now - _REPEAT),
    )
    ended = and_(table.resolved_at.is_not(None), table.told_at.is_not(None), table.end_told_at.is_(None))
    columns = [table[name] for name in UntoldEvent.__annotations__]
    found = []
    for which in (fires, ended):  # apart: each has its own partial index
        found += records(await tx.execute(select(*columns).where(which)), UntoldEvent)
    return found


async def mark_told(tx: Connection, firing: Sequence[int], ended: Sequence[int], now: datetime) -> None:
    """Note of these events that they are told, in the transaction that puts it in the outbox."""
    for ids, column in ((firing, "told_at"), (ended, "end_told_at")):
        if ids:
            chosen = is_among(tx, alert_events.c.id, ids)
            await tx.execute(update(alert_events).where(chosen).values({column: now}))


async def enqueue(tx: Connection, rows: Sequence[Row]) -> None:
    """Add notifications; their notices hold times, which JSON keeps as text."""
    if rows:
        plain = [{**row, "notices": msgspec.to_builtins(row["notices"])} for row in rows]
        await tx.execute(insert(tx, notifications), plain)


async def next_due(tx: Connection, now: datetime) -> list[Notification]:
    """Of each channel the notification at the head of its line, where its time has come."""
    heads = select(func.min(notifications.c.id)).where(_UNDELIVERED).group_by(notifications.c.channel_id)
    names = [name for name in Notification.__annotations__ if name in notifications.c]
    query = (
        select(
            *(notifications.c[name] for name in names),
            alert_channels.c.type,
            alert_channels.c.sealed_url,
            alert_channels.c.nonce,
        )
        .join(alert_channels, alert_channels.c.id == notifications.c.channel_id)
        .where(notifications.c.id.in_(heads), notifications.c.due_at <= now)
    )
    found = records(await tx.execute(query), Notification)
    for notification in found:
        notification["notices"] = msgspec.convert(notification["notices"], list[Notice])
    return found


async def delivered(tx: Connection, notification_id: int, channel_id: int, now: datetime) -> None:
    await _set(tx, notification_id, {"delivered_at": now})
    changed = update(alert_channels).where(alert_channels.c.id == channel_id)
    await tx.execute(changed.values(last_success_at=now, last_error=None, last_error_at=None))


async def failed(
    tx: Connection, notification: Notification, error: str, now: datetime, due_at: datetime | None
) -> None:
    """Note a failure, to be tried again at `due_at`; None: it is given up."""
    values: dict[str, Any] = {"attempts": notification["attempts"] + 1}
    values |= {"given_up_at": now} if due_at is None else {"due_at": due_at}
    await _set(tx, notification["id"], values)
    changed = update(alert_channels).where(alert_channels.c.id == notification["channel_id"])
    await tx.execute(changed.values(last_error=error[:1024], last_error_at=now))


async def prune(tx: Connection, before: datetime) -> None:
    """Delete what was sent or given up, and silences that were over, before `before`."""
    over = and_(notifications.c.created_at < before, ~_UNDELIVERED)
    await tx.execute(delete(notifications).where(over))
    await tx.execute(delete(alert_silences).where(alert_silences.c.until < before))


async def _set(tx: Connection, notification_id: int, values: Row) -> None:
    await tx.execute(
        update(notifications).where(notifications.c.id == notification_id, _UNDELIVERED).values(**values)
    )


def _holds(now: datetime) -> ColumnElement[bool]:
    return and_(alert_silences.c.until > now, alert_silences.c.ended_at.is_(None))
