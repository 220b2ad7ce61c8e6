"""The only wiring of the agent: what a node's loops are, how they start apart from others', how they end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
import zlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gpuforge_agent import host, metrics_server, notify, state
from gpuforge_agent.collector import ChildCollector, Collector, Deadlines, InlineCollector, NvmlSettings
from gpuforge_agent.config import AgentSettings, listen_address
from gpuforge_agent.devices import DEVICES, nvidia_majors
from gpuforge_agent.exposition import NodeFigures, exposition
from gpuforge_agent.gauges import Gauges
from gpuforge_agent.health import Checkup, Periods
from gpuforge_agent.host import Host
from gpuforge_agent.identity import Identity
from gpuforge_agent.journal import KernelLog
from gpuforge_agent.journal_mark import JournalMark
from gpuforge_agent.known_gpus import KnownGpus
from gpuforge_agent.push import Pusher
from gpuforge_agent.reporting import Reporter
from gpuforge_agent.sampler import Sampler
from gpuforge_agent.sources.base import GpuIdentity
from gpuforge_agent.spool import Spool, told_of
from gpuforge_agent.spool_files import SpoolFiles
from gpuforge_agent.state import Claim
from gpuforge_agent.timetable import Timetable
from gpuforge_client.rest import RestClient
from gpuforge_client.retry import ONCE, REAL, World
from gpuforge_shared.errors import GPUForgeError
from gpuforge_shared.signals import on_stop

if TYPE_CHECKING:
    from gpuforge_agent.allocation import Follower
    from gpuforge_agent.sources.simulated import SimulatedSource

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 15.0
ALLOCATION_S = 3.0  # between two looks at who holds a simulated GPU
REPORT_BEATS = 2  # heartbeats between two reports of health without news: one costs as much as two of them
SYNC_S = 30.0  # what a power cut costs at most of the samples that wait
FRESH_S = 30.0  # or three intervals: older readings are not shown to Prometheus
DRIVER_S = 5.0  # between two looks for a driver that came after us
LAST_DELIVERY_S = 3.0  # how long a stop may take for what is still in the queue
LAST_SYNC_S = 2.0  # … and for the disk to keep it


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervisor:
    """systemd, as far as it asks to hear from us."""

    socket: str | None = None
    watchdog_s: float | None = None
    devices: Path = DEVICES

    def tell(self, state: str) -> None:
        """Send one line of sd_notify(3)."""
        notify.notify(self.socket, state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node: its reading, its delivery, its heartbeat."""

    hostname: str
    sampler: Sampler
    checkup: Checkup
    spool: Spool
    known: KnownGpus
    mark: JournalMark
    pusher: Pusher
    reporter: Reporter
    identity: Identity
    collector: Collector
    timetable: Timetable
    kernel_log: KernelLog | None = None
    follower: Follower | None = None  # of a simulated node that follows its allocation

    async def beat(self) -> None:
        """One heartbeat. A failed one is not repeated: the next is near, and delivery has the patience."""
        try:
            await self.identity.heartbeat()
        except GPUForgeError as error:
            logger.debug("no heartbeat: %s", error)

    def figures(self, now: datetime, fresh_s: float) -> NodeFigures:
        """What Prometheus is shown; readings older than `fresh_s` are none."""
        read_at, losses, offset = self.sampler.read_at, self.spool.losses, self.identity.clock.offset
        fresh = read_at is not None and abs((now - read_at).total_seconds()) <= fresh_s
        return NodeFigures(
            hostname=self.hostname,
            gpus=(*self.sampler.inventory.gpus, *self.sampler.inventory.absent),
            readings=self.sampler.readings if fresh else (),
            read_at=read_at,
            queued=len(self.spool),
            on_disk=self.spool.is_on_disk,
            lost=losses.dropped + losses.damaged,
            counts=self.pusher.counts,
            clock_offset_s=None if offset is None else offset.seconds,
            runs=self.timetable.runs,
            missed_deadlines=self.collector.missed_deadlines,
            xids=self.checkup.witnesses.counts,
        )

    async def run(self, settings: AgentSettings) -> None:
        """Read, deliver and beat until cancelled."""
        await self.checkup.sample()
        async with asyncio.TaskGroup() as loops:
            if self.kernel_log is not None:
                loops.create_task(self.kernel_log.run())
            loops.create_task(every(settings.interval_s, self.checkup.sample, after_s=settings.interval_s))
            for period_s, act in (
                (settings.push_interval_s, self.pusher.deliver),
                (settings.heartbeat_interval_s, self.beat),
            ):
                loops.create_task(every(period_s, act, after_s=spread_s(self.hostname, period_s)))
            report_s = REPORT_BEATS * settings.heartbeat_interval_s
            loops.create_task(self.reporter.run(report_s, after_s=spread_s(self.hostname, report_s)))
            loops.create_task(self.spool.run())
            loops.create_task(every(SYNC_S, self.spool.sync, after_s=SYNC_S))
            if self.follower is not None:
                loops.create_task(every(ALLOCATION_S, self.follower.look, after_s=ALLOCATION_S))

    async def stop(self) -> None:
        """Deliver what is left, if that goes quickly, and let go of the GPUs and the queue."""
        try:
            with contextlib.suppress(GPUForgeError, TimeoutError):
                async with asyncio.timeout(LAST_DELIVERY_S):
                    await self.pusher.deliver_once()
        finally:
            await self.sampler.close()
            # a disk that hangs would hold the end up until systemd's SIGKILL, and that keeps no more of it
            with contextlib.suppress(OSError):
                async with asyncio.timeout(LAST_SYNC_S):
                    await asyncio.gather(self.spool.close(), self.known.saved(), self.mark.saved())


