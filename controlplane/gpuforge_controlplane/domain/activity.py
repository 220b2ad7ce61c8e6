"""How much of what jobs hold is used, added up look by look from each GPU's latest figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from gpuforge_controlplane.domain.readings import HELD_FOR_S
from gpuforge_controlplane.domain.watched import View, Watched

IDLE_BELOW_PCT = 10.0


class Activity(NamedTuple):
    """GPUs that jobs hold, how many of them idle now, and how many have for half an hour; how many tell how
    much they are used, and the sum of these in percent."""

    held: int
    idle: int
    idle_long: int
    told: int
    used_pct: float


def unused(watched: Watched, since: float) -> list[tuple[int, float | None]]:
    """GPUs that jobs have held from `since` on (Unix seconds) and that idled on average over the half hour
    from then on, with that mean in percent; None for those without telemetry."""
    return [
        (holding.gpu_id, holding.mean_pct)
        for holding in watched.holdings
        if holding.since <= since and (holding.mean_pct is None or holding.mean_pct < IDLE_BELOW_PCT)
    ]


def activity(view: View) -> Mapping[tuple[int, str], Activity]:
    """By tenant (0: nobody's) and family. A GPU without telemetry is held, and not known to idle."""
    found: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    used_pct: dict[tuple[int, str], float] = defaultdict(float)
    fresh, gpus = view.fresh, view.gpus
    for holding in view.watched.holdings:
        gpu = gpus.get(holding.gpu_id)
        used = gpu.utilization_pct if gpu is not None and gpu.id in fresh else None
        mean = holding.mean_pct if view.now - holding.since >= HELD_FOR_S else None
        key = (holding.tenant_id or 0, holding.family)
        counts = found[key]
        counts[0] += 1
        counts[1] += used is not None and used < IDLE_BELOW_PCT
        counts[2] += mean is not None and mean < IDLE_BELOW_PCT
        counts[3] += used is not None
        used_pct[key] += used or 0.0
    return {
        key: Activity(held, idle, idle_long, told, used_pct[key])
        for key, (held, idle, idle_long, told) in found.items()
    }
