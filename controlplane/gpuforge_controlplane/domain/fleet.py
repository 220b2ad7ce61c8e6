"""What a cluster, a node and a GPU are doing, from heartbeats and telemetry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

OFFLINE_AFTER = timedelta(seconds=90)  # three missed heartbeats of 30 s
ACTIVE_ABOVE_PCT = 10.0  # strictly above: the reference's threshold
MAX_AHEAD = timedelta(minutes=5)  # how far a sample's clock may run ahead of ours

NodeStatus = Literal["active", "cordoned", "draining", "offline", "retired"]
GpuStatus = Literal["active", "idle", "unhealthy", "offline"]
ClusterStatus = Literal["active", "degraded", "offline"]
NodeState = Literal["active", "cordoned", "draining"]
Screening = Literal["recorded_in_future", "older_than_retention"]


def heartbeat_is_fresh(last_heartbeat: datetime, now: datetime) -> bool:
    """Whether a node counts as there: its last heartbeat is at most 90 s old."""
    return now - last_heartbeat <= OFFLINE_AFTER


def node_status(
    state: NodeState, last_heartbeat: datetime, retired_at: datetime | None, now: datetime
) -> NodeStatus:
    """The operator's state, unless the node is gone: retired, or silent for over 90 s."""
    if retired_at is not None:
        return "retired"
    return state if heartbeat_is_fresh(last_heartbeat, now) else "offline"


def gpu_status(stored: GpuStatus, node: NodeStatus) -> GpuStatus:
    """A GPU's own status, unless its node is gone: nobody knows then what the GPU does."""
    return "offline" if node in ("offline", "retired") else stored


def cluster_status(nodes: int, gone: int) -> ClusterStatus:
    """active with every node there (or none yet), degraded with some gone, offline with all gone."""
    if not gone:
        return "active"
    return "offline" if gone == nodes else "degraded"


@dataclass(frozen=True, slots=True)
class Welcome:
    """The times that samples may carry, both ends included."""

    earliest: datetime
    latest: datetime

    def refusal(self, recorded_at: datetime) -> Screening | None:
        """Why a sample's time rules it out, None where it is welcome."""
        if recorded_at > self.latest:
            return "recorded_in_future"
        return "older_than_retention" if recorded_at < self.earliest else None


def welcome(now: datetime, retention: timedelta) -> Welcome:
    """What ingest takes at `now`: nothing older than what is kept, clocks at most 5 min ahead of ours."""
    return Welcome(earliest=now - retention, latest=now + MAX_AHEAD)
