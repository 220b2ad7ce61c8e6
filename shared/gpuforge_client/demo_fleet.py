"""The demo's fleet over REST: its clusters exist, their keys are taken, so many GPUs report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from gpuforge_client.demo_folder import DemoFolder, read_key, write_key
from gpuforge_client.demo_plan import Share, Site
from gpuforge_client.rest import RestClient, new_idempotency_key
from gpuforge_shared import apikey


# What is read of an answer, and no more.
class _Cluster(msgspec.Struct):
    id: int
    name: str


class _Created(_Cluster):
    api_key: str


class _Key(msgspec.Struct):
    key_prefix: str
    cluster_id: int | None = None
    revoked_at: datetime | None = None


class _NewKey(msgspec.Struct):
    key: str


class _Gpu(msgspec.Struct):
    recorded_at: datetime | None = None


class _Node(msgspec.Struct):
    hostname: str
    status: str = ""
    gpus: list[_Gpu] = []


class _Detail(msgspec.Struct):
    nodes: list[_Node] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The fleet as the control plane knows it."""

    ids: Mapping[str, int]  # of the clusters, by name
    renewed: frozenset[str]  # clusters whose key file is another now: their agents must read it


async def settle(client: RestClient, folder: DemoFolder, fleet: Sequence[Share]) -> Settled:
    """See that each cluster exists and that the key in its file is taken. Raises what the client raises."""
    ids = {each.name: each.id async for each in client.pages("/api/clusters", list[_Cluster])}
    keys = [key async for key in client.pages("/api/api-keys", list[_Key])]
    renewed = set()
    for share in fleet:
        name, file = share.site.cluster, folder.cluster_key(share.site.cluster)
        raw = None
        if name not in ids:
            created = await _create(client, share.site)
            ids[name], raw = created.id, created.api_key
        elif not _is_taken(read_key(file), ids[name], keys):
            raw = await _new_key(client, name, ids[name])
        if raw is not None:
            write_key(file, raw)
            renewed.add(name)
    return Settled(ids=ids, renewed=frozenset(renewed))


def _is_taken(raw: str | None, cluster_id: int, keys: Sequence[_Key]) -> bool:
    return raw is not None and any(
        key.key_prefix == apikey.display_prefix(raw)
        and key.cluster_id == cluster_id
        and key.revoked_at is None
        for key in keys
    )


async def _create(client: RestClient, site: Site) -> _Created:
    return await client.post(
        "/api/clusters",
        _Created,
        body={"name": site.cluster, "region": site.region},
        idempotency_key=new_idempotency_key(),
    )


async def _new_key(client: RestClient, cluster: str, cluster_id: int) -> str:
    body = {"label": f"agents of {cluster}", "cluster_id": cluster_id}
    made = await client.post("/api/api-keys", _NewKey, body=body, idempotency_key=new_idempotency_key())
    return made.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How much of a site's share is there."""

    reporting: int  # GPUs with a sample that was taken since the demo began
    strangers: int  # nodes in the cluster that nobody plays


async def count(client: RestClient, share: Share, cluster_id: int, since: datetime) -> Count:
    """Count the GPUs of one cluster that report. Raises what the client raises."""
    detail = await client.get(f"/api/clusters/{cluster_id}", _Detail)
    played = frozenset(share.hostnames)
    seen = [gpu.recorded_at for node in detail.nodes if node.hostname in played for gpu in node.gpus]
    return Count(
        reporting=sum(at is not None and at >= since for at in seen),
        strangers=sum(node.hostname not in played for node in detail.nodes),
    )
