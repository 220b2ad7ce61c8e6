"""The executive figures by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.domain.activity import Activity, activity, unused
from gpuforge_controlplane.domain.kpis import (
    Held,
    direction,
    health_status,
    leakage_pct,
    percentage,
    utilization_status,
)
from gpuforge_controlplane.domain.watched import Gpu, Holding, Node, View, Watched

NOW = 1_778_328_000.0


@pytest.mark.parametrize(
    ("mean", "status"),
    [(None, "no_data"), (0.0, "low"), (29.99, "low"), (30.0, "fair"), (59.99, "fair"), (60.0, "good")],
)
def test_utilization_in_a_word(mean: float | None, status: str) -> None:
    assert utilization_status(mean) == status


@pytest.mark.parametrize(
    ("healthy", "total", "status"),
    [
        (36, 36, "healthy"),
        (35, 36, "has_issues"),
        (9, 10, "has_issues"),
        (89, 100, "critical"),
        (0, 1, "critical"),
        (0, 0, "healthy"),
    ],
)
def test_health_in_a_word(healthy: int, total: int, status: str) -> None:
    assert health_status(healthy, total) == status


@pytest.mark.parametrize(
    ("now", "before", "where"),
    [
        (12.4, 12.4, "flat"),
        (12.4, 12.3, "flat"),
        (12.3, 12.4, "flat"),
        (12.41, 12.3, "up"),
        (12.3, 12.41, "down"),
    ],
)
def test_where_it_went(now: float, before: float, where: str) -> None:
    assert direction(now, before) == where


def test_leakage_is_cost_and_not_time() -> None:
    """H100 at 4.76, A100 at 2.21, of tenant 2 at 1.00: 2 h idle of 10 h, and 5 h of 10 h, and 1 h of 10 h."""
    prices = {("H100", None): 4_760_000, ("A100", None): 2_210_000, ("A100", 2): 1_000_000}
    hours = [Held("H100", 1, 36_000, 7_200), Held("A100", 1, 36_000, 18_000), Held("A100", 2, 36_000, 3_600)]
    idle, held = 2 * 4.76 + 5 * 2.21 + 1 * 1.00, 10 * 4.76 + 10 * 2.21 + 10 * 1.00
    assert leakage_pct(hours, prices) == pytest.approx(100 * idle / held)


def test_what_has_no_price_weighs_nothing() -> None:
    assert leakage_pct([Held("B200", 1, 3_600, 3_600)], {("H100", None): 1}) == 0
    assert leakage_pct([], {}) == 0
    hours = [Held("B200", 1, 3_600, 3_600), Held("H100", 0, 3_600, 900)]
    assert leakage_pct(hours, {("H100", None): 1}) == 25


@given(
    st.lists(
        st.builds(lambda held, part: Held("H100", 0, held, min(held, part)), *[st.integers(0, 10**9)] * 2)
    )
)
def test_leakage_is_a_percentage(hours: list[Held]) -> None:
    assert 0 <= leakage_pct(hours, {("H100", None): 4_760_000}) <= 100


def test_of_nothing_is_nothing() -> None:
    assert percentage(0, 0) == 0


def test_activity_tells_idle_from_unknown() -> None:
    """Held by tenant 3: used 50 %, used 9.9 %, idle for long, stale, never told, silent; one beyond."""
    used = (50.0, 9.9, 1.0, 1.0, None, 1.0, 10.0)
    gpus = [Gpu(number, 1, number, NOW, utilization_pct=pct) for number, pct in enumerate(used)]
    gpus[3] = gpus[3]._replace(reported_at=NOW - 91)
    gpus[5] = gpus[5]._replace(node_id=2)
    holdings = [Holding(number, 5, 3, NOW - 1800, "H100") for number in range(6)]
    holdings[2] = holdings[2]._replace(mean_pct=9.9)
    holdings[1] = holdings[1]._replace(mean_pct=1.0, since=NOW - 1799)  # not half an hour yet
    holdings += [Holding(6, 6, None, NOW - 1800, "A100", 10.0), Holding(99, 6, None, NOW, "A100")]
    seen = Watched(
        hearing_since=0,
        nodes=(Node(1, 1, "a", NOW), Node(2, 1, "b", NOW - 91)),
        gpus=gpus,
        holdings=holdings,
    )
    assert activity(View(seen, NOW)) == {
        (3, "H100"): Activity(6, 2, 1, 3, 50.0 + 9.9 + 1.0),
        (0, "A100"): Activity(2, 0, 0, 1, 10.0),
    }


@pytest.mark.parametrize(
    ("held_for_s", "mean_pct", "tells"),
    [
        pytest.param(1800, 9.9, True, id="idle for half an hour"),
        pytest.param(1800, 10.0, False, id="ten percent are use"),
        pytest.param(1799, 0.0, False, id="not held for half an hour"),
        pytest.param(1800, None, True, id="no telemetry is told, too"),
        pytest.param(1799, None, False, id="but not of a GPU just lent"),
    ],
)
def test_what_goes_unused(held_for_s: float, mean_pct: float | None, tells: bool) -> None:
    held = Holding(4, 5, 3, NOW - held_for_s, "H100", mean_pct)
    assert unused(Watched(hearing_since=0, holdings=[held]), NOW - 1800) == [(4, mean_pct)] * tells
