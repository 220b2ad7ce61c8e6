"""Telling people: gather what is due into the outbox, send it, note what became of it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta

from gpuforge_controlplane.domain.notices import (
    GIVE_UP_S,
    NoticeKind,
    Untold,
    due,
    reaches,
    retry_after_s,
)
from gpuforge_controlplane.domain.rules import CATALOGUE
from gpuforge_controlplane.gateways import notify
from gpuforge_controlplane.gateways.notify import DeliveryError
from gpuforge_controlplane.services import messages
from gpuforge_controlplane.services.alerts import silences_of
from gpuforge_controlplane.services.outbound import Outbound
from gpuforge_controlplane.storage import leases, notices
from gpuforge_controlplane.storage.database import Connection, Database
from gpuforge_controlplane.storage.notices import Notification, UntoldEvent
from gpuforge_shared.clock import Clock
from gpuforge_shared.wire.alerts import Notice

NOTICES = 200  # in one notification; more come in several
_GIVE_UP = timedelta(seconds=GIVE_UP_S)


async def gather(database: Database, clock: Clock, token: int) -> int:
    """Put what is due to be told into the outbox of each channel; how many events that is.

    Raises LeaseLostError if leadership has moved. Outbox and `told` move in one transaction: a crash at any
    instant neither loses nor repeats a notice.
    """
    async with database.read() as tx:
        if not (await _due(tx, clock))[0]:
            return 0
    async with database.write() as tx:
        await leases.guard(tx, token)
        told, events = await _due(tx, clock)
        written = [_notice(events[event.id], kind) for event, kind in told]
        for channel in await notices.channels(tx):
            heard = [notice for notice in written if reaches(notice["severity"], channel["min_severity"])]
            await notices.enqueue(tx, _rows(channel["id"], heard, clock))
        ended = [event.id for event, kind in told if kind == "resolved"]
        firing = [event.id for event, kind in told if kind != "resolved"]
        await notices.mark_told(tx, firing, ended, clock())
    return len(told)


async def send(
    database: Database, clock: Clock, token: int, outbound: Outbound, notification: Notification
) -> bool:
    """Send one notification and note how it went; whether it was taken.

    The network is spoken to outside of any transaction. A crash before the note sends it again, under the
    same delivery id.
    """
    try:
        await _deliver(notification, outbound, clock)
    except DeliveryError as error:
        async with database.write() as tx:
            await leases.guard(tx, token)
            now = clock()
            again = now + timedelta(seconds=retry_after_s(notification["attempts"] + 1))
            over = now - notification["created_at"] >= _GIVE_UP
            await notices.failed(tx, notification, str(error), now, None if over else again)
        return False
    async with database.write() as tx:
        await leases.guard(tx, token)
        await notices.delivered(tx, notification["id"], notification["channel_id"], clock())
    return True


async def _deliver(notification: Notification, outbound: Outbound, clock: Clock) -> None:
    url = outbound.open(notification["sealed_url"], notification["nonce"])
    if url is None:
        raise DeliveryError("it was made under another GPUFORGE_NOTIFY_SECRET; delete it and make it anew")
    told, created_at = notification["notices"], notification["created_at"]
    if notification["type"] == "apprise":
        await notify.by_apprise(url, messages.title(told), messages.text(told), outbound.networks)
    elif notification["type"] == "alertmanager":
        target = url if url.rstrip("/").endswith("/api/v2/alerts") else url.rstrip("/") + "/api/v2/alerts"
        await notify.post(target, messages.alertmanager(told, created_at), {}, outbound.networks)
    else:
        body = messages.webhook(notification["uid"], told, created_at)
        secret = outbound.signing_secret(notification["nonce"])
        headers = {
            "X-GPUForge-Delivery": notification["uid"],
            "X-GPUForge-Signature": messages.signature(secret, body, clock()),
        }
        await notify.post(url, body, headers, outbound.networks)


async def _due(
    tx: Connection, clock: Clock
) -> tuple[list[tuple[Untold, NoticeKind]], dict[int, UntoldEvent]]:
    now = clock()
    events = {event["id"]: event for event in await notices.untold(tx, now)}
    if not events:
        return [], {}
    quiet = silences_of(await notices.active_silences(tx, now))
    return due([_untold(event) for event in events.values()], quiet, now.timestamp()), events


def _untold(event: UntoldEvent) -> Untold:
    resolved, told = event["resolved_at"], event["told_at"]
    return Untold(
        id=event["id"],
        rule_type=event["rule_type"],
        severity=event["severity"],
        subject_type=event["subject_type"],
        subject=event["subject"],
        fired_at=event["fired_at"].timestamp(),
        resolved_at=None if resolved is None else resolved.timestamp(),
        told_at=None if told is None else told.timestamp(),
        acknowledged=event["acknowledged_at"] is not None,
    )


def _notice(event: UntoldEvent, kind: NoticeKind) -> Notice:
    return Notice(
        kind=kind,
        event_id=event["id"],
        rule_type=event["rule_type"],
        severity=event["severity"],
        subject_type=event["subject_type"],
        subject_id=event["subject_id"],
        subject=event["subject"],
        tenant_id=event["tenant_id"],
        cluster_id=event["cluster_id"],
        value=event["value"],
        threshold=event["threshold"],
        message=event["message"],
        what_to_do=CATALOGUE[event["rule_type"]].what_to_do,
        reason=event["reason"],
        fired_at=event["fired_at"],
        resolved_at=event["resolved_at"],
    )


def _rows(channel_id: int, heard: Sequence[Notice], clock: Clock) -> list[dict[str, object]]:
    now = clock()
    return [
        {
            "channel_id": channel_id,
            "uid": secrets.token_hex(16),
            "notices": heard[first : first + NOTICES],
            "created_at": now,
            "attempts": 0,
            "due_at": now,
        }
        for first in range(0, len(heard), NOTICES)
    ]
