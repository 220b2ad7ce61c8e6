"""How nodes and GPUs are by what agents last reported, and an operator's word on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from gpuforge_controlplane.services.context import Context
from gpuforge_controlplane.services.fleet import held_node, may_see, node_details
from gpuforge_controlplane.storage import fleet, health
from gpuforge_controlplane.storage.health import StoredFault, StoredGpuHealth
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
    HostReading,
    NodeCondition,
    Xid,
)

T = TypeVar("T")

PAST_FAULTS_SHOWN = 16  # of a GPU, the newest


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
