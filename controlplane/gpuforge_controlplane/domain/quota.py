"""Quota arithmetic: how many GPUs a tenant may still take."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """What scheduling needs to know of a tenant."""

    id: int
    quota: int  # GPUs its running jobs may hold together
    active: bool = True


# Work without a tenant is nobody's to limit; larger than any fleet, so that it never runs out.
UNLIMITED = 1 << 62


def in_use(held: Iterable[tuple[int | None, int]]) -> dict[int | None, int]:
    """Sum (tenant id, GPUs) of running jobs into GPUs in use by tenant."""
    used: dict[int | None, int] = {}
    for tenant_id, gpus in held:
        used[tenant_id] = used.get(tenant_id, 0) + gpus
    return used


def remaining(quota: int, used: int) -> int:
    """GPUs a tenant may still take: never negative, though a quota may be lowered below its use."""
    return max(0, quota - used)


def exceeds(gpu_count: int, quota: int) -> bool:
    """Whether a job by itself can never fit the quota."""
    return gpu_count > quota


class QuotaLedger:
    """What each tenant uses and may still take while one plan hands GPUs out."""

    __slots__ = ("_quota", "used")

    def __init__(self, tenants: Mapping[int, Tenant], used: Mapping[int | None, int]) -> None:
        self._quota: dict[int | None, int] = {tenant.id: tenant.quota for tenant in tenants.values()}
        self._quota[None] = UNLIMITED
        self.used = dict(used)

    def left(self, tenant_id: int | None) -> int:
        """GPUs this tenant may still take; 0 for a tenant the snapshot does not know."""
        return remaining(self._quota.get(tenant_id, 0), self.used.get(tenant_id, 0))

    def take(self, tenant_id: int | None, gpus: int) -> None:
        """Count a start against its tenant. The caller has asked `left` first."""
        self.used[tenant_id] = self.used.get(tenant_id, 0) + gpus
