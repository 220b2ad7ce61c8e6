"""What a check concludes from what it saw: a finding a subject, and a next step for all that is not well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from gpuforge_agent.clock_offset import ClockOffset
from gpuforge_agent.sources.base import Health, Inventory, Reading, Reason

Level = Literal["ok", "warning", "failure", "skipped"]

DRIFTING_S = 1.0  # a clock that NTP keeps is within milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at; whatever is not well names the next step."""

    subject: str
    level: Level
    words: str
    next_step: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """The driver's device nodes, and those of them that this user may not open."""

    nodes: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    for_some: tuple[str, ...] = ()
    """Those that not everybody may open, such as the service's user, which is a new one at each start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFolder:
    """The folder that keeps queue and identity."""

    path: str | None = None
    holder: str | None = None  # the process id of the agent that has it
    trouble: str | None = None  # why it can't be used
    disk_at_fault: bool = False  # rather than who may write there
    exists: bool = False
    free_mib: int = 0
    waiting: int = 0  # samples
    queue_bytes: int = 0  # that they take
    lost: int = 0
    gap: tuple[datetime, datetime | None] | None = None  # the last one: from, up to


_DRIVER_STEPS: Mapping[Reason, tuple[str, str]] = {
    Reason.LIBRARY_ABSENT: (
        "library",
        "install libnvidia-ml.so.1 (Debian libnvidia-ml1), or set GPUFORGE_NVML_LIBRARY to its path",
    ),
    Reason.LIBRARY_MISMATCH: (
        "library",
        "library and loaded driver differ: modprobe -r nvidia; modprobe nvidia; or reboot",
    ),
    Reason.DRIVER_ABSENT: (
        "driver",
        "modprobe nvidia; if that fails, install the driver for this kernel (dmesg says why)",
    ),
    Reason.NO_PERMISSION: (
        "permissions",
        "let this user open /dev/nvidia*: in a unit DeviceAllow=char-nvidia* rw, else by their group",
    ),
    Reason.HUNG: (
        "driver",
        "look for Xid in dmesg; GPUs that just take long to open want persistence mode (nvidia-smi -pm 1)",
    ),
}
_GONE = "if it was taken out for good, remove gpus.json from the state folder and restart the agent"
_GPU_STEPS: Mapping[str, str] = {
    Reason.LOST: f"look for its Xid in dmesg and reset or reseat it; {_GONE}",
    Reason.OFF_BUS: f"power-cycle the host, then reseat or replace the card; {_GONE}",
    Reason.HUNG: "look for its Xid in dmesg; drain it and run nvidia-smi --gpu-reset, or reboot",
    Reason.RESET_REQUIRED: "drain it, then nvidia-smi --gpu-reset",
    Reason.NO_PERMISSION: "let this user open its /dev/nvidia* node",
}


_NO_MIG = frozenset({Reason.NOT_SUPPORTED, Reason.DRIVER_TOO_OLD})
_NEARLY_FULL = 0.75


def of_driver(inventory: Inventory, devices: Devices) -> Iterator[Finding]:
    """Driver, library and permissions: whether anything can be asked at all."""
    fault = inventory.fault
    at_fault, step = ("", "")
    if fault is not None:
        at_fault, step = _DRIVER_STEPS.get(fault.reason, ("driver", "run nvidia-smi, and look into dmesg"))
        yield Finding(subject=at_fault, level="failure", words=fault.detail, next_step=step)
    version = f"version {inventory.driver_version}" if inventory.driver_version else "of unknown version"
    if at_fault == "":
        yield Finding(subject="driver", level="ok", words=version)
        yield Finding(subject="library", level="ok", words="answers, and fits the driver")
    if at_fault != "permissions":
        yield _permissions(devices)


def _permissions(devices: Devices) -> Finding:
    if not devices.nodes:
        return Finding(subject="permissions", level="skipped", words="no /dev/nvidia* on this host")
    if not devices.closed and devices.for_some:
        return Finding(
            subject="permissions",
            level="warning",
            words=f"this user may open them, but not everybody may open {', '.join(devices.for_some)}",
            next_step="let the service's user: systemctl edit gpuforge-agent, [Service] SupplementaryGroups= "
            "with their group; or NVreg_DeviceFileMode=0666 for the module nvidia",
        )
    if not devices.closed:
        return Finding(
            subject="permissions", level="ok", words=f"{len(devices.nodes)} device nodes can be opened"
        )
    return Finding(
        subject="permissions",
        level="failure",
        words=f"may not open {', '.join(devices.closed)}",
        next_step=_DRIVER_STEPS[Reason.NO_PERMISSION][1],
    )


def of_gpus(
    inventory: Inventory, readings: Iterable[Reading], unreadable: frozenset[str]
) -> Iterator[Finding]:
    """Each GPU that can't be read, or else how many can. `unreadable`: UUIDs without a single figure."""
    if inventory.fault is not None:
        yield Finding(subject="gpus", level="skipped", words="none can be read before the above is mended")
        return
    well = 0
    for reading in readings:
        if reading.uuid not in unreadable:
            well += 1
            continue
        reason = str(next(iter(reading.missing.values()), Reason.UNKNOWN_ERROR))
        step = _GPU_STEPS.get(reason, f"run nvidia-smi -i {reading.index}, and look into dmesg")
        words = f"GPU {reading.index} ({reading.uuid}): {reason}"
        level: Level = "warning" if reason == Reason.ASLEEP else "failure"
        yield Finding(subject="gpus", level=level, words=words, next_step=step)
    for index, reason in sorted(inventory.unidentified.items()):
        words = f"GPU {index} does not say who it is: {reason}"
        step = _GPU_STEPS.get(reason, f"run nvidia-smi -i {index}, and look into dmesg")
        yield Finding(subject="gpus", level="failure", words=words, next_step=step)
    if well:
        yield Finding(subject="gpus", level="ok", words=f"{well} can be read")
    elif not unreadable and not inventory.unidentified:
        step = "nvidia-smi -L lists those that the driver sees, lspci those that are plugged in"
        yield Finding(subject="gpus", level="failure", words="none on this host", next_step=step)


