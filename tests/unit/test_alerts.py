"""Alert rules in scenarios: what each evaluation of a story changes, to the last transition."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from gpuforge_controlplane.domain.alerts import OpenEvent, Transition, evaluate
from gpuforge_controlplane.domain.notices import Untold, due
from gpuforge_controlplane.domain.rules import (
    BY_ID,
    CATALOGUE,
    Rule,
    RuleType,
    fault_of,
    is_breached,
    is_clear,
    level_of,
)
from gpuforge_controlplane.domain.watched import Cluster, Gpu, Holding, Invoice, Node, Tenant, Watched

T0 = 1_778_328_000.0  # 2026-05-09T12:00:00Z
LONG_AGO = T0 - 86_400
EVERY = 30


def node(at: float, gpus: int = 2, **fields: Any) -> Watched:
    """Node 7 with its GPUs 70, 71 …, all heard at `at`; any GPU's fields by `g0=`, `g1=` …"""
    cards = [Gpu(70 + index, 7, index, at)._replace(**fields.pop(f"g{index}", {})) for index in range(gpus)]
    host = Node(7, 1, "gpu-07", at)._replace(**fields.pop("node", {}))
    clusters = (Cluster(1, "east"),)
    return Watched(hearing_since=LONG_AGO, clusters=clusters, nodes=(host,), gpus=cards, **fields)


def cluster(mean: float | None) -> Watched:
    return Watched(hearing_since=LONG_AGO, clusters=(Cluster(1, "east", mean),))


def tenant(in_use: int, quota: int = 10, **fields: Any) -> Watched:
    told = Tenant(3, "Acme ML", quota, in_use)._replace(**fields)
    return Watched(hearing_since=LONG_AGO, tenants=(told,))


def budget(second: float, crossed: int | None, told: int) -> tuple[float, Watched]:
    return second, tenant(0, budget_pct=crossed, budget_told_pct=told)


