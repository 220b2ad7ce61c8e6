"""How this node and its GPUs are: looked after beside the samples, told in one report."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from gpuforge_agent.collector import Collector
from gpuforge_agent.gauges import Gauges
from gpuforge_agent.journal import KernelLog, LoggedXid
from gpuforge_agent.processes import Owner, Owners
from gpuforge_agent.sampler import Sampler
from gpuforge_agent.sources.base import (
    MEASURES,
    GpuIdentity,
    Health,
    Inventory,
    Occupancy,
    Reading,
    Reason,
    Xid,
)
from gpuforge_agent.sources.pci import place_of
from gpuforge_agent.timetable import Collecting, Run, Timetable
from gpuforge_agent.witnesses import Witness, Witnesses
from gpuforge_agent.words import plain
from gpuforge_shared.clock import Clock
from gpuforge_shared.wire.health import MAX_XIDS

logger = logging.getLogger(__name__)

Report = dict[str, object]

# What makes a report urgent: the readings that faults are told from.
_GRAVE = (
    "ecc_volatile_uncorrected",
    "ecc_aggregate_uncorrected",
    "remap_pending",
    "remap_failed",
    "recovery_action",
)
SAME_XID_S = 60.0  # or three samples: NVML and the kernel's log tell of one Xid that far apart at most
_WORD = 64
_SENTENCE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """How often each is looked after, in seconds, and when one GPU counts as hung."""

    xids_s: float
    health_s: float
    deadline_s: float


@dataclass(frozen=True, slots=True)
class _Seen:
    xid: Xid
    at: datetime


def unreadable(reading: Reading) -> Reason | None:
    """Why not one figure of a GPU could be read; None: some could, or this kind of GPU has none of them."""
    if len(reading.missing) < len(MEASURES):
        return None
    reasons = [reason for reason in reading.missing.values() if reason is not Reason.NOT_SUPPORTED]
    return reasons[0] if reasons else None


class Checkup:
    """Looks after a node's GPUs, after each sample what is due. `news` is set while a fault is to be told."""

    def __init__(
        self,
        collector: Collector,
        sampler: Sampler,
        timetable: Timetable,
        clock: Clock,
        periods: Periods,
        *,
        gauges: Gauges | None = None,
        owners: Owners | None = None,
        kernel_log: KernelLog | None = None,
    ) -> None:
        """`gauges`: of the host. `kernel_log`: tells of Xids as well."""
        self._collector = collector
        self._sampler = sampler
        self._timetable = timetable
        self._clock = clock
        self._xids = Collecting(name="xids", period_s=periods.xids_s, deadline_s=periods.deadline_s)
        self._health, self._occupancy = (
            Collecting(name=name, period_s=periods.health_s, deadline_s=periods.deadline_s)
            for name in ("health", "processes")
        )
        self._host = Collecting(name="host", period_s=periods.health_s)
        self._journal = Collecting(name="journal", period_s=periods.xids_s)
        self._kernel_log = kernel_log
        self.witnesses = Witnesses(max(SAME_XID_S, 3 * periods.xids_s))
        self._gauges = gauges or Gauges(Path("/"))
        self._owners = owners or Owners()
        self._healths: Mapping[str, Health] = {}
        self._occupancies: Mapping[str, Occupancy] = {}
        self._owner_of: Mapping[int, Owner] = {}
        self._figures: tuple[Mapping[str, float | int | str], Mapping[str, str]] = ({}, {})
        self._pending: list[_Seen] = []
        self._told: object = _signature((), {}, None)
        self.news = asyncio.Event()

    async def sample(self) -> None:
        """Take a sample, and then look after what is due."""
        # first: where no GPU answers a sample, NVML is opened anew, and the old session's events are gone
        xids = await self._timetable.run(self._xids, self._collector.xids(), lambda _: 0)
        now = self._clock()
        self._note("nvml", ((xid, now) for xid in xids))
        await self._sampler.sample()
        if self._kernel_log is not None:
            await self._look_into(self._kernel_log)
        if self._timetable.is_due(self._health):
            await self._look()
        if self._pending or self._state() != self._told:
            self.news.set()
        self._settle_log()

    def _note(self, witness: Witness, seen: Iterable[tuple[Xid, datetime]]) -> None:
        fresh = (_Seen(xid, at) for xid, at in seen if self.witnesses.is_news(witness, xid, at))
        self._pending = [*self._pending, *fresh][-MAX_XIDS:]

    async def _look_into(self, kernel_log: KernelLog) -> None:
        async def taken() -> tuple[LoggedXid, ...]:
            return kernel_log.take()

        deaf = kernel_log.problem is not None
        logged = await self._timetable.run(self._journal, taken(), lambda _: int(deaf))
        self._note("journal", _placed(logged, self._sampler.inventory))

    async def _look(self) -> None:
        run = self._timetable.run
        healths = await run(self._health, self._collector.health(), _without_figures)
        occupancies = await run(self._occupancy, self._collector.occupancy(), _without_processes)
        self._healths = {health.uuid: health for health in healths}
        self._occupancies = {occupancy.uuid: occupancy for occupancy in occupancies}
        pids = {process.pid for each in occupancies for process in each.processes or ()}
        self._owner_of = self._owners.of(pids)
        self._figures = await run(self._host, self._gauges.read(), lambda answer: len(answer[1]))

    def report(self, gpu_ids: Mapping[str, int]) -> tuple[Report, object]:
        """A report on the GPUs with these ids, by UUID, and what to hand to `delivered` once it is taken."""
        inventory = self._sampler.inventory
        fault = inventory.fault
        figures, missing = self._figures
        host = {
            **figures,
            "missing": missing,
            "driver_version": inventory.driver_version and plain(inventory.driver_version, _WORD),
            "nvml_gpus": len(inventory.gpus) + len(inventory.unidentified),
            "pci_gpus": inventory.pci_gpus,
            "nvml_reopened": inventory.reopened,
        }
        body: Report = {
            "host": host,
            "driver_fault": fault and {"reason": fault.reason, "detail": plain(fault.detail, _SENTENCE)},
            "collectors": [_told_run(run) for run in self._timetable.runs],
            "gpus": [self._told_gpu(uuid, gpu_id) for uuid, gpu_id in gpu_ids.items()],
        }
        return body, (self._state(), tuple(self._pending))

    def delivered(self, mark: object) -> None:
        """The report made with this mark was taken."""
        assert isinstance(mark, tuple)
        self._told, told = mark
        self._pending = [seen for seen in self._pending if seen not in told]
        self._settle_log()
        if not self._pending and self._state() == self._told:
            self.news.clear()

    def _settle_log(self) -> None:
        """What the log had, and waits for no report, is told: by this witness or by the other."""
        if self._kernel_log is not None and not self._pending:
            self._kernel_log.told()

    def _state(self) -> object:
        fault = self._sampler.inventory.fault
        reason = None if fault is None else fault.reason
        return _signature(self._sampler.readings, self._healths, reason)

    def _told_gpu(self, uuid: str, gpu_id: int) -> Report:
        reading = next((each for each in self._sampler.readings if each.uuid == uuid), None)
        health, occupancy = self._healths.get(uuid), self._occupancies.get(uuid)
        return {
            "gpu_id": gpu_id,
            "unreadable": self._absence() if reading is None else _worst(reading, health),
            "health": health and _told_health(health, hears_xids=self._hears_log()),
            "processes": self._told_processes(occupancy),
            "processes_missing": occupancy and occupancy.reason,
            "xids": [
                {"code": seen.xid.code, "seen_at": seen.at} for seen in self._pending if seen.xid.uuid == uuid
            ],
        }

    def _hears_log(self) -> bool:
        return self._kernel_log is not None and self._kernel_log.problem is None

    def _absence(self) -> Reason:
        """Why a GPU that is registered was never seen by this process."""
        fault = self._sampler.inventory.fault
        return Reason.LOST if fault is None else fault.reason

    def _told_processes(self, occupancy: Occupancy | None) -> list[Report] | None:
        if occupancy is None or occupancy.processes is None:
            return None
        told = []
        for process in occupancy.processes:
            owner = asdict(self._owner_of.get(process.pid, Owner()))
            told.append(
                {**asdict(process), **{name: word and plain(word, _WORD) for name, word in owner.items()}}
            )
        return told


