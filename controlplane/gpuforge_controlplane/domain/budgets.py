"""Budgets of a calendar month, UTC: how far they are used, and where the month is heading."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

PERCENTS = (50, 80, 100)
LOOKBACK_DAYS = 7
LOOKBACK = timedelta(days=LOOKBACK_DAYS)


def month_start(now: datetime) -> datetime:
    """The first instant of now's month."""
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def month_end(now: datetime) -> datetime:
    """The first instant of the next month."""
    return month_start(month_start(now) + timedelta(days=32))


def crossed(budget_cents: int, spent_cents: int) -> list[int]:
    """The percentages of a budget that are reached, in order."""
    return [percent for percent in PERCENTS if 100 * spent_cents >= percent * budget_cents]


def forecast_cents(spent_cents: int, last_days: Sequence[int], now: datetime) -> int:
    """The month's cost at its end: what is spent, and for the rest the mean of the last whole days' costs.

    `last_days`: cents of up to LOOKBACK_DAYS whole days before today, idle ones as 0. Without any, nothing is
    known of the future: the forecast is what is spent.
    """
    if not last_days:
        return spent_cents
    rest_s = Decimal((month_end(now) - now) // timedelta(seconds=1))
    mean = Decimal(sum(last_days)) / len(last_days)
    return spent_cents + int((mean * rest_s / 86_400).quantize(Decimal(1), rounding=ROUND_HALF_UP))
