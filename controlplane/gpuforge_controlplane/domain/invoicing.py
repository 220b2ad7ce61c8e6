"""Invoices: their numbers, their dates, and the moves between their states."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

DUE_AFTER = timedelta(days=30)


class InvoiceStatus(StrEnum):
    """Where an invoice stands. `void` is for good."""

    PENDING = "pending"
    OVERDUE = "overdue"
    PAID = "paid"
    VOID = "void"


UNPAID = frozenset({InvoiceStatus.PENDING, InvoiceStatus.OVERDUE})

_LEGAL: dict[InvoiceStatus, frozenset[InvoiceStatus]] = {
    InvoiceStatus.PENDING: frozenset({InvoiceStatus.OVERDUE, InvoiceStatus.PAID, InvoiceStatus.VOID}),
    InvoiceStatus.OVERDUE: frozenset({InvoiceStatus.PENDING, InvoiceStatus.PAID, InvoiceStatus.VOID}),
    # a payment noted by mistake; what was paid is not voided, but refunded first
    InvoiceStatus.PAID: frozenset({InvoiceStatus.PENDING, InvoiceStatus.OVERDUE}),
    InvoiceStatus.VOID: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A legal move, and what it means for the payment link."""

    after: InvoiceStatus
    closes_link: bool  # nobody may pay any more
    needs_link: bool  # somebody may pay again


def move(before: InvoiceStatus, after: InvoiceStatus) -> Move | None:
    """The move, or None where it is illegal. To where it is already: a move that changes nothing."""
    if after not in _LEGAL[before] and after is not before:
        return None
    return Move(
        after=after,
        closes_link=before in UNPAID and after not in UNPAID,
        needs_link=before not in UNPAID and after in UNPAID,
    )


def number_of(sequence: int) -> str:
    """How an invoice is called: `GF-000042`."""
    return f"GF-{sequence:06d}"
