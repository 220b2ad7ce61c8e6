"""A plan is made from a snapshot and applied later: which of its starts still hold at commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from gpuforge_controlplane.domain.decisions import Start
from gpuforge_controlplane.domain.quota import QuotaLedger, Tenant


def still_valid(
    starts: Iterable[Start],
    *,
    tenants: Mapping[int, Tenant],
    used: Mapping[int | None, int],
    busy: AbstractSet[int],
    usable: AbstractSet[int],
) -> list[Start]:
    """The starts that may be applied, in order: GPUs free, nodes usable, tenants active and within quota.

    `used`: GPUs in use by tenant, `busy`: GPU ids that a job holds, `usable`: ids of nodes that may take
    jobs; all as they are now, under lock. The rest is stale: dropped, and planned again.
    """
    ledger, taken = QuotaLedger(tenants, used), set(busy)
    valid = []
    for start in starts:
        tenant_id = start.job.tenant_id
        active = tenant_id is None or (tenant_id in tenants and tenants[tenant_id].active)
        fits = ledger.left(tenant_id) >= start.job.gpu_count
        free = all(share.node_id in usable and taken.isdisjoint(share.gpu_ids) for share in start.shares)
        if active and fits and free:
            ledger.take(tenant_id, start.job.gpu_count)
            taken.update(gpu_id for share in start.shares for gpu_id in share.gpu_ids)
            valid.append(start)
    return valid
