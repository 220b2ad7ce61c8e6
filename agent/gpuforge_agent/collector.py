"""Runs a source where it may hang: in a child process, replaced when a call on a GPU does not return."""

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from gpuforge_agent.child import Child, Deadlines, Done, NvmlSettings, Request, Stopped
from gpuforge_agent.sources.base import (
    SESSION,
    Fault,
    GpuIdentity,
    Inventory,
    Reading,
    Reason,
    Source,
    slot_of,
    unread,
)

__all__ = ["ChildCollector", "Collector", "Deadlines", "InlineCollector", "NvmlSettings", "Retries"]

logger = logging.getLogger(__name__)


class Collector(Protocol):
    """What the agent asks for readings. Its calls never raise and never take for ever."""

    async def inventory(self) -> Inventory:
        """List the GPUs, those known before and missing now included."""
        ...

    async def read(self) -> tuple[Reading, ...]:
        """Read every GPU ever seen, by index; what could not be read says why."""
        ...

    async def close(self) -> None:
        """Let go of everything; the next call would start anew."""
        ...


class InlineCollector:
    """A source that cannot hang (the simulated one), called in this very process."""

    def __init__(self, source: Source) -> None:
        """Take the source over: `close` closes it."""
        self._source = source

    async def inventory(self) -> Inventory:
        """See Collector."""
        return self._source.inventory()

    async def read(self) -> tuple[Reading, ...]:
        """See Collector."""
        latest = {reading.uuid: reading for reading in self._source.read()}
        return tuple(latest.values())

    async def close(self) -> None:
        """See Collector."""
        self._source.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """When what hung or failed is tried again: after `first`, then twice as long each time, to `longest`."""

    gpu_first_s: float = 15.0
    gpu_longest_s: float = 600.0
    session_first_s: float = 5.0
    """A driver that is absent, or an NVML that hangs as a whole."""
    session_longest_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trouble:
    reason: Reason
    delay_s: float
    retry_at: float


