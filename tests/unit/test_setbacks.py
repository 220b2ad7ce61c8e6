"""When what hung is tried again."""

import pytest

from gpuforge_agent.setbacks import Retries, Setbacks
from gpuforge_agent.sources.base import SESSION, Reason, slot

RETRIES = Retries(gpu_first_s=15, gpu_longest_s=100, session_first_s=5, session_longest_s=12)


@pytest.mark.parametrize(
    ("subject", "delays"),
    [("GPU-1", [15, 30, 60, 100, 100]), (slot(3), [15, 30]), (SESSION, [5, 10, 12, 12])],
)
def test_each_failure_in_a_row_doubles_the_wait(subject: str, delays: list[float]) -> None:
    setbacks = Setbacks(RETRIES)
    assert [setbacks.note(subject, Reason.HUNG, 0.0) for _ in delays] == delays


def test_a_card_dead_for_years_overflows_nothing() -> None:
    assert RETRIES.delay_s("GPU-1", 10**9) == 100


def test_it_waits_until_its_time_and_no_longer() -> None:
    setbacks = Setbacks(RETRIES)
    setbacks.note("GPU-1", Reason.HUNG, 100.0)
    assert [setbacks.waits("GPU-1", now) for now in (100.0, 114.9, 115.0)] == [True, True, False]
    assert not setbacks.waits("GPU-2", 100.0)


def test_what_works_again_begins_anew() -> None:
    setbacks = Setbacks(RETRIES)
    setbacks.note("GPU-1", Reason.HUNG, 0.0)
    setbacks.clear("GPU-1")
    assert setbacks.reason("GPU-1") is None
    assert setbacks.note("GPU-1", Reason.READER_DIED, 50.0) == 15
    assert setbacks.reason("GPU-1") is Reason.READER_DIED


def test_listing_clears_the_slots_it_listed_and_no_other() -> None:
    setbacks = Setbacks(RETRIES)
    for subject in ("GPU-1", slot(3), slot(4)):
        setbacks.note(subject, Reason.HUNG, 0.0)
    setbacks.clear_slots(except_for=frozenset({4}))
    assert setbacks.waiting_slots(1.0) == {4}
    assert setbacks.waiting_slots(15.0) == frozenset()
    assert setbacks.reason("GPU-1") is Reason.HUNG


def test_failures_in_a_row_are_counted_and_a_rest_is_none() -> None:
    setbacks = Setbacks(RETRIES)
    counted = [setbacks.failures(SESSION)]
    for _ in range(2):
        setbacks.note(SESSION, Reason.HUNG, 0.0)
        counted.append(setbacks.failures(SESSION))
    setbacks.hold(SESSION, Reason.DRIVER_ABSENT, until=60.0)
    assert [*counted, setbacks.failures(SESSION)] == [0, 1, 2, 0]
    assert [setbacks.waits(SESSION, now) for now in (59.9, 60.0)] == [True, False]