class Story:
    """Open events from one evaluation to the next, as storage keeps them."""

    def __init__(self, *only: RuleType) -> None:
        self.rules = {name: built_in.rule for name, built_in in CATALOGUE.items() if not only or name in only}
        self.open: dict[int, OpenEvent] = {}
        self.notified: list[tuple[float, str, str, int]] = []
        self._untold: dict[int, Untold] = {}
        self._subjects: dict[int, int] = {}
        self.told: list[tuple[float, str, str, int, str | None]] = []
        self._next = 1

    def set(self, rule_type: RuleType, **fields: Any) -> None:
        self.rules[rule_type] = replace(self.rules[rule_type], **fields)

    def look(self, at: float, watched: Watched) -> tuple[Transition, ...]:
        """Evaluate at T0 + `at`, keep what changed."""
        changes = evaluate(list(self.rules.values()), watched, list(self.open.values()), T0 + at)
        for change in changes:
            self.told.append((at, change.kind, change.rule.rule_type, change.subject_id, change.reason))
            self._keep(change, T0 + at)
        return changes

    def tell(self, at: float) -> None:
        """Notify at T0 + `at` of what is due."""
        for event, kind in due(list(self._untold.values()), (), T0 + at):
            self.notified.append((at, kind, event.rule_type, self._subjects[event.id]))
            if kind == "resolved":
                del self._untold[event.id]
            else:
                self._untold[event.id] = event._replace(told_at=T0 + at)

    def _keep(self, change: Transition, now: float) -> None:
        event_id = self._next if change.event_id is None else change.event_id
        if change.kind == "firing":
            self._subjects[event_id] = change.subject_id
            self._untold[event_id] = Untold(
                event_id,
                change.rule.rule_type,
                change.level.severity,
                change.subject_type,
                "",
                now,
                None,
                None,
                acknowledged=False,
            )
        elif change.kind == "resolved":
            self._untold[event_id] = self._untold[event_id]._replace(resolved_at=now)
        self._move(change, now)

    def _move(self, change: Transition, now: float) -> None:
        if change.event_id is None:
            event = OpenEvent(
                id=self._next,
                rule_id=change.rule.id,
                subject_id=change.subject_id,
                firing=change.kind == "firing",
                since=now,
                threshold=change.level.threshold,
            )
            self.open[event.id] = event
            self._next += 1
        elif change.kind == "firing":
            self.open[change.event_id] = replace(self.open[change.event_id], firing=True)
        else:
            del self.open[change.event_id]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is seen at which second, and the exact list of what changes."""

    rules: tuple[RuleType, ...]
    seen: Sequence[tuple[float, Watched]]
    changes: Sequence[tuple[float, str, str, int, str | None]]
    settings: Mapping[float, tuple[RuleType, dict[str, Any]]] | None = None  # from a second on


def at(second: float) -> float:
    return T0 + second


def thermal(second: float, temperature: float | None, **fields: Any) -> tuple[float, Watched]:
    card = {"temperature_c": temperature}
    return second, node(at(second), 1, g0={**card, **fields})


def silent(second: float, heard: float, *, hearing: float | None = None) -> tuple[float, Watched]:
    """The node and its GPUs were last heard at second `heard`; we have listened since second `hearing`."""
    since = LONG_AGO if hearing is None else at(hearing)
    return second, replace(node(at(heard)), hearing_since=since)


FAULTY = {"faults": ("XID_79",)}

SCENARIOS: dict[str, Scenario] = {
    "below the threshold it fires, between the two it stays, at the clear one it ends": Scenario(
        rules=("idle_gpu",),
        seen=[(30 * i, cluster(mean)) for i, mean in enumerate((60.0, 59.9, 64.9, 59, 65, 64.9, 59.9))],
        changes=[
            (30, "firing", "idle_gpu", 1, None),
            (120, "resolved", "idle_gpu", 1, "recovered"),
            (180, "firing", "idle_gpu", 1, None),
        ],
    ),
    "flapping around the threshold is one event": Scenario(
        rules=("idle_gpu",),
        seen=[(30 * i, cluster(59 if i % 2 else 62)) for i in range(40)],
        changes=[(30, "firing", "idle_gpu", 1, None)],
    ),
    "flapping faster than for_seconds never fires": Scenario(
        rules=("gpu_thermal",),
        seen=[thermal(30 * i, 90 if i % 2 else 80) for i in range(6)],
        changes=[
            (30, "pending", "gpu_thermal", 70, None),
            (60, "dropped", "gpu_thermal", 70, "recovered"),
            (90, "pending", "gpu_thermal", 70, None),
            (120, "dropped", "gpu_thermal", 70, "recovered"),
            (150, "pending", "gpu_thermal", 70, None),
        ],
    ),
    "a breach that lasts fires after for_seconds": Scenario(
        rules=("gpu_thermal",),
        seen=[thermal(second, 87) for second in (0, 30, 59, 60, 90)] + [thermal(120, 82), thermal(150, 81.9)],
        changes=[
            (0, "pending", "gpu_thermal", 70, None),
            (60, "firing", "gpu_thermal", 70, None),
            (150, "resolved", "gpu_thermal", 70, "recovered"),
        ],
    ),
    "missing telemetry is not idleness": Scenario(
        rules=("idle_gpu", "idle_allocated"),
        seen=[
            (0, cluster(None)),
            (30, node(at(30), holdings=(Holding(70, 5, 3, at(-4000), "H100", None),))),
        ],
        changes=[],
    ),
    "missing telemetry ends nothing that fires": Scenario(
        rules=("idle_gpu",),
        seen=[(0, cluster(40)), (30, cluster(None)), (60, cluster(40)), (90, cluster(70))],
        changes=[(0, "firing", "idle_gpu", 1, None), (90, "resolved", "idle_gpu", 1, "recovered")],
    ),
    "missing telemetry ends what only waits": Scenario(
        rules=("gpu_thermal",),
        seen=[thermal(0, 95), thermal(30, None), thermal(60, 95)],
        changes=[
            (0, "pending", "gpu_thermal", 70, None),
            (30, "dropped", "gpu_thermal", 70, "no_data"),
            (60, "pending", "gpu_thermal", 70, None),
        ],
    ),
    "a GPU that stops reporting degrades its node and nothing else": Scenario(
        rules=(),
        seen=[(second, node(at(second), g0={"reported_at": at(0)})) for second in (60, 90, 91, 120, 151)]
        + [(180, node(at(180)))],
        changes=[
            (91, "pending", "health_degraded", 7, None),
            (151, "firing", "health_degraded", 7, None),
            (180, "resolved", "health_degraded", 7, "recovered"),
        ],
    ),
    "a node that goes takes its GPUs' events along, and they come back with it": Scenario(
        rules=(),
        seen=[
            (0, node(at(0), g1=FAULTY)),
            (30, node(at(0), g1=FAULTY)),
            (60, node(at(0), g1=FAULTY)),
            (91, node(at(0), g1=FAULTY)),
            (120, node(at(0), g1=FAULTY)),
            (150, node(at(150), g1=FAULTY)),
        ],
        changes=[
            (0, "pending", "health_degraded", 7, None),
            (0, "firing", "gpu_fault", 71, None),
            (60, "firing", "health_degraded", 7, None),
            (91, "resolved", "gpu_fault", 71, "node_offline"),
            (91, "firing", "node_offline", 7, None),
            (150, "firing", "gpu_fault", 71, None),
            (150, "resolved", "node_offline", 7, "recovered"),
        ],
    ),
    "a node that was retired takes all its events along": Scenario(
        rules=(),
        seen=[silent(0, -100), (30, Watched(hearing_since=LONG_AGO, clusters=(Cluster(1, "east"),)))],
        changes=[
            (0, "pending", "health_degraded", 7, None),
            (0, "firing", "node_offline", 7, None),
            (30, "dropped", "health_degraded", 7, "gone"),
            (30, "resolved", "node_offline", 7, "gone"),
        ],
    ),
    "a lower threshold ends what it no longer means": Scenario(
        rules=("idle_gpu",),
        seen=[(0, cluster(50)), (30, cluster(50)), (60, cluster(50))],
        settings={30: ("idle_gpu", {"threshold": 45, "clear_threshold": 50})},
        changes=[(0, "firing", "idle_gpu", 1, None), (30, "resolved", "idle_gpu", 1, "recovered")],
    ),
    "a higher threshold fires at once": Scenario(
        rules=("quota_breach",),
        seen=[(0, tenant(8)), (30, tenant(8))],
        settings={30: ("quota_breach", {"threshold": 80, "clear_threshold": 75})},
        changes=[(30, "firing", "quota_breach", 3, None)],
    ),
    "disabled, it ends; enabled again, it fires anew": Scenario(
        rules=("quota_breach",),
        seen=[(second, tenant(10)) for second in (0, 30, 60)],
        settings={30: ("quota_breach", {"enabled": False}), 60: ("quota_breach", {"enabled": True})},
        changes=[
            (0, "firing", "quota_breach", 3, None),
            (30, "resolved", "quota_breach", 3, "rule_disabled"),
            (60, "firing", "quota_breach", 3, None),
        ],
    ),
    "a restart in the middle counts the wait anew, and keeps what fires": Scenario(
        rules=("gpu_thermal", "gpu_fault"),
        seen=[
            (second, replace(thermal(second, 95, **FAULTY)[1], hearing_since=at(hearing)))
            for second, hearing in ((0, -500), (30, -500), (600, 600), (630, 600), (660, 600))
        ],
        changes=[
            (0, "firing", "gpu_fault", 70, None),
            (0, "pending", "gpu_thermal", 70, None),
            (660, "firing", "gpu_thermal", 70, None),
        ],
    ),
    "after an outage of ours nobody is called silent before there was time to be heard": Scenario(
        rules=(),
        seen=[silent(600, 0, hearing=600), silent(689, 0, hearing=600), silent(690, 690, hearing=600)],
        changes=[],
    ),
    "who stays silent after an outage of ours is offline": Scenario(
        rules=("node_offline",),
        seen=[silent(600, 0, hearing=600), silent(689, 0, hearing=600), silent(690, 0, hearing=600)],
        changes=[(690, "firing", "node_offline", 7, None)],
    ),
    "an offline node stays so over an outage of ours": Scenario(
        rules=("node_offline",),
        seen=[silent(91, 0), silent(600, 0, hearing=600), silent(690, 0, hearing=600)],
        changes=[(91, "firing", "node_offline", 7, None)],
    ),
    "a clock stepped an hour ahead alarms nobody": Scenario(  # the loop begins to listen anew at a step
        rules=(),
        seen=[
            thermal(0, 95),
            (3630, replace(thermal(30, 95)[1], hearing_since=at(3630))),
            (3660, replace(thermal(3660, 95)[1], hearing_since=at(3630))),
            (3690, replace(thermal(3690, 95)[1], hearing_since=at(3630))),
        ],
        changes=[
            (0, "pending", "gpu_thermal", 70, None),
            (3630, "dropped", "gpu_thermal", 70, "no_data"),
            (3660, "pending", "gpu_thermal", 70, None),
        ],
    ),
    "a clock stepped an hour back neither fires early nor waits an hour": Scenario(
        rules=("gpu_thermal",),
        seen=[thermal(0, 95)]
        + [
            (second, replace(thermal(second, 95)[1], hearing_since=at(-3570)))
            for second in (-3570, -3540, -3510)
        ],
        changes=[(0, "pending", "gpu_thermal", 70, None), (-3510, "firing", "gpu_thermal", 70, None)],
    ),
    "a job that hardly uses what it holds": Scenario(
        rules=("idle_allocated",),
        seen=[
            (second, node(at(second), holdings=(Holding(70, 5, 3, at(-1700), "H100", mean),)))
            for second, mean in ((0, 2), (99, 2), (100, 9.9), (130, 14.9), (160, 15))
        ],
        changes=[
            (100, "firing", "idle_allocated", 70, None),
            (160, "resolved", "idle_allocated", 70, "recovered"),
        ],
    ),
    "a job that ends takes its event along": Scenario(
        rules=("idle_allocated",),
        seen=[(0, node(at(0), holdings=(Holding(70, 5, 3, at(-9999), "H100", 1),))), (30, node(at(30)))],
        changes=[
            (0, "firing", "idle_allocated", 70, None),
            (30, "resolved", "idle_allocated", 70, "gone"),
        ],
    ),
    "a job that waits for long": Scenario(
        rules=("queue_wait",),
        seen=[
            (second, Watched(hearing_since=LONG_AGO, clusters=(Cluster(1, "east", None, since),)))
            for second, since in (
                (0, at(-3599)),
                (1, at(-3599)),
                (30, at(-2700)),
                (60, at(-2639)),
                (90, None),
            )
        ],
        changes=[(1, "firing", "queue_wait", 1, None), (60, "resolved", "queue_wait", 1, "recovered")],
    ),
    "each part of a budget once, in place of the one below, until the month ends": Scenario(
        rules=("budget",),
        seen=[
            budget(second, crossed, told)
            for second, crossed, told in (
                (0, 0, 0),
                (30, 50, 0),
                (60, 50, 50),
                (600, 80, 50),
                (630, 80, 80),
                (1200, 100, 80),
                (1230, 100, 100),
                (1800, 0, 0),
            )
        ],
        changes=[
            (30, "firing", "budget", 3, None),
            (600, "resolved", "budget", 3, "superseded"),
            (600, "firing", "budget", 3, None),
            (1200, "resolved", "budget", 3, "superseded"),
            (1200, "firing", "budget", 3, None),
            (1800, "resolved", "budget", 3, "recovered"),
        ],
    ),
    "a budget that is raised and crossed again, and one that is taken away": Scenario(
        rules=("budget",),
        seen=[
            budget(second, crossed, told)
            for second, crossed, told in (
                (0, 80, 0),
                (30, 80, 80),
                (60, 50, 50),
                (90, 50, 50),
                (120, 80, 50),
                (150, None, 0),
            )
        ],
        changes=[
            (0, "firing", "budget", 3, None),
            (60, "resolved", "budget", 3, "recovered"),
            (120, "firing", "budget", 3, None),
            (150, "resolved", "budget", 3, "gone"),
        ],
    ),
    "of a budget's parts that nobody was told of, the highest; of the others none again": Scenario(
        rules=("budget",),
        seen=[
            budget(second, crossed, told)
            for second, crossed, told in ((0, 80, 0), (30, 80, 0), (60, 80, 80), (90, 80, 80), (120, 100, 80))
        ],
        settings={
            0: ("budget", {"enabled": False}),
            30: ("budget", {"enabled": True}),
            60: ("budget", {"enabled": False}),
            90: ("budget", {"enabled": True}),
        },
        changes=[
            (30, "firing", "budget", 3, None),
            (60, "resolved", "budget", 3, "rule_disabled"),
            (120, "firing", "budget", 3, None),
        ],
    ),
    "an invoice that is not paid in time": Scenario(
        rules=("invoice_overdue",),
        seen=[
            (second, Watched(hearing_since=LONG_AGO, invoices=(Invoice(9, "2026-0009", 3, at(30)),)))
            for second in (0, 30, 60)
        ]
        + [(90, Watched(hearing_since=LONG_AGO))],
        changes=[
            (30, "firing", "invoice_overdue", 9, None),
            (90, "resolved", "invoice_overdue", 9, "gone"),
        ],
    ),
    "a meter that catches up after an outage of ours": Scenario(
        rules=("metering_gap",),
        seen=[
            (second, Watched(hearing_since=at(3600), usage_owed_since=at(until)))
            for second, until in ((3600, 0), (3630, 0), (3660, 3655), (4300, 3655))
        ],
        changes=[(4300, "firing", "metering_gap", 0, None)],
    ),
    "a meter that had caught up when an outage of ours ended": Scenario(
        rules=("metering_gap",),
        seen=[
            (0, Watched(hearing_since=LONG_AGO, usage_owed_since=at(-601))),
            (3630, Watched(hearing_since=at(3600), usage_owed_since=at(3600))),
        ],
        changes=[
            (0, "firing", "metering_gap", 0, None),
            (3630, "resolved", "metering_gap", 0, "recovered"),
        ],
    ),
    "a meter that falls behind": Scenario(
        rules=("metering_gap",),
        seen=[
            (second, Watched(hearing_since=LONG_AGO, usage_owed_since=until))
            for second, until in ((0, None), (30, at(-569)), (31, at(-569)), (60, at(-240)), (90, None))
        ],
        changes=[
            (31, "firing", "metering_gap", 0, None),
            (90, "resolved", "metering_gap", 0, "recovered"),
        ],
    ),
}


# What is told of each of them, by looks right after the evaluations and one half a minute after the last.
NOTICES: Mapping[str, Sequence[tuple[float, str, str, int]]] = {
    "below the threshold it fires, between the two it stays, at the clear one it ends": [
        (60, "firing", "idle_gpu", 1),
        (150, "resolved", "idle_gpu", 1),
        (210, "firing", "idle_gpu", 1),
    ],
    "flapping around the threshold is one event": [(60, "firing", "idle_gpu", 1)],
    "a breach that lasts fires after for_seconds": [
        (90, "firing", "gpu_thermal", 70),
        (180, "resolved", "gpu_thermal", 70),
    ],
    "missing telemetry ends nothing that fires": [
        (30, "firing", "idle_gpu", 1),
        (120, "resolved", "idle_gpu", 1),
    ],
    "a node that goes takes its GPUs' events along, and they come back with it": [
        (30, "firing", "gpu_fault", 71),
        (91, "firing", "health_degraded", 7),
        (91, "resolved", "gpu_fault", 71),
        (91, "firing", "node_offline", 7),
        (180, "resolved", "node_offline", 7),
        (180, "firing", "gpu_fault", 71),
    ],
    "a higher threshold fires at once": [(60, "firing", "quota_breach", 3)],
    "disabled, it ends; enabled again, it fires anew": [(90, "firing", "quota_breach", 3)],
    "a restart in the middle counts the wait anew, and keeps what fires": [
        (30, "firing", "gpu_fault", 70),
        (690, "firing", "gpu_thermal", 70),
    ],
    "who stays silent after an outage of ours is offline": [(720, "firing", "node_offline", 7)],
    "an offline node stays so over an outage of ours": [(600, "firing", "node_offline", 7)],
    "a clock stepped an hour back neither fires early nor waits an hour": [
        (-3480, "firing", "gpu_thermal", 70)
    ],
    "a job that hardly uses what it holds": [
        (130, "firing", "idle_allocated", 70),
        (190, "resolved", "idle_allocated", 70),
    ],
    "each part of a budget once, in place of the one below, until the month ends": [
        (60, "firing", "budget", 3),
        (630, "resolved", "budget", 3),
        (630, "firing", "budget", 3),
        (1230, "resolved", "budget", 3),
        (1230, "firing", "budget", 3),
        (1830, "resolved", "budget", 3),
    ],
    "a budget that is raised and crossed again, and one that is taken away": [
        (30, "firing", "budget", 3),
        (90, "resolved", "budget", 3),
    ],
    "of a budget's parts that nobody was told of, the highest; of the others none again": [
        (150, "firing", "budget", 3)
    ],
    "an invoice that is not paid in time": [
        (60, "firing", "invoice_overdue", 9),
        (120, "resolved", "invoice_overdue", 9),
    ],
    "a meter that catches up after an outage of ours": [(4330, "firing", "metering_gap", 0)],
}


@pytest.mark.parametrize(("name", "scenario"), SCENARIOS.items(), ids=SCENARIOS.keys())
def test_scenario(name: str, scenario: Scenario) -> None:
    story = Story(*scenario.rules)
    for second, watched in scenario.seen:
        if scenario.settings and second in scenario.settings:
            rule_type, fields = scenario.settings[second]
            story.set(rule_type, **fields)
        story.look(second, watched)
        story.tell(second)
    story.tell(scenario.seen[-1][0] + EVERY)
    assert story.told == list(scenario.changes)
    assert story.notified == list(NOTICES.get(name, ()))


def test_a_thousand_looks_at_the_same_change_nothing_after_the_first_and_notify_once() -> None:
    story = Story("quota_breach", "gpu_fault")
    for second in range(1000):
        story.look(second, node(at(second), g0=FAULTY, tenants=(Tenant(3, "Acme ML", 10, 10),)))
        story.tell(second)
    assert story.notified == [(30, "firing", "quota_breach", 3), (30, "firing", "gpu_fault", 70)]
    assert [(kind, rule) for _, kind, rule, _, _ in story.told] == [
        ("firing", "quota_breach"),
        ("firing", "gpu_fault"),
    ]


def words(story: Story, watched: Watched) -> Iterator[tuple[str, str, int | None, int | None]]:
    for change in story.look(0, watched):
        assert change.words
        yield change.words


def test_what_people_read() -> None:
    invoice = Invoice(9, "2026-0009", 3, at(-60))
    watched = replace(
        node(at(-100), 4, g1=FAULTY, g2={"temperature_c": 91.6}),
        clusters=(Cluster(1, "east", 12.34, at(-4000)),),
        nodes=(Node(7, 1, "gpu-07", at(-100)), Node(8, 1, "gpu-08", at(0))),
        tenants=(Tenant(3, "Acme ML", 10, 9, 80),),
        invoices=(invoice,),
        usage_owed_since=at(-660),
    )
    beside = (Gpu(80, 8, 0, at(0), 91.6, ("XID_79", "ECC")), Gpu(81, 8, 1, at(0)), Gpu(82, 8, 2, at(-91)))
    watched = replace(
        watched, gpus=(*watched.gpus, *beside), holdings=(Holding(81, 5, 3, at(-1800), "H100", 2.25),)
    )
    assert list(words(Story(), watched)) == [
        ("east", "GPUs of cluster east were used 12.3 % on average over 15 min", None, 1),
        ("Acme ML", "tenant Acme ML uses 9 of its quota of 10 GPUs (90 %)", 3, None),
        ("gpu-07", "0 of 4 GPUs of gpu-07 healthy: 1 with a fault, 3 not reporting", None, 1),
        ("gpu-08", "1 of 3 GPUs of gpu-08 healthy: 1 with a fault, 1 not reporting", None, 1),
        ("gpu-08/0", "GPU gpu-08/0 has a fault: XID_79, ECC", None, 1),
        ("gpu-08/0", "GPU gpu-08/0 is at 92 degrees C", None, 1),
        ("gpu-07", "node gpu-07 was last heard at 2026-05-09T11:58:20Z", None, 1),
        ("gpu-08/1", "GPU gpu-08/1 is held by job 5 and was used 2.2 % over 30 min", 3, 1),
        ("east", "a job has been queued in cluster east for 67 min", None, 1),
        ("Acme ML", "tenant Acme ML has used 80 % of this month's budget", 3, None),
        ("2026-0009", "invoice 2026-0009 was due at 2026-05-09T11:59:00Z", 3, None),
        ("meter", "usage has been missing from the ledger for 11 min", None, None),
    ]


def test_the_references_three_rules_come_first_and_as_the_contract_has_them() -> None:
    assert [
        (rule.id, rule.rule_type, rule.threshold, rule.clear_threshold, rule.for_seconds, rule.enabled)
        for rule in (BY_ID[number].rule for number in (1, 2, 3))
    ] == [
        (1, "idle_gpu", 60, 65, 0, True),
        (2, "quota_breach", 90, 85, 0, True),
        (3, "health_degraded", 100, 100, 60, True),
    ]


@pytest.mark.parametrize(
    ("value", "level"),
    [(49, (50, "warning")), (50, (50, "info")), (80, (80, "warning")), (100, (100, "critical"))],
)
def test_a_budgets_parts_are_the_more_severe_the_higher(value: float, level: tuple[float, str]) -> None:
    assert level_of(CATALOGUE["budget"].rule, value) == level


@pytest.mark.parametrize("built_in", BY_ID.values(), ids=lambda each: str(each.rule.rule_type))
def test_every_rule_is_sound_and_says_what_to_do(built_in: Any) -> None:
    assert fault_of(built_in.rule) is None
    assert len(built_in.meaning) > 40
    assert len(built_in.what_to_do) > 40


@pytest.mark.parametrize(
    ("rule_type", "fields", "fault"),
    [
        ("idle_gpu", {"threshold": 70}, ("clear_threshold", "must not be below the threshold, 70")),
        ("quota_breach", {"threshold": 80}, ("clear_threshold", "must not be above the threshold, 80")),
        ("idle_gpu", {"threshold": -1}, ("threshold", "must lie between 0 and 100 %")),
        ("idle_gpu", {"clear_threshold": 100.1}, ("clear_threshold", "must lie between 0 and 100 %")),
        ("idle_gpu", {"threshold": float("nan")}, ("threshold", "must lie between 0 and 100 %")),
        ("gpu_thermal", {"threshold": 151}, ("threshold", "must lie between 0 and 150 degrees C")),
        ("idle_gpu", {"threshold": 65}, None),
    ],
)
def test_thresholds_are_checked(
    rule_type: RuleType, fields: dict[str, Any], fault: tuple[str, str] | None
) -> None:
    assert fault_of(replace(CATALOGUE[rule_type].rule, **fields)) == fault


@pytest.mark.parametrize(
    "rule", [built_in.rule for built_in in BY_ID.values()], ids=lambda rule: rule.rule_type
)
def test_no_value_is_both_a_breach_and_clear(rule: Rule) -> None:
    for value in (0, rule.threshold - 1, rule.threshold, rule.clear_threshold, rule.threshold + 1, 10**6):
        assert not (is_breached(rule, value) and is_clear(rule, value))
