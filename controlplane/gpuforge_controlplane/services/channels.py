"""Where notifications go, and what is silenced."""

from __future__ import annotations

from datetime import timedelta
from typing import get_args
from urllib.parse import urlsplit

from gpuforge_controlplane.domain.notices import can_match
from gpuforge_controlplane.domain.rules import SubjectType
from gpuforge_controlplane.gateways import notify
from gpuforge_controlplane.services.context import Context, Page, decode_cursor, page_of
from gpuforge_controlplane.storage import notices
from gpuforge_controlplane.storage.notices import StoredChannel, StoredSilence
from gpuforge_shared.errors import Conflict, invalid, not_found
from gpuforge_shared.wire.alerts import (
    ChannelCreate,
    ChannelCreated,
    ChannelRecord,
    SilenceCreate,
    SilenceRecord,
    SilencesQuery,
)
from gpuforge_shared.wire.base import MAX_ID

LONGEST = timedelta(days=366)


async def list_channels(ctx: Context) -> list[ChannelRecord]:
    """Notification channels and how they fare: what waits, the last success, the last error."""
    return [_channel(stored) for stored in await notices.channels(ctx.tx)]


async def create_channel(ctx: Context, body: ChannelCreate) -> ChannelCreated:
    """Make a notification channel. Its signing secret is in this answer and nowhere else."""
    schemes = sorted(notify.APPRISE_SCHEMES) if body.type == "apprise" else ["http", "https"]
    if (fault := notify.fault_of(body.url, schemes, ctx.outbound.networks)) is not None:
        raise invalid("url", fault, code="channel_url_refused")
    if ctx.outbound.secret is None:
        raise Conflict(
            "channels hold secrets, which are sealed with GPUFORGE_NOTIFY_SECRET; set it first, the same on "
            "every replica (openssl rand -hex 32)",
            code="notify_secret_missing",
        )
    sealed, nonce = ctx.outbound.seal(body.url)
    values = {
        "name": body.name,
        "type": body.type,
        "address": _address(body.url),
        "sealed_url": sealed,
        "nonce": nonce,
        "min_severity": body.min_severity,
        "created_at": ctx.now,
    }
    channel_id = await notices.create_channel(ctx.tx, values)
    if channel_id is None:
        raise Conflict(f'there is a channel "{body.name}" already; choose another name', code="name_taken")
    (stored,) = await notices.channels(ctx.tx, only=channel_id)
    record = _channel(stored)
    await ctx.audit("channel.create", "alert_channel", channel_id, after=record)
    return ChannelCreated(**record, signing_secret=ctx.outbound.signing_secret(nonce))


async def delete_channel(ctx: Context, channel_id: int) -> ChannelRecord:
    """Remove a notification channel, and what waits for it. Answers the final record."""
    found = await notices.channels(ctx.tx, only=channel_id)
    if not found or not await notices.remove_channel(ctx.tx, channel_id):
        raise not_found("alert channel", channel_id)
    record = _channel(found[0])
    await ctx.audit("channel.delete", "alert_channel", channel_id, before=record)
    return record


async def list_silences(ctx: Context, query: SilencesQuery) -> Page[list[SilenceRecord]]:
    """Silences, newest first."""
    limit = query.limit or 100
    found = await notices.silences_page(
        ctx.tx,
        active_at=ctx.now if query.active else None,
        before_id=decode_cursor(query.cursor, start=MAX_ID),
        limit=limit + 1,
    )
    return page_of([_silence(ctx, stored) for stored in found], limit, [row["id"] for row in found])


async def create_silence(ctx: Context, body: SilenceCreate) -> SilenceRecord:
    """Silence events that match: they are kept, and nobody is notified of them until it ends."""
    if not ctx.now < body.until <= ctx.now + LONGEST:
        raise invalid("until", "must lie in the future, and at most a year ahead")
    if not can_match(body.subject):
        raise invalid("subject", f"matches nothing: write type/name, of {', '.join(get_args(SubjectType))}")
    values = body.model_dump() | {"created_by": ctx.principal.name, "created_at": ctx.now}
    stored = await notices.create_silence(ctx.tx, values)
    await ctx.audit("silence.create", "silence", stored["id"], after=stored)
    return _silence(ctx, stored)


async def end_silence(ctx: Context, silence_id: int) -> SilenceRecord:
    """End a silence: what still fires is told with the next group. Ending it twice changes nothing."""
    before = await notices.lock_silence(ctx.tx, silence_id)
    if before is None:
        raise not_found("silence", silence_id)
    if before["ended_at"] is not None:
        return _silence(ctx, before)
    await notices.end_silence(ctx.tx, silence_id, ctx.now)
    after = StoredSilence({**before, "ended_at": ctx.now})
    await ctx.audit("silence.end", "silence", silence_id, before=before, after=after)
    return _silence(ctx, after)


def _silence(ctx: Context, stored: StoredSilence) -> SilenceRecord:
    return SilenceRecord(**stored, active=stored["ended_at"] is None and stored["until"] > ctx.now)


def _channel(stored: StoredChannel) -> ChannelRecord:
    return ChannelRecord(
        id=stored["id"],
        name=stored["name"],
        type=stored["type"],
        address=stored["address"],
        min_severity=stored["min_severity"],
        waiting=stored["waiting"],
        last_success_at=stored["last_success_at"],
        last_error=stored["last_error"],
        last_error_at=stored["last_error_at"],
        created_at=stored["created_at"],
    )


def _address(url: str) -> str:
    """Scheme and host. Of slack://… the host is a token, so of all but the web and mail the scheme alone."""
    parts = urlsplit(url)
    if parts.scheme.lower() not in ("http", "https", "mailto", "mailtos"):
        return f"{parts.scheme}://…"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}"[:255]