def of_mig(conditions: Iterable[Health]) -> Finding:
    """Whether GPUs are cut up, and usable if so."""
    told = [
        each for each in conditions if "mig_mode" in each.figures or each.missing.get("mig_mode") in _NO_MIG
    ]
    if not told:
        return Finding(subject="mig", level="skipped", words="no GPU says whether it is in MIG mode")
    cut = [each for each in told if each.figures.get("mig_mode") is True]
    empty = [str(each.index) for each in cut if not each.mig_instances]
    if not cut:
        return Finding(subject="mig", level="ok", words="no GPU is in MIG mode")
    if empty:
        return Finding(
            subject="mig",
            level="warning",
            words=f"GPU {', '.join(empty)} in MIG mode without an instance: no job can use it",
            next_step="make instances (nvidia-smi mig -cgi … -C), or end MIG mode (nvidia-smi -mig 0)",
        )
    instances = sum(len(each.mig_instances) for each in cut)
    return Finding(subject="mig", level="ok", words=f"{len(cut)} GPUs in MIG mode, {instances} instances")


def of_clock(offset: ClockOffset | None) -> Finding:
    """The clock against the control plane's."""
    if offset is None:
        return Finding(subject="clock", level="skipped", words="not compared: no time from the control plane")
    words = f"{offset.seconds:+.2f} s against the control plane's, within {offset.bound_s:.2f} s"
    step = "keep the time with NTP here and there (timedatectl set-ntp true; chronyc tracking)"
    if offset.is_far_off:
        return Finding(subject="clock", level="failure", words=words, next_step=step)
    if abs(offset.seconds) - offset.bound_s > DRIFTING_S:
        return Finding(subject="clock", level="warning", words=words, next_step=step)
    return Finding(subject="clock", level="ok", words=words)


def of_state(state: StateFolder, queue_mib: int) -> Finding:
    """The folder that keeps queue and identity."""
    if state.path is None:
        return Finding(
            subject="state",
            level="warning",
            words="no folder: what waits for delivery does not outlive the agent",
            next_step="set GPUFORGE_STATE_DIR; under systemd it is that of StateDirectory=, and "
            "check takes it as --state-dir",
        )
    if state.trouble is not None:
        step = f"the service's is root's to see; else give the agent's user a folder: chown -R … {state.path}"
        if state.disk_at_fault:
            step = "look for its disk in dmesg; an agent that runs takes to it by itself once it works"
        return Finding(
            subject="state", level="failure", words=f"{state.path}: {state.trouble}", next_step=step
        )
    held = f", an agent runs (process {state.holder})" if state.holder else ""
    kept = f"{state.waiting:,} samples wait, {_lost(state)}" if state.exists else "run will make it"
    if state.waiting and (used_mib := state.queue_bytes / (1 << 20)) >= _NEARLY_FULL * queue_mib:
        words = f"{state.path}: {kept}; the queue takes {used_mib:.1f} of {queue_mib} MiB{held}"
        step = "mend delivery (control plane and key, above) before the oldest go, or set queue_mib higher"
        return Finding(subject="state", level="warning", words=words, next_step=step)
    if state.free_mib < queue_mib:
        words = f"{state.path}: {state.free_mib} MiB free, the queue may take {queue_mib}"
        step = "free some of that disk, or set GPUFORGE_QUEUE_MIB lower"
        return Finding(subject="state", level="warning", words=words, next_step=step)
    return Finding(subject="state", level="ok", words=f"{state.path}: {kept}{held}")


def _lost(state: StateFolder) -> str:
    if state.gap is None:
        return f"{state.lost:,} lost"
    since, until = state.gap
    upto = "now" if until is None else f"{until:%Y-%m-%d %H:%M} UTC"
    return f"{state.lost:,} lost, the last from {since:%Y-%m-%d %H:%M} up to {upto}"
