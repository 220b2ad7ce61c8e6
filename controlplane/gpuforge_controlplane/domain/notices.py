"""Which events are to be told now: grouped for 30 s, repeated after 4 h, silenced, taken back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple, get_args

from gpuforge_controlplane.domain.rules import RuleType, Severity, SubjectType

GROUP_S = 30.0
REPEAT_S = 4 * 3600.0
RETRY_FIRST_S, RETRY_MOST_S = 5.0, 300.0
GIVE_UP_S = 24 * 3600.0

NoticeKind = Literal["firing", "repeated", "resolved"]
_RANK: dict[Severity, int] = {"info": 0, "warning": 1, "critical": 2}


class Untold(NamedTuple):
    """An event that fires or has fired, as far as telling goes. Times: seconds since 1970."""

    id: int
    rule_type: RuleType
    severity: Severity
    subject_type: SubjectType
    subject: str
    fired_at: float
    resolved_at: float | None
    told_at: float | None  # when it was last told that it fires
    acknowledged: bool


class Silence(NamedTuple):
    """Holds back notifications. `subject`: a pattern of `type/name`; `*` stands for anything."""

    subject: str
    rule_type: RuleType | None = None


def can_match(pattern: str) -> bool:
    """Whether a silence's pattern begins like the `type/` of any subject; one that doesn't never holds."""
    before, star, _ = pattern.partition("*")
    kind, slash, _ = before.partition("/")
    start = kind + (slash or star)
    return any(fnmatchcase(f"{known}/", start) for known in get_args(SubjectType))


def silenced(
    rule_type: RuleType, subject_type: SubjectType, subject: str, silences: Iterable[Silence]
) -> bool:
    """Whether any silence matches."""
    name = f"{subject_type}/{subject}"
    return any(
        silence.rule_type in (None, rule_type) and fnmatchcase(name, silence.subject) for silence in silences
    )


def due(events: Sequence[Untold], silences: Sequence[Silence], now: float) -> list[tuple[Untold, NoticeKind]]:
    """What to tell at `now`, all at once, by id; nothing as long as the first of it has waited under 30 s.

    What was resolved before anybody heard of it is not told at all.
    """
    told = [(event, kind) for event in events if (kind := _kind(event, silences, now)) is not None]
    waited = [now - _since(event, kind) for event, kind in told]
    # Less than nothing: the clock was set back.
    return sorted(told) if any(age >= GROUP_S or age < 0 for age in waited) else []


def _kind(event: Untold, silences: Sequence[Silence], now: float) -> NoticeKind | None:
    if event.resolved_at is not None:
        return "resolved" if event.told_at is not None else None
    if silenced(event.rule_type, event.subject_type, event.subject, silences):
        return None
    if event.told_at is None:
        return "firing"
    return "repeated" if now - event.told_at >= REPEAT_S and not event.acknowledged else None


def _since(event: Untold, kind: NoticeKind) -> float:
    if kind == "repeated":
        assert event.told_at is not None
        return event.told_at + REPEAT_S
    return event.fired_at if event.resolved_at is None else event.resolved_at


def reaches(severity: Severity, least: Severity) -> bool:
    """Whether an event is severe enough for a channel."""
    return _RANK[severity] >= _RANK[least]


def retry_after_s(attempts: int) -> float:
    """How long to wait after so many failures: 5 s, doubled each time, 5 min at most."""
    return float(min(RETRY_MOST_S, RETRY_FIRST_S * 2 ** min(attempts - 1, 10)))
