"""The executive figures: five numbers, and the words that stand beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

UtilizationStatus = Literal["good", "fair", "low", "no_data"]
HealthStatus = Literal["healthy", "has_issues", "critical"]
Direction = Literal["up", "down", "flat"]

_GOOD_PCT, _FAIR_PCT = 60.0, 30.0
_CRITICAL_BELOW_PCT = 90.0
_FLAT_WITHIN = 0.1  # percentage points


class Held(NamedTuple):
    """GPU-seconds of one family that jobs of one tenant held (0: nobody's), and how many of them idled."""

    family: str
    tenant_id: int
    held_s: int
    idle_s: int


# Millionths of a dollar per GPU-hour by (family, tenant); tenant None: the list price.
Prices = Mapping[tuple[str, int | None], int]


def percentage(part: float, whole: float) -> float:
    """`part` of `whole` in percent, 0 of nothing; not rounded."""
    return 100 * part / whole if whole else 0.0


def utilization_status(mean_pct: float | None) -> UtilizationStatus:
    """good from 60 % on, fair from 30 %, else low; no_data where no GPU reports."""
    if mean_pct is None:
        return "no_data"
    return "good" if mean_pct >= _GOOD_PCT else "fair" if mean_pct >= _FAIR_PCT else "low"


def health_status(healthy: int, total: int) -> HealthStatus:
    """critical with less than 90 % of the GPUs healthy."""
    if healthy == total:
        return "healthy"
    return "critical" if percentage(healthy, total) < _CRITICAL_BELOW_PCT else "has_issues"


def leakage_pct(hours: Iterable[Held], prices: Prices) -> float:
    """Cost of GPU time that jobs held and did not use, in percent of the cost of all they held.

    An unrated family costs nothing, so it weighs nothing.
    """
    held = idle = 0
    for hour in hours:
        price = prices.get((hour.family, hour.tenant_id), prices.get((hour.family, None), 0))
        held += price * hour.held_s
        idle += price * hour.idle_s
    return percentage(idle, held)


def direction(now_pct: float, before_pct: float) -> Direction:
    """Where a percentage went; flat within 0.1 points."""
    change = now_pct - before_pct
    if abs(change) <= _FLAT_WITHIN + 1e-9:  # 12.4 - 12.3 is 0.09999999999999964
        return "flat"
    return "up" if change > 0 else "down"