def spread_s(hostname: str, period_s: float) -> float:
    """This host's place in a period, 0 ≤ s < `period_s`: agents that start together arrive apart."""
    return zlib.crc32(hostname.encode()) / 2**32 * period_s


async def every(period_s: float, act: Callable[[], Awaitable[None]], *, after_s: float) -> None:
    """`act` at `after_s` and each period from there."""
    time = asyncio.get_running_loop().time
    due = time() + after_s
    while True:
        await asyncio.sleep(due - time())
        await act()
        due = next_due(due, time(), period_s)


def next_due(due: float, now: float, period_s: float) -> float:
    """The first of `due + period_s`, `due + 2 * period_s`, … from `now` on: what was missed is missed."""
    return due + period_s * max(1, math.ceil((now - due) / period_s))


async def run(settings: AgentSettings, *, supervisor: Supervisor, world: World = REAL) -> None:
    """Run until a signal says to stop.

    Raises Invalid for a URL or key that can't be one, FolderTaken for a folder that another agent has.
    """
    stop = asyncio.Event()
    on_stop(stop.set)
    release = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, release.set)
    await run_until(stop, settings, supervisor=supervisor, world=world, release=release)


async def run_until(
    stop: asyncio.Event,
    settings: AgentSettings,
    *,
    supervisor: Supervisor,
    world: World = REAL,
    release: asyncio.Event | None = None,
) -> None:
    """Run until `stop` is set, then end within seconds; each time `release` is set, let go of the driver for
    a minute. Raises as `run`.
    """
    client = RestClient(
        settings.control_plane_url,
        settings.api_key,
        user_agent=f"gpuforge-agent/{host.version()}",
        timeout_s=REQUEST_TIMEOUT_S,
        retry=ONCE,
        world=world,
    )
    this = host.describe(settings.hostname)
    async with state.claimed(settings.state_dir) as claim, client:
        nodes = [await _node(each, settings, client, world, claim) for each in _hosts(this, settings)]

        def shown() -> str:
            now, fresh_s = world.clock(), max(FRESH_S, 3 * settings.interval_s)
            return exposition(this.agent_version, [node.figures(now, fresh_s) for node in nodes])

        logger.info("agent started", extra={"version": this.agent_version, "nodes": len(nodes)})
        try:
            async with metrics_server.serving(_listen(settings), shown):
                await _run_nodes(nodes, settings, stop, supervisor, release or asyncio.Event())
        finally:
            supervisor.tell("STOPPING=1")
            await asyncio.gather(*(node.stop() for node in nodes))
    logger.info("agent stopped")


def _listen(settings: AgentSettings) -> tuple[str, int] | None:
    return None if settings.metrics_listen is None else listen_address(settings.metrics_listen)


