"""CSV that comes back as it went, and of which no spreadsheet runs anything."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.domain.spreadsheet import Cell, csv_row

FORMULA = tuple("=+-@\t\r＝＋－＠")  # noqa: RUF001  # full-width, as a spreadsheet takes them, too


def read(row: str) -> list[str]:
    (cells,) = csv.reader(io.StringIO(row, newline=""), strict=True)
    return cells


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        pytest.param(None, "", id="null"),
        pytest.param("", "", id="empty"),
        pytest.param("Acme ML", "Acme ML", id="text"),
        pytest.param("Acme, Inc.", '"Acme, Inc."', id="a comma"),
        pytest.param('the "best"', '"the ""best"""', id="quotes"),
        pytest.param("two\nlines", '"two\nlines"', id="a line's end"),
        pytest.param(" padded ", '" padded "', id="spaces around"),
        pytest.param("=1+1", "'=1+1", id="a formula"),
        pytest.param("-2", "'-2", id="text that looks like a number"),
        pytest.param('=HYPERLINK("x")', '"\'=HYPERLINK(""x"")"', id="a formula with quotes"),
        pytest.param(" =1+1", "' =1+1", id="a formula behind a space"),
        pytest.param("＠SUM", "'＠SUM", id="a full-width formula"),  # noqa: RUF001
        pytest.param(-2, "-2", id="a number"),
        pytest.param(Decimal("-1.50"), "-1.50", id="a decimal"),
        pytest.param(Decimal("1E-10"), "0.0000000001", id="a small decimal"),
        pytest.param(Decimal("1E+3"), "1000", id="a large decimal"),
        pytest.param(datetime(2026, 5, 9, 1, 2, 3, 999, tzinfo=UTC), "2026-05-09T01:02:03Z", id="a time"),
    ],
)
def test_cells(cell: Cell, shown: str) -> None:
    assert csv_row([cell, 1]) == f"{shown},1\r\n"


@given(st.lists(st.text(), min_size=2))
def test_what_is_read_is_what_was_written(texts: list[str]) -> None:
    row = csv_row(texts)
    assert row.endswith("\r\n")
    for was, found in zip(texts, read(row), strict=True):
        assert found in (was, f"'{was}")


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("=+-@\t\r\n ")))
def test_no_cell_begins_a_formula(text: str) -> None:
    found, _ = read(csv_row([text, ""]))
    assert not found.startswith(FORMULA)
    assert not found.lstrip().startswith(FORMULA)


@given(st.integers() | st.decimals(allow_nan=False, allow_infinity=False, places=10))
def test_numbers_stay_numbers(number: int | Decimal) -> None:
    assert Decimal(csv_row([number]).removesuffix("\r\n")) == number
