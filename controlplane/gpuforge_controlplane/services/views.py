"""What one kind of reader sees of the live fleet: encoded once, however many of them there are."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from gpuforge_controlplane.domain import frames
from gpuforge_controlplane.storage.live import GpuNow, Holder, Still
from gpuforge_shared.wire.events import (
    ClusterColumns,
    FleetAllocation,
    FleetFrame,
    FleetSnapshot,
    GpuColumns,
    JobColumns,
    NodeColumns,
    TenantColumns,
    Units,
)

_UNITS = Units(utilization_pct=1, memory_pct=1, temperature_c=1, power_draw_w=frames.POWER_STEP_W)


def message(event: str, content: object, mark: str | None = None) -> bytes:
    """A server-sent event. `mark` is what a reader hands back as Last-Event-ID."""
    head = f"event: {event}\n" if mark is None else f"event: {event}\nid: {mark}\n"
    return b"%bdata: %b\n\n" % (head.encode(), msgspec.json.encode(content))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All GPUs in place at one moment, a sequence a column, in order of id."""

    at: datetime
    gpu_ids: tuple[int, ...]
    node_ids: tuple[int, ...]
    figures: tuple[bytes, bytes, bytes, bytes]  # utilisation, memory, temperature, power: domain/frames
    flags: bytes
    job_ids: tuple[int, ...]  # 0: free
    tenant_ids: tuple[int, ...]  # 0: free, or nobody's

    def silent_nodes(self) -> set[int]:
        """The nodes whose GPUs are offline."""
        status = zip(self.node_ids, self.flags, strict=True)
        return {node for node, flags in status if flags & frames.STATUS_BITS == frames.OFFLINE}


def fleet_of(rows: Iterable[tuple[int, ...]], at: datetime) -> Fleet:
    """The fleet out of rows as storage/live reads them."""
    columns = list(zip(*rows, strict=True)) or [()] * len(GpuNow._fields)
    ids, nodes, utilization, memory, temperature, power, flags, jobs, tenants = columns
    return Fleet(
        at=at,
        gpu_ids=ids,
        node_ids=nodes,
        figures=(bytes(utilization), bytes(memory), bytes(temperature), bytes(power)),
        flags=bytes(flags),
        job_ids=jobs,
        tenant_ids=tenants,
    )


class View:
    """The messages for readers of one kind: operators, or one tenant's keys."""

    def __init__(self, tenant_id: int | None) -> None:
        self.version = 0  # of the snapshot
        self.allocations = 0  # how often who holds what has changed
        self.snapshot = self.allocation = self.frame = b""
        self.of: Fleet | None = None  # what they show
        self._tenant_id = tenant_id
        self._still: Still | None = None
        self._holders: Mapping[int, Holder] = {}
        self._gpu_ids: Sequence[int] = ()
        self._job_ids: Sequence[int] = ()
        self._content = b""

    def show(self, fleet: Fleet, still: Still, holders: Mapping[int, Holder], mark: str) -> None:
        """Bring the messages up to date. `still` and `holders` are other objects where they have changed."""
        places = self._places(fleet)
        gpu_ids, job_ids = _cut(fleet.gpu_ids, places), _cut(fleet.job_ids, places)
        version = self.version
        if still is not self._still or gpu_ids != self._gpu_ids:
            self._show_still(fleet, still, gpu_ids, _cut(fleet.node_ids, places))
        if version != self.version or holders is not self._holders or job_ids != self._job_ids:
            self.allocations += 1
            self.allocation = message("allocation", _allocation(self.version, job_ids, holders))
        self.of, self._still, self._holders = fleet, still, holders
        self._gpu_ids, self._job_ids = gpu_ids, job_ids
        self.frame = message("frame", _frame(self.version, fleet, places), mark)

    def _places(self, fleet: Fleet) -> list[int] | None:
        if self._tenant_id is None:
            return None
        return [place for place, tenant in enumerate(fleet.tenant_ids) if tenant == self._tenant_id]

    def _show_still(
        self, fleet: Fleet, still: Still, gpu_ids: Sequence[int], node_ids: Sequence[int]
    ) -> None:
        """A new version, unless all that stands still is as it was."""
        everything = self._tenant_id is None
        content = _still_columns(still, gpu_ids, node_ids, everything=everything)
        encoded = msgspec.json.encode(content)
        if self.version and encoded == self._content:
            return
        self._content = encoded
        self.version += 1
        clusters, nodes, models, gpus = content
        snapshot = FleetSnapshot(
            version=self.version,
            at=fleet.at,
            units=_UNITS,
            clusters=clusters,
            nodes=nodes,
            models=models,
            gpus=gpus,
        )
        self.snapshot = message("snapshot", snapshot)


