"""How much of what jobs hold is used, added up look by look from each GPU's latest figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from gpuforge_controlplane.domain.readings import HELD_FOR_S
from gpuforge_controlplane.domain.watched import View

IDLE_BELOW_PCT = 10.0


class Activity(NamedTuple):
    """GPUs that jobs hold, how many of them idle now, and how many have for half an hour."""

    held: int
    idle: int
    idle_long: int


def activity(view: View) -> Mapping[tuple[int, str], Activity]:
    """By tenant (0: nobody's) and family. A GPU without telemetry is held, and not known to idle."""
    found: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for holding in view.watched.holdings:
        gpu = view.gpus.get(holding.gpu_id)
        used = gpu.utilization_pct if gpu is not None and view.is_fresh(gpu) else None
        mean = holding.mean_pct if view.now - holding.since >= HELD_FOR_S else None
        counts = found[holding.tenant_id or 0, holding.family]
        counts[0] += 1
        counts[1] += used is not None and used < IDLE_BELOW_PCT
        counts[2] += mean is not None and mean < IDLE_BELOW_PCT
    return {key: Activity(*counts) for key, counts in found.items()}
