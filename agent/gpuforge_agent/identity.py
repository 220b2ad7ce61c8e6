"""Who this node and its GPUs are to the control plane: registered by UUID, known by the ids it gives."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TypeVar

import msgspec

from gpuforge_agent.clock_offset import ClockWatch
from gpuforge_agent.host import Host
from gpuforge_agent.sources.base import GpuIdentity, Inventory
from gpuforge_agent.words import plain
from gpuforge_client.rest import RestClient
from gpuforge_client.retry import REAL, World
from gpuforge_shared.errors import Conflict, Forbidden, GPUForgeError, NotFound

logger = logging.getLogger(__name__)

T = TypeVar("T")

EASY_S = 2.0  # an answer within that comes from a control plane that is not busy, or is just starting
RESTS = 3  # times as long as it took beyond that, it has peace from us after an answer
LONGEST_REST_S = 10.0
LONGEST_MODEL = 255


def rest_s(took_s: float, draw: float) -> float:
    """Seconds until the next request of a registration, after one that took so long; `draw` is in [0, 1).

    A registration is several requests: 12,500 agents that start at once would make each other's time out, and
    begin anew. So each has one request in flight of RESTS + 1 that it might have.
    """
    return min(LONGEST_REST_S, 2 * draw * RESTS * max(0.0, took_s - EASY_S))


# What is read of an answer, and no more: either side may be upgraded first.
class Cluster(msgspec.Struct):
    """A cluster by id and name."""

    id: int
    name: str = ""


class _Gpu(msgspec.Struct):
    id: int
    gpu_index: int | None = None
    uuid: str | None = None


class _Node(msgspec.Struct):
    id: int
    gpus: list[_Gpu] = []
    last_heartbeat_at: datetime | None = None  # to who sends the heartbeat: what the time is over there


class _Caller(msgspec.Struct):
    cluster_id: int | None = None


async def own_cluster_id(client: RestClient) -> int:
    """The id of `own_cluster`. Whose key it is the control plane knows without counting all nodes and GPUs of
    the cluster, as 12,500 agents that start at once would have it do 12,500 times."""
    caller = await client.get("/api/whoami", _Caller)
    return (await own_cluster(client)).id if caller.cluster_id is None else caller.cluster_id


async def own_cluster(client: RestClient) -> Cluster:
    """The one cluster that the key belongs to. Raises Forbidden where the key is not one cluster's."""
    clusters = await client.get("/api/clusters", list[Cluster])
    if len(clusters) != 1:
        raise Forbidden(
            f"this key sees {len(clusters)} clusters, an agent needs the key of one: POST /api/clusters "
            "answers it once; for an existing cluster POST /api/api-keys with its cluster_id",
            code="not_a_cluster_key",
        )
    return clusters[0]


