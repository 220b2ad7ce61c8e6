"""The outbox's clock: gathers what is due and keeps each channel's line moving, whatever the others do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from gpuforge_controlplane.loops.leader import Leadership
from gpuforge_controlplane.loops.runner import running
from gpuforge_controlplane.services import notifying
from gpuforge_controlplane.services.outbound import Outbound
from gpuforge_controlplane.storage import notices
from gpuforge_controlplane.storage.database import Database
from gpuforge_controlplane.storage.leases import LeaseLostError
from gpuforge_controlplane.storage.notices import Notification
from gpuforge_shared.clock import Clock
from gpuforge_shared.errors import Unavailable

LOOK_S = 2.0

_log = logging.getLogger(__name__)


class Notifier:
    """Sends as the leader alone. A channel that hangs holds up itself: each has a task of its own."""

    def __init__(self, database: Database, leadership: Leadership, clock: Clock, outbound: Outbound) -> None:
        self._database = database
        self._leadership = leadership
        self._clock = clock
        self._outbound = outbound
        self._busy: dict[int, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Tell people while the block lasts; what is under way at its end goes on at the next start."""
        try:
            async with running("notify", LOOK_S, self):
                yield
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def __call__(self) -> None:
        """Look once."""
        token = self._leadership.token
        if token is None:
            return
        try:
            await notifying.gather(self._database, self._clock, token)
        except LeaseLostError:
            self._leadership.lost()
            return
        busy = set(self._busy)  # what these send may be taken while it is read as due
        async with self._database.read() as tx:
            heads = await notices.next_due(tx, self._clock())
        for head in heads:
            if (channel_id := head["channel_id"]) not in busy:
                task = asyncio.create_task(self._send(token, head), name=f"channel {channel_id}")
                self._busy[channel_id] = task
                task.add_done_callback(partial(self._done, channel_id))

    async def settled(self) -> None:
        """Return when nothing is under way."""
        await asyncio.gather(*self._busy.values(), return_exceptions=True)

    def _done(self, channel_id: int, task: asyncio.Task[None]) -> None:
        del self._busy[channel_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("sending failed; it is tried again", exc_info=error, extra={"channel": channel_id})

    async def _send(self, token: int, notification: Notification) -> None:
        try:
            taken = await notifying.send(self._database, self._clock, token, self._outbound, notification)
        except (LeaseLostError, Unavailable):
            return  # whoever leads by then sends it again, under the same delivery id
        level = logging.INFO if taken else logging.WARNING
        _log.log(
            level, "notified" if taken else "can't notify", extra={"channel": notification["channel_id"]}
        )
