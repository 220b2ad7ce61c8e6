"""Which readings and events are faults of a GPU, and what ends them."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.domain.health import (
    Condition,
    Counters,
    OpenFault,
    changes,
    clock_is_off,
    latest,
)

SEEN = datetime(2026, 5, 9, tzinfo=UTC)
WELL = Condition(remap_pending=False, remap_failed=False, recovery_action="none", ecc=Counters(volatile=0))
UNKNOWN = Condition(unreadable="hung")
HUNG = OpenFault(id=1, kind="unreadable", code="hung", needs_operator=False)
PENDING = OpenFault(id=2, kind="row_remap", code="pending", needs_operator=False)
RESET = OpenFault(id=3, kind="recovery", code="gpu_reset", needs_operator=False)
XID = OpenFault(id=4, kind="xid", code="48", needs_operator=True)
ECC = OpenFault(id=5, kind="ecc", code="uncorrectable", needs_operator=True)
WORD = OpenFault(id=6, kind="recovery", code="gpu_reset", needs_operator=True)
ZERO = Counters(volatile=0, aggregate=0)


@pytest.mark.parametrize(
    ("now", "opened"),
    [
        pytest.param(WELL, [], id="well"),
        pytest.param(Condition(), [], id="nothing known"),
        *(
            pytest.param(Condition(unreadable=reason), [("unreadable", reason, False)], id=reason)
            for reason in ("lost", "off_bus", "hung", "driver_absent", "reset_required", "a_new_reason")
        ),
        *(
            pytest.param(Condition(unreadable=reason), [], id=reason)
            for reason in ("asleep", "not_reached", "not_supported")
        ),
        pytest.param(Condition(remap_pending=True), [("row_remap", "pending", False)], id="remap pending"),
        pytest.param(Condition(remap_failed=True), [("row_remap", "failed", False)], id="remap failed"),
        pytest.param(
            Condition(recovery_action="node_reboot"), [("recovery", "node_reboot", False)], id="recovery"
        ),
        *(
            pytest.param(Condition(xids=[(code, SEEN)]), [("xid", str(code), True)], id=f"Xid {code}")
            for code in (48, 79, 95)
        ),
        *(
            pytest.param(
                Condition(xids=[(code, SEEN)]), [], id=f"Xid {code}, a job's own or told by readings"
            )
            for code in (13, 31, 43, 63, 94, 119)
        ),
        pytest.param(
            Condition(xids=[(48, SEEN), (48, SEEN)]), [("xid", "48", True)], id="an Xid twice in a report"
        ),
        pytest.param(
            Condition(unreadable="lost", xids=[(79, SEEN)], ecc=Counters(volatile=1)),
            [("unreadable", "lost", False), ("xid", "79", True), ("ecc", "uncorrectable", True)],
            id="all at once",
        ),
    ],
)
def test_what_is_a_fault(now: Condition, opened: Sequence[tuple[str, str, bool]]) -> None:
    change = changes(now, ZERO, [])
    assert [(fault.kind, fault.code, fault.needs_operator) for fault in change.opened] == opened
    assert change.cleared == []


@pytest.mark.parametrize(
    ("now", "on_record", "opened", "cleared"),
    [
        pytest.param(WELL, [HUNG, PENDING, RESET], [], [1, 2, 3], id="well again"),
        pytest.param(WELL, [XID, ECC], [], [], id="well again, and an operator must say so"),
        pytest.param(WELL, [WORD], [], [], id="whatever an operator's word was asked for when it began"),
        pytest.param(UNKNOWN, [HUNG, PENDING, RESET], [], [], id="still hung: nothing is known of the rest"),
        pytest.param(Condition(unreadable="lost"), [HUNG], ["lost"], [1], id="hung, then lost"),
        pytest.param(Condition(unreadable="not_reached"), [HUNG], [], [], id="not reached says nothing"),
        pytest.param(Condition(unreadable="asleep"), [HUNG], [], [1], id="asleep is no fault"),
        pytest.param(
            Condition(remap_pending=False),
            [PENDING],
            [],
            [],
            id="half of the remaps' reading is no all-clear",
        ),
        pytest.param(
            Condition(recovery_action="node_reboot"), [RESET], ["node_reboot"], [3], id="another action"
        ),
        pytest.param(Condition(xids=[(48, SEEN)]), [XID], [], [], id="the same Xid again"),
    ],
)
def test_what_ends_a_fault(
    now: Condition, on_record: Collection[OpenFault], opened: Sequence[str], cleared: Sequence[int]
) -> None:
    change = changes(now, ZERO, on_record)
    assert [fault.code for fault in change.opened if fault.kind != "ecc"] == opened
    assert list(change.cleared) == cleared


@pytest.mark.parametrize(
    ("before", "now", "is_fault"),
    [
        pytest.param(Counters(), Counters(volatile=1), True, id="first report, errors since the reset"),
        pytest.param(
            Counters(), Counters(volatile=0, aggregate=9), False, id="first report, the card's past"
        ),
        pytest.param(Counters(volatile=1), Counters(volatile=1), False, id="as before"),
        pytest.param(Counters(volatile=1), Counters(volatile=2), True, id="one more"),
        pytest.param(Counters(volatile=5), Counters(volatile=0), False, id="reset"),
        pytest.param(Counters(volatile=5), Counters(volatile=1), True, id="reset, and one since"),
        pytest.param(
            Counters(volatile=0, aggregate=4), Counters(volatile=0, aggregate=5), True, id="before the reset"
        ),
        pytest.param(Counters(volatile=5), Counters(), False, id="unknown now"),
    ],
)
def test_only_fresh_errors_are_a_fault(before: Counters, now: Counters, *, is_fault: bool) -> None:
    opened = changes(Condition(ecc=now), before, []).opened
    assert [fault.kind for fault in opened] == (["ecc"] if is_fault else [])


counters = st.builds(
    Counters,
    volatile=st.none() | st.integers(0, 5),
    aggregate=st.none() | st.integers(0, 5),
)


@given(before=counters, now=counters)
def test_what_an_operator_cleared_does_not_come_back_by_the_same_count(
    before: Counters, now: Counters
) -> None:
    seen = latest(now, before)
    assert changes(Condition(ecc=now), seen, []).opened == []
    assert changes(Condition(ecc=Counters()), seen, []).opened == []
    assert latest(Counters(), seen) == seen


@pytest.mark.parametrize(
    ("offset", "is_off"),
    [(None, None), (0.0, False), (30.0, False), (-30.0, False), (30.1, True), (-31.0, True)],
)
def test_a_clock_is_off_by_more_than_half_a_minute(offset: float | None, is_off: bool | None) -> None:
    assert clock_is_off(offset) is is_off
