"""How nodes and GPUs are, on the wire: an agent's report, faults, and what an operator says to them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Required

from pydantic import AfterValidator, Field, StringConstraints
from typing_extensions import TypedDict

from gpuforge_shared.wire.base import AgentBody, HumanBody, Id, Instant, Text, Whole, printable
from gpuforge_shared.wire.fleet import MAX_GPUS_PER_CALL, GpuRecord, GpuStatus, NodeRecord

MAX_PROCESSES = 256  # of a GPU
MAX_MIG = 64
MAX_XIDS = 64
MAX_COLLECTORS = 32
MAX_MISSING = 64

_Word = Annotated[str, StringConstraints(max_length=64), AfterValidator(printable)]
_Long = Annotated[str, StringConstraints(max_length=1024), AfterValidator(printable)]
_Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]

Missing = Annotated[dict[_Word, _Word], Field(max_length=MAX_MISSING)]

# Every field may be absent, from an agent of another version, and is null in answers then. Null: it could
# not be read, and `missing` says why under the field's name.


class HostReading(TypedDict, total=False):
    """A node's figures: MiB, per cent of all cores, seconds. `disk_…`: where the agent keeps its queue."""

    boot_id: _Word | None
    uptime_s: _Amount | None
    cpu_pct: _Amount | None
    load_1m: _Amount | None
    load_5m: _Amount | None
    load_15m: _Amount | None
    ram_used_mb: Whole | None
    ram_total_mb: Whole | None
    disk_used_mb: Whole | None
    disk_total_mb: Whole | None
    driver_version: _Word | None
    nvml_gpus: Whole | None  # that NVML lists
    pci_gpus: Whole | None  # NVIDIA GPUs that PCI lists: more of them than of NVML's have no driver
    nvml_reopened: Whole | None  # how often a session with the driver had gone stale since the agent's start
    missing: Missing


class DriverFault(TypedDict):
    """Why not one GPU of a node can be read."""

    reason: _Word
    detail: _Long


class CollectorRun(TypedDict, total=False):
    """How one of an agent's collectors did the last time."""

    name: _Word
    period_s: _Amount
    deadline_s: _Amount | None
    duration_s: _Amount
    succeeded: bool
    failed: Whole  # GPUs it has nothing of
    ran_at: Instant


class GpuProcess(TypedDict, total=False):
    """A process on a GPU; `user`, `name` and `job` (of its control group) where the host tells the agent."""

    pid: Whole
    kind: _Word
    name: _Word | None
    memory_mb: Whole | None
    user: _Word | None
    job: _Word | None
    gpu_instance: Whole | None


class MigInstance(TypedDict, total=False):
    """A part of a GPU that MIG cut off for itself."""

    uuid: _Word
    gpu_instance: Whole
    compute_instance: Whole
    memory_mb: Whole
    slices: Whole


class Xid(TypedDict):
    """An error that the driver reported, by NVIDIA's number for it."""

    code: Annotated[int, Field(ge=0, le=100_000)]
    seen_at: Instant


class GpuHealth(TypedDict, total=False):
    """A GPU's figures beyond its samples: MHz, W, counts (volatile: since a reset; aggregate: ever)."""

    clock_graphics_mhz: Whole | None
    clock_sm_mhz: Whole | None
    clock_memory_mhz: Whole | None
    clock_sm_max_mhz: Whole | None
    throttle_reasons: Annotated[list[_Word], Field(max_length=64)] | None
    power_limit_w: _Amount | None
    ecc_volatile_corrected: Whole | None
    ecc_volatile_uncorrected: Whole | None
    ecc_aggregate_corrected: Whole | None
    ecc_aggregate_uncorrected: Whole | None
    rows_remapped_corrected: Whole | None
    rows_remapped_uncorrected: Whole | None
    remap_pending: bool | None
    remap_failed: bool | None
    pcie_generation: Whole | None
    pcie_generation_max: Whole | None
    pcie_width: Whole | None
    pcie_width_max: Whole | None
    pcie_replays: Whole | None
    nvlink_links: Whole | None
    nvlink_links_active: Whole | None
    nvlink_replay_errors: Whole | None
    nvlink_recovery_errors: Whole | None
    nvlink_crc_flit_errors: Whole | None
    nvlink_crc_data_errors: Whole | None
    recovery_action: _Word | None
    mig_mode: bool | None
    mig_instances: Annotated[list[MigInstance], Field(max_length=MAX_MIG)] | None
    missing: Missing


class GpuReport(TypedDict, total=False):
    """One GPU of a report."""

    gpu_id: Required[Id]
    unreadable: _Word | None  # why not one figure of it can be read
    health: GpuHealth | None  # null: not looked at since the last report
    processes: Annotated[list[GpuProcess], Field(max_length=MAX_PROCESSES)] | None
    processes_missing: _Word | None
    xids: Annotated[list[Xid], Field(max_length=MAX_XIDS)]  # new since the last report


class NodeReport(AgentBody):
    """POST /api/clusters/nodes/{id}/health: how a node and its GPUs are, now."""

    host: HostReading = Field(default_factory=HostReading, description="The host's own figures.")
    driver_fault: DriverFault | None = Field(default=None, description="Why no GPU at all can be read.")
    collectors: Annotated[list[CollectorRun], Field(max_length=MAX_COLLECTORS)] = Field(
        default_factory=list, description="How each of the agent's collectors did the last time."
    )
    gpus: Annotated[list[GpuReport], Field(max_length=MAX_GPUS_PER_CALL)] = Field(
        default_factory=list, description="The node's GPUs, those that are lost, too."
    )


FaultKind = Literal["unreadable", "xid", "ecc", "row_remap", "recovery"]


class FaultRecord(TypedDict):
    """A GPU's fault. While it is open the GPU takes no job; one that needs an operator ends by their word.

    `cleared_by`: whose word, with their `note`; null where it ended with its cause.
    """

    id: int
    gpu_id: int
    kind: FaultKind
    code: str
    message: str
    seen_at: datetime
    cleared_at: datetime | None
    needs_operator: bool
    cleared_by: str | None
    note: str | None


class ReportAccepted(TypedDict):
    """What a report changed. Of `unknown_gpus`, ids that are none of that node, nothing is kept."""

    gpus: int
    unknown_gpus: list[int]
    opened: list[FaultRecord]
    cleared: list[FaultRecord]


class FaultClear(HumanBody):
    """POST /api/gpus/{id}/clear-fault."""

    note: Text | None = Field(
        default=None, description="What was done about it, kept with the fault and in the audit log."
    )


class FaultsCleared(TypedDict):
    """A GPU after an operator's word. What is still `open` ends by itself, when its cause does."""

    gpu_id: int
    status: GpuStatus
    cleared: list[FaultRecord]
    open: list[FaultRecord]


class GpuCondition(GpuRecord):
    """A GPU with its health, who works on it, and what is wrong with it."""

    health: GpuHealth | None
    processes: list[GpuProcess] | None
    processes_missing: str | None
    xids: list[Xid]  # the latest few, of any kind, oldest first
    faults: list[FaultRecord]  # that are open, oldest first
    past_faults: list[FaultRecord]  # that have ended, the newest first, sixteen at most


class NodeCondition(NodeRecord):
    """A node with its own figures, and its GPUs with their health. `reported_at`: of the last report."""

    reported_at: datetime | None
    host: HostReading | None
    driver_fault: DriverFault | None
    collectors: list[CollectorRun]
    gpus: list[GpuCondition]
