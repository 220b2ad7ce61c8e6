"""The ledger read from end to end, a page at a time, in one snapshot."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime

from sqlalchemy import select

from gpuforge_controlplane.domain.focus import Used
from gpuforge_controlplane.storage.billing_schema import invoices, usage_events
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.schema import allocations, clusters, gpus, nodes


async def used(
    tx: Connection, *, since: datetime, until: datetime, tenant_id: int | None, page: int
) -> AsyncGenerator[list[Used]]:
    """Rows that began in [since, until) in order of time, in lists of up to `page`; never more in memory."""
    query = (
        select(
            usage_events.c.id,
            usage_events.c.job_id,
            usage_events.c.gpu_id,
            gpus.c.uuid,
            usage_events.c.tenant_id,
            usage_events.c.family,
            usage_events.c.rate_id,
            usage_events.c.started_at,
            usage_events.c.ended_at,
            usage_events.c.gpu_seconds,
            invoices.c.sequence,
            nodes.c.cluster_id,
            clusters.c.name,
            clusters.c.region,
        )
        .join(allocations, allocations.c.id == usage_events.c.allocation_id)
        .join(nodes, nodes.c.id == allocations.c.node_id)
        .join(clusters, clusters.c.id == nodes.c.cluster_id)
        .join(gpus, gpus.c.id == usage_events.c.gpu_id)
        .outerjoin(invoices, invoices.c.id == usage_events.c.invoice_id)
        .where(usage_events.c.started_at >= since, usage_events.c.started_at < until)
        .order_by(usage_events.c.started_at, usage_events.c.id)
    )
    if tenant_id is not None:
        query = query.where(usage_events.c.tenant_id == tenant_id)
    async with tx.stream(query.execution_options(yield_per=page)) as found:
        async for rows in found.partitions():
            yield [Used._make(row) for row in rows]
