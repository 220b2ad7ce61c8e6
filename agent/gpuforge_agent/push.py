"""Delivers what the spool holds: oldest first, for as long as it takes, past any item that is at fault."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import msgspec

from gpuforge_agent.exposition import Counts
from gpuforge_agent.identity import Identity
from gpuforge_agent.sample import Batch, Sample
from gpuforge_agent.sources.base import Inventory
from gpuforge_agent.spool import Spool
from gpuforge_client.rest import RestClient
from gpuforge_client.retry import Fault, RetryPolicy, World, backoff_s, fault_of, retrying
from gpuforge_shared.errors import BodyTooLarge, GPUForgeError, Invalid, NotFound
from gpuforge_shared.wire.fleet import Metric, MetricsBatch

logger = logging.getLogger(__name__)

BATCH = 500  # metrics a request
PROBE = 100  # metrics of the first request after one that failed: thousands of agents may be sending theirs
RESTS = 80  # times as long as the control plane took for a batch, it has peace from us after it
LONGEST_REST_S = 300.0
AWAY = RetryPolicy(attempts=None, base_s=1.0, cap_s=60.0)
# a wrong key or a retired node: a person must act, and 12,500 agents must not hammer meanwhile
REFUSED = RetryPolicy(attempts=None, base_s=30.0, cap_s=300.0)
REFUSED_FLOOR_S = 30.0
UNKNOWN_GPU = "unknown_gpu"
NOT_REGISTERED = "not_registered"
_ITEM = re.compile(r"metrics\[(\d+)\]")
_CODE = re.compile(r"[a-z]+(_[a-z]+)+")


class _Rejected(msgspec.Struct):
    index: int
    reason: str = "unnamed"


class _Accepted(msgspec.Struct):
    accepted: int  # not looked at, but whoever leaves it out is no control plane, and has stored nothing
    rejected: list[_Rejected] = []


@dataclass(frozen=True, slots=True)
class _Item:
    number: int  # in the spool
    sample: Sample
    metric: Metric


def patience_s(error: BaseException, attempt: int, draw: float) -> float | None:
    """Seconds to wait after try number `attempt`; None for a defect of ours, which is let through."""
    if not isinstance(error, GPUForgeError):
        return None
    if fault_of(error) is Fault.FINAL:
        floor = max(error.retry_after or 0.0, REFUSED_FLOOR_S)
        return backoff_s(REFUSED, attempt, floor, draw)
    return backoff_s(AWAY, attempt, error.retry_after, draw)


def rest_s(took_s: float, draw: float) -> float:
    """Seconds between two batches of a backlog, after one that took so long; `draw` is uniform in [0, 1).

    Agents that return together share the control plane without knowing of one another: each has about one
    request in flight of RESTS + 1 it might have, so the more there are, the slower all of them go.
    """
    return min(LONGEST_REST_S, 2 * draw * RESTS * took_s)


def reasons_by_index(error: Invalid) -> dict[int, str]:
    """Which items of a batch a 422 names, each with its reason; empty when it names none."""
    named: dict[int, str] = {}
    for field in error.errors:
        if found := _ITEM.search(field.path):
            # rejected items carry their reason's code, ill-formed ones a sentence
            named[int(found[1])] = field.message if _CODE.fullmatch(field.message) else "invalid"
    return named


class Pusher:
    """One node's deliveries. Single-threaded: `deliver` and `deliver_once` are never run at the same time."""

    def __init__(
        self,
        client: RestClient,
        identity: Identity,
        spool: Spool,
        inventory: Callable[[], Inventory],
        world: World,
    ) -> None:
        """`client` makes one attempt a call: the patience is here. `inventory`: the GPUs as last listed."""
        self._client = client
        self._identity = identity
        self._spool = spool
        self._inventory = inventory
        self._world = world
        self._limit = BATCH
        self._settled: set[int] = set()  # numbers in the spool that are delivered or given up
        self._strangers: set[str] = set()  # UUIDs that the control plane did not know, registered again since
        self._trouble: str | None = None
        self._told_reasons: set[str] = set()
        self.counts = Counts()
        self._told_dropped = 0

    async def deliver(self) -> None:
        """Register if need be and send until the queue is empty; tries for ever."""
        await self._persist(self._ensure_registered)
        while len(self._spool):
            await self._persist(self._paced_step)

    async def deliver_once(self) -> None:
        """The same without patience: raises the first GPUForgeError."""
        while len(self._spool):
            await self._step()

    async def _persist(self, act: Callable[[], Awaitable[None]]) -> None:
        tries: dict[bool, int] = {}

        def wait(error: BaseException, _: int) -> float | None:
            nonlocal tries
            refused = fault_of(error) is Fault.FINAL
            tries = {refused: tries.get(refused, 0) + 1}  # after a long outage, a refusal is a first one
            return patience_s(error, tries[refused], self._world.draw())

        await retrying(wait, self._world, self._tell)(act)
        self._tell_recovery()

    async def _ensure_registered(self) -> None:
        inventory = self._inventory()
        if not self._identity.is_current(inventory):
            await self._identity.register(inventory)

    async def _paced_step(self) -> None:
        """One step, and a rest if many are to follow: the longer, the busier the control plane is."""
        began = self._world.monotonic()
        await self._step()
        if len(self._spool) >= BATCH:
            await self._world.sleep(rest_s(self._world.monotonic() - began, self._world.draw()))

    async def _step(self) -> None:
        """Send one batch, and settle what the answer settles."""
        await self._ensure_registered()
        batch = await self._spool.peek(self._limit)
        items = self._items(batch)
        if items:
            await self._send(items)
        settled = list(takewhile(self._settled.__contains__, batch.numbers))
        if settled:
            self._spool.ack(settled[-1])
            self._settled = {number for number in self._settled if number > settled[-1]}

    async def _send(self, items: list[_Item]) -> None:
        body = MetricsBatch(metrics=[item.metric for item in items])
        try:
            answer = await self._client.post("/api/clusters/metrics", _Accepted, body=body, repeatable=True)
        except BodyTooLarge as error:
            self._send_less(items, error)
        except Invalid as error:
            reasons = _within(items, reasons_by_index(error))
            if reasons:
                self._reject(items, reasons)
            else:
                self._send_less(items, error)
        except NotFound:
            self._identity.forget()
            raise
        else:
            reasons = _within(items, {each.index: each.reason for each in answer.rejected})
            self._settle([item for index, item in enumerate(items) if index not in reasons])
            self._reject(items, reasons)
            self._limit = BATCH

    def _items(self, batch: Batch) -> list[_Item]:
        """What of a batch is still to be sent, with the ids of its GPUs."""
        ids = self._identity.gpu_ids
        items, nameless = [], []
        for number, sample in zip(batch.numbers, batch.samples, strict=True):
            if number in self._settled:
                continue
            gpu_id = ids.get(sample.uuid)
            if gpu_id is None:
                nameless.append(number)
            else:
                items.append(_Item(number, sample, _metric(sample, gpu_id)))
        if nameless:  # gone before it could be registered here, or in another host by now
            self._give_up(nameless, NOT_REGISTERED)
        else:
            self._told_reasons.discard(NOT_REGISTERED)
        return items

    def _settle(self, items: Sequence[_Item]) -> None:
        if items:
            delivered = self.counts.delivered + len(items)
            newest_at = items[-1].sample.recorded_at
            self.counts = replace(self.counts, delivered=delivered, newest_at=newest_at)
        for item in items:
            self._settled.add(item.number)
            self._strangers.discard(item.sample.uuid)

    def _reject(self, items: list[_Item], reasons: dict[int, str]) -> None:
        """Give up the items named. A GPU the control plane has lost is registered again once, first."""
        unknown = {items[index].sample.uuid for index, why in reasons.items() if why == UNKNOWN_GPU}
        newly_unknown = unknown - self._strangers
        for index, why in reasons.items():
            if items[index].sample.uuid not in newly_unknown or why != UNKNOWN_GPU:
                self._give_up([items[index].number], why)
        if newly_unknown:
            self._strangers |= newly_unknown
            self._identity.forget()
        if not reasons:
            self._told_reasons &= {NOT_REGISTERED}  # of what is not even sent

    def _send_less(self, items: list[_Item], error: GPUForgeError) -> None:
        """A batch refused as a whole: half of it next time, down to the one item at fault."""
        if len(items) == 1:
            self._give_up([items[0].number], error.code)
        self._limit = max(1, len(items) // 2)

    def _give_up(self, numbers: list[int], reason: str) -> None:
        self._settled.update(numbers)
        self.counts = replace(self.counts, refused=self.counts.refused + len(numbers))
        level = logging.DEBUG if reason in self._told_reasons else logging.WARNING
        self._told_reasons.add(reason)
        logger.log(
            level,
            "the control plane does not take some samples: %s",
            reason,
            extra={"node": self._identity.hostname, "samples": len(numbers)},
        )

    def _tell(self, error: BaseException, seconds: float) -> None:
        code = error.code if isinstance(error, GPUForgeError) else type(error).__name__
        level = logging.DEBUG if code == self._trouble else logging.WARNING
        self._trouble = code
        self._limit = min(self._limit, PROBE)
        logger.log(
            level,
            "%s; %d samples wait and are kept; next try in %.0f s",
            error,
            len(self._spool),
            seconds,
            extra={"node": self._identity.hostname, "code": code, "waiting": len(self._spool)},
        )

    def _tell_recovery(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            logger.info("delivering again", extra={"node": self._identity.hostname})
        if (lost := self._spool.dropped - self._told_dropped) > 0:
            self._told_dropped += lost
            losses = self._spool.losses
            logger.warning(
                "the queue was full: its oldest samples are lost",
                extra={
                    "node": self._identity.hostname,
                    "lost": lost,
                    "since": losses.since,
                    "until": losses.until,
                },
            )


def _within(items: list[_Item], reasons: Mapping[int, str]) -> dict[int, str]:
    """Without those that name an item we never sent."""
    return {index: why for index, why in reasons.items() if 0 <= index < len(items)}


def _metric(sample: Sample, gpu_id: int) -> Metric:
    return Metric(
        gpu_id=gpu_id,
        recorded_at=sample.recorded_at,
        utilization_pct=sample.utilization_pct,
        memory_used_mb=sample.memory_used_mb,
        memory_total_mb=sample.memory_total_mb,
        temperature_c=sample.temperature_c,
        power_draw_w=sample.power_draw_w,
        missing=dict(sample.missing) if sample.missing else None,
    )
