"""How nodes and GPUs are: what agents report, what is wrong by that, and an operator's word on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from gpuforge_controlplane.domain import health as rules
from gpuforge_controlplane.domain.health import Condition, Counters, OpenFault
from gpuforge_controlplane.services.context import Context
from gpuforge_controlplane.services.fleet import held_node, may_see, node_details
from gpuforge_controlplane.storage import fleet, health
from gpuforge_controlplane.storage.fleet import StoredGpu
from gpuforge_controlplane.storage.health import StoredFault, StoredGpuHealth, StoredNodeHealth
from gpuforge_shared.errors import not_found
from gpuforge_shared.wire.fleet import GpuRecord
from gpuforge_shared.wire.health import (
    CollectorRun,
    DriverFault,
    FaultClear,
    FaultRecord,
    FaultsCleared,
    GpuCondition,
    GpuHealth,
    GpuProcess,
    GpuReport,
    HostReading,
    NodeCondition,
    NodeReport,
    ReportAccepted,
    Xid,
)

T = TypeVar("T")

XIDS_KEPT = 16  # of a GPU, of any kind; those that are faults are kept for good
PAST_FAULTS_SHOWN = 16  # of a GPU, the newest


async def report_health(ctx: Context, node_id: int, body: NodeReport) -> ReportAccepted:
    """Take a node's report of its own health and its GPUs'; a faulty GPU takes no job until it is well."""
    await held_node(ctx, node_id)
    cards = {gpu["id"]: gpu for gpu in await fleet.gpus_of_nodes(ctx.tx, [node_id])}
    reports = {report["gpu_id"]: report for report in body.gpus if report["gpu_id"] in cards}
    before = await health.of_gpus(ctx.tx, list(reports))
    opened, cleared = await _judge(ctx, cards, reports, before)
    await health.save_node(
        ctx.tx,
        StoredNodeHealth(
            node_id=node_id,
            reported_at=ctx.now,
            host=cast(dict[str, Any], body.host),
            driver_fault=cast(dict[str, str] | None, body.driver_fault),
            collectors=cast(list[dict[str, Any]], body.collectors),
        ),
    )
    if reports:
        rows = [_stored(ctx, report, before.get(gpu_id)) for gpu_id, report in reports.items()]
        await health.save_gpus(ctx.tx, rows)
    told = {report["gpu_id"] for report in body.gpus}
    return ReportAccepted(
        gpus=len(reports),
        unknown_gpus=sorted(told - cards.keys()),
        opened=[fault_record(fault) for fault in opened],
        cleared=[fault_record(fault) for fault in cleared],
    )


async def clear_fault(ctx: Context, gpu_id: int, body: FaultClear) -> FaultsCleared:
    """Declare a GPU well again whose faults need an operator's word; the others end with their cause."""
    node_id = await health.node_of_gpu(ctx.tx, gpu_id)
    if node_id is None:
        raise not_found("gpu", gpu_id)
    await held_node(ctx, node_id)  # before any row of its GPUs, as a report does it
    faults = await health.open_faults(ctx.tx, [gpu_id])
    waiting = [fault["id"] for fault in faults if fault["needs_operator"]]
    by = ctx.principal.name
    cleared = await health.clear_faults(ctx.tx, waiting, ctx.now, by=by, note=body.note) if waiting else []
    still_open = [fault for fault in faults if not fault["needs_operator"]]
    for fault in cleared:
        await ctx.audit("gpu.fault_clear", "gpu", gpu_id, after=fault_record(fault))
    if not still_open:
        await health.set_well(ctx.tx, [gpu_id])
    return FaultsCleared(
        gpu_id=gpu_id,
        status=await health.status_of(ctx.tx, gpu_id),
        cleared=[fault_record(fault) for fault in cleared],
        open=[fault_record(fault) for fault in still_open],
    )


