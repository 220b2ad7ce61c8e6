"""What GPU time costs. Integers and Decimal alone: a float never touches money."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal

from gpuforge_controlplane.domain.metering import RateBook

CURRENCY = "USD"
MICROS = 1_000_000  # of a dollar
# The published rate card, in micros per GPU-hour; a new database begins with it.
PUBLISHED = {"H100": 4_760_000, "A100": 2_210_000, "A6000": 1_280_000}
_HOUR_S = 3_600
_EXACT = Context(prec=60, rounding=ROUND_HALF_UP)
_CENT = Decimal(1)


def cents_of(gpu_seconds: int, price_micros: int) -> int:
    """Whole cents for so many GPU-seconds at millionths of a dollar per GPU-hour; half a cent rounds up."""
    exact = _EXACT.divide(Decimal(gpu_seconds) * price_micros * 100, Decimal(_HOUR_S * MICROS))
    return int(exact.quantize(_CENT, context=_EXACT))


def dollars(cents: int) -> Decimal:
    """Cents as dollars with two decimals."""
    return Decimal(cents).scaleb(-2)


def micros_of(price: Decimal) -> int:
    """Dollars per GPU-hour, of six decimals at most, as millionths."""
    return int(price.scaleb(6))


def price_of(micros: int) -> Decimal:
    """Millionths of a dollar as dollars, with two decimals or as many as it takes."""
    price = Decimal(micros).scaleb(-6)
    short = price.quantize(Decimal("0.01"))
    return short if short == price else price.normalize()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """GPU time of one family at one rate, and its cost: rounded once, here. Unrated: both are None."""

    family: str
    rate_id: int | None
    price_micros: int | None
    gpu_seconds: int
    amount_cents: int | None


def lines_of(seconds: Mapping[tuple[str, int | None], int], book: RateBook) -> list[Line]:
    """Lines from GPU-seconds by `(family, rate id)`, in order of both. A total is the sum of its lines."""
    found = []
    for (family, rate_id), gpu_seconds in sorted(
        seconds.items(), key=lambda item: (item[0][0], item[0][1] or 0)
    ):
        price = book.price_micros(rate_id)
        amount = None if price is None else cents_of(gpu_seconds, price)
        found.append(
            Line(
                family=family,
                rate_id=rate_id,
                price_micros=price,
                gpu_seconds=gpu_seconds,
                amount_cents=amount,
            )
        )
    return found


def total_cents(lines: Iterable[Line]) -> int:
    """The sum of what is rated."""
    return sum(line.amount_cents or 0 for line in lines)
