"""Alert rules as they are set, and events as people see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gpuforge_controlplane.domain.notices import Silence, silenced
from gpuforge_controlplane.domain.rules import BY_ID, CATALOGUE, Rule, fault_of
from gpuforge_controlplane.services.context import Context, Page, decode_cursor, page_of
from gpuforge_controlplane.storage import alerts, notices
from gpuforge_controlplane.storage.alerts import StoredEvent, StoredRule
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.notices import StoredSilence
from gpuforge_shared.errors import Conflict, invalid, not_found
from gpuforge_shared.wire.alerts import Acknowledge, EventRecord, EventsQuery, RuleRecord, RuleUpdate
from gpuforge_shared.wire.base import MAX_ID

EVENTS = 50


async def list_rules(ctx: Context) -> list[RuleRecord]:
    """The alert rules with their active events, what each means and what to do about it."""
    active = await alerts.active_counts(ctx.tx, ctx.principal.tenant_id)
    return [_record(rule, active.get(rule.id, 0)) for rule in await rules(ctx.tx)]


async def update_rule(ctx: Context, rule_id: int, body: RuleUpdate) -> RuleRecord:
    """Enable, disable or tune an alert rule. Disabling resolves its events."""
    before = {rule.id: rule for rule in await rules(ctx.tx)}.get(rule_id)
    if before is None:
        raise not_found("alert rule", rule_id)
    after = _tuned(before, body)
    if (fault := fault_of(after)) is not None:
        raise invalid(*fault)
    if after != before:
        await alerts.change_rule(ctx.tx, _stored(after), ctx.now)
        await ctx.audit("rule.update", "alert_rule", rule_id, before=_stored(before), after=_stored(after))
    if before.enabled and not after.enabled:
        await alerts.resolve_rule(ctx.tx, rule_id, ctx.now)
    active = await alerts.active_counts(ctx.tx, None)
    return _record(after, active.get(rule_id, 0))


async def list_events(ctx: Context, query: EventsQuery) -> Page[list[EventRecord]]:
    """Alert events: unresolved ones first, newest first. A tenant's key sees those about itself."""
    limit = query.limit or EVENTS
    place = decode_cursor(query.cursor, start=2 * MAX_ID)  # twice the last id, odd once among resolved ones
    found: list[StoredEvent] = []
    for resolved in (False, True)[place % 2 :]:
        found += await alerts.page(
            ctx.tx,
            resolved=resolved,
            tenant_id=ctx.principal.tenant_id,
            state=query.state,
            rule_id=query.rule_id,
            before_id=place // 2 if resolved == bool(place % 2) else MAX_ID,
            limit=limit + 1 - len(found),
        )
    quiet = silences_of(await notices.active_silences(ctx.tx, ctx.now))
    shown = [_event(event, quiet) for event in found]
    places = [2 * event["id"] + (event["resolved_at"] is not None) for event in found]
    return page_of(shown, limit, places)


async def acknowledge_event(ctx: Context, event_id: int, body: Acknowledge) -> EventRecord:
    """Say that somebody is on it: the event stays, and is not repeated. Again adds a note."""
    before = await alerts.lock_event(ctx.tx, event_id)
    if before is None:
        raise not_found("alert event", event_id)
    if before["state"] != "firing":
        raise Conflict(f"event {event_id} is {before['state']}, not firing", code="event_not_firing")
    values = {
        "acknowledged_at": ctx.now,
        "acknowledged_by": ctx.principal.name,
        "note": before["note"] if body.note is None else body.note,
    }
    after = await alerts.acknowledge(ctx.tx, event_id, values, ctx.now)
    await ctx.audit("event.acknowledge", "alert_event", event_id, before=before, after=after)
    return _event(after, silences_of(await notices.active_silences(ctx.tx, ctx.now)))


async def rules(tx: Connection) -> list[Rule]:
    """All rules as they are set now, by id."""
    changed = {row["id"]: row for row in await alerts.changed_rules(tx)}
    return [_as_set(built_in.rule, changed.get(rule_id)) for rule_id, built_in in sorted(BY_ID.items())]


def silences_of(stored: Sequence[StoredSilence]) -> list[Silence]:
    """As the rules of telling take them."""
    return [Silence(row["subject"], row["rule_type"]) for row in stored]


def _event(event: StoredEvent, quiet: Sequence[Silence]) -> EventRecord:
    held_back = event["resolved_at"] is None and silenced(
        event["rule_type"], event["subject_type"], event["subject"], quiet
    )
    return EventRecord(**event, silenced=held_back)


def _as_set(rule: Rule, changed: StoredRule | None) -> Rule:
    return rule if changed is None else replace(rule, **changed)


def _tuned(rule: Rule, body: RuleUpdate) -> Rule:
    values = {name: value for name, value in body.model_dump().items() if value is not None}
    if body.threshold is not None and body.clear_threshold is None:
        moved = rule.clear_threshold + body.threshold - rule.threshold
        values["clear_threshold"] = min(max(0.0, moved), CATALOGUE[rule.rule_type].most)
    return replace(rule, **values)


def _stored(rule: Rule) -> StoredRule:
    return StoredRule(
        id=rule.id,
        enabled=rule.enabled,
        threshold=rule.threshold,
        clear_threshold=rule.clear_threshold,
        for_seconds=rule.for_seconds,
    )


def _record(rule: Rule, active_events: int) -> RuleRecord:
    built_in = CATALOGUE[rule.rule_type]
    return RuleRecord(
        id=rule.id,
        rule_type=rule.rule_type,
        threshold=rule.threshold,
        clear_threshold=rule.clear_threshold,
        for_seconds=rule.for_seconds,
        severity=rule.severity,
        enabled=rule.enabled,
        active_events=active_events,
        subject_type=built_in.subject_type,
        unit=built_in.unit,
        meaning=built_in.meaning,
        what_to_do=built_in.what_to_do,
    )
