"""The rate card: list prices by family, a tenant's own where agreed; versions are added, never changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from difflib import get_close_matches

from gpuforge_controlplane.domain.families import KNOWN_FAMILIES, pool_family
from gpuforge_controlplane.domain.metering import RateBook, RateVersion, from_second, whole_second
from gpuforge_controlplane.domain.pricing import CURRENCY, micros_of, price_of
from gpuforge_controlplane.services.context import Context
from gpuforge_controlplane.storage import rates, tenants
from gpuforge_shared.errors import Conflict, invalid, not_found
from gpuforge_shared.wire.billing import RateRecord, RateSet, RatesQuery

_SECOND = timedelta(seconds=1)


async def list_rates(ctx: Context, query: RatesQuery) -> list[RateRecord]:
    """The rate card in force, in order of family; families of the fleet without a rate are `unrated`."""
    tenant_id = query.tenant_id if ctx.principal.tenant_id is None else ctx.principal.tenant_id
    book = await rates.book(ctx.tx)
    if query.history:
        return [_record(version) for version in _history(book, tenant_id)]
    # a family that only another tenant has a price for is that tenant's affair
    families = {family for family, owner in book.owners() if owner in (None, tenant_id)}
    families |= await rates.metered_families(ctx.tx)
    families |= {pool_family(model) for model in await rates.models(ctx.tx)}
    second = whole_second(ctx.now)
    found = ((family, book.at(family, tenant_id, second)) for family in sorted(families))
    return [_record(rate) if rate is not None else _unrated(family) for family, rate in found]


async def set_rate(ctx: Context, family: str, body: RateSet) -> RateRecord:
    """Set a rate from now on. What is metered keeps the rate it was metered at."""
    name = await _known(ctx, family)
    if body.tenant_id is not None and await tenants.by_id(ctx.tx, body.tenant_id) is None:
        raise not_found("tenant", body.tenant_id)
    if body.rate_per_hour is None and body.tenant_id is None:
        raise invalid("rate_per_hour", "a list price can't be taken away; set another, or 0 for free")
    await rates.hold(ctx.tx, to_change=True)
    book = await rates.book(ctx.tx, {name})
    before = book.latest(name, body.tenant_id)
    if body.rate_per_hour is None and (before is None or before.price_micros is None):
        raise Conflict(f"tenant {body.tenant_id} has no rate of its own for {name}", code="no_such_rate")
    micros = None if body.rate_per_hour is None else micros_of(body.rate_per_hour)
    if before is not None and before.price_micros == micros:
        return _record(before)
    effective = await _from_now_on(ctx, name, before)
    made = RateVersion(
        id=await rates.add(
            ctx.tx, family=name, tenant_id=body.tenant_id, price_micros=micros, effective_from=effective
        ),
        family=name,
        tenant_id=body.tenant_id,
        price_micros=micros,
        effective_s=whole_second(effective),
    )
    was = None if before is None else _record(before)
    await ctx.audit("rate.set", "rate", made.id, before=was, after=_record(made))
    return _record(made)


async def _known(ctx: Context, family: str) -> str:
    """The family by its name or by a model's. Raises Invalid for one that nobody has heard of: a typo would
    be a rate that prices nothing."""
    name = pool_family(family)
    if name in KNOWN_FAMILIES:
        return name
    known = {*KNOWN_FAMILIES, *map(pool_family, await rates.models(ctx.tx))}
    known |= await rates.metered_families(ctx.tx)
    if name in known:
        return name
    near = get_close_matches(name.upper(), sorted(known), n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise invalid("family", f"no GPU family of that name is known or in the fleet{hint}")


async def _from_now_on(ctx: Context, family: str, before: RateVersion | None) -> datetime:
    """The next whole second; later where the clock was set back: no metered second changes its price."""
    floor = [from_second(whole_second(ctx.now)) + _SECOND]
    if before is not None:
        floor.append(from_second(before.effective_s) + _SECOND)
    if (metered := await rates.metered_until(ctx.tx, family)) is not None:
        floor.append(metered)
    return max(floor)


def _history(book: RateBook, tenant_id: int | None) -> Iterator[RateVersion]:
    for (_, owner), versions in sorted(book.owners().items(), key=lambda item: (item[0][0], item[0][1] or 0)):
        if owner is None or owner == tenant_id:
            yield from versions


def _record(version: RateVersion) -> RateRecord:
    price = version.price_micros
    return RateRecord(
        family=version.family,
        rate_per_hour=None if price is None else price_of(price),
        currency=CURRENCY,
        tenant_id=version.tenant_id,
        effective_from=from_second(version.effective_s),
        unrated=False,
    )


def _unrated(family: str) -> RateRecord:
    return RateRecord(
        family=family,
        rate_per_hour=None,
        currency=CURRENCY,
        tenant_id=None,
        effective_from=None,
        unrated=True,
    )
