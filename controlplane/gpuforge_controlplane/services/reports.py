"""Agents report how their nodes and GPUs are, one by one and many at once; what that makes a fault."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from gpuforge_controlplane.domain import health as rules
from gpuforge_controlplane.domain.health import Condition, Counters, OpenFault
from gpuforge_controlplane.services.context import Context
from gpuforge_controlplane.services.fleet import may_see
from gpuforge_controlplane.services.health import fault_record
from gpuforge_controlplane.storage import fleet, health
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.fleet import StoredGpu
from gpuforge_controlplane.storage.health import StoredFault, StoredGpuHealth, StoredNodeHealth
from gpuforge_shared.errors import NotFound, not_found
from gpuforge_shared.wire.health import GpuHealth, GpuReport, NodeReport, ReportAccepted

XIDS_KEPT = 16  # of a GPU, of any kind; those that are faults are kept for good

Asked = tuple[Context, int, NodeReport]  # of the node of this id


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """A report beside what is known of its node: the cards in place, and what it says of them, by GPU."""

    ctx: Context
    node_id: int
    body: NodeReport
    cards: Mapping[int, StoredGpu]
    reports: Mapping[int, GpuReport]


async def report_health(ctx: Context, node_id: int, body: NodeReport) -> ReportAccepted:
    """Take a node's report of its own health and its GPUs'; a faulty GPU takes no job until it is well."""
    (outcome,) = await report_nodes([(ctx, node_id, body)])
    if isinstance(outcome, NotFound):
        raise outcome
    return outcome


async def report_nodes(asked: Sequence[Asked]) -> list[ReportAccepted | NotFound]:
    """Take reports in one transaction, that of every context. In order; a refusal is none of the others'."""
    first: dict[int, int] = {}  # by node, the place of its first report: a second looks at what that leaves
    for place, (_, node_id, _) in enumerate(asked):
        first.setdefault(node_id, place)
    places = sorted(first.values())
    done = dict(zip(places, await _take([asked[place] for place in places]), strict=True))
    again = [place for place in range(len(asked)) if place not in done]
    if again:
        done |= zip(again, await report_nodes([asked[place] for place in again]), strict=True)
    return [done[place] for place in range(len(asked))]


async def _take(asked: Sequence[Asked]) -> list[ReportAccepted | NotFound]:
    """Reports of as many nodes."""
    tx = asked[0][0].tx
    nodes = {node["id"]: node for node in await fleet.lock_nodes(tx, [node_id for _, node_id, _ in asked])}
    known = [one for one in asked if (node := nodes.get(one[1])) and may_see(one[0], node["cluster_id"])]
    told = {each.node_id: each for each in await _beside(known)}
    gpu_ids = [gpu_id for each in told.values() for gpu_id in each.reports]
    before = await health.of_gpus(tx, gpu_ids)
    on_record = await health.open_faults(tx, gpu_ids)
    accepted: dict[int, ReportAccepted] = {}
    still_open = {fault["id"]: fault["gpu_id"] for fault in on_record}
    for node_id, each in sorted(told.items()):
        own = [fault for fault in on_record if fault["gpu_id"] in each.reports]
        opened, cleared = await _judge(each, before, own)
        accepted[node_id] = _accepted(each, opened, cleared)
        for fault in cleared:
            del still_open[fault["id"]]
        still_open |= {fault["id"]: fault["gpu_id"] for fault in opened}
    await _set_statuses(tx, told.values(), set(still_open.values()))
    await health.save_nodes(tx, [_stored_node(each) for each in told.values()])
    await health.save_gpus(tx, [row for each in told.values() for row in _stored_gpus(each, before)])
    return [accepted.get(node_id) or not_found("node", node_id) for _, node_id, _ in asked]


async def _beside(known: Sequence[Asked]) -> list[_Told]:
    if not known:
        return []
    cards: dict[int, dict[int, StoredGpu]] = {node_id: {} for _, node_id, _ in known}
    for gpu in await fleet.gpus_of_nodes(known[0][0].tx, list(cards)):
        cards[gpu["node_id"]][gpu["id"]] = gpu
    return [
        _Told(
            ctx=ctx,
            node_id=node_id,
            body=body,
            cards=cards[node_id],
            reports={report["gpu_id"]: report for report in body.gpus if report["gpu_id"] in cards[node_id]},
        )
        for ctx, node_id, body in known
    ]


