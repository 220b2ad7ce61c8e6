"""Which jobs no passing of time will start, and why: they are blocked until someone changes something."""

from collections.abc import Mapping

from gpuforge_controlplane.domain.quota import Tenant, exceeds
from gpuforge_controlplane.domain.reasons import Code, Reason, gpus


def refusal(
    gpu_count: int,
    family: str | None,
    tenant: Tenant | None,
    owned: Mapping[str, int],
) -> Reason | None:
    """Why a job of this shape would be blocked, or None if it may queue.

    `owned`: GPUs that the job's cluster owns of each family, healthy or not; `tenant` None: no quota.
    """
    return _refused_by_tenant(gpu_count, tenant) or _refused_by_cluster(gpu_count, family, owned)


def _refused_by_tenant(gpu_count: int, tenant: Tenant | None) -> Reason | None:
    if tenant is None:
        return None
    if not tenant.active:
        return Reason(code=Code.TENANT_INACTIVE, sentence=f"tenant {tenant.id} is inactive")
    if exceeds(gpu_count, tenant.quota):
        sentence = f"needs {gpus(gpu_count)}; the quota of tenant {tenant.id} is {tenant.quota}"
        return Reason(code=Code.EXCEEDS_TENANT_QUOTA, sentence=sentence)
    return None


def _refused_by_cluster(gpu_count: int, family: str | None, owned: Mapping[str, int]) -> Reason | None:
    if family is not None and not owned.get(family):
        has = ", ".join(name for name in sorted(owned) if owned[name]) or "no GPUs"
        sentence = f"needs {family}; the cluster has {has}"
        return Reason(code=Code.NO_SUCH_GPU_TYPE, sentence=sentence)
    most = owned[family] if family is not None else max(owned.values(), default=0)
    if gpu_count > most:
        kind = f" of one type, {most} at most" if family is None and len(owned) > 1 else f" {most}"
        sentence = f"needs {gpus(gpu_count, family)}; the cluster owns{kind}"
        return Reason(code=Code.NEVER_FITS_CLUSTER, sentence=sentence)
    return None
