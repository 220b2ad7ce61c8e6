"""Rows of CSV (RFC 4180) that no spreadsheet mistakes for a program."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

Cell = str | int | Decimal | datetime | None

# What begins a formula in Excel, LibreOffice or Google Sheets, also full-width, or hides its beginning.
_ACTIVE = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_SPECIAL = frozenset('",\r\n')


def csv_row(cells: Sequence[Cell]) -> str:
    """One line with its CRLF. Text that a spreadsheet would run gets an apostrophe before it; numbers and
    times stand as they are; null is empty."""
    return ",".join(map(_cell, cells)) + "\r\n"


def _cell(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%dT%H:%M:%SZ}"
    if not isinstance(cell, str):
        return format(cell, "f") if isinstance(cell, Decimal) else str(cell)
    shown = f"'{cell}" if cell.lstrip().startswith(_ACTIVE) or cell.startswith(_ACTIVE) else cell
    if _SPECIAL.isdisjoint(shown) and shown == shown.strip():
        return shown
    return '"' + shown.replace('"', '""') + '"'
