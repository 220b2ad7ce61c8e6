"""`gpuforge-agent check`: what can be read here and what not, and whether the control plane takes the key."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import msgspec

from gpuforge_agent import doctor, host, spool_files, state
from gpuforge_agent.app import collector_of
from gpuforge_agent.asking import ControlPlaneFinding, ask
from gpuforge_agent.config import AgentSettings, Examined
from gpuforge_agent.doctor import Devices, Finding, StateFolder
from gpuforge_agent.known_gpus import KnownGpus
from gpuforge_agent.sources.base import GpuIdentity, Health, Inventory, Reading
from gpuforge_client.rest import RestClient
from gpuforge_shared.aside import aside
from gpuforge_shared.clock import Clock, utc_now

# Exit statuses, the gravest first: of several failures a script sees that one.
OK, GPUS_UNREADABLE, USAGE, UNREACHABLE, KEY_REFUSED, HOST_AT_FAULT = range(6)
_STATUSES = (
    ("key", KEY_REFUSED),
    ("control plane", UNREACHABLE),
    ("driver", GPUS_UNREADABLE),
    ("library", GPUS_UNREADABLE),
    ("permissions", GPUS_UNREADABLE),
    ("gpus", GPUS_UNREADABLE),
    ("clock", HOST_AT_FAULT),
    ("state", HOST_AT_FAULT),
)
DISK_S = 5.0  # how long the state folder's disk may take
_EVERYBODY = stat.S_IROTH | stat.S_IWOTH
FIGURES = {
    "utilization_pct": "%",
    "memory_used_mb": "MiB",
    "memory_total_mb": "MiB",
    "temperature_c": "°C",
    "power_draw_w": "W",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFinding:
    """One GPU: its figures, and the reason of each that is missing."""

    index: int
    uuid: str
    model: str | None
    figures: dict[str, float | None]
    missing: dict[str, str]
    caveats: dict[str, str]

    @property
    def is_unreadable(self) -> bool:
        """Whether not one figure could be read."""
        return all(figure is None for figure in self.figures.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole answer of `check`."""

    hostname: str
    settings_file: str | None
    agent_pid: str | None  # the process id of the agent that has the state folder
    ip_address: str | None
    clock: datetime
    agent_version: str
    source: str
    driver_version: str | None
    fault: str | None  # why no GPU at all can be read
    gpus: list[GpuFinding]
    unidentified: dict[int, str]  # NVML index → why it does not say who it is
    control_plane: ControlPlaneFinding
    findings: Sequence[Finding]

    @property
    def exit_status(self) -> int:
        """The gravest failure, as a script sees it; warnings don't count."""
        failed = {finding.subject for finding in self.findings if finding.level == "failure"}
        return next((status for subject, status in _STATUSES if subject in failed), OK)

    def to_json(self) -> str:
        """One object, the fields of this class and `exit_status`."""
        fields: dict[str, object] = msgspec.to_builtins(self, str_keys=True)
        text = msgspec.json.encode({**fields, "exit_status": self.exit_status})
        return msgspec.json.format(text, indent=2).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What a collector said."""

    inventory: Inventory
    readings: Sequence[Reading]
    health: Sequence[Health]


async def check(
    examined: Examined, *, clock: Clock = utc_now, dev: Path = Path("/dev"), proc: Path = Path("/proc")
) -> Report:
    """Read every GPU once and ask the control plane; nothing is registered or stored."""
    settings, folder = examined.settings, await _state(examined.settings)
    held_up = _held_up(folder.holder, proc)
    way = RestClient(settings.control_plane_url)
    control_plane, address = await asyncio.gather(ask(examined, clock), way.local_address())
    this = host.describe(settings.hostname)
    seen = await _see(this.hostname, settings)
    gpus = _findings(seen.inventory, seen.readings)
    if held_up & _held_up(folder.holder, proc):  # still
        trouble = f"the agent (process {folder.holder}) waits for its disk"
        folder = replace(folder, trouble=trouble, disk_at_fault=True)
    return Report(
        hostname=this.hostname,
        settings_file=None if examined.file is None else str(examined.file),
        agent_pid=folder.holder,
        ip_address=address,
        clock=clock(),
        agent_version=this.agent_version,
        source=settings.source,
        driver_version=seen.inventory.driver_version,
        fault=None if seen.inventory.fault is None else seen.inventory.fault.detail,
        gpus=gpus,
        unidentified={index: str(reason) for index, reason in seen.inventory.unidentified.items()},
        control_plane=control_plane,
        findings=[
            *(doctor.of_driver(seen.inventory, _devices(dev)) if settings.source == "nvml" else ()),
            *doctor.of_gpus(
                seen.inventory, seen.readings, frozenset(gpu.uuid for gpu in gpus if gpu.is_unreadable)
            ),
            doctor.of_mig(seen.health),
            *control_plane.findings(),
            doctor.of_clock(control_plane.clock),
            doctor.of_state(folder, settings.queue_mib),
        ],
    )


async def _see(hostname: str, settings: AgentSettings) -> _Seen:
    known = KnownGpus(settings.state_dir)
    await known.read()
    collector = collector_of(hostname, settings, known.gpus)
    try:
        inventory = await collector.inventory()
        return _Seen(inventory=inventory, readings=await collector.read(), health=await collector.health())
    finally:
        await collector.close()


def _devices(dev: Path) -> Devices:
    nodes = sorted(path for path in dev.glob("nvidia*") if path.is_char_device())
    closed = (path.name for path in nodes if not os.access(path, os.R_OK | os.W_OK))
    for_some = (path.name for path in nodes if path.stat().st_mode & _EVERYBODY != _EVERYBODY)
    return Devices(nodes=tuple(path.name for path in nodes), closed=tuple(closed), for_some=tuple(for_some))


async def _state(settings: AgentSettings) -> StateFolder:
    folder = settings.state_dir
    if folder is None:
        return StateFolder()
    try:
        async with asyncio.timeout(DISK_S):
            return await aside(partial(_looked_into, folder))
    except TimeoutError:
        trouble = f"its disk does not answer within {DISK_S:.0f} s"
        return StateFolder(path=str(folder), trouble=trouble, disk_at_fault=True)


def _looked_into(folder: Path) -> StateFolder:
    """What is in it; blocks as long as its disk does."""
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if os.statvfs(there).f_flag & os.ST_RDONLY:
            trouble = "its file system is mounted read-only"
            return StateFolder(path=str(folder), trouble=trouble, disk_at_fault=True)
        if not (there.is_dir() and os.access(there, os.R_OK | os.W_OK | os.X_OK)):
            return StateFolder(path=str(folder), trouble=f"this user can't write in {there}")
        waiting, losses, size = spool_files.backlog(folder / "queue")
        return StateFolder(
            path=str(folder),
            holder=state.holder(folder),
            exists=folder.exists(),
            free_mib=shutil.disk_usage(there).free >> 20,
            waiting=waiting,
            queue_bytes=size,
            lost=losses.dropped + losses.damaged,
            gap=None if losses.since is None else (losses.since, losses.until),
        )
    except OSError as error:
        return StateFolder(path=str(folder), trouble=str(error))


def _held_up(pid: str | None, proc: Path) -> set[str]:
    """The threads of that process that wait for a disk, proc(5)'s state D.

    Whoever writes to a disk that hangs can't be killed, a check no less: so look at the agent, which does.
    """
    if pid is None:
        return set()
    held_up = set()
    with contextlib.suppress(OSError):
        for task in (proc / pid / "task").iterdir():
            if (task / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "D":
                held_up.add(task.name)
    return held_up


def _findings(inventory: Inventory, readings: Iterable[Reading]) -> list[GpuFinding]:
    identities: dict[str, GpuIdentity] = {gpu.uuid: gpu for gpu in (*inventory.gpus, *inventory.absent)}
    return [
        GpuFinding(
            index=reading.index,
            uuid=reading.uuid,
            model=identities[reading.uuid].model if reading.uuid in identities else None,
            figures={name: getattr(reading, name) for name in FIGURES},
            missing={name: str(reason) for name, reason in reading.missing.items()},
            caveats=dict(reading.caveats),
        )
        for reading in readings
    ]
