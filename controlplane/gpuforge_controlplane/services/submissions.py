"""Jobs in: what becomes of a submission, and of many at once."""

from __future__ import annotations

from collections.abc import Sequence

from gpuforge_controlplane.domain.admission import refusal
from gpuforge_controlplane.domain.families import family_of
from gpuforge_controlplane.domain.quota import Tenant
from gpuforge_controlplane.services.context import Context
from gpuforge_controlplane.services.jobs import NEXT_CYCLE, event_of, record_of
from gpuforge_controlplane.storage import audit, fleet, jobs, tenants
from gpuforge_controlplane.storage.statements import Row
from gpuforge_controlplane.storage.tenants import StoredTenant
from gpuforge_shared.errors import NotFound, not_found
from gpuforge_shared.wire.jobs import JobCreate, JobRecord

Asked = tuple[Context, JobCreate]


async def create_job(ctx: Context, body: JobCreate) -> JobRecord:
    """Submit a job: queued, or blocked with a reason where someone must change something first."""
    (outcome,) = await create_jobs([(ctx, body)])
    if isinstance(outcome, NotFound):
        raise outcome
    return outcome


async def create_jobs(asked: Sequence[Asked]) -> list[JobRecord | NotFound]:
    """Submit jobs in one transaction, that of every context. In order; a refusal is none of the others'."""
    tx, rows = asked[0][0].tx, await _rows(asked)
    pairs = zip(asked, rows, strict=True)
    accepted = [(ctx, row) for (ctx, _), row in pairs if not isinstance(row, NotFound)]
    stored = await jobs.create(tx, [row for _, row in accepted])
    made = [(ctx, job) for (ctx, _), job in zip(accepted, stored, strict=True)]
    await jobs.note(
        tx, [event_of(ctx, job["id"], None, job["status"], job["block_reason"]) for ctx, job in made]
    )
    await audit.append_all(
        tx, [ctx.audit_row("job.create", "job", job["id"], after=job) for ctx, job in made]
    )
    records = (record_of(job, None if job["status"] == "blocked" else NEXT_CYCLE) for job in stored)
    return [row if isinstance(row, NotFound) else next(records) for row in rows]


async def admitted(ctx: Context, body: JobCreate) -> Row:
    """The row of a submitted job: queued, or blocked with its reason. NotFound for what it names in vain."""
    (row,) = await _rows([(ctx, body)])
    if isinstance(row, NotFound):
        raise row
    return row


async def _rows(asked: Sequence[Asked]) -> list[Row | NotFound]:
    """The row of each submission, or what it names in vain."""
    ctx = asked[0][0]
    clusters = await fleet.clusters_among(ctx.tx, sorted({body.cluster_id for _, body in asked}))
    owned = {cluster_id: await ctx.owned.of(ctx.tx, cluster_id, ctx.now) for cluster_id in clusters}
    tenant_ids = {tenant_id for each in asked if (tenant_id := _tenant_id(*each)) is not None}
    known = {tenant["id"]: tenant for tenant in await tenants.among(ctx.tx, sorted(tenant_ids))}
    rows: list[Row | NotFound] = []
    for each, body in asked:
        tenant = _tenant(each, body, known)
        if body.cluster_id not in owned:
            rows.append(not_found("cluster", body.cluster_id))
        elif isinstance(tenant, NotFound):
            rows.append(tenant)
        else:
            family = None if body.gpu_type is None else family_of(body.gpu_type)
            reason = refusal(body.gpu_count, family, tenant, owned[body.cluster_id])
            rows.append(
                body.model_dump()
                | {
                    "tenant_id": None if tenant is None else tenant.id,
                    "family": family,  # a preference that names no known family does not bind
                    "status": "queued" if reason is None else "blocked",
                    "block_reason": None if reason is None else str(reason),
                    "requeues": 0,
                    "submitted_at": each.now,
                }
            )
    return rows


def _tenant_id(ctx: Context, body: JobCreate) -> int | None:
    return ctx.principal.tenant_id if body.tenant_id is None else body.tenant_id


def _tenant(ctx: Context, body: JobCreate, known: dict[int, StoredTenant]) -> Tenant | NotFound | None:
    tenant_id = _tenant_id(ctx, body)
    if tenant_id is None:
        return None
    stored = known.get(tenant_id)
    if stored is None or ctx.principal.tenant_id not in (None, tenant_id):
        return not_found("tenant", tenant_id)
    return Tenant(id=tenant_id, quota=stored["gpu_quota"], active=stored["status"] == "active")
