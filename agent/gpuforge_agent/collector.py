"""Runs a source where it may hang: in a child process, replaced when a call on a GPU does not return."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Literal, Protocol, TypeVar

from gpuforge_agent.child import Answer, Child, Deadlines, Done, NvmlSettings, Request, Stopped
from gpuforge_agent.setbacks import Retries, Setbacks
from gpuforge_agent.sources.base import (
    EVENTS,
    SESSION,
    Fault,
    GpuIdentity,
    Health,
    Inventory,
    Occupancy,
    Reading,
    Reason,
    Source,
    Xid,
    slot_of,
    unknown_occupancy,
    unread,
)
from gpuforge_agent.sources.condition import unknown_health

__all__ = ["ChildCollector", "Collector", "Deadlines", "InlineCollector", "NvmlSettings", "Retries"]

logger = logging.getLogger(__name__)

A = TypeVar("A", Reading, Health, Occupancy)
RELEASE_S = 60.0
MOST_DOUBLINGS = 3  # of the time to open NVML
_NAMES = {"read": "metrics", "occupancy": "processes"}  # of calls, in reports; the others have their own
Sweep = Literal["read", "health", "occupancy"]


class Collector(Protocol):
    """What the agent asks for readings. Its calls never raise and never take for ever."""

    @property
    def missed_deadlines(self) -> Mapping[str, int]:
        """How often a step did not return in time, by the collector (as reports name it) that it was of."""
        ...

    async def inventory(self) -> Inventory:
        """List the GPUs, those known before and missing now included."""
        ...

    async def read(self) -> tuple[Reading, ...]:
        """Read every GPU ever seen, by index; what could not be read says why."""
        ...

    async def health(self) -> tuple[Health, ...]:
        """Look after every GPU ever seen, by index; what could not be read says why."""
        ...

    async def occupancy(self) -> tuple[Occupancy, ...]:
        """Say who works on every GPU ever seen, by index."""
        ...

    async def xids(self) -> tuple[Xid, ...]:
        """Answer the Xids that came up since the last call, oldest first."""
        ...

    async def release(self) -> None:
        """Let go of the driver for RELEASE_S, so that it can be unloaded."""
        ...

    async def close(self) -> None:
        """Let go of everything; the next call would start anew."""
        ...


class InlineCollector:
    """A source that cannot hang (the simulated one), called in this very process."""

    def __init__(self, source: Source) -> None:
        """Take the source over: `close` closes it."""
        self._source = source

    @property
    def missed_deadlines(self) -> Mapping[str, int]:
        """See Collector. There is no deadline."""
        return {}

    async def inventory(self) -> Inventory:
        """See Collector."""
        return self._source.inventory()

    async def read(self) -> tuple[Reading, ...]:
        """See Collector."""
        latest = {reading.uuid: reading for reading in self._source.read()}
        return tuple(latest.values())

    async def health(self) -> tuple[Health, ...]:
        """See Collector."""
        return tuple(self._source.health())

    async def occupancy(self) -> tuple[Occupancy, ...]:
        """See Collector."""
        return tuple(self._source.occupancy())

    async def xids(self) -> tuple[Xid, ...]:
        """See Collector."""
        return tuple(self._source.xids())

    async def release(self) -> None:
        """See Collector. There is no driver."""

    async def close(self) -> None:
        """See Collector."""
        self._source.close()


class ChildCollector:
    """NVML in a child process: a call that hangs costs that child and names its GPU, never the agent."""

    def __init__(
        self,
        settings: NvmlSettings,
        *,
        known: Iterable[GpuIdentity] = (),
        deadlines: Deadlines | None = None,
        retries: Retries | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is started before the first call.

        `known`: GPUs of earlier runs, reported when missing. `clock`, in seconds, is for `retries` alone.
        """
        self._settings = settings
        self._known = {gpu.uuid: gpu for gpu in known}
        self._deadlines = deadlines or Deadlines()
        self._setbacks = Setbacks(retries or Retries())
        self._clock = clock
        self._child: Child | None = None
        self._unkillable: list[Child] = []
        self._fault: Fault | None = None
        self._lock = asyncio.Lock()
        self._missed: Counter[str] = Counter()

    @property
    def missed_deadlines(self) -> Mapping[str, int]:
        """See Collector."""
        return self._missed

    @property
    def pid(self) -> int | None:
        """The reader's process id, None while there is none."""
        return None if self._child is None else self._child.pid

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
        return await self._of_all("read", Reading, unread)

    async def health(self) -> tuple[Health, ...]:
        """See Collector."""
        return await self._of_all("health", Health, unknown_health)

    async def occupancy(self) -> tuple[Occupancy, ...]:
        """See Collector."""
        return await self._of_all("occupancy", Occupancy, unknown_occupancy)

    async def xids(self) -> tuple[Xid, ...]:
        """See Collector. None while no reader runs: Xids come to an open session alone."""
        async with self._lock:
            if self._child is None or self._waits(EVENTS) or self._waits(SESSION):
                return ()
            ends_at = time.monotonic() + self._deadlines.call_s
            answer = await self._ask(Request(call="xids"), {}, ends_at)
        return answer.xids if isinstance(answer, Done) else ()

    async def release(self) -> None:
        """See Collector."""
        await self.close()
        self._fault = Fault(
            reason=Reason.DRIVER_ABSENT, detail=f"NVML was let go of, as asked, for {RELEASE_S:.0f} s"
        )
        self._setbacks.hold(SESSION, Reason.DRIVER_ABSENT, self._clock() + RELEASE_S)
        logger.info("NVML let go of, as asked", extra={"seconds": RELEASE_S})

    async def close(self) -> None:
        """See Collector."""
        async with self._lock:
            if self._child is not None and not self._child.in_step:
                await self._child.leave()
            await self._discard()

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

    async def _of_all(
        self, sweep: Sweep, kind: type[A], instead: Callable[[str, int, Reason], A]
    ) -> tuple[A, ...]:
        """Every GPU's answer of that kind, by index."""
        async with self._lock:
            if not self._known:
                await self._listed()
            swept = await self._swept(sweep)
        answers = {uuid: answer for uuid, answer in swept.items() if isinstance(answer, kind)}
        for uuid in self._known.keys() - answers.keys():
            answers[uuid] = instead(uuid, self._known[uuid].index, self._why_not(sweep, uuid))
        return tuple(sorted(answers.values(), key=lambda answer: (answer.index, answer.uuid)))

    async def _swept(self, sweep: Sweep) -> Mapping[str, Answer]:
        """Ask past every GPU that hangs; what is answered by then counts."""
        answers: dict[str, Answer] = {}
        ends_at = time.monotonic() + self._deadlines.call_s
        while wanted := self._wanted(sweep, answers):
            if self._waits(SESSION) or time.monotonic() > ends_at:
                break
            if isinstance(await self._ask(Request(call=sweep, uuids=wanted), answers, ends_at), Done):
                break
        return answers

    def _wanted(self, sweep: Sweep, answers: Mapping[str, Answer]) -> tuple[str, ...]:
        due = (uuid for uuid in self._known if uuid not in answers and self._may_ask(sweep, uuid))
        # one that hung before goes last: should it hang again, the others are read by then
        return tuple(
            sorted(due, key=lambda uuid: (self._setback(sweep, uuid) is not None, self._known[uuid].index))
        )

    def _may_ask(self, sweep: Sweep, uuid: str) -> bool:
        # while an abandoned reader sits in the driver, what hung is left alone: it would catch the next
        hung = self._setback(sweep, uuid) is not None
        waits = any(map(self._waits, _subjects(sweep, uuid)))
        return not waits and not (hung and any(child.alive for child in self._unkillable))

    def _setback(self, sweep: Sweep, uuid: str) -> Reason | None:
        reasons = map(self._setbacks.reason, _subjects(sweep, uuid))
        return next((reason for reason in reasons if reason is not None), None)

    async def _ask(self, request: Request, answers: dict[str, Answer], ends_at: float) -> Done | Stopped:
        child = await self._ready()
        if isinstance(child, Stopped):
            return child

        def take(answer: Answer) -> None:
            answers[answer.uuid] = answer
            self._setbacks.clear(_subject(request.call, answer.uuid))

        answer = await child.ask(request, take, ends_at)
        if isinstance(answer, Stopped):
            await self._discard()
            if answer.reason is Reason.HUNG:
                self._missed[_NAMES.get(request.call, request.call)] += 1
            self._note(replace(answer, subject=answer.subject and _subject(request.call, answer.subject)))
        elif answer.fault is not None:
            # an upgraded driver needs the library loaded anew, an unloading one all handles gone: a new child
            await self._discard()
            self._note(Stopped(subject=SESSION, reason=answer.fault.reason), answer.fault)
        else:
            self._settled(child, request)
        return answer

    async def _ready(self) -> Child | Stopped:
        if self._child is not None and self._child.in_step:
            await self._discard()  # the call before was cancelled in the middle of its answer
        if self._child is None:
            self._unkillable = [child for child in self._unkillable if child.alive]
            # one abandoned reader is borne; a second would be the start of a heap of them
            if len(self._unkillable) > 1:
                fault = Fault(
                    reason=Reason.HUNG, detail="two readers hang in the driver and cannot be killed"
                )
                return self._note(Stopped(subject=SESSION, reason=fault.reason), fault)
            try:
                self._child = await Child.launch(
                    self._settings,
                    self._known.values(),
                    self._avoided_slots(),
                    self._deadlines,
                    first_open_s=self._first_open_s(),
                )
            except OSError as error:
                fault = Fault(reason=Reason.READER_DIED, detail=f"the reader cannot be started: {error}")
                return self._note(Stopped(subject=SESSION, reason=fault.reason), fault)
        return self._child

    def _first_open_s(self) -> float:
        """Longer for an NVML that took too long to open: many GPUs without persistence mode take a minute."""
        if self._setbacks.reason(SESSION) is not Reason.HUNG:
            return self._deadlines.open_s
        longer = 2.0 ** min(self._setbacks.failures(SESSION), MOST_DOUBLINGS)
        return self._deadlines.open_s * longer

    async def _discard(self) -> None:
        child, self._child = self._child, None
        if child is not None and not await child.end():
            logger.error("reader cannot be killed, abandoned", extra={"pid": child.pid})
            self._unkillable.append(child)

    def _settled(self, child: Child, request: Request) -> None:
        self._fault = None
        self._setbacks.clear(SESSION)
        if request.call == "xids":
            self._setbacks.clear(EVENTS)
        self._setbacks.clear_slots(except_for=child.avoided_slots)

    def _note(self, stopped: Stopped, fault: Fault | None = None) -> Stopped:
        """Remember what the reader stopped at, and when to try it again."""
        if stopped.subject is None:
            return stopped
        if stopped.subject == SESSION:
            self._fault = fault or Fault(reason=stopped.reason, detail=_SESSION_DETAILS[stopped.reason])
        known = self._setbacks.reason(stopped.subject) == stopped.reason
        delay = self._setbacks.note(stopped.subject, stopped.reason, self._clock())
        extra = {"subject": stopped.subject, "reason": stopped.reason, "retry_in_s": delay}
        # a host without a driver, or with a dead card, is as it is for months
        logger.log(logging.DEBUG if known else logging.WARNING, "reader stopped", extra=extra)
        return stopped

    def _waits(self, subject: str) -> bool:
        return self._setbacks.waits(subject, self._clock())

    def _avoided_slots(self) -> frozenset[int]:
        return self._setbacks.waiting_slots(self._clock())

    def _why_not(self, sweep: Sweep, uuid: str) -> Reason:
        if self._fault is not None:
            return self._fault.reason
        return self._setback(sweep, uuid) or Reason.NOT_REACHED

    def _by_index(self, uuids: Iterable[str]) -> tuple[GpuIdentity, ...]:
        return tuple(sorted((self._known[uuid] for uuid in uuids), key=lambda gpu: (gpu.index, gpu.uuid)))


def _subject(call: str, subject: str) -> str:
    """What a setback is noted under. One call of many may hang: a GPU that can still be read is read."""
    per_gpu = subject not in (SESSION, EVENTS) and slot_of(subject) is None
    return f"{call} {subject}" if per_gpu and call != "read" else subject


def _subjects(sweep: Sweep, uuid: str) -> tuple[str, ...]:
    """What keeps a sweep off a GPU: a hang in the plain reading keeps off all."""
    return tuple({uuid: None, _subject(sweep, uuid): None})


_SESSION_DETAILS = {
    Reason.HUNG: "NVML does not answer as a whole: opening it does not return",
    Reason.READER_DIED: "the process that reads NVML ended while opening it",
}