async def _run_nodes(
    nodes: list[Node],
    settings: AgentSettings,
    stop: asyncio.Event,
    supervisor: Supervisor,
    release: asyncio.Event,
) -> None:
    """Return when `stop` is set; raise what breaks a loop, since a half-running agent would look alive."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(node.run(settings)) for node in nodes]
        tasks.append(group.create_task(_let_go(nodes, release)))
        if supervisor.watchdog_s is not None:
            tasks.append(group.create_task(_feed(supervisor, supervisor.watchdog_s / 2)))
        if supervisor.socket is not None and settings.source == "nvml":
            tasks.append(group.create_task(_end_for_a_driver(supervisor.devices, stop)))
        supervisor.tell("READY=1")
        await stop.wait()
        for task in tasks:
            task.cancel()


async def _let_go(nodes: list[Node], release: asyncio.Event) -> None:
    while await release.wait():
        release.clear()
        for node in nodes:
            await node.collector.release()


async def _end_for_a_driver(devices: Path, stop: asyncio.Event) -> None:
    """Stop once the kernel has device numbers of NVIDIA's that it had not when we started.

    systemd made our device policy then: it starts us again, with the policy that lets us open them.
    """
    known = nvidia_majors(devices)

    async def look() -> None:
        if fresh := nvidia_majors(devices) - known:
            logger.info(
                "a driver came: ending, to be started with its devices", extra={"majors": sorted(fresh)}
            )
            stop.set()

    await every(DRIVER_S, look, after_s=DRIVER_S)


async def _feed(supervisor: Supervisor, period_s: float) -> None:
    while True:
        supervisor.tell("WATCHDOG=1")
        await asyncio.sleep(period_s)


def _hosts(this: Host, settings: AgentSettings) -> list[Host]:
    """This host, or the nodes it plays."""
    if settings.simulated_nodes == 1:
        return [this]
    numbers = range(1, settings.simulated_nodes + 1)
    return [replace(this, hostname=f"{this.hostname}-{number:02}") for number in numbers]


def _folder(this: Host, settings: AgentSettings) -> Path | None:
    """That node's part of the state folder."""
    if settings.state_dir is None or settings.simulated_nodes == 1:
        return settings.state_dir
    return settings.state_dir / f"node-{this.hostname.rpartition('-')[2]}"


def _files(claim: Claim, folder: Path, limit_bytes: int) -> SpoolFiles:
    claim.hold()
    return SpoolFiles(folder, limit_bytes=limit_bytes)


async def _node(
    this: Host, settings: AgentSettings, client: RestClient, world: World, claim: Claim | None
) -> Node:
    folder = _folder(this, settings)
    if claim is None or folder is None:
        spool, known = Spool(settings.queue_samples), KnownGpus(None)
    else:
        files = partial(_files, claim, folder / "queue", settings.queue_mib << 20)
        spool, known = Spool(settings.queue_samples, files), KnownGpus(folder, claim.hold)
    await known.read()
    source = _simulated(this.hostname, settings) if settings.source == "simulated" else None
    collector = _nvml(settings, known.gpus) if source is None else InlineCollector(source)
    timetable = Timetable()  # of `world`, tests count the looks at its clock: they belong to samples
    sampler = Sampler(
        collector,
        spool,
        world.clock,
        list_every=max(1, round(settings.heartbeat_interval_s / settings.interval_s)),
        listed=known.note,
        timetable=timetable,
        interval_s=settings.interval_s,
    )
    periods = Periods(
        xids_s=settings.interval_s,
        health_s=settings.heartbeat_interval_s,
        deadline_s=settings.nvml_deadline_s,
    )
    mark = JournalMark() if claim is None else JournalMark(folder, claim.hold)
    kernel_log = KernelLog(world=REAL, mark=mark) if settings.journal_xids else None
    if kernel_log is None:
        await mark.forget()
    gauges = Gauges(folder or Path("/"), disk_hangs=lambda: spool.disk_hangs)
    checkup = Checkup(
        collector, sampler, timetable, REAL.clock, periods, gauges=gauges, kernel_log=kernel_log
    )
    identity = Identity(client, this, beside=lambda: told_of(spool))
    return Node(
        hostname=this.hostname,
        sampler=sampler,
        checkup=checkup,
        spool=spool,
        known=known,
        mark=mark,
        pusher=Pusher(client, identity, spool, lambda: sampler.inventory, world),
        reporter=Reporter(client, identity, checkup),
        identity=identity,
        collector=collector,
        timetable=timetable,
        kernel_log=kernel_log,
        follower=_follower(client, identity, source) if source and settings.simulated_follow else None,
    )


def collector_of(hostname: str, settings: AgentSettings, known: Iterable[GpuIdentity] = ()) -> Collector:
    """What reads the GPUs of that node: NVML in a child process, or curves in this one.

    `known`: GPUs of earlier runs, reported when missing.
    """
    if settings.source == "nvml":
        return _nvml(settings, known)
    return InlineCollector(_simulated(hostname, settings))


def _nvml(settings: AgentSettings, known: Iterable[GpuIdentity]) -> Collector:
    deadlines = Deadlines(step_s=settings.nvml_deadline_s)
    return ChildCollector(NvmlSettings(library=settings.nvml_library), known=known, deadlines=deadlines)


def _simulated(hostname: str, settings: AgentSettings) -> SimulatedSource:
    from gpuforge_agent.sources.simulated import SimulatedSource

    return SimulatedSource(hostname, gpu_count=settings.simulated_gpus, model=settings.simulated_model)


def _follower(client: RestClient, identity: Identity, source: SimulatedSource) -> Follower:
    from gpuforge_agent.allocation import Follower

    return Follower(client, identity, source)