async def get_node(ctx: Context, node_id: int) -> NodeCondition:
    """The node with its GPUs, their ids and their health; a retired one too."""
    node = await fleet.node_by_id(ctx.tx, node_id)
    if node is None or not may_see(ctx, node["cluster_id"]):
        raise not_found("node", node_id)
    (detail,) = await node_details(ctx, [node])
    ids = [gpu["id"] for gpu in detail["gpus"]]
    reported = await health.of_node(ctx.tx, node_id)
    of_gpus = await health.of_gpus(ctx.tx, ids)
    faults = _by_gpu(await health.open_faults(ctx.tx, ids))
    past = _by_gpu(await health.past_faults(ctx.tx, ids, PAST_FAULTS_SHOWN))
    gpus = [
        _condition(gpu, of_gpus.get(gpu["id"]), faults[gpu["id"]], past[gpu["id"]]) for gpu in detail["gpus"]
    ]
    host = _whole(HostReading, reported and reported["host"])
    driver_fault = cast(DriverFault | None, reported and reported["driver_fault"])
    collectors = cast(list[CollectorRun], reported["collectors"] if reported else [])
    # the TypedDicts differ in what `gpus` holds, and in nothing else
    record = cast(dict[str, Any], detail) | {
        "reported_at": reported and reported["reported_at"],
        "host": host,
        "driver_fault": driver_fault,
        "collectors": collectors,
        "gpus": gpus,
    }
    return cast(NodeCondition, record)


def fault_record(fault: StoredFault) -> FaultRecord:
    """A fault as clients see it."""
    return FaultRecord(**fault)


def _by_gpu(faults: Sequence[StoredFault]) -> Mapping[int, list[FaultRecord]]:
    found: dict[int, list[FaultRecord]] = defaultdict(list)
    for fault in faults:
        found[fault["gpu_id"]].append(fault_record(fault))
    return found


async def _judge(
    ctx: Context,
    cards: Mapping[int, StoredGpu],
    reports: Mapping[int, GpuReport],
    before: Mapping[int, StoredGpuHealth],
) -> tuple[list[StoredFault], list[StoredFault]]:
    """Begin and end faults as the reports say; which ones."""
    on_record: dict[int, list[StoredFault]] = defaultdict(list)
    for fault in await health.open_faults(ctx.tx, list(reports)):
        on_record[fault["gpu_id"]].append(fault)
    opened: list[StoredFault] = []
    ended: list[int] = []
    for gpu_id, report in reports.items():
        known = [_open(fault) for fault in on_record[gpu_id]]
        change = rules.changes(condition_of(report), _counters(before.get(gpu_id)), known)
        made = [await health.open_fault(ctx.tx, gpu_id, fault, ctx.now) for fault in change.opened]
        opened += [fault for fault in made if fault is not None]
        ended += change.cleared
    cleared = await health.clear_faults(ctx.tx, ended, ctx.now) if ended else []
    for fault in opened:
        await ctx.audit("gpu.fault", "gpu", fault["gpu_id"], after=fault_record(fault))
    for fault in cleared:
        await ctx.audit("gpu.fault_end", "gpu", fault["gpu_id"], after=fault_record(fault))
    all_open = {
        fault["gpu_id"] for faults in on_record.values() for fault in faults if fault["id"] not in ended
    }
    await _set_statuses(ctx, cards, reports, all_open | {fault["gpu_id"] for fault in opened})
    return opened, cleared


async def _set_statuses(
    ctx: Context, cards: Mapping[int, StoredGpu], reports: Mapping[int, GpuReport], faulty: set[int]
) -> None:
    out = {gpu_id for gpu_id in reports if cards[gpu_id]["status"] == "unhealthy"}
    if fallen := sorted(faulty - out):
        await health.set_unhealthy(ctx.tx, fallen)
    if well := sorted(out - faulty):
        await health.set_well(ctx.tx, well)


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


def _condition(
    gpu: GpuRecord,
    stored: StoredGpuHealth | None,
    faults: Sequence[FaultRecord],
    past: Sequence[FaultRecord],
) -> GpuCondition:
    processes = None if stored is None else cast(list[GpuProcess] | None, stored["processes"])
    return GpuCondition(
        **gpu,
        health=_whole(GpuHealth, stored and stored["health"]),
        processes=processes,
        processes_missing=None if stored is None else stored["processes_missing"],
        xids=cast(list[Xid], [] if stored is None else stored["xids"]),
        faults=list(faults),
        past_faults=list(past),
    )


def _whole(kind: type[T], stored: Mapping[str, Any] | None) -> T | None:
    """All fields of that TypedDict: null where the agent, of another version, said nothing."""
    if stored is None:
        return None
    absent: dict[str, object] = dict.fromkeys(kind.__annotations__) | {"missing": {}}
    return cast(T, absent | dict(stored))


def _open(fault: StoredFault) -> OpenFault:
    return OpenFault(
        id=fault["id"], kind=fault["kind"], code=fault["code"], needs_operator=fault["needs_operator"]
    )