def _accepted(told: _Told, opened: Sequence[StoredFault], cleared: Sequence[StoredFault]) -> ReportAccepted:
    return ReportAccepted(
        gpus=len(told.reports),
        unknown_gpus=sorted({report["gpu_id"] for report in told.body.gpus} - told.cards.keys()),
        opened=[fault_record(fault) for fault in opened],
        cleared=[fault_record(fault) for fault in cleared],
    )


async def _judge(
    told: _Told, before: Mapping[int, StoredGpuHealth], on_record: Sequence[StoredFault]
) -> tuple[list[StoredFault], list[StoredFault]]:
    """Begin and end faults of a node's GPUs as its reports say; which ones. `on_record`: that are open."""
    ctx = told.ctx
    opened: list[StoredFault] = []
    ended: list[int] = []
    for gpu_id, report in told.reports.items():
        known = [_open(fault) for fault in on_record if fault["gpu_id"] == gpu_id]
        change = rules.changes(condition_of(report), _counters(before.get(gpu_id)), known)
        made = [await health.open_fault(ctx.tx, gpu_id, fault, ctx.now) for fault in change.opened]
        opened += [fault for fault in made if fault is not None]
        ended += change.cleared
    cleared = await health.clear_faults(ctx.tx, ended, ctx.now) if ended else []
    for fault in opened:
        await ctx.audit("gpu.fault", "gpu", fault["gpu_id"], after=fault_record(fault))
    for fault in cleared:
        await ctx.audit("gpu.fault_end", "gpu", fault["gpu_id"], after=fault_record(fault))
    return opened, cleared


async def _set_statuses(tx: Connection, told: Collection[_Told], faulty: set[int]) -> None:
    """Of all nodes at once, in order of id, as samples come: none waits for another in a circle."""
    out = {gpu_id for each in told for gpu_id in each.reports if each.cards[gpu_id]["status"] == "unhealthy"}
    if fallen := sorted(faulty - out):
        await health.set_unhealthy(tx, fallen)
    if well := sorted(out - faulty):
        await health.set_well(tx, well)


def condition_of(report: GpuReport) -> Condition:
    """What faults are told from, of a report."""
    health = report.get("health") or GpuHealth()
    return Condition(
        unreadable=report.get("unreadable"),
        ecc=_told_counters(report),
        remap_pending=health.get("remap_pending"),
        remap_failed=health.get("remap_failed"),
        recovery_action=health.get("recovery_action"),
        xids=[(xid["code"], xid["seen_at"]) for xid in report.get("xids", [])],
    )


def _told_counters(report: GpuReport) -> Counters:
    health = report.get("health") or GpuHealth()
    return Counters(
        volatile=health.get("ecc_volatile_uncorrected"), aggregate=health.get("ecc_aggregate_uncorrected")
    )


def _counters(stored: StoredGpuHealth | None) -> Counters:
    if stored is None:
        return Counters()
    return Counters(volatile=stored["ecc_volatile"], aggregate=stored["ecc_aggregate"])


def _stored_node(told: _Told) -> StoredNodeHealth:
    return StoredNodeHealth(
        node_id=told.node_id,
        reported_at=told.ctx.now,
        host=cast(dict[str, Any], told.body.host),
        driver_fault=cast(dict[str, str] | None, told.body.driver_fault),
        collectors=cast(list[dict[str, Any]], told.body.collectors),
    )


def _stored_gpus(told: _Told, before: Mapping[int, StoredGpuHealth]) -> list[StoredGpuHealth]:
    return [_stored(told.ctx, report, before.get(gpu_id)) for gpu_id, report in told.reports.items()]


def _stored(ctx: Context, report: GpuReport, before: StoredGpuHealth | None) -> StoredGpuHealth:
    """The row of a GPU's report. Health that was not looked at this time is as it was."""
    ecc = rules.latest(_told_counters(report), _counters(before))
    health = cast(dict[str, Any] | None, report.get("health"))
    earlier = before["xids"] if before is not None else []
    fresh = [dict(xid) for xid in report.get("xids", [])]
    return StoredGpuHealth(
        gpu_id=report["gpu_id"],
        reported_at=ctx.now,
        health=health if health is not None or before is None else before["health"],
        processes=cast(list[dict[str, Any]] | None, report.get("processes")),
        processes_missing=report.get("processes_missing"),
        xids=[*earlier, *fresh][-XIDS_KEPT:],
        ecc_volatile=ecc.volatile,
        ecc_aggregate=ecc.aggregate,
    )


def _open(fault: StoredFault) -> OpenFault:
    return OpenFault(
        id=fault["id"], kind=fault["kind"], code=fault["code"], needs_operator=fault["needs_operator"]
    )
