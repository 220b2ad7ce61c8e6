"""Why a job that may run does not run now: the one dominant reason, with numbers."""

from collections.abc import Sequence

from gpuforge_controlplane.domain.cycle import PoolState
from gpuforge_controlplane.domain.placement import ONE_NODE_GPUS
from gpuforge_controlplane.domain.quota import Tenant
from gpuforge_controlplane.domain.reasons import Code, Reason, gpus, instant
from gpuforge_controlplane.domain.reservation import Reservation


def quota_full(gpu_count: int, tenant: Tenant, used: int) -> Reason:
    """The tenant holds too much of its quota already."""
    sentence = f"needs {gpus(gpu_count)}; tenant {tenant.id} uses {used} of its quota of {tenant.quota}"
    return Reason(code=Code.QUOTA_FULL, sentence=sentence)


def shortage(states: Sequence[PoolState], gpu_count: int, family: str | None) -> Reason:
    """Why `gpu_count` GPUs cannot be had now in any of these pools, of which there is at least one."""
    for state in states:
        if state.reservation and state.idle.fits(gpu_count, kept=True):
            return _reserved(state.idle.total, gpu_count, family, state.reservation)
    # An untyped job is told of the pool that is nearest to holding it.
    best = max(states, key=lambda state: state.idle.total)
    if best.idle.total >= gpu_count:
        return _fragmented(best, gpu_count, family)
    return _waiting(best, gpu_count, family)


def _reserved(idle: int, gpu_count: int, family: str | None, reservation: Reservation) -> Reason:
    sentence = (
        f"needs {gpus(gpu_count, family)}; {idle} idle, but the place is kept for job {reservation.job_id} "
        f"({gpus(reservation.gpu_count)}, expected to start {instant(reservation.start)})"
    )
    return Reason(code=Code.RESERVED_FOR, sentence=sentence)


def _fragmented(state: PoolState, gpu_count: int, family: str | None) -> Reason:
    idle = state.idle
    if gpu_count <= min(ONE_NODE_GPUS, idle.largest_node):
        sentence = (
            f"needs {gpus(gpu_count, family)} on one node; {idle.total} idle, "
            f"largest node has {idle.largest()}"
        )
    else:
        whole = idle.whole_nodes()
        sentence = (
            f"needs {gpus(gpu_count, family)} on whole nodes; {idle.total} idle, "
            f"{whole} node{'' if whole == 1 else 's'} wholly idle"
        )
    return Reason(code=Code.FRAGMENTED, sentence=sentence)


def _waiting(state: PoolState, gpu_count: int, family: str | None) -> Reason:
    sentence = f"needs {gpus(gpu_count, family)}; {state.idle.total} of {state.idle.owned} idle"
    return Reason(code=Code.WAITING_CAPACITY, sentence=sentence)
