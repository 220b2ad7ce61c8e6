"""What a plan consists of: start, block, unblock, or wait for a reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpuforge_controlplane.domain.placement import NodeShare
from gpuforge_controlplane.domain.reasons import Code, Reason
from gpuforge_controlplane.domain.reservation import Reservation
from gpuforge_controlplane.domain.snapshot import QueuedJob, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Run this queued job now, on these GPUs."""

    job: QueuedJob
    family: str
    shares: tuple[NodeShare, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Block this job, or give a blocked one its new reason."""

    job: QueuedJob
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Unblock:
    """Queue this blocked job again; the same plan may start it."""

    job: QueuedJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Leave this job queued, for this reason."""

    job: QueuedJob
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one cycle decided. Apply unblocks before starts: a job may be in both."""

    starts: Sequence[Start]  # in the order of decision
    blocks: Sequence[Block]
    unblocks: Sequence[Unblock]
    reservations: Sequence[Reservation]  # one at most for each (cluster, family)
    processed: int  # jobs considered, queued and blocked
    reason_counts: Mapping[Code, int]  # jobs that do not start, by dominant reason
    input_hash: str  # of every row of the snapshot and of `now`, 32 hex digits
    used: Mapping[int | None, int]  # GPUs in use by tenant once the starts are applied
    shortages: Mapping[tuple[Scope, int], Reason]  # why a shape waits where quota does not forbid it
