"""What counts as leakage: tables for the edges, and invariants."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.domain.kpis import Prices
from gpuforge_controlplane.domain.leakage import (
    HeldGpu,
    Period,
    Spell,
    TenantUse,
    gap_pct,
    idle,
    idle_since,
    is_flagged,
    lost_micros,
    merged,
    price_of_gpu,
    underused,
)

NOON = datetime(2026, 5, 9, 12, tzinfo=UTC)
PRICES: Prices = {("H100", None): 4_760_000, ("A100", None): 2_210_000, ("A100", 7): 9_000_000}


def minutes(count: float) -> datetime:
    return NOON + timedelta(minutes=count)


@pytest.mark.parametrize(
    ("family", "tenant_id", "price"),
    [
        pytest.param("H100", None, 4_760_000, id="nobody's, at the list price"),
        pytest.param("H100", 7, 4_760_000, id="no price of its own"),
        pytest.param("A100", 7, 9_000_000, id="its own price goes first"),
        pytest.param("A100", 8, 2_210_000, id="and is nobody else's"),
        pytest.param("L40S", 7, None, id="unrated"),
    ],
)
def test_the_price_of_a_gpu(family: str, tenant_id: int | None, price: int | None) -> None:
    assert price_of_gpu(PRICES, family, tenant_id) == price


def test_a_price_of_nothing_is_a_price() -> None:
    assert price_of_gpu({("H100", None): 5, ("H100", 7): 0}, "H100", 7) == 0


def test_idle_is_below_ten_and_the_dearest_come_first() -> None:
    held = [
        HeldGpu(1, "H100", None, 9.99),
        HeldGpu(2, "H100", None, 10.0),
        HeldGpu(3, "L40S", None, 0.0),
        HeldGpu(4, "H100", 7, None),
        HeldGpu(5, "A100", 7, 3.0),
        HeldGpu(6, "H100", None, 0.0),
        HeldGpu(7, "H100", 7, 0.0),
    ]
    found = idle(held, PRICES)
    assert [gpu.gpu_id for gpu in found] == [5, 6, 7, 1, 3]
    assert lost_micros(found, PRICES) == 9_000_000 + 3 * 4_760_000


@pytest.mark.parametrize(
    ("spell", "held_since", "expected"),
    [
        pytest.param(None, -600, 0, id="nothing is known: since the window's start"),
        pytest.param(Spell(minutes(-60), minutes(-600)), -900, -60, id="since it was last busy"),
        pytest.param(Spell(None, minutes(-600)), -900, -600, id="never busy: since anything is known"),
        pytest.param(Spell(minutes(-60), minutes(-600)), -30, -30, id="no longer than it is held"),
        pytest.param(
            Spell(minutes(10), minutes(-60)), -90, 0, id="a spike within: the mean is low all the same"
        ),
        pytest.param(Spell(None, None), -90, 0, id="telemetry that tells nothing"),
    ],
)
def test_since_when_a_gpu_idles(spell: Spell | None, held_since: float, expected: float) -> None:
    assert idle_since(spell, minutes(held_since), NOON) == minutes(expected)


@given(
    st.none() | st.builds(Spell, *[st.none() | st.integers(-900, 60).map(minutes)] * 2),
    st.integers(-900, 0).map(minutes),
)
def test_who_idles_has_done_so_all_through_the_window_and_not_before_it_was_held(
    spell: Spell | None, held_since: datetime
) -> None:
    assert held_since <= idle_since(spell, held_since, NOON) <= NOON


@pytest.mark.parametrize(
    ("periods", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([(0, 1)], [(0, 1)], id="one"),
        pytest.param([(2, 3), (0, 1)], [(0, 1), (2, 3)], id="apart, in order"),
        pytest.param([(0, 1), (1, 2)], [(0, 2)], id="that touch"),
        pytest.param([(0, 5), (1, 2)], [(0, 5)], id="one within another"),
        pytest.param([(0, 2), (1, 3), (3, 4)], [(0, 4)], id="a chain"),
    ],
)
def test_periods_merge(periods: list[tuple[int, int]], expected: list[tuple[int, int]]) -> None:
    found = merged(Period(minutes(since), minutes(until)) for since, until in periods)
    assert found == [(minutes(since), minutes(until)) for since, until in expected]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9))))
def test_merged_periods_are_the_same_time_and_apart(parts: list[tuple[int, int]]) -> None:
    found = merged(Period(minutes(start), minutes(start + length)) for start, length in parts)
    covered = {at for start, length in parts for at in range(start, start + length)}
    assert {at for at in range(60) if any(since <= minutes(at) < until for since, until in found)} == covered
    assert all(before.until < after.since for before, after in pairwise(found))


@pytest.mark.parametrize(
    ("metered", "billed", "percent", "flagged"),
    [
        pytest.param(0, 0, 0.0, False, id="nothing"),
        pytest.param(10_000, 10_000, 0.0, False, id="all of it"),
        pytest.param(10_000, 9_500, 5.0, False, id="five percent"),
        pytest.param(10_000, 9_499, 5.01, True, id="above five"),
        pytest.param(10_000, 10_500, -5.0, False, id="five percent too much"),
        pytest.param(10_000, 10_501, -5.01, True, id="above five too much"),
        pytest.param(10_000, 0, 100.0, True, id="none of it"),
        pytest.param(0, 1, -100.0, True, id="billed out of nothing"),
    ],
)
def test_gaps(metered: int, billed: int, percent: float, flagged: bool) -> None:
    assert (round(gap_pct(metered, billed), 9), is_flagged(metered, billed)) == (percent, flagged)


def test_underused_is_below_thirty_over_a_gpu_hour_at_least() -> None:
    found = underused(
        [
            TenantUse(1, 3_600, 3_600, 29.9 * 3_600),
            TenantUse(2, 3_600, 3_600, 30.0 * 3_600),
            TenantUse(3, 3_599, 3_599, 0.0),
            TenantUse(4, 9_000, 0, 0.0),
            TenantUse(5, 9_000, 100, 5.0 * 100),
        ]
    )
    assert [(use.tenant_id, round(mean, 3)) for use, mean in found] == [(5, 5.0), (1, 29.9)]
