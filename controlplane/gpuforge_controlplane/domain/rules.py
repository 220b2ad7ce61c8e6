"""The built-in alert rules: what each watches, from when on it tells, what that means and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

RuleType = Literal[
    "idle_gpu", "quota_breach", "health_degraded", "gpu_fault", "gpu_thermal", "node_offline",
    "idle_allocated", "queue_wait", "budget", "invoice_overdue", "metering_gap",
]  # fmt: skip
Severity = Literal["info", "warning", "critical"]
SubjectType = Literal["cluster", "tenant", "node", "gpu", "invoice", "control_plane"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule as it is set now. Between the two thresholds an event stays what it is."""

    id: int
    rule_type: RuleType
    threshold: float
    clear_threshold: float
    for_seconds: int  # how long the breach must be watched before it is told
    severity: Severity
    enabled: bool = True


class Level(NamedTuple):
    """From which value on an event is how severe."""

    threshold: float
    severity: Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltIn:
    """A rule as it comes, and what people are told about it."""

    rule: Rule
    subject_type: SubjectType
    below: bool  # breached below its threshold and clear from clear_threshold on; else the other way round
    unit: str
    most: float  # of either threshold; the least is 0
    meaning: str
    what_to_do: str
    levels: tuple[Level, ...] = ()  # rising: each is told by an event of its own, in place of the one below


def is_breached(rule: Rule, value: float) -> bool:
    """Whether the value is on the wrong side of the threshold: below it, or at or above it."""
    return value < rule.threshold if CATALOGUE[rule.rule_type].below else value >= rule.threshold


def is_clear(rule: Rule, value: float) -> bool:
    """Whether the value is well again: at or above the clear threshold, or below it."""
    return value >= rule.clear_threshold if CATALOGUE[rule.rule_type].below else value < rule.clear_threshold


def level_of(rule: Rule, value: float) -> Level:
    """The highest level that the value reaches; of most rules their only one."""
    reached = [level for level in CATALOGUE[rule.rule_type].levels if level.threshold <= value]
    return reached[-1] if reached else Level(rule.threshold, rule.severity)


def fault_of(rule: Rule) -> tuple[str, str] | None:
    """What is wrong with a rule's thresholds, as (field, words); None where nothing is."""
    built_in = CATALOGUE[rule.rule_type]
    for name, value in (("threshold", rule.threshold), ("clear_threshold", rule.clear_threshold)):
        if not 0 <= value <= built_in.most:
            return name, f"must lie between 0 and {built_in.most:g} {built_in.unit}"
    if built_in.below and rule.clear_threshold < rule.threshold:
        return "clear_threshold", f"must not be below the threshold, {rule.threshold:g}"
    if not built_in.below and rule.clear_threshold > rule.threshold:
        return "clear_threshold", f"must not be above the threshold, {rule.threshold:g}"
    return None


def _rule(
    rule_id: int, rule_type: RuleType, threshold: float, clear: float, for_s: int, severity: Severity
) -> Rule:
    return Rule(
        id=rule_id,
        rule_type=rule_type,
        threshold=threshold,
        clear_threshold=clear,
        for_seconds=for_s,
        severity=severity,
    )


_ALL = (
    BuiltIn(
        rule=_rule(1, "idle_gpu", 60, 65, 0, "warning"),
        subject_type="cluster", below=True, unit="%", most=100,
        meaning="The cluster's reporting GPUs were used less than the threshold on average over 15 minutes.",
        what_to_do="Look at what is queued and why it waits; lend idle GPUs out, or switch nodes off.",
    ),
    BuiltIn(
        rule=_rule(2, "quota_breach", 90, 85, 0, "warning"),
        subject_type="tenant", below=False, unit="%", most=1000,
        meaning="The tenant's running jobs hold nearly all GPUs of its quota, or more since it was lowered.",
        what_to_do="Raise the quota if there is capacity, or tell the tenant that its next jobs will wait.",
    ),
    BuiltIn(
        rule=_rule(3, "health_degraded", 100, 100, 60, "warning"),
        subject_type="node", below=True, unit="%", most=100,
        meaning="Some GPUs of the node have a fault or stopped reporting: missing data is not health.",
        what_to_do="Open the node: its GPUs say what is missing or broken. Run gpuforge-agent check there.",
    ),
    BuiltIn(
        rule=_rule(4, "gpu_fault", 1, 1, 0, "critical"),
        subject_type="gpu", below=False, unit="faults", most=100,
        meaning="The GPU reports an Xid error, an uncorrectable memory error, or is lost or hung.",
        what_to_do="Cordon the node, let its jobs end, reset the GPU; if the fault returns, replace it.",
    ),
    BuiltIn(
        rule=_rule(5, "gpu_thermal", 87, 82, 60, "warning"),
        subject_type="gpu", below=False, unit="degrees C", most=150,
        meaning="The GPU is so hot that it slows down, or soon will.",
        what_to_do="Check fans, filters and inlet; if its neighbours are hot too, it is the rack.",
    ),
    BuiltIn(
        rule=_rule(6, "node_offline", 90, 90, 0, "critical"),
        subject_type="node", below=False, unit="s", most=86_400,
        meaning="No heartbeat has come from the node; alerts about its GPUs are held back until it returns.",
        what_to_do="Is the host up, is gpuforge-agent running there, does it reach this server?",
    ),
    BuiltIn(
        rule=_rule(7, "idle_allocated", 10, 15, 0, "warning"),
        subject_type="gpu", below=True, unit="%", most=100,
        meaning="A running job has held the GPU for half an hour and hardly used it: paid for, and idle.",
        what_to_do="Ask the tenant whether the job hangs or needs fewer GPUs; cancel it if nobody misses it.",
    ),
    BuiltIn(
        rule=_rule(8, "queue_wait", 60, 45, 0, "warning"),
        subject_type="cluster", below=False, unit="min", most=525_600,
        meaning="A job has been queued in the cluster for longer than the threshold.",
        what_to_do="GET /api/jobs/{id}/explain says what it waits for: capacity, a quota, a reservation.",
    ),
    BuiltIn(
        rule=_rule(9, "budget", 50, 50, 0, "warning"),
        subject_type="tenant", below=False, unit="%", most=100,
        meaning="The tenant's cost of this month has crossed 50 (info), 80 (warning) or 100 % (critical) of"
        " its budget. Each is told once, and over when the month is.",
        what_to_do="Tell the tenant; lower its quota or raise its budget. A budget stops no job.",
        levels=(Level(50, "info"), Level(80, "warning"), Level(100, "critical")),
    ),
    BuiltIn(
        rule=_rule(10, "invoice_overdue", 0, 0, 0, "warning"),
        subject_type="invoice", below=False, unit="days", most=3650,
        meaning="The invoice is past its due date and not paid.",
        what_to_do="Remind the tenant; mark the invoice paid if the money came by another way.",
    ),
    BuiltIn(
        rule=_rule(11, "metering_gap", 600, 300, 0, "critical"),
        subject_type="control_plane", below=False, unit="s", most=86_400,
        meaning="What ended, or ran until midnight, is not in the ledger: the meter is behind. None is lost.",
        what_to_do="Look for the meter's errors in the leader's log; it catches up by itself once it runs.",
    ),
)  # fmt: skip

CATALOGUE: Mapping[RuleType, BuiltIn] = {built_in.rule.rule_type: built_in for built_in in _ALL}
BY_ID: Mapping[int, BuiltIn] = {built_in.rule.id: built_in for built_in in _ALL}
