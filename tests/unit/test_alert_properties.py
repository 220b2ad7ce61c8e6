"""What no evaluation may ever do, over generated fleets and stories."""

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.domain.alerts import OpenEvent, Transition, evaluate
from gpuforge_controlplane.domain.rules import BY_ID, Rule, is_breached, is_clear
from gpuforge_controlplane.domain.watched import Cluster, Gpu, Holding, Invoice, Node, Tenant, Watched

NOW = 1_778_328_000.0
RULES = [built_in.rule for built_in in BY_ID.values()]


def picture(seed: int, size: int, now: float = NOW) -> Watched:
    """A fleet by size and seed, with something of everything: silent nodes, faults, gaps in what is known."""
    dice = Random(seed)
    nodes = [Node(n, 1, f"n{n}", now - dice.choice([0, 30, 90, 91, 5000])) for n in range(1, size + 1)]
    gpus = [
        Gpu(
            10 * node.id + index,
            node.id,
            index,
            now - dice.choice([0, 10, 90, 91, 500]),
            dice.choice([None, 40.0, 82.0, 86.9, 87.0, 99.0]),
            dice.choice([(), (), ("XID_79",)]),
            dice.choice([None, 0.0, 50.0]),
        )
        for node in nodes
        for index in range(dice.randint(0, 3))
    ]
    holdings = [
        Holding(
            gpu.id, 1, 1, now - dice.choice([0, 1800, 9999]), "H100", dice.choice([None, 1.0, 12.0, 90.0])
        )
        for gpu in gpus
        if dice.random() < 0.5
    ]
    tenants = [
        Tenant(
            n, f"t{n}", 10, dice.randint(0, 12), dice.choice([None, 0, 50, 80, 100]), dice.choice([0, 50, 80])
        )
        for n in range(1, 4)
    ]
    return Watched(
        hearing_since=now - dice.choice([0, 30, 90, 5000]),
        clusters=(Cluster(1, "c", dice.choice([None, 10.0, 62.0, 80.0]), dice.choice([None, now - 4000])),),
        nodes=nodes,
        gpus=gpus,
        holdings=holdings,
        tenants=tenants,
        invoices=[Invoice(n, str(n), 1, now + dice.choice([-1, 0, 1])) for n in range(dice.randint(0, 2))],
        usage_owed_since=dice.choice([None, now - 10, now - 400, now - 900]),
    )


def kept(events: list[OpenEvent], changes: tuple[Transition, ...], now: float) -> list[OpenEvent]:
    """The open events afterwards."""
    gone = {change.event_id for change in changes if change.kind in ("resolved", "dropped")}
    fired = {change.event_id for change in changes if change.kind == "firing"}
    left = [
        replace(event, firing=event.firing or event.id in fired) for event in events if event.id not in gone
    ]
    first = max((event.id for event in events), default=0) + 1
    new = [change for change in changes if change.event_id is None]
    return left + [
        OpenEvent(
            id=first + place,
            rule_id=change.rule.id,
            subject_id=change.subject_id,
            firing=change.kind == "firing",
            since=now,
            threshold=change.level.threshold,
        )
        for place, change in enumerate(new)
    ]


seeds = st.lists(st.integers(0, 2**32), min_size=1, max_size=6)
sizes = st.integers(0, 5)


@given(seeds, sizes, st.integers(0, 2**32))
def test_one_event_a_rule_and_subject_whatever_happens(story: list[int], size: int, order: int) -> None:
    events: list[OpenEvent] = []
    for step, seed in enumerate(story):
        now = NOW + 30 * step
        shuffled = list(events)
        Random(order).shuffle(shuffled)
        changes = evaluate(RULES, picture(seed, size, now), events, now)
        assert changes == evaluate(RULES, picture(seed, size, now), shuffled, now)
        touched = [(change.rule.id, change.subject_id) for change in changes if change.reason != "superseded"]
        assert touched == sorted(set(touched))
        events = kept(events, changes, now)
        subjects = [(event.rule_id, event.subject_id) for event in events]
        assert len(subjects) == len(set(subjects))


@given(st.integers(0, 2**32), sizes)
def test_the_same_picture_changes_nothing_once_all_waits_are_over(seed: int, size: int) -> None:
    watched, events = picture(seed, size), list[OpenEvent]()
    for _ in range(2):
        changes = evaluate(RULES, watched, events, NOW)
        events = [replace(event, since=NOW - 10_000) for event in kept(events, changes, NOW)]
    if watched.hearing_since <= NOW - max(rule.for_seconds for rule in RULES):
        assert evaluate(RULES, watched, events, NOW) == ()
    else:
        assert {change.kind for change in evaluate(RULES, watched, events, NOW)} <= {"firing"}


@given(st.integers(0, 2**32), sizes)
def test_disabled_rules_hold_nothing_open(seed: int, size: int) -> None:
    watched = picture(seed, size)
    events = kept([], evaluate(RULES, watched, [], NOW), NOW)
    off = [replace(rule, enabled=False) for rule in RULES]
    changes = evaluate(off, watched, events, NOW + 30)
    assert {change.event_id for change in changes} == {event.id for event in events}
    assert {change.reason for change in changes} <= {"rule_disabled"}
    assert evaluate(off, watched, [], NOW) == ()


@given(st.integers(0, 2**32), sizes)
def test_gpus_of_a_node_that_is_down_have_no_events(seed: int, size: int) -> None:
    watched = replace(picture(seed, size), hearing_since=NOW - 5000)
    events = kept([], evaluate(RULES, watched, [], NOW), NOW)
    silent = {node.id for node in watched.nodes if NOW - node.heard_at > 90}
    hidden = {gpu.id for gpu in watched.gpus if gpu.node_id in silent}
    gpu_rules = {rule.id for rule in RULES if BY_ID[rule.id].subject_type == "gpu"}
    assert not {event.subject_id for event in events if event.rule_id in gpu_rules} & hidden


@given(st.sampled_from(RULES), st.floats(0, 1e6), st.floats(0, 100), st.floats(0, 100))
def test_a_value_is_never_both_a_breach_and_clear(rule: Rule, value: float, one: float, other: float) -> None:
    low, high = sorted((one, other))
    below = BY_ID[rule.id].below
    tuned = replace(rule, threshold=low if below else high, clear_threshold=high if below else low)
    assert not (is_breached(tuned, value) and is_clear(tuned, value))
