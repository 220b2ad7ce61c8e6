"""Sends a node's report of its health: at its own pace, and at once when there is news."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import msgspec

from gpuforge_agent.health import Checkup
from gpuforge_agent.identity import Identity
from gpuforge_client.rest import RestClient
from gpuforge_shared.errors import BodyTooLarge, GPUForgeError, Invalid

logger = logging.getLogger(__name__)

UNREGISTERED_S = 1.0
PEACE = 10  # reports without a stranger: two hosts of one name take each other's GPUs with every second one


class _Accepted(msgspec.Struct):
    unknown_gpus: list[int] = []


class Reporter:
    """One node's reports. Only the latest counts, so none waits in a queue; Xids wait until they are told."""

    def __init__(self, client: RestClient, identity: Identity, checkup: Checkup) -> None:
        """`client` makes one attempt a call."""
        self._client = client
        self._identity = identity
        self._checkup = checkup
        self._trouble: str | None = None
        self._peace = PEACE  # reports since the last one that named strangers

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
            answer = await self._client.post(path, _Accepted, body=body, repeatable=True)
        except GPUForgeError as error:
            self._tell(error)
            return False
        self._trouble = None
        self._checkup.delivered(mark)
        self._own(answer.unknown_gpus)
        return True

    def _tell(self, error: GPUForgeError) -> None:
        """What is wrong with a report itself; delivery of samples tells of all else."""
        fresh = isinstance(error, Invalid | BodyTooLarge) and error.code != self._trouble  # older ones: 404
        self._trouble = error.code
        logger.log(
            logging.WARNING if fresh else logging.DEBUG,
            "the control plane does not take the report of health: %s",
            error,
            extra={"node": self._identity.hostname, "fields": [field.path for field in error.errors]},
        )

    def _own(self, unknown: list[int]) -> None:
        """GPUs that are another node's by now, or in no slot of this one, are to be registered again."""
        if not unknown:
            self._peace += 1
            return
        self._identity.forget_gpus()
        level = logging.WARNING if self._peace >= PEACE else logging.DEBUG
        self._peace = 0
        logger.log(
            level,
            "GPUs of this node were given to others: if that goes on, another host calls itself %s as well; "
            "give each a `hostname` of its own",
            self._identity.hostname,
            extra={"gpu_ids": unknown},
        )