def _cut(column: Sequence[int], places: Sequence[int] | None) -> Sequence[int]:
    return column if places is None else tuple([column[place] for place in places])


def _still_columns(
    still: Still, gpu_ids: Sequence[int], node_ids: Sequence[int], *, everything: bool
) -> tuple[ClusterColumns, NodeColumns, list[str], GpuColumns]:
    """What stands still of these GPUs; `everything`: of clusters and nodes without GPUs, too."""
    hosts = set(node_ids)
    nodes = [node for node in still.nodes if everything or node["id"] in hosts]
    groups = {node["cluster_id"] for node in nodes}
    clusters = [cluster for cluster in still.clusters if everything or cluster["id"] in groups]
    cluster_at = {cluster["id"]: place for place, cluster in enumerate(clusters)}
    node_at = {node["id"]: place for place, node in enumerate(nodes)}
    shown = set(gpu_ids)
    gpus = [gpu for gpu in still.gpus if gpu["id"] in shown]
    models = sorted({gpu["model"] for gpu in gpus if gpu["model"] is not None})
    model_at = {model: place for place, model in enumerate(models)}
    return (
        ClusterColumns(
            id=[cluster["id"] for cluster in clusters],
            name=[cluster["name"] for cluster in clusters],
            region=[cluster["region"] for cluster in clusters],
        ),
        NodeColumns(
            id=[node["id"] for node in nodes],
            hostname=[node["hostname"] for node in nodes],
            cluster=[cluster_at[node["cluster_id"]] for node in nodes],
        ),
        models,
        GpuColumns(
            id=list(gpu_ids),
            node=[node_at[node_id] for node_id in node_ids],
            gpu_index=[gpu["gpu_index"] for gpu in gpus],
            model=[None if gpu["model"] is None else model_at[gpu["model"]] for gpu in gpus],
            memory_total_mb=[gpu["memory_total_mb"] for gpu in gpus],
        ),
    )


def _allocation(version: int, job_ids: Sequence[int], holders: Mapping[int, Holder]) -> FleetAllocation:
    running = sorted(set(job_ids) - {0})
    place_of = {0: 0} | {job_id: place for place, job_id in enumerate(running, 1)}
    jobs = [holders[job_id] for job_id in running]
    tenants = {job["tenant_id"]: job["tenant_name"] or "" for job in jobs if job["tenant_id"] is not None}
    tenant_ids = sorted(tenants)
    tenant_at = {tenant_id: place for place, tenant_id in enumerate(tenant_ids)}
    return FleetAllocation(
        version=version,
        tenants=TenantColumns(id=tenant_ids, name=[tenants[tenant_id] for tenant_id in tenant_ids]),
        jobs=JobColumns(
            id=running,
            name=[job["name"] for job in jobs],
            tenant=[None if job["tenant_id"] is None else tenant_at[job["tenant_id"]] for job in jobs],
            started_at=[job["started_at"] for job in jobs],
        ),
        holder=_base64(_little_endian([place_of[job_id] for job_id in job_ids])),
    )


def _frame(version: int, fleet: Fleet, places: Sequence[int] | None) -> FleetFrame:
    columns: Sequence[bytes] = (*fleet.figures, fleet.flags)
    if places is not None:
        columns = [bytes([column[place] for place in places]) for column in columns]
    utilization, memory, temperature, power, flags = map(_base64, columns)
    return FleetFrame(
        version=version,
        at=fleet.at,
        utilization_pct=utilization,
        memory_pct=memory,
        temperature_c=temperature,
        power_draw_w=power,
        flags=flags,
    )


def _little_endian(numbers: Sequence[int]) -> bytes:
    words = array("I", numbers)  # four bytes wherever CPython runs
    if sys.byteorder == "big":
        words.byteswap()
    return words.tobytes()


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
