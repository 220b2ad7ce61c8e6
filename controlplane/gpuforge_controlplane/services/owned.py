"""How many GPUs of each family a cluster owns: counted at most once a second, not at every submission."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from gpuforge_controlplane.domain.families import pool_family
from gpuforge_controlplane.storage import fleet
from gpuforge_controlplane.storage.database import Connection

# Another replica may have registered GPUs meanwhile. A job misjudged for that is blocked for one cycle
# at most: blocked jobs are reconsidered at every cycle, on a count of its own.
KEPT_FOR = timedelta(seconds=1)


class OwnedGpus:
    """One process's counts. Counting 100,000 GPUs takes 0.1 s; a burst submits thousands of jobs a second."""

    def __init__(self) -> None:
        self._counts: dict[int, tuple[datetime, Mapping[str, int]]] = {}

    async def of(self, tx: Connection, cluster_id: int, now: datetime) -> Mapping[str, int]:
        """GPUs of the cluster, healthy or not, by family."""
        known = self._counts.get(cluster_id)
        if known is not None and timedelta() <= now - known[0] < KEPT_FOR:
            return known[1]
        owned: dict[str, int] = {}
        for model, count in (await fleet.gpus_by_model(tx, cluster_id)).items():
            family = pool_family(model or "unknown")
            owned[family] = owned.get(family, 0) + count
        self._counts[cluster_id] = (now, owned)
        return owned

    def forget(self, cluster_id: int) -> None:
        """Count anew: GPUs came or went."""
        self._counts.pop(cluster_id, None)
