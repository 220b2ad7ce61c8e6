"""Sends a node's report of its health: at its own pace, and at once when there is news."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import msgspec

from gpuforge_agent.health import Checkup
from gpuforge_agent.identity import Identity
from gpuforge_client.rest import RestClient
from gpuforge_shared.errors import GPUForgeError

logger = logging.getLogger(__name__)

UNREGISTERED_S = 1.0


class _Accepted(msgspec.Struct):
    pass


class Reporter:
    """One node's reports. Only the latest counts, so none waits in a queue; Xids wait until they are told."""

    def __init__(self, client: RestClient, identity: Identity, checkup: Checkup) -> None:
        """`client` makes one attempt a call."""
        self._client = client
        self._identity = identity
        self._checkup = checkup

    async def run(self, period_s: float, *, after_s: float) -> None:
        """A report each period, the first `after_s` from now, and one whenever there is news."""
        wait_s = after_s
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._checkup.news.wait()
            if self._identity.node_id is None:
                wait_s = UNREGISTERED_S
                await asyncio.sleep(min(UNREGISTERED_S, period_s))
                continue
            wait_s = period_s
            if not await self.deliver():
                await asyncio.sleep(period_s)  # however bad the news: all nodes may have them, and it is away

    async def deliver(self) -> bool:
        """Send a report of a node that is registered; whether it was taken."""
        body, mark = self._checkup.report(self._identity.gpu_ids)
        path = f"/api/clusters/nodes/{self._identity.node_id}/health"
        try:
            await self._client.post(path, _Accepted, body=body, repeatable=True)
        except (
            GPUForgeError
        ) as error:  # from an older control plane a 404; delivery of samples tells of the rest
            logger.debug("no report of health: %s", error)
            return False
        self._checkup.delivered(mark)
        return True