def _signature(
    readings: Sequence[Reading], healths: Mapping[str, Health], fault: Reason | None
) -> tuple[object, ...]:
    """What a control plane tells faults from: a report is urgent when it changes."""
    sick = {reading.uuid: _worst(reading, healths.get(reading.uuid)) for reading in readings}
    grave = {(uuid, name, health.figures.get(name)) for uuid, health in healths.items() for name in _GRAVE}
    doubtful = {each for each in grave if each[2] not in (0, False, "none", None)}
    return {item for item in sick.items() if item[1] is not None}, doubtful, fault


def _worst(reading: Reading, health: Health | None) -> Reason | None:
    """A card that hangs in a rarer call is hung, though its samples can be read."""
    reason = unreadable(reading)
    if reason is None and health is not None and not health.figures:
        hangs = {Reason.HUNG, Reason.READER_DIED} & set(health.missing.values())
        return next(iter(hangs), None)
    return reason


def _placed(logged: Iterable[LoggedXid], inventory: Inventory) -> Iterator[tuple[Xid, datetime]]:
    """With the GPUs in those places, those included that do not answer any more."""
    cards: dict[object, GpuIdentity] = {
        place_of(gpu.pci_bus_id): gpu for gpu in (*inventory.absent, *inventory.gpus) if gpu.pci_bus_id
    }
    for each in logged:
        if (gpu := cards.get(each.place)) is not None:
            yield Xid(uuid=gpu.uuid, code=each.code), each.at
        else:
            logger.warning("Xid %d of a GPU that NVML never listed", each.code, extra={"place": each.place})


def _told_health(health: Health, *, hears_xids: bool) -> Report:
    instances = None if "mig_instances" in health.missing else [asdict(each) for each in health.mig_instances]
    missing = {name: why for name, why in health.missing.items() if not (hears_xids and name == "xids")}
    return {**health.figures, "mig_instances": instances, "missing": missing}


def _told_run(run: Run) -> Report:
    return {
        "name": run.what.name,
        "period_s": run.what.period_s,
        "deadline_s": run.what.deadline_s,
        "duration_s": round(run.duration_s, 6),
        "succeeded": run.failed == 0,
        "failed": run.failed,
        "ran_at": run.ran_at,
    }


def _without_figures(healths: Iterable[Health]) -> int:
    return sum(not health.figures for health in healths)


def _without_processes(occupancies: Iterable[Occupancy]) -> int:
    return sum(occupancy.processes is None for occupancy in occupancies)
