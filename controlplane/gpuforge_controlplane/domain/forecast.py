"""When a waiting job will probably start: the policy itself, run ahead on expected ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count

from gpuforge_controlplane.domain.decisions import Plan, Start
from gpuforge_controlplane.domain.durations import believed_end, re_estimated_end
from gpuforge_controlplane.domain.quota import Tenant
from gpuforge_controlplane.domain.scheduler import plan
from gpuforge_controlplane.domain.snapshot import Node, QueuedJob, RunningJob, snapshot_of

# Further ahead, estimates of estimates say nothing; and somebody waits for the answer.
MAX_ENDS = 200
MAX_WAITING = 2_000
MAX_ROWS = 60_000  # that all plans together may look at: some 0.2 s

Ending = tuple[float, RunningJob]


class Forecast:
    """A fleet on expected time."""

    def __init__(
        self,
        nodes: Iterable[Node],
        tenants: Sequence[Tenant],
        running: Iterable[RunningJob],
        waiting: Iterable[QueuedJob],
    ) -> None:
        self._nodes: dict[tuple[int, str], Node] = {(node.id, node.family): node for node in nodes}
        self._tenants = tenants
        self._running = {job.id: job for job in running}
        self._waiting = {job.id: job for job in waiting}
        self._fresh_id = count(-1, -1)  # freed GPUs need only be distinct

    def start_of(self, job_id: int, now: float) -> float | None:
        """When `job_id` starts, in seconds since the epoch; None if that is too far ahead to tell."""
        if len(self._waiting) > MAX_WAITING:
            return None
        rows = len(self._nodes) + len(self._running) + len(self._waiting)
        for _ in range(min(MAX_ENDS, 1 + MAX_ROWS // rows)):
            decided = self._plan(now)
            if any(start.job.id == job_id for start in decided.starts):
                return now
            for reservation in decided.reservations:
                if reservation.job_id == job_id:
                    return reservation.start
            self._apply(decided.starts, now)
            ending = self._next_end(now)
            if ending is None:
                return None
            now = max(now, ending[0])
            self._end(ending[1])
        return None

    def _plan(self, now: float) -> Plan:
        snapshot = snapshot_of(
            self._nodes.values(), self._tenants, self._running.values(), self._waiting.values()
        )
        return plan(snapshot, now)

    def _apply(self, starts: Iterable[Start], now: float) -> None:
        for start in starts:
            job = self._waiting.pop(start.job.id)
            for share in start.shares:
                node = self._nodes[share.node_id, start.family]
                left = tuple(gpu for gpu in node.idle_gpu_ids if gpu not in share.gpu_ids)
                self._nodes[share.node_id, start.family] = node._replace(idle_gpu_ids=left)
            held = tuple((share.node_id, len(share.gpu_ids)) for share in start.shares)
            self._running[job.id] = RunningJob(
                job.id, job.tenant_id, job.cluster_id, start.family, now, job.estimate_s, None, held
            )

    def _next_end(self, now: float) -> Ending | None:
        ends = ((_expected_end(job, now), job) for job in self._running.values())
        return min(ends, key=lambda ending: (ending[0], ending[1].id), default=None)

    def _end(self, job: RunningJob) -> None:
        del self._running[job.id]
        for node_id, gpus in job.held:
            node = self._nodes.get((node_id, job.family))
            if node is not None and node.schedulable:
                freed = tuple(next(self._fresh_id) for _ in range(gpus))
                self._nodes[node_id, job.family] = node._replace(idle_gpu_ids=node.idle_gpu_ids + freed)


def _expected_end(job: RunningJob, now: float) -> float:
    end = believed_end(job.started_at, job.estimate_s, job.time_limit_s)
    return end if end > now else re_estimated_end(job.started_at, job.time_limit_s, now)


def queue_ahead(waiting: Iterable[QueuedJob], job: QueuedJob) -> list[QueuedJob]:
    """The queued jobs of the same cluster before `job`, in the order of the queue."""
    ahead = (
        other
        for other in waiting
        if other.block_reason is None and other.cluster_id == job.cluster_id and other[:3] < job[:3]
    )
    return sorted(ahead)
