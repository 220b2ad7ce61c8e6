"""Rate versions: added, never changed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import func, select

from gpuforge_controlplane.domain.metering import RateBook, RateVersion, whole_second
from gpuforge_controlplane.storage.billing_schema import rates, usage_days, usage_events
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.schema import gpus
from gpuforge_controlplane.storage.statements import insert

_LOCK = 0x72617465  # "rate"


async def hold(tx: Connection, *, to_change: bool = False) -> None:
    """Keep the rates as they are until the transaction ends: who meters and who sets a rate exclude each
    other, so that no second is metered at a rate that another was about to replace. SQLite: one writer."""
    if tx.dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock if to_change else func.pg_advisory_xact_lock_shared
        await tx.execute(select(lock(_LOCK)))


async def book(tx: Connection, families: Collection[str] | None = None) -> RateBook:
    """All versions of all rates, or of these families: some dozens, in a large house some thousands."""
    query = select(rates) if families is None else select(rates).where(rates.c.family.in_(sorted(families)))
    found = await tx.execute(query)
    return RateBook(
        RateVersion(
            id=row.id,
            family=row.family,
            tenant_id=row.tenant_id,
            price_micros=row.price_micros,
            effective_s=whole_second(row.effective_from),
        )
        for row in found
    )


async def add(
    tx: Connection, *, family: str, tenant_id: int | None, price_micros: int | None, effective_from: datetime
) -> int:
    """A new version's id."""
    values = {
        "family": family,
        "tenant_id": tenant_id,
        "price_micros": price_micros,
        "effective_from": effective_from,
    }
    made = insert(tx, rates).values(**values).returning(rates.c.id)
    return int((await tx.execute(made)).scalar_one())


async def metered_until(tx: Connection, family: str) -> datetime | None:
    """The end of the last second of a family that is in the ledger."""
    # the ledger knows no family's rows, but those of a day
    day = await tx.scalar(select(func.max(usage_days.c.day)).where(usage_days.c.family == family))
    last = select(func.max(usage_events.c.ended_at)).where(usage_events.c.family == family)
    moment: datetime | None = (
        None if day is None else await tx.scalar(last.where(usage_events.c.started_at >= day))
    )
    return moment


async def models(tx: Connection) -> list[str]:
    """The models of the fleet's GPUs."""
    found = await tx.execute(select(gpus.c.model).where(gpus.c.model.is_not(None)).distinct())
    return sorted(found.scalars())


async def metered_families(tx: Connection) -> set[str]:
    """Families in the ledger that had no rate when they were metered."""
    query = select(usage_days.c.family).where(usage_days.c.rate_id == 0).distinct()
    return set((await tx.execute(query)).scalars())
