"""One evaluation of the alert rules: look, judge, write under guard."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from gpuforge_controlplane.domain import activity as activities
from gpuforge_controlplane.domain.activity import Activity, activity
from gpuforge_controlplane.domain.alerts import OpenEvent, Transition, judge
from gpuforge_controlplane.domain.buckets import start_of
from gpuforge_controlplane.domain.rules import Rule
from gpuforge_controlplane.domain.watched import View, Watched
from gpuforge_controlplane.services.alerts import rules
from gpuforge_controlplane.storage import alerts, fleet_use, kpis, leases, means, unused, watch
from gpuforge_controlplane.storage.database import Database
from gpuforge_controlplane.storage.fleet_use import Use
from gpuforge_controlplane.storage.means import Lately
from gpuforge_shared.clock import Clock

_Seen = Mapping[tuple[int, str], Activity]


async def run_evaluation(
    database: Database,
    clock: Clock,
    token: int,
    *,
    hearing_since: datetime,
    seconds: int = 0,
    lately: Lately | None = None,
) -> Sequence[Transition]:
    """Evaluate all rules once under the lease's fencing token; what changed.

    Raises LeaseLostError if leadership has moved. One transaction writes everything: an evaluation that
    dies half-way has changed nothing. `hearing_since`: from when on a heartbeat would have been heard.
    `seconds`: since the evaluation before; what jobs hold now is taken to have been held for so long.
    `lately`: as in `watch.load`.
    """
    now = clock()
    async with database.read() as tx:
        known = await rules(tx)
        events = await alerts.open_events(tx)
        watched = await watch.load(tx, now, hearing_since, lately)
        rolled, noted = await means.rolled_until(tx, now), await unused.until(tx)
    # In a thread: at 100,000 GPUs this takes a while, and requests are to go on.
    changes, seen = await asyncio.to_thread(_judge, known, watched, events, now.timestamp())
    async with database.write() as tx:
        await leases.guard(tx, token)
        await alerts.apply(tx, changes, now)
        await kpis.add_hours(tx, kpis.hour_of(now), seconds, seen)
        if seconds:
            await fleet_use.add(tx, _use(now, seconds, len(watched.gpus), seen.values()))
        if rolled is not None and rolled != noted:
            began = (rolled - means.HELD_WINDOW).timestamp()
            await unused.note(tx, rolled, activities.unused(watched, began))
    return changes


def _judge(
    known: Sequence[Rule], watched: Watched, events: Sequence[OpenEvent], now: float
) -> tuple[Sequence[Transition], _Seen]:
    view = View(watched, now)
    return judge(known, view, events), activity(view)


def _use(now: datetime, seconds: int, gpus: int, seen: Collection[Activity]) -> Use:
    return Use(
        bucket=start_of(now),
        watched_s=seconds,
        gpu_s=gpus * seconds,
        held_s=sum(each.held for each in seen) * seconds,
        idle_s=sum(each.idle for each in seen) * seconds,
    )
