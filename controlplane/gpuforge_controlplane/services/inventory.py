"""Registering the GPUs of a node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from gpuforge_controlplane.domain.fleet import node_status
from gpuforge_controlplane.domain.slots import Card, Found, Seating, seat
from gpuforge_controlplane.services.context import Context, Upserted
from gpuforge_controlplane.services.fleet import gpu_record, held_node, may_see
from gpuforge_controlplane.storage import audit, fleet
from gpuforge_controlplane.storage.fleet import KnownGpu, StoredNode
from gpuforge_controlplane.storage.statements import Row
from gpuforge_shared.errors import Conflict, invalid
from gpuforge_shared.wire.fleet import GpuObject, GpuRecord, GpuRegister


async def register_gpus(ctx: Context, body: GpuRegister) -> Upserted[list[GpuRecord]]:
    """Register GPUs on a node; answers only the records newly created."""
    node = await held_node(ctx, body.node_id)
    if node["retired_at"] is not None:
        raise Conflict(f"node {node['id']} was retired; set its state first", code="node_retired")
    found = _found(body.gpus)
    known = await fleet.gpus_in_question(ctx.tx, node["id"], [gpu.uuid for gpu in found if gpu.uuid])
    _refuse_foreign(ctx, node, known)
    seating = seat(node["id"], [_card(gpu) for gpu in known], found)
    ctx.owned.forget(node["cluster_id"])
    created = await _apply(ctx, node, body.gpus, found, seating, {gpu["id"]: gpu for gpu in known})
    return Upserted(created, created=bool(created))


async def _apply(
    ctx: Context,
    node: StoredNode,
    told: Sequence[GpuObject],
    found: Sequence[Found],
    seating: Seating,
    known: dict[int, KnownGpu],
) -> list[GpuRecord]:
    moving = [
        gpu_id
        for gpu_id, gpu in zip(seating.seats, found, strict=True)
        if gpu_id is not None and _place(known[gpu_id]) != (node["id"], gpu.gpu_index)
    ]
    if moving or seating.vacated:  # all slots are cleared first, so that two cards can swap theirs
        await fleet.vacate(ctx.tx, [*moving, *seating.vacated])
        for displaced in seating.vacated:
            place = {"gpu_index": known[displaced]["gpu_index"]}
            await ctx.audit("gpu.displace", "gpu", displaced, before=place, after={"gpu_index": None})
    fresh = []
    for gpu_id, gpu, slot in zip(seating.seats, told, found, strict=True):
        values = _values(gpu) | {"node_id": node["id"], "gpu_index": slot.gpu_index}
        if gpu_id is None:
            fresh.append(values)
        else:
            await _update(ctx, known[gpu_id], values)
    return await _create(ctx, node, fresh)


async def _create(ctx: Context, node: StoredNode, fresh: Sequence[Row]) -> list[GpuRecord]:
    """All of them at once: a host of eight takes half the time of one by one."""
    untold = {"uuid": None, "model": None, "vram_mb": None}
    rows = [untold | values | {"status": "idle", "created_at": ctx.now} for values in fresh]
    created = await fleet.create_gpus(ctx.tx, rows)
    told = zip(created, fresh, strict=True)
    await audit.append_all(
        ctx.tx, [ctx.audit_row("gpu.create", "gpu", gpu["id"], after=values) for gpu, values in told]
    )
    status = node_status(node["state"], node["last_heartbeat_at"], node["retired_at"], ctx.now)
    return [gpu_record(gpu, status) for gpu in created]


async def _update(ctx: Context, gpu: KnownGpu, values: Row) -> None:
    before = {name: value for name, value in gpu.items() if name in values}
    if before != values:
        await fleet.update_gpu(ctx.tx, gpu["id"], values)
        await ctx.audit("gpu.update", "gpu", gpu["id"], before=before, after=values)


def _found(gpus: Sequence[GpuObject]) -> list[Found]:
    """The slots and UUIDs reported; a missing index is the place in the array. Neither may repeat."""
    found = [
        Found(gpu_index=position if gpu.gpu_index is None else gpu.gpu_index, uuid=gpu.uuid)
        for position, gpu in enumerate(gpus)
    ]
    slots = Counter(gpu.gpu_index for gpu in found)
    uuids = Counter(gpu.uuid for gpu in found if gpu.uuid is not None)
    for position, gpu in enumerate(found):
        if slots[gpu.gpu_index] > 1:
            raise invalid(f"gpus[{position}].gpu_index", f"slot {gpu.gpu_index} is named more than once")
        if gpu.uuid is not None and uuids[gpu.uuid] > 1:
            raise invalid(f"gpus[{position}].uuid", f"UUID {gpu.uuid} is named more than once")
    return found


def _refuse_foreign(ctx: Context, node: StoredNode, known: Sequence[KnownGpu]) -> None:
    """A cluster key must not draw another cluster's cards to its own by claiming their UUIDs."""
    for gpu in known:
        if not may_see(ctx, gpu["cluster_id"]):
            raise Conflict(
                f"GPU {gpu['uuid']} is registered in another cluster than node {node['id']}'s; "
                "move it with an operator's key",
                code="gpu_in_other_cluster",
            )


def _values(gpu: GpuObject) -> Row:
    told = {"uuid": gpu.uuid, "model": gpu.model, "vram_mb": gpu.vram_mb}
    return {name: value for name, value in told.items() if value is not None}


def _card(gpu: KnownGpu) -> Card:
    return Card(id=gpu["id"], node_id=gpu["node_id"], gpu_index=gpu["gpu_index"], uuid=gpu["uuid"])


def _place(gpu: KnownGpu) -> tuple[int, int | None]:
    return gpu["node_id"], gpu["gpu_index"]
