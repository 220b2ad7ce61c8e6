"""Where money leaks: GPUs held and not used, usage not billed, tenants that hold more than they use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from gpuforge_controlplane.domain.activity import IDLE_BELOW_PCT
from gpuforge_controlplane.domain.kpis import Prices

IDLE_FOR = timedelta(minutes=30)
GAP_ABOVE_PCT = 5
UNDERUSED_BELOW_PCT = 30.0
UNDERUSED_FROM_S = 3_600  # GPU-seconds held in 24 h: less tells nothing about a tenant
# As far back as `days` of an invoice reaches: what ended before is billed only by who names its period.
INVOICED_WITHIN = timedelta(days=90)


class HeldGpu(NamedTuple):
    """A GPU that a job has held for all of the window; its mean utilisation, None without telemetry."""

    gpu_id: int
    family: str
    tenant_id: int | None
    mean_pct: float | None


class Period(NamedTuple):
    """[since, until)."""

    since: datetime
    until: datetime


class Spell(NamedTuple):
    """What stretches of five minutes tell of a GPU: the last busy one's end, the first known one's start."""

    busy_until: datetime | None
    known_since: datetime | None


class TenantUse(NamedTuple):
    """GPU-seconds held in 24 h, those of them with telemetry, and the sum of percent over these."""

    tenant_id: int
    held_s: int
    told_s: int
    used_pct_s: float

    @property
    def mean_pct(self) -> float | None:
        """None where no telemetry tells."""
        return self.used_pct_s / self.told_s if self.told_s else None


def price_of_gpu(prices: Prices, family: str, tenant_id: int | None) -> int | None:
    """Millionths of a dollar an hour, the tenant's own price where there is one; None: unrated."""
    own = prices.get((family, tenant_id)) if tenant_id is not None else None
    return prices.get((family, None)) if own is None else own


def idle(held: Iterable[HeldGpu], prices: Prices) -> list[HeldGpu]:
    """Those used less than 10 % on average; dearest first, of equals the least used."""
    found = [gpu for gpu in held if gpu.mean_pct is not None and gpu.mean_pct < IDLE_BELOW_PCT]
    return sorted(
        found,
        key=lambda gpu: (-(price_of_gpu(prices, gpu.family, gpu.tenant_id) or 0), gpu.mean_pct, gpu.gpu_id),
    )


def idle_since(spell: Spell | None, held_since: datetime, window_start: datetime) -> datetime:
    """From when on a GPU that idled through the window idles; as far back as telemetry tells, no further
    than its job holds it, and not after the window's start: over the whole window it is known to."""
    seen = window_start if spell is None else spell.busy_until or spell.known_since or window_start
    return min(max(seen, held_since), window_start)


def merged(periods: Iterable[Period]) -> list[Period]:
    """The same time without overlaps, in order."""
    found: list[Period] = []
    for period in sorted(periods):
        if found and period.since <= found[-1].until:
            found[-1] = Period(found[-1].since, max(found[-1].until, period.until))
        else:
            found.append(period)
    return found


def gap_pct(metered_cents: int, billed_cents: int) -> float:
    """What was metered and not billed (negative: billed and not metered), in percent of the metered."""
    if not metered_cents:
        return -100.0 if billed_cents else 0.0
    return 100 * (metered_cents - billed_cents) / metered_cents


def is_flagged(metered_cents: int, billed_cents: int) -> bool:
    """Whether the gap is wider than 5 %, either way."""
    return 100 * abs(metered_cents - billed_cents) > GAP_ABOVE_PCT * metered_cents


def underused(tenants: Iterable[TenantUse]) -> list[tuple[TenantUse, float]]:
    """Tenants whose GPUs averaged under 30 %, with that mean; the least used first."""
    means = [(each, each.mean_pct) for each in tenants if each.held_s >= UNDERUSED_FROM_S]
    low = [(each, mean) for each, mean in means if mean is not None and mean < UNDERUSED_BELOW_PCT]
    return sorted(low, key=lambda item: (item[1], item[0].tenant_id))


def lost_micros(gpus: Sequence[HeldGpu], prices: Prices) -> int:
    """What these cost an hour, in millionths of a dollar."""
    return sum(price_of_gpu(prices, gpu.family, gpu.tenant_id) or 0 for gpu in gpus)