class ChildCollector:
    """NVML in a child process: a call that hangs costs that child and names its GPU, never the agent."""

    def __init__(
        self,
        settings: NvmlSettings,
        *,
        known: Iterable[GpuIdentity] = (),
        deadlines: Deadlines | None = None,
        retries: Retries | None = None,
    ) -> None:
        """Nothing is started before the first call. `known`: GPUs of earlier runs, reported when missing."""
        self._settings = settings
        self._known = {gpu.uuid: gpu for gpu in known}
        self._deadlines = deadlines or Deadlines()
        self._retries = retries or Retries()
        self._child: Child | None = None
        self._unkillable: list[Child] = []
        self._troubles: dict[str, _Trouble] = {}
        self._fault: Fault | None = None
        self._lock = asyncio.Lock()

    async def inventory(self) -> Inventory:
        """See Collector."""
        async with self._lock:
            if self._child is not None and self._child.avoided_slots - self._avoided_slots():
                await self._discard()  # a slot that hung has waited long enough: list it again
            done = await self._listed()
        found = done.inventory if done is not None else None
        if found is None:
            return Inventory(absent=self._by_index(self._known), fault=self._fault)
        return found

    async def read(self) -> tuple[Reading, ...]:
        """See Collector. The first one lists the GPUs beforehand."""
        async with self._lock:
            if not self._known:
                await self._listed()
            readings = await self._swept()
        for uuid in self._known.keys() - readings.keys():
            readings[uuid] = unread(uuid, self._known[uuid].index, self._why_not(uuid))
        return tuple(sorted(readings.values(), key=lambda reading: (reading.index, reading.uuid)))

    async def close(self) -> None:
        """See Collector."""
        async with self._lock:
            child, self._child = self._child, None
            if child is not None and not await child.leave():
                self._unkillable.append(child)

    async def _listed(self) -> Done | None:
        """List, past every slot that hangs; None: NVML as a whole cannot be used."""
        ends_at = time.monotonic() + self._deadlines.call_s
        while not self._waits(SESSION) and time.monotonic() < ends_at:
            answer = await self._ask(Request(call="inventory"), {}, ends_at)
            if isinstance(answer, Done):
                if answer.inventory is not None:
                    self._known |= {gpu.uuid: gpu for gpu in answer.inventory.gpus}
                return answer
        return None

    async def _swept(self) -> dict[str, Reading]:
        """Read past every GPU that hangs; what is read by then counts."""
        readings: dict[str, Reading] = {}
        ends_at = time.monotonic() + self._deadlines.call_s
        while wanted := self._wanted(readings):
            if self._waits(SESSION) or time.monotonic() > ends_at:
                break
            if isinstance(await self._ask(Request(call="read", uuids=wanted), readings, ends_at), Done):
                break
        return readings

    def _wanted(self, readings: dict[str, Reading]) -> tuple[str, ...]:
        due = (uuid for uuid in self._known if uuid not in readings and not self._waits(uuid))
        # one that hung before goes last: should it hang again, the others are read by then
        return tuple(sorted(due, key=lambda uuid: (uuid in self._troubles, self._known[uuid].index)))

    async def _ask(self, request: Request, readings: dict[str, Reading], ends_at: float) -> Done | Stopped:
        child = await self._ready()
        if isinstance(child, Stopped):
            return child

        def take(reading: Reading) -> None:
            readings[reading.uuid] = reading
            self._troubles.pop(reading.uuid, None)

        answer = await child.ask(request, take, ends_at)
        if isinstance(answer, Stopped):
            await self._discard()
            self._note(answer)
        elif answer.fault is not None:
            # an upgraded driver needs the library loaded anew, an unloading one all handles gone: a new child
            await self._discard()
            self._note(Stopped(subject=SESSION, reason=answer.fault.reason), answer.fault)
        else:
            self._settled(child)
        return answer

    async def _ready(self) -> Child | Stopped:
        if self._child is not None and self._child.in_step:
            await self._discard()  # the call before was cancelled in the middle of its answer
        if self._child is None:
            self._unkillable = [child for child in self._unkillable if child.alive]
            # one abandoned reader is borne; a second would be the start of a heap of them
            if len(self._unkillable) > 1:
                return self._note(Stopped(subject=SESSION, reason=Reason.HUNG))
            try:
                self._child = await Child.launch(
                    self._settings, self._known.values(), self._avoided_slots(), self._deadlines
                )
            except OSError as error:
                fault = Fault(reason=Reason.READER_DIED, detail=f"the reader cannot be started: {error}")
                return self._note(Stopped(subject=SESSION, reason=fault.reason), fault)
        return self._child

    async def _discard(self) -> None:
        child, self._child = self._child, None
        if child is not None and not await child.end():
            logger.error("reader cannot be killed, abandoned", extra={"pid": child.pid})
            self._unkillable.append(child)

    def _settled(self, child: Child) -> None:
        self._fault = None
        self._troubles.pop(SESSION, None)
        for subject in tuple(self._troubles):
            if (index := slot_of(subject)) is not None and index not in child.avoided_slots:
                del self._troubles[subject]

    def _note(self, stopped: Stopped, fault: Fault | None = None) -> Stopped:
        """Remember what the reader stopped at, and when to try it again."""
        if stopped.subject is None:
            return stopped
        whole = stopped.subject == SESSION
        first = self._retries.session_first_s if whole else self._retries.gpu_first_s
        longest = self._retries.session_longest_s if whole else self._retries.gpu_longest_s
        earlier = self._troubles.get(stopped.subject)
        delay = first if earlier is None else min(2 * earlier.delay_s, longest)
        retry_at = time.monotonic() + delay
        self._troubles[stopped.subject] = _Trouble(reason=stopped.reason, delay_s=delay, retry_at=retry_at)
        if whole:
            self._fault = fault or Fault(reason=stopped.reason, detail=_SESSION_DETAILS[stopped.reason])
        extra = {"subject": stopped.subject, "reason": stopped.reason, "retry_in_s": delay}
        logger.warning("reader stopped", extra=extra)
        return stopped

    def _waits(self, subject: str) -> bool:
        trouble = self._troubles.get(subject)
        return trouble is not None and time.monotonic() < trouble.retry_at

    def _avoided_slots(self) -> frozenset[int]:
        slots = {slot_of(subject) for subject in self._troubles if self._waits(subject)}
        return frozenset(index for index in slots if index is not None)

    def _why_not(self, uuid: str) -> Reason:
        if (trouble := self._troubles.get(uuid)) is not None:
            return trouble.reason
        return self._fault.reason if self._fault is not None else Reason.NOT_REACHED

    def _by_index(self, uuids: Iterable[str]) -> tuple[GpuIdentity, ...]:
        return tuple(sorted((self._known[uuid] for uuid in uuids), key=lambda gpu: (gpu.index, gpu.uuid)))


_SESSION_DETAILS = {
    Reason.HUNG: "NVML does not answer as a whole: opening it does not return",
    Reason.READER_DIED: "the process that reads NVML ended while opening it",
}
