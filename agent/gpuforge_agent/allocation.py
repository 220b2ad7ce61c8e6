"""Lets simulated GPUs follow their allocation: those that a job holds work, the others idle. For demos."""

from __future__ import annotations

import logging

import msgspec

from gpuforge_agent.identity import Identity
from gpuforge_agent.sources.simulated import SimulatedSource
from gpuforge_client.rest import RestClient
from gpuforge_shared.errors import GPUForgeError

logger = logging.getLogger(__name__)


class _Gpu(msgspec.Struct):
    uuid: str | None = None
    job_id: int | None = None


class _Node(msgspec.Struct):
    gpus: list[_Gpu] = []


class Follower:
    """Asks the control plane now and then which of a simulated node's GPUs a job holds."""

    def __init__(self, client: RestClient, identity: Identity, source: SimulatedSource) -> None:
        self._client = client
        self._identity = identity
        self._source = source
        source.allocate({})

    async def look(self) -> None:
        """Bring the source up to date; without an answer it goes on as it is."""
        if self._identity.node_id is None:
            return
        try:
            node = await self._client.get(f"/api/clusters/nodes/{self._identity.node_id}", _Node)
        except GPUForgeError as error:
            logger.debug("allocation not learnt: %s", error)
            return
        self._source.allocate({gpu.uuid: gpu.job_id is not None for gpu in node.gpus if gpu.uuid})
