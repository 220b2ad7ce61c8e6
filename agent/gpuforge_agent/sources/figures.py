"""From NVML's answers to a GPU's identity and its sample: units, ranges, reasons."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from gpuforge_agent.sources import nvml
from gpuforge_agent.sources.base import GpuIdentity, Occupancy, Process, Reading, Reason
from gpuforge_agent.sources.nvml import Handle
from gpuforge_agent.sources.ranges import within

T = TypeVar("T")

UNKNOWN_MODEL = "unknown"
BYTES_PER_MB = 1 << 20  # "MB" in every answer of NVML's own tools is a MiB
MOST_BYTES = 64 << 40
MOST_PROCESSES = 256  # of one GPU: what a report can carry


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A GPU's memory in MiB, each figure or the reason why there is none."""

    used_mb: int | Reason
    total_mb: int | Reason
    includes_reserved: bool
    """Version 1 of the call counts what the driver reserves as used."""


def memory(handle: Handle) -> Memory:
    """`nvml.memory` in MiB.

    Unified memory: a total of 0, or of all ones, and a `used` above it have been seen with SUCCESS.
    """
    answer = nvml.memory(handle)
    if isinstance(answer, Reason):
        return Memory(used_mb=answer, total_mb=answer, includes_reserved=False)
    total = within(answer.total, BYTES_PER_MB, MOST_BYTES)
    used = total if isinstance(total, Reason) else within(answer.used, 0, total)
    return Memory(
        used_mb=used if isinstance(used, Reason) else used // BYTES_PER_MB,
        total_mb=total if isinstance(total, Reason) else total // BYTES_PER_MB,
        includes_reserved=answer.includes_reserved,
    )


def reading(handle: Handle, identity: GpuIdentity) -> Reading:
    """Read every figure of one GPU's sample."""
    missing: dict[str, Reason] = {}

    def known(name: str, figure: T | Reason) -> T | None:
        if isinstance(figure, Reason):
            missing[name] = figure
            return None
        return figure

    held = memory(handle)
    caveats: Mapping[str, str] = {"memory_used_mb": "includes_reserved"} if held.includes_reserved else {}
    return Reading(
        uuid=identity.uuid,
        index=identity.index,
        utilization_pct=known("utilization_pct", _scaled(nvml.utilization(handle), 1, 0.0, 100.0)),
        memory_used_mb=known("memory_used_mb", held.used_mb),
        memory_total_mb=known("memory_total_mb", held.total_mb),
        temperature_c=known("temperature_c", _scaled(nvml.temperature(handle), 1, -50.0, 150.0)),
        power_draw_w=known("power_draw_w", _scaled(nvml.power(handle), 1000, 0.0, 10_000.0)),
        missing=missing,
        caveats=caveats,
    )


def _scaled(answer: int | Reason, per: int, lowest: float, highest: float) -> float | Reason:
    return answer if isinstance(answer, Reason) else within(answer / per, lowest, highest)


def identify(handle: Handle, index: int) -> GpuIdentity | Reason:
    """Ask a GPU who it is; without a UUID it is nobody, everything else may be missing."""
    uuid = nvml.uuid(handle)
    if isinstance(uuid, Reason):
        return uuid
    model = nvml.name(handle)
    vram = memory(handle).total_mb
    pci_bus_id = nvml.pci_bus_id(handle)
    return GpuIdentity(
        uuid=uuid,
        index=index,
        model=UNKNOWN_MODEL if isinstance(model, Reason) else model,
        vram_mb=None if isinstance(vram, Reason) else vram,
        pci_bus_id=None if isinstance(pci_bus_id, Reason) else pci_bus_id,
    )


def completed(identity: GpuIdentity, earlier: GpuIdentity | None) -> GpuIdentity:
    """Keep what the card said of itself earlier and does not say now; it is still the same card."""
    if earlier is None:
        return identity
    return replace(
        identity,
        model=earlier.model if identity.model == UNKNOWN_MODEL else identity.model,
        vram_mb=identity.vram_mb or earlier.vram_mb,
        pci_bus_id=identity.pci_bus_id or earlier.pci_bus_id,
    )


def occupancy(handle: Handle, identity: GpuIdentity) -> Occupancy:
    """Say who works on one GPU; one process may appear with both kinds of work."""
    running = nvml.running(handle)
    if isinstance(running, Reason):
        return Occupancy(uuid=identity.uuid, index=identity.index, processes=None, reason=running)
    processes = tuple(
        Process(
            pid=each.pid,
            kind=each.kind,
            memory_mb=_process_mb(each.memory),
            gpu_instance=each.gpu_instance,
        )
        for each in running[:MOST_PROCESSES]
    )
    return Occupancy(uuid=identity.uuid, index=identity.index, processes=processes)


def _process_mb(held: int | None) -> int | None:
    """None also where the figure can't be true, as on unified memory."""
    return held // BYTES_PER_MB if held is not None and held <= MOST_BYTES else None
