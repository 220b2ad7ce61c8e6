"""Invoices' moves and budgets' crossings, as tables."""

from datetime import UTC, datetime, timedelta

import pytest

from gpuforge_controlplane.domain.budgets import crossed, forecast_cents, month_end, month_start
from gpuforge_controlplane.domain.invoicing import InvoiceStatus, move, number_of

P, O, D, V = InvoiceStatus.PENDING, InvoiceStatus.OVERDUE, InvoiceStatus.PAID, InvoiceStatus.VOID  # noqa: E741
LEGAL = {  # (closes its link, needs one)
    (P, P): (False, False), (P, O): (False, False), (P, D): (True, False), (P, V): (True, False),
    (O, P): (False, False), (O, O): (False, False), (O, D): (True, False), (O, V): (True, False),
    (D, P): (False, True), (D, O): (False, True), (D, D): (False, False),
    (V, V): (False, False),
}  # fmt: skip


@pytest.mark.parametrize("before", InvoiceStatus)
@pytest.mark.parametrize("after", InvoiceStatus)
def test_moves(before: InvoiceStatus, after: InvoiceStatus) -> None:
    found = move(before, after)
    assert (None if found is None else (found.closes_link, found.needs_link)) == LEGAL.get((before, after))


def test_numbers_sort_as_they_were_given() -> None:
    assert (number_of(7), number_of(1_234_567)) == ("GF-000007", "GF-1234567")


@pytest.mark.parametrize(
    ("spent", "percents"),
    [(0, []), (4_999, []), (5_000, [50]), (7_999, [50]), (8_000, [50, 80]), (10_000, [50, 80, 100])],
)
def test_budgets_are_crossed_at_their_percentages(spent: int, percents: list[int]) -> None:
    assert crossed(10_000, spent) == percents


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(
            datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), id="year"
        ),
        pytest.param(datetime(2028, 2, 29, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC), id="leap day"),
        pytest.param(
            datetime(2026, 1, 31, 12, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC), id="long month"
        ),
    ],
)
def test_months_end(now: datetime, expected: datetime) -> None:
    assert month_end(now) == expected
    assert month_start(expected - timedelta(seconds=1)) == month_start(now)


@pytest.mark.parametrize(
    ("spent", "last_days", "expected"),
    [
        pytest.param(1_000, [], 1_000, id="nothing is known of the future"),
        pytest.param(1_000, [100] * 7, 1_000 + 1_000, id="ten days go on as the last week"),
        pytest.param(1_000, [0] * 7, 1_000, id="an idle week"),
        pytest.param(0, [1, 0], 5, id="half a cent a day"),
    ],
)
def test_the_forecast_goes_on_as_the_last_days(spent: int, last_days: list[int], expected: int) -> None:
    assert forecast_cents(spent, last_days, datetime(2026, 5, 22, tzinfo=UTC)) == expected
