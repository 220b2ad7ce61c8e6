"""The live stream's source: looks at the database once a second, for however many readers there are."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from gpuforge_controlplane.domain.fleet import OFFLINE_AFTER
from gpuforge_controlplane.services.reader import Mark, Message, Reader, marked, parse_mark
from gpuforge_controlplane.services.tail import BATCH, Tail
from gpuforge_controlplane.services.views import Fleet, View, fleet_of, message
from gpuforge_controlplane.storage import live
from gpuforge_controlplane.storage.database import Connection, Database
from gpuforge_controlplane.storage.feed import SOURCES, Happened
from gpuforge_controlplane.storage.live import Holder, PlacedNode, Still
from gpuforge_shared.clock import Clock
from gpuforge_shared.errors import Unavailable
from gpuforge_shared.wire.events import HelloMessage, NodeMessage

_log = logging.getLogger(__name__)

EVERY_S = 1.0
REST = 3  # times the length of a look is rested after it: a fleet that takes long is looked at less often
READY_S = 5.0
FAREWELL_S = 1.0  # for what is being written when the server stops


class Live:
    """One database, looked at while somebody reads. Nothing is kept but what the last look showed.

    Replicas do not talk to each other: each reads what happened from the tables.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._guests = 0  # readers, and those who are about to be
        self._wanted, self._ready = asyncio.Event(), asyncio.Event()
        self._readers: set[Reader] = set()
        self._stopping = False
        self._forget()

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[Live]:
        """Serve readers while the block lasts."""
        task = asyncio.create_task(self._look_again_and_again(), name="live")
        try:
            yield self
        finally:
            self.stop()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def stop(self) -> None:
        """End all streams; their readers come back to another replica. Who takes nothing is cut off."""
        self._stopping = True
        for reader in self._readers:
            reader.end()
            asyncio.get_running_loop().call_later(FAREWELL_S, reader.abort)

    @asynccontextmanager
    async def read(
        self, tenant_id: int | None, *, frames: bool, last_id: str | None, abort: Callable[[], None]
    ) -> AsyncIterator[Reader]:
        """A reader that has been greeted, and told what it missed since `last_id`.

        Raises Unavailable where the database does not answer, or the server stops.
        """
        self._guests += 1
        self._wanted.set()
        reader = Reader(tenant_id, frames=frames, abort=abort)
        try:
            await self._until_ready()
            self._readers.add(reader)  # from here on it is told what is new, in the order of looks
            await self._greet(reader, parse_mark(last_id))
            yield reader
        finally:
            self._readers.discard(reader)
            self._guests -= 1

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_S):
                await self._ready.wait()
        except TimeoutError:
            raise Unavailable("the database does not answer; try again", retry_after=2.0) from None
        if self._stopping:
            raise Unavailable("the server is stopping; try another, or again", retry_after=1.0)

    async def _greet(self, reader: Reader, since: Mark | None) -> None:
        here = tuple(tail.mark for tail in self._tails)
        told = [tail.told() for tail in self._tails]
        if reader.frames and self._fleet is not None:
            reader.refresh(self._view_of(reader.tenant_id, self._fleet))
        if since is not None:  # of a source that its mark doesn't know yet, only what comes from now on
            since += tuple(tail.position for tail in self._tails[len(since) :])
        missed = None if since is None else await self._missed(reader, since, told)
        if since is None or missed is None:
            reader.greet([message("hello", HelloMessage(resumed=False), marked(here))])
        else:
            hello = message("hello", HelloMessage(resumed=True), marked(since))
            reader.greet([hello, *(each.encoded for each in missed)], skip=since)

    async def _missed(
        self, reader: Reader, since: Mark, told: Sequence[Callable[[int], bool]]
    ) -> list[Message] | None:
        """What was told since then to others; None where that is too much, or no mark of this database."""
        missed: list[Message] = []
        marks = list(since)
        async with self._database.read() as tx:
            for place, source in enumerate(SOURCES):
                found = await source.beyond(tx, since[place], limit=BATCH)
                if len(found) == BATCH or (not found and await source.newest(tx) < since[place]):
                    return None
                for row in filter(lambda row: told[place](row.id), found):
                    marks[place] = row.id
                    missed.append(Message.of(row, place, marks))
        return [each for each in missed if reader.sees(each)]

    async def _look_again_and_again(self) -> None:
        while True:
            if not self._guests:
                self._forget()
                self._wanted.clear()
                await self._wanted.wait()
            began = time.monotonic()
            try:
                await self._look()
            except Unavailable as error:
                _log.warning("live stream can't look", extra={"why": error.detail})
            except Exception:  # noqa: BLE001  # one failed look must not end the stream
                _log.exception("live stream's look failed; it looks again")
            took = time.monotonic() - began
            await asyncio.sleep(max(EVERY_S - took, REST * took))

    def _forget(self) -> None:
        self._ready.clear()
        self._tails: list[Tail] = []
        self._mark: Mark = ()
        self._fleet: Fleet | None = None
        self._still: Still | None = None
        self._holders: Mapping[int, Holder] = {}
        self._views: dict[int | None, View] = {}

    async def _look(self) -> None:
        now, fleet = self._clock(), None
        async with self._database.read() as tx:
            tails = self._tails or await _begin(tx)
            found = [await tail.look(tx) for tail in tails]
            if any(reader.frames for reader in self._readers) or not self._ready.is_set():
                fleet = fleet_of(await live.fleet(tx, now - OFFLINE_AFTER), now)
                shown = any(row.shown for rows in found for row in rows)
                await self._name(tx, fleet, renamed=shown)
        # From here on nothing waits, so that who joins sees all of this look or nothing of it.
        self._tails = tails
        self._tell(self._settled(found) + self._fallen_silent(fleet))
        self._fleet = fleet
        if fleet is not None:
            self._show(fleet)
        self._ready.set()

    async def _name(self, tx: Connection, fleet: Fleet, *, renamed: bool) -> None:
        """Read what stands still anew where it may have changed."""
        before = self._fleet
        moved = before is None or (before.gpu_ids, before.node_ids) != (fleet.gpu_ids, fleet.node_ids)
        if (renamed or moved) and (still := await live.still(tx)) != self._still:
            self._still = still
        if renamed or before is None or before.job_ids != fleet.job_ids:
            found = await live.holders(tx, set(fleet.job_ids) - {0})
            if (holders := {job["id"]: job for job in found}) != self._holders:
                self._holders = holders

    def _settled(self, found: Sequence[Sequence[Happened]]) -> list[Message]:
        marks = [tail.mark for tail in self._tails]
        messages = []
        for place, (tail, rows) in enumerate(zip(self._tails, found, strict=True)):
            for told in tail.settle(rows, time.monotonic()):
                marks[place] = told.mark
                messages.append(Message.of(told.happened, place, marks))
            marks[place] = tail.mark
        self._mark = tuple(marks)
        return messages

    def _fallen_silent(self, fleet: Fleet | None) -> list[Message]:
        """Nodes that were heard at the last look: no row tells of silence."""
        if fleet is None or self._fleet is None or self._still is None:
            return []
        silent = fleet.silent_nodes() - self._fleet.silent_nodes()
        fallen = [_silence(node, fleet.at) for node in self._still.nodes if node["id"] in silent]
        return [Message.of(Happened(0, "node", None, event), None, ()) for event in fallen]

    def _tell(self, messages: Sequence[Message]) -> None:
        together: dict[int | None, bytes] = {}
        for reader in self._readers if messages else ():
            if reader.is_ahead_of(self._mark):
                reader.push(_for(reader, messages))
                continue
            if reader.tenant_id not in together:
                together[reader.tenant_id] = _for(reader, messages)
            reader.push(together[reader.tenant_id])

    def _show(self, fleet: Fleet) -> None:
        readers = [reader for reader in self._readers if reader.frames]
        shown = {reader.tenant_id for reader in readers}
        for gone in self._views.keys() - shown:
            del self._views[gone]
        views = {tenant_id: self._view_of(tenant_id, fleet) for tenant_id in shown}
        for reader in readers:
            reader.refresh(views[reader.tenant_id])

    def _view_of(self, tenant_id: int | None, fleet: Fleet) -> View:
        view = self._views.setdefault(tenant_id, View(tenant_id))
        if view.of is not fleet:
            assert self._still is not None  # it was read along with the first fleet
            view.show(fleet, self._still, self._holders, marked(self._mark))
        return view


async def _begin(tx: Connection) -> list[Tail]:
    gaps = tx.dialect.name == "postgresql"
    tails = [Tail(source, gaps=gaps) for source in SOURCES]
    for tail in tails:
        await tail.begin(tx, time.monotonic())
    return tails


def _for(reader: Reader, messages: Sequence[Message]) -> bytes:
    return b"".join(each.encoded for each in messages if reader.sees(each))


def _silence(node: PlacedNode, at: datetime) -> NodeMessage:
    return NodeMessage(
        node_id=node["id"],
        hostname=node["hostname"],
        cluster_id=node["cluster_id"],
        state=None,
        action="node.silent",
        at=at,
    )
