"""The offset between two clocks: what one exchange can tell, and when a person is told."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_agent.clock_offset import LOOSE_S, ClockOffset, ClockWatch, measured

NOW = datetime(2026, 5, 9, tzinfo=UTC)


@given(ahead=st.floats(-1e6, 1e6), there=st.floats(0, 100), back=st.floats(0, 100), work=st.floats(0, 100))
def test_however_slow_each_way_is_the_truth_is_within_the_bound(
    ahead: float, there: float, back: float, work: float
) -> None:
    theirs = NOW - timedelta(seconds=ahead) + timedelta(seconds=there)
    found = measured(NOW, there + work + back, theirs)
    assert abs(found.seconds - ahead) <= found.bound_s + 1e-3


def test_the_bound_is_half_of_the_exchange() -> None:
    theirs = NOW - timedelta(seconds=3)
    assert measured(NOW, 4.0, theirs) == ClockOffset(seconds=5.0, bound_s=2.0)


@pytest.mark.parametrize(
    ("seconds", "bound_s", "is_far_off"),
    [
        pytest.param(0.0, 0.1, False, id="well"),
        pytest.param(30.05, 0.1, False, id="perhaps"),
        pytest.param(30.2, 0.1, True, id="ahead"),
        pytest.param(-30.2, 0.1, True, id="behind"),
    ],
)
def test_far_off_is_said_only_for_certain(seconds: float, bound_s: float, is_far_off: bool) -> None:
    assert ClockOffset(seconds=seconds, bound_s=bound_s).is_far_off == is_far_off


def test_it_is_told_once_and_again_when_it_is_well(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    watch = ClockWatch()
    for ahead in (0, 40, 41, 0, 0):
        watch.note(NOW, 0.01, NOW - timedelta(seconds=ahead))
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "+40.0 s" in caplog.text


@pytest.mark.parametrize(
    ("took_s", "theirs"),
    [(LOOSE_S + 0.1, NOW), (0.01, None), (0.01, NOW.replace(tzinfo=None))],
    ids=["too slow to tell", "not told", "without a zone"],
)
def test_what_tells_nothing_changes_nothing(took_s: float, theirs: datetime | None) -> None:
    watch = ClockWatch()
    watch.note(NOW, 0.0, NOW)
    watch.note(NOW, took_s, theirs)
    assert watch.offset == ClockOffset(seconds=0.0, bound_s=0.0)
