"""Leadership by lease: of all replicas one runs the loops; another takes over within ten seconds."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from gpuforge_controlplane.loops.runner import running
from gpuforge_controlplane.storage import leases
from gpuforge_controlplane.storage.database import Database
from gpuforge_shared.errors import Unavailable

TTL = timedelta(seconds=6)  # a leader that died is followed after this and one renewal period at most
RENEW_S = 2.0

_log = logging.getLogger(__name__)


class Leadership:
    """This replica's claim. `token` is None while another leads."""

    def __init__(self, database: Database, holder: str) -> None:
        self._database = database
        self._holder = holder
        self.token: int | None = None

    async def renew(self) -> None:
        """Take or renew the lease. Without the database nobody leads."""
        before = self.token
        try:
            async with self._database.write() as tx:
                self.token = await leases.take(tx, self._holder, TTL)
        except Unavailable:
            self.token = None
            raise
        if self.token != before:
            words = "leading" if self.token is not None else "another control plane leads"
            _log.info(words, extra={"holder": self._holder, "token": self.token})

    def lost(self) -> None:
        """A guarded write bounced: stop at once; `renew` tells what is true."""
        self.token = None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Compete for the lease while the block lasts; let go of it at the end."""
        async with running("leader", RENEW_S, self.renew):
            yield
        if self.token is not None:
            with suppress(Unavailable):  # a stop is a stop: without the database the lease expires by itself
                async with self._database.write() as tx:
                    await leases.release(tx, self._holder)
