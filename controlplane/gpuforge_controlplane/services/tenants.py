"""Tenants: whom GPUs are lent to, and how many at once."""

from __future__ import annotations

from collections.abc import Sequence

from gpuforge_controlplane.services.context import LIST_CAP, Context, Page, decode_cursor, page_of
from gpuforge_controlplane.services.invoices import close_unpaid
from gpuforge_controlplane.storage import invoices, tenants
from gpuforge_controlplane.storage.tenants import StoredTenant
from gpuforge_shared.errors import Conflict, invalid, not_found
from gpuforge_shared.wire.base import PageQuery
from gpuforge_shared.wire.tenants import TenantCreate, TenantDelete, TenantRecord, TenantUpdate


async def list_tenants(ctx: Context, query: PageQuery) -> Page[list[TenantRecord]]:
    """Tenants in order of id, with live counts; a tenant's key sees its own alone."""
    limit = query.limit or LIST_CAP
    found = await tenants.page(
        ctx.tx, only=ctx.principal.tenant_id, after=decode_cursor(query.cursor), limit=limit + 1
    )
    return page_of(await _records(ctx, found), limit, [tenant["id"] for tenant in found])


async def get_tenant(ctx: Context, tenant_id: int) -> TenantRecord:
    """A tenant with its live counts."""
    stored = await tenants.by_id(ctx.tx, tenant_id)
    if stored is None or ctx.principal.tenant_id not in (None, tenant_id):
        raise not_found("tenant", tenant_id)
    return (await _records(ctx, [stored]))[0]


async def create_tenant(ctx: Context, body: TenantCreate) -> TenantRecord:
    """Create a tenant. A name that is taken is a conflict."""
    stored = await tenants.create(ctx.tx, body.model_dump() | {"created_at": ctx.now})
    if stored is None:
        raise _name_taken(body.name)
    await ctx.audit("tenant.create", "tenant", stored["id"], after=stored)
    return (await _records(ctx, [stored]))[0]


async def update_tenant(ctx: Context, tenant_id: int, body: TenantUpdate) -> TenantRecord:
    """Update the fields that are given. A quota below what is in use kills nothing; nothing new starts."""
    values = body.model_dump(exclude_unset=True)
    for name, value in values.items():
        if value is None and name != "contact_email":
            raise invalid(name, "can't be null; leave it out to keep it")
    before = await _held(ctx, tenant_id)
    if not values:
        return (await _records(ctx, [before]))[0]
    if "name" in values and await tenants.name_is_taken(ctx.tx, values["name"], but_by=tenant_id):
        raise _name_taken(values["name"])
    after = await tenants.change(ctx.tx, tenant_id, values)
    if after != before:
        await ctx.audit("tenant.update", "tenant", tenant_id, before=before, after=after)
    return (await _records(ctx, [after]))[0]


async def delete_tenant(ctx: Context, tenant_id: int, query: TenantDelete) -> TenantRecord:
    """Delete a tenant: its jobs are unlinked and go on, its keys are revoked. Answers the final record."""
    before = await _held(ctx, tenant_id, to_delete=True)
    (record,) = await _records(ctx, [before])
    if record["running_jobs"] and not query.force:
        raise Conflict(
            f"tenant {tenant_id} has {record['running_jobs']} running job(s); end them first, "
            "or unlink them with ?force=true",
            code="tenant_has_running_jobs",
        )
    unpaid = await invoices.unpaid(ctx.tx, tenant_id)
    if unpaid and not query.force:
        raise Conflict(
            f"tenant {tenant_id} has {len(unpaid)} unpaid invoice(s); settle or void them first, "
            "or delete it with ?force=true: they stand, without payment links",
            code="tenant_has_unpaid_invoices",
        )
    await close_unpaid(ctx, tenant_id)
    await tenants.remove(ctx.tx, tenant_id, ctx.now)
    await ctx.audit("tenant.delete", "tenant", tenant_id, before=before)
    return record


async def _held(ctx: Context, tenant_id: int, *, to_delete: bool = False) -> StoredTenant:
    found = (await tenants.lock(ctx.tx, [tenant_id], to_delete=to_delete)).get(tenant_id)
    if found is None:
        raise not_found("tenant", tenant_id)
    return found


async def _records(ctx: Context, stored: Sequence[StoredTenant]) -> list[TenantRecord]:
    ids = [tenant["id"] for tenant in stored]
    used = await tenants.gpus_in_use(ctx.tx, ids)
    counts = await tenants.job_counts(ctx.tx, ids)
    return [
        TenantRecord(
            id=tenant["id"],
            name=tenant["name"],
            plan_tier=tenant["plan_tier"],
            gpu_quota=tenant["gpu_quota"],
            gpus_in_use=used.get(tenant["id"], 0),
            running_jobs=counts.get((tenant["id"], "running"), 0),
            queued_jobs=counts.get((tenant["id"], "queued"), 0),
            status=tenant["status"],
            contact_email=tenant["contact_email"],
            created_at=tenant["created_at"],
        )
        for tenant in stored
    ]


def _name_taken(name: str) -> Conflict:
    return Conflict(f'there is a tenant "{name}" already; choose another name', code="name_taken")
