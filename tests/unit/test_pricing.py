"""Prices and sums: exact until one rounding a line."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.domain.metering import RateBook, RateVersion
from gpuforge_controlplane.domain.pricing import (
    PUBLISHED,
    cents_of,
    dollars,
    lines_of,
    micros_of,
    price_of,
    total_cents,
)


@pytest.mark.parametrize(
    ("seconds", "price", "cents"),
    [
        pytest.param(3600, "4.76", 476, id="an hour of an H100"),
        pytest.param(3600 * 1000, "2.21", 221_000, id="a thousand hours of an A100"),
        pytest.param(1, "4.76", 0, id="a second costs less than half a cent"),
        pytest.param(18, "1", 1, id="half a cent rounds up"),
        pytest.param(17, "1", 0, id="less than half a cent rounds down"),
        pytest.param(3600, "0", 0, id="free"),
        pytest.param(3600, "0.000001", 0, id="the smallest price"),
        pytest.param(10**12, "9999.999999", 277_777_777_750_000, id="a fleet for a lifetime"),
    ],
)
def test_cents(seconds: int, price: str, cents: int) -> None:
    assert cents_of(seconds, micros_of(Decimal(price))) == cents


@given(st.integers(0, 10**13), st.integers(0, 10**10))
def test_cents_are_the_exact_cost_rounded_half_up(seconds: int, micros: int) -> None:
    exact = Fraction(seconds * micros, 3600 * 10_000)
    assert cents_of(seconds, micros) == int(exact + Fraction(1, 2))


@given(st.integers(0, 10**10))
def test_prices_survive_the_way_out_and_in(micros: int) -> None:
    assert micros_of(price_of(micros)) == micros


def test_money_has_two_decimals() -> None:
    assert (str(dollars(480)), str(price_of(4_800_000)), str(price_of(1_234_567))) == (
        "4.80",
        "4.80",
        "1.234567",
    )


def test_a_total_is_the_sum_of_its_lines_and_the_unrated_stand_apart() -> None:
    versions = [
        RateVersion(id=number, family=family, tenant_id=None, price_micros=price, effective_s=0)
        for number, (family, price) in enumerate(PUBLISHED.items(), 1)
    ]
    book = RateBook(versions)
    # 0.4 of a cent each: a sum rounded once would be a cent
    lines = lines_of({("H100", 1): 3, ("A100", 2): 7, ("T4", None): 3600}, book)
    assert [(line.family, line.amount_cents) for line in lines] == [("A100", 0), ("H100", 0), ("T4", None)]
    assert total_cents(lines) == 0
