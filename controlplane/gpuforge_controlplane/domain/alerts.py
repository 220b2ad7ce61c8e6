"""From rules, a picture of the fleet and the open events to what changes: pending, firing, resolved.

A breach opens an event; watched for the rule's `for_seconds`, it fires; well again by the clear threshold, it
is resolved. What nothing tells neither fires nor resolves anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from gpuforge_controlplane.domain.readings import WATCHES, Reading, Words
from gpuforge_controlplane.domain.rules import (
    CATALOGUE,
    Level,
    Rule,
    SubjectType,
    is_breached,
    is_clear,
    level_of,
)
from gpuforge_controlplane.domain.watched import View, Watched

Kind = Literal["pending", "firing", "resolved", "dropped"]  # dropped: it never fired, so nobody was told
Reason = Literal["recovered", "gone", "no_data", "node_offline", "rule_disabled", "superseded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenEvent:
    """An event that is not resolved. There is at most one of a rule and a subject."""

    id: int
    rule_id: int
    subject_id: int
    firing: bool
    since: float  # when the breach was first seen: s since 1970
    threshold: float  # the level that it tells of


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One change of one event; `event_id` is None for a new one. `words` come with pending and firing."""

    kind: Kind
    rule: Rule
    subject_id: int
    event_id: int | None = None
    value: float | None = None
    words: Words | None = None
    reason: Reason | None = None  # of an end

    @property
    def level(self) -> Level:
        """Of what is pending or fires."""
        assert self.value is not None
        return level_of(self.rule, self.value)

    @property
    def subject_type(self) -> SubjectType:
        return CATALOGUE[self.rule.rule_type].subject_type


def evaluate(
    rules: Sequence[Rule], watched: Watched, open_events: Sequence[OpenEvent], now: float
) -> tuple[Transition, ...]:
    """All that changes at `now` (s since 1970), by rule and subject. The same input gives the same answer."""
    return judge(rules, View(watched, now), open_events)


def judge(rules: Sequence[Rule], view: View, open_events: Sequence[OpenEvent]) -> tuple[Transition, ...]:
    """`evaluate`, of a picture that others look at, too."""
    by_rule: dict[int, dict[int, OpenEvent]] = defaultdict(dict)
    for event in open_events:
        by_rule[event.rule_id][event.subject_id] = event
    changes = [
        change
        for rule in rules
        for change in (
            _watch(rule, view, by_rule[rule.id]) if rule.enabled else _stop(rule, by_rule[rule.id])
        )
    ]
    return tuple(sorted(changes, key=lambda change: (change.rule.id, change.subject_id)))


def _watch(rule: Rule, view: View, events: dict[int, OpenEvent]) -> Iterator[Transition]:
    below, threshold = CATALOGUE[rule.rule_type].below, rule.threshold
    for reading in WATCHES[rule.rule_type].read(view):
        event = events.pop(reading.subject_id, None) if events else None
        if event is not None:
            yield from _follow(rule, view, event, reading)
        # `is_breached`, spelt out: nearly all of 100,000 GPUs end here
        elif reading.value is not None and (reading.value < threshold) is below:
            yield from _open(rule, view, reading, reading.value)
    for event in events.values():
        yield _end(rule, event, "gone")


def _stop(rule: Rule, events: dict[int, OpenEvent]) -> Iterator[Transition]:
    for event in events.values():
        yield _end(rule, event, "rule_disabled")


def _open(rule: Rule, view: View, reading: Reading, value: float) -> Iterator[Transition]:
    if not reading.suppressed and level_of(rule, value).threshold > reading.told:
        yield _told(rule, view, reading.subject_id, value, None)


def _follow(rule: Rule, view: View, event: OpenEvent, reading: Reading) -> Iterator[Transition]:
    value = reading.value
    if reading.suppressed:
        yield _end(rule, event, "node_offline")
    elif value is None:
        if not event.firing:
            yield _end(rule, event, "no_data")
    elif event.firing:
        yield from _hold(rule, view, event, value)
    elif not is_breached(rule, value):
        yield _end(rule, event, "recovered", value)
    elif _watched_for(event, view) >= rule.for_seconds:
        yield _told(rule, view, event.subject_id, value, event.id)


def _hold(rule: Rule, view: View, event: OpenEvent, value: float) -> Iterator[Transition]:
    level = level_of(rule, value).threshold if CATALOGUE[rule.rule_type].levels else event.threshold
    if is_clear(rule, value) or level < event.threshold:
        yield _end(rule, event, "recovered", value)
    elif level > event.threshold:
        yield _end(rule, event, "superseded", value)
        yield _told(rule, view, event.subject_id, value, None)


def _told(rule: Rule, view: View, subject_id: int, value: float, event_id: int | None) -> Transition:
    waits = event_id is None and rule.for_seconds > 0
    return Transition(
        kind="pending" if waits else "firing",
        rule=rule,
        subject_id=subject_id,
        event_id=event_id,
        value=value,
        words=WATCHES[rule.rule_type].words(view, subject_id, value),
    )


def _end(rule: Rule, event: OpenEvent, reason: Reason, value: float | None = None) -> Transition:
    return Transition(
        kind="resolved" if event.firing else "dropped",
        rule=rule,
        subject_id=event.subject_id,
        event_id=event.id,
        value=value,
        reason=reason,
    )


def _watched_for(event: OpenEvent, view: View) -> float:
    """Seconds that the breach was watched without a break.

    A restart, another leader or a stepped clock begins anew: nobody knows what was in between.
    """
    hearing = view.watched.hearing_since
    return view.now - (max(event.since, hearing) if event.since <= view.now else hearing)