class Identity:
    """This node's registration. It is `current` for an inventory, or must be made (again)."""

    def __init__(
        self,
        client: RestClient,
        host: Host,
        *,
        world: World = REAL,
        beside: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        """`world`: whose clock is compared with the control plane's. `beside`: what else heartbeats tell."""
        self._client = client
        self._host = host
        self._world = world
        self._beside = beside
        self.clock = ClockWatch()
        self._node: Mapping[str, object] | None = None
        self._registered: frozenset[GpuIdentity] | None = None
        self._gpu_ids: Mapping[str, int] = {}
        self._address: str | None = None  # None: to be found out
        self.node_id: int | None = None  # None until registered

    @property
    def hostname(self) -> str:
        """The node's name."""
        return self._host.hostname

    @property
    def gpu_ids(self) -> Mapping[str, int]:
        """UUID → the control plane's id; of GPUs that are gone, too."""
        return self._gpu_ids

    def is_current(self, inventory: Inventory) -> bool:
        """Whether these GPUs are registered as they are. One that stopped answering changes nothing."""
        return self._registered is not None and self._registered.issuperset(inventory.gpus)

    def forget(self) -> None:
        """The control plane does not know us any more: all is to be registered again."""
        self._registered = None

    def forget_gpus(self) -> None:
        """The node is known, and its GPUs are to be registered again; it goes on saying that it is up."""
        if self._registered is not None:
            self._registered = frozenset()

    async def register(self, inventory: Inventory) -> None:
        """Register node and GPUs and learn their ids. Raises what the client raises, or Forbidden."""
        cluster_id = await self._paced(own_cluster_id(self._client))
        node = self._described(cluster_id, inventory)
        record = await self._paced(self._say(node))
        gpus: list[_Gpu] = []
        if inventory.gpus:
            body = {"node_id": record.id, "gpus": [_described(gpu) for gpu in inventory.gpus]}
            posted = self._client.post("/api/clusters/gpus", list[_Gpu], body=body, repeatable=True)
            gpus = await self._paced(posted)
        wanted = {gpu.uuid for gpu in (*inventory.gpus, *inventory.absent)}
        if not gpus or not wanted <= {gpu.uuid for gpu in gpus}:
            # the answer above holds only what was new: the ids of known GPUs are in the node's record
            gpus = (await self._client.get(f"/api/clusters/nodes/{record.id}", _Node)).gpus
        self.node_id, self._gpu_ids = record.id, _ids(gpus, inventory)
        self._node, self._registered = node, frozenset(inventory.gpus)
        logger.info(
            "registered %s in cluster %d",
            self._host.hostname,
            cluster_id,
            extra={"node_id": record.id, "gpus": len(self._gpu_ids)},
        )

    async def _paced(self, request: Awaitable[T]) -> T:
        began = self._world.monotonic()
        answer = await request
        if (rest := rest_s(self._world.monotonic() - began, self._world.draw())) > 0:
            await self._world.sleep(rest)
        return answer

    async def heartbeat(self) -> None:
        """Say that the node is up, if it is registered. Raises what the client raises."""
        if self._node is None or self._registered is None:
            return
        try:
            await self._say(self._node)
        except (NotFound, Conflict):  # a cluster that is gone, a node that was retired: delivery finds out
            self.forget()
            raise

    async def _say(self, node: Mapping[str, object]) -> _Node:
        """Send registration or heartbeat, and compare clocks by the way."""
        self._address = self._address or await self._client.local_address()
        body = {**node, **self._beside()}
        if self._address is not None:
            body["ip_address"] = self._address
        if self.clock.offset is not None:
            body["clock_offset_s"] = round(self.clock.offset.seconds, 3)
        asked_at, began = self._world.clock(), self._world.monotonic()
        try:
            record = await self._client.post("/api/clusters/nodes", _Node, body=body, repeatable=True)
        except GPUForgeError:
            self._address = None  # the way there may be another one by now, as after a change of network
            raise
        self.clock.note(asked_at, self._world.monotonic() - began, record.last_heartbeat_at)
        return record

    def _described(self, cluster_id: int, inventory: Inventory) -> dict[str, object]:
        """A plain mapping: what a driver calls its card is for the control plane to judge, not to stop us."""
        described = {
            "cluster_id": cluster_id,
            "hostname": self._host.hostname,
            "cpu_cores": self._host.cpu_cores,
            "ram_gb": self._host.ram_gb,
            # without a driver nobody can count: the control plane keeps the number it has
            "total_gpus": len(inventory.gpus) + len(inventory.absent) if inventory.fault is None else None,
            "agent_version": self._host.agent_version,
        }
        return {name: value for name, value in described.items() if value is not None}


def _described(gpu: GpuIdentity) -> dict[str, object]:
    # one odd name would have all of the node's GPUs refused
    described = {"gpu_index": gpu.index, "uuid": gpu.uuid, "model": plain(gpu.model, LONGEST_MODEL)}
    return described if gpu.vram_mb is None else {**described, "vram_mb": gpu.vram_mb}


def _ids(records: list[_Gpu], inventory: Inventory) -> dict[str, int]:
    """UUID → id. A record without UUID was made by hand: the card in its slot is the one meant."""
    by_uuid = {record.uuid: record.id for record in records if record.uuid is not None}
    by_slot = {record.gpu_index: record.id for record in records if record.uuid is None}
    by_hand = {gpu.uuid: by_slot[gpu.index] for gpu in inventory.gpus if gpu.index in by_slot}
    return by_hand | by_uuid
