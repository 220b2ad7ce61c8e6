"""Reads a node's GPUs at a steady pace into its spool."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime

from gpuforge_agent.collector import Collector
from gpuforge_agent.sample import Sample
from gpuforge_agent.sources.base import MEASURES, Fault, Inventory, Reading
from gpuforge_agent.spool import Spool
from gpuforge_agent.timetable import Collecting, Timetable
from gpuforge_shared.clock import Clock

logger = logging.getLogger(__name__)


class Sampler:
    """The only user of its collector, so that listing and reading never meet."""

    def __init__(
        self,
        collector: Collector,
        spool: Spool,
        clock: Clock,
        *,
        list_every: int,
        listed: Callable[[Inventory], None] | None = None,
        timetable: Timetable | None = None,
        interval_s: float = 5.0,
    ) -> None:
        """`list_every`: the GPUs are listed anew before every so many-th reading (≥ 1); `listed` is told.

        `timetable` keeps how each went; `interval_s`, between two samples, is for that alone.
        """
        self._collector = collector
        self._spool = spool
        self._clock = clock
        self._list_every = list_every
        self._listed = listed
        self._until_listing = 0
        self._inventory = Inventory()
        self._known: frozenset[str] = frozenset()
        self._timetable = timetable or Timetable()
        self._metrics = Collecting(name="metrics", period_s=interval_s)
        self._inventories = Collecting(name="inventory", period_s=interval_s * list_every)
        self.readings: tuple[Reading, ...] = ()  # as last read
        self.read_at: datetime | None = None  # None: nothing was read yet

    @property
    def inventory(self) -> Inventory:
        """As last listed; empty before the first reading."""
        return self._inventory

    async def sample(self) -> None:
        """Read every GPU once. All of a reading bear the moment at which it began."""
        if self._until_listing == 0:
            await self._list()
            self._until_listing = self._list_every
        self._until_listing -= 1
        recorded_at = self._clock()
        readings = await self._timetable.run(self._metrics, self._collector.read(), _unread)
        if any(reading.uuid not in self._known for reading in readings):
            await self._list()
        self.readings, self.read_at = readings, recorded_at
        for reading in readings:
            self._spool.append(_sample(reading, recorded_at))

    async def close(self) -> None:
        """Let go of the GPUs."""
        await self._collector.close()

    async def _list(self) -> None:
        before = self._inventory
        self._inventory = await self._timetable.run(
            self._inventories, self._collector.inventory(), lambda found: len(found.absent)
        )
        self._known = frozenset(gpu.uuid for gpu in (*self._inventory.gpus, *self._inventory.absent))
        if self._listed is not None:
            self._listed(self._inventory)
        _tell_change(before, self._inventory)


def _unread(readings: Iterable[Reading]) -> int:
    return sum(len(reading.missing) == len(MEASURES) for reading in readings)


def _tell_change(before: Inventory, now: Inventory) -> None:
    if now.fault != before.fault:
        _tell_fault(now.fault)
    if now.fault is not None:
        return  # one cause for all of them, and it is told
    gone_before = {gpu.uuid for gpu in before.absent} if before.fault is None else set()
    for gpu in now.absent:
        if gpu.uuid not in gone_before:
            logger.warning("GPU %s (%s) does not answer", gpu.uuid, gpu.model, extra={"gpu": gpu.index})
    for gpu in now.gpus:
        if gpu.uuid in gone_before:
            logger.info("GPU %s (%s) is back", gpu.uuid, gpu.model, extra={"gpu": gpu.index})


def _tell_fault(fault: Fault | None) -> None:
    if fault is None:
        logger.info("the GPUs can be read again")
    else:
        logger.warning("the GPUs can't be read: %s", fault.detail, extra={"reason": str(fault.reason)})


def _sample(reading: Reading, recorded_at: datetime) -> Sample:
    return Sample(
        uuid=reading.uuid,
        recorded_at=recorded_at,
        utilization_pct=reading.utilization_pct,
        memory_used_mb=reading.memory_used_mb,
        memory_total_mb=reading.memory_total_mb,
        temperature_c=reading.temperature_c,
        power_draw_w=reading.power_draw_w,
        missing={name: str(reason) for name, reason in reading.missing.items()} or None,
    )
