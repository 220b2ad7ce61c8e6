"""Tenants and what they use."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypedDict

from sqlalchemy import delete, func, literal, select, update

from gpuforge_controlplane.storage.billing_schema import former_tenants
from gpuforge_controlplane.storage.columns import UtcTime
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.schema import allocations, api_keys, jobs, tenants
from gpuforge_controlplane.storage.statements import Row, insert, is_among, record, records
from gpuforge_shared.wire.tenants import PlanTier, TenantStatus


class StoredTenant(TypedDict):
    """A row of `tenants`."""

    id: int
    name: str
    gpu_quota: int
    contact_email: str | None
    plan_tier: PlanTier
    status: TenantStatus
    created_at: datetime


class Owing(TypedDict):
    """Whom an invoice is for."""

    id: int
    name: str
    contact_email: str | None


async def former(tx: Connection, tenant_id: int) -> Owing | None:
    """A deleted tenant."""
    columns = (former_tenants.c.id, former_tenants.c.name, former_tenants.c.contact_email)
    return record(await tx.execute(select(*columns).where(former_tenants.c.id == tenant_id)), Owing)


async def hold_payer(tx: Connection, tenant_id: int) -> None:
    """Until the transaction ends nobody else draws up or voids an invoice of this tenant, deleted or not."""
    await lock(tx, [tenant_id])
    await tx.execute(select(former_tenants.c.id).where(former_tenants.c.id == tenant_id).with_for_update())


async def page(tx: Connection, *, only: int | None, after: int = 0, limit: int) -> list[StoredTenant]:
    """Tenants in order of id beyond `after`, or the one named by `only`."""
    query = select(tenants).where(tenants.c.id > after).order_by(tenants.c.id).limit(limit)
    if only is not None:
        query = query.where(tenants.c.id == only)
    return records(await tx.execute(query), StoredTenant)


async def by_id(tx: Connection, tenant_id: int) -> StoredTenant | None:
    return record(await tx.execute(select(tenants).where(tenants.c.id == tenant_id)), StoredTenant)


async def among(tx: Connection, tenant_ids: Sequence[int]) -> list[StoredTenant]:
    """The tenants of these ids."""
    return records(
        await tx.execute(select(tenants).where(is_among(tx, tenants.c.id, tenant_ids))), StoredTenant
    )


async def lock(
    tx: Connection, tenant_ids: Sequence[int], *, to_delete: bool = False
) -> dict[int, StoredTenant]:
    """The tenants, by id, held against others until the transaction ends; in one order, so nobody waits
    in a circle.

    Jobs and keys that refer to them can be inserted all the same, unless it is to delete them.
    """
    query = select(tenants).where(is_among(tx, tenants.c.id, tenant_ids)).order_by(tenants.c.id)
    found = records(await tx.execute(query.with_for_update(key_share=not to_delete)), StoredTenant)
    return {tenant["id"]: tenant for tenant in found}


async def create(tx: Connection, values: Row) -> StoredTenant | None:
    """The new row, or None where the name is taken."""
    made = insert(tx, tenants).values(**values).on_conflict_do_nothing().returning(*tenants.c)
    return record(await tx.execute(made), StoredTenant)


async def name_is_taken(tx: Connection, name: str, *, but_by: int) -> bool:
    query = select(tenants.c.id).where(tenants.c.name == name, tenants.c.id != but_by)
    return (await tx.execute(query)).first() is not None


async def change(tx: Connection, tenant_id: int, values: Row) -> StoredTenant:
    """The row as it is now. The caller holds the tenant, so it is there."""
    changed = update(tenants).where(tenants.c.id == tenant_id).values(**values).returning(*tenants.c)
    return records(await tx.execute(changed), StoredTenant)[0]


async def remove(tx: Connection, tenant_id: int, now: datetime) -> None:
    """Revoke the tenant's keys, unlink its jobs, delete it; its name is kept for its ledger."""
    await tx.execute(
        update(api_keys)
        .where(api_keys.c.tenant_id == tenant_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    await tx.execute(update(jobs).where(jobs.c.tenant_id == tenant_id).values(tenant_id=None))
    kept = select(tenants.c.id, tenants.c.name, tenants.c.contact_email, literal(now, UtcTime))
    columns = ["id", "name", "contact_email", "deleted_at"]
    await tx.execute(insert(tx, former_tenants).from_select(columns, kept.where(tenants.c.id == tenant_id)))
    await tx.execute(delete(tenants).where(tenants.c.id == tenant_id))


async def names(tx: Connection, tenant_ids: Sequence[int]) -> dict[int, str]:
    """Names by id, of deleted tenants too."""
    found: dict[int, str] = {}
    for table in (former_tenants, tenants):
        query = select(table.c.id, table.c.name).where(is_among(tx, table.c.id, tenant_ids))
        found |= {row[0]: row[1] for row in (await tx.execute(query)).all()}
    return found


async def gpus_in_use(tx: Connection, tenant_ids: Sequence[int]) -> dict[int | None, int]:
    """GPUs held by running jobs, by tenant; tenants that hold none are absent."""
    query = (
        select(jobs.c.tenant_id, func.count())
        .join(allocations, allocations.c.job_id == jobs.c.id)
        .where(allocations.c.ended_at.is_(None), is_among(tx, jobs.c.tenant_id, tenant_ids))
        .group_by(jobs.c.tenant_id)
    )
    return {row[0]: row[1] for row in (await tx.execute(query)).all()}


async def job_counts(tx: Connection, tenant_ids: Sequence[int]) -> dict[tuple[int, str], int]:
    """Live jobs by `(tenant, status)`."""
    query = (
        select(jobs.c.tenant_id, jobs.c.status, func.count())
        .where(
            jobs.c.status.in_(("queued", "blocked", "running")), is_among(tx, jobs.c.tenant_id, tenant_ids)
        )
        .group_by(jobs.c.tenant_id, jobs.c.status)
    )
    return {(row[0], row[1]): row[2] for row in (await tx.execute(query)).all()}
