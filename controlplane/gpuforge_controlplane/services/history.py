"""History of metrics for charts: of a GPU, a node, a job, a tenant, a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from gpuforge_controlplane.domain.buckets import BEGINNING
from gpuforge_controlplane.domain.resolution import SAMPLE_EVERY_S, Resolution, Window, resolve
from gpuforge_controlplane.services.context import Context
from gpuforge_controlplane.services.fleet import may_see
from gpuforge_controlplane.services.jobs import visible
from gpuforge_controlplane.storage import fleet, history, jobs, rollups, tenants
from gpuforge_controlplane.storage.history import NOTHING, Figure, Point, Subject
from gpuforge_shared.errors import invalid, not_found
from gpuforge_shared.wire.history import MAX_POINTS, History, HistoryQuery

_DAY = timedelta(days=1)
MOST_TAIL = 50_000  # raw samples read for what is not rolled up yet


async def gpu_history(ctx: Context, gpu_id: int, query: HistoryQuery) -> History:
    """A GPU's metrics over time, for charts.

    A tenant's key sees the time during which its own jobs held the GPU.
    """
    subject = Subject(gpu_id=gpu_id, tenant_id=ctx.principal.tenant_id)
    if not (await history.gpus_of(ctx.tx, subject))[0]:
        raise not_found("GPU", gpu_id)
    return await _history(ctx, subject, _window(ctx, query))


async def node_history(ctx: Context, node_id: int, query: HistoryQuery) -> History:
    """The metrics over time of the GPUs that are on a node now."""
    node = await fleet.node_by_id(ctx.tx, node_id)
    if node is None or not may_see(ctx, node["cluster_id"]):
        raise not_found("node", node_id)
    return await _history(ctx, Subject(node_id=node_id), _window(ctx, query))


async def cluster_history(ctx: Context, cluster_id: int, query: HistoryQuery) -> History:
    """A cluster's metrics over time; a tenant's key sees what its own jobs held there."""
    found = await fleet.clusters_page(ctx.tx, only=cluster_id, limit=1)
    if not found or not may_see(ctx, cluster_id):
        raise not_found("cluster", cluster_id)
    subject = Subject(cluster_id=cluster_id, tenant_id=ctx.principal.tenant_id)
    return await _history(ctx, subject, _window(ctx, query))


async def job_history(ctx: Context, job_id: int, query: HistoryQuery) -> History:
    """The metrics over time of the GPUs that a job held while it held them.

    Without `from` and `to` all of the job's run. Rolled-up samples count in whole buckets, so that no time
    before or after the job is in them.
    """
    job = visible(ctx, await jobs.by_id(ctx.tx, job_id), job_id)
    window = _window(ctx, query, began=job["started_at"], ended=job["ended_at"])
    return await _history(ctx, Subject(job_id=job_id), window)


async def tenant_history(ctx: Context, tenant_id: int, query: HistoryQuery) -> History:
    """The metrics over time of what a tenant's jobs held while they held it."""
    if ctx.principal.tenant_id not in (None, tenant_id) or await tenants.by_id(ctx.tx, tenant_id) is None:
        raise not_found("tenant", tenant_id)
    return await _history(ctx, Subject(tenant_id=tenant_id), _window(ctx, query))


def _window(
    ctx: Context, query: HistoryQuery, *, began: datetime | None = None, ended: datetime | None = None
) -> Window:
    """What is asked for. Raises Invalid for a stretch that is none, or would be too many points."""
    until = query.until or ended or ctx.now
    if until <= BEGINNING:  # steps are counted from there, and the calendar itself begins with year 1
        raise invalid("query.to", "must lie after 1970 began")
    since = query.since or (began if began is not None and began < until else max(until - _DAY, BEGINNING))
    if since < BEGINNING:
        raise invalid("query.from", "must not lie before 1970")
    length_s = (until - since).total_seconds()
    if length_s <= 0:
        raise invalid("query.from", "must lie before `to`")
    if length_s > ctx.kept.hours.total_seconds() + 86_400:
        raise invalid("query.from", f"history is kept for {ctx.kept.hours.days} days: ask for less")
    if query.step is not None and length_s / query.step > MAX_POINTS:
        fitting = -(-length_s // MAX_POINTS)
        raise invalid("query.step", f"more than {MAX_POINTS} points; ask for a step of {fitting:.0f} or more")
    return Window(since=since, until=until, step_s=query.step)


async def _history(ctx: Context, subject: Subject, window: Window) -> History:
    gpus, fleet_size = await history.gpus_of(ctx.tx, subject)
    done = await rollups.progress(ctx.tx)
    told = resolve(
        window, gpus=gpus, fleet=fleet_size, now=ctx.now, kept=ctx.kept, rolled_up=done is not None
    )
    rows = {point.number: point for point in await history.points(ctx.tx, subject, told)}
    complete_until = ctx.now
    if told.source != "raw" and done is not None:
        complete_until = done
        if fleet_size * (ctx.now - done).total_seconds() / SAMPLE_EVERY_S <= MOST_TAIL:
            tail = await history.points(ctx.tx, subject, replace(told, source="raw"), since=done)
            rows |= {point.number: _added(rows.get(point.number), point) for point in tail}
            complete_until = ctx.now
    return _columns(told, min(complete_until, told.until), rows)


def _added(one: Point | None, other: Point) -> Point:
    """A point that was rolled up in part, and the rest of it."""
    if one is None:
        return other
    return Point(
        number=one.number,
        gpus=max(one.gpus, other.gpus),
        samples=one.samples + other.samples,
        figures=tuple(map(Figure.plus, one.figures, other.figures)),
    )


def _columns(told: Resolution, complete_until: datetime, rows: Mapping[int, Point]) -> History:
    step = timedelta(seconds=told.step_s)
    count = -((told.first - told.until) // step)
    points = [rows.get(number) for number in range(count)]
    utilization, memory, temperature, power = (
        [NOTHING if point is None else point.figures[place] for point in points] for place in range(4)
    )
    return History(
        step_s=told.step_s,
        source=told.source,
        complete_until=complete_until,
        timestamps=[told.first + number * step for number in range(count)],
        gpus=[0 if point is None else point.gpus for point in points],
        samples=[0 if point is None else point.samples for point in points],
        utilization_pct=[figure.mean for figure in utilization],
        utilization_min_pct=[figure.least for figure in utilization],
        utilization_max_pct=[figure.most for figure in utilization],
        memory_used_mb=[figure.mean for figure in memory],
        memory_used_max_mb=[figure.most for figure in memory],
        temperature_c=[figure.mean for figure in temperature],
        temperature_max_c=[figure.most for figure in temperature],
        power_draw_w=[figure.mean for figure in power],
        power_draw_max_w=[figure.most for figure in power],
    )
