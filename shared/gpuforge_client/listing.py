"""What the command line lists of the fleet and the keys: the API's records, and tables of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from gpuforge_client.rest import RestClient
from gpuforge_shared.errors import not_found

# Passed on as they came: a newer control plane's fields reach whoever reads --json.
Record = dict[str, object]

CLUSTERS: Mapping[str, str] = {
    "id": "ID", "name": "CLUSTER", "region": "REGION", "status": "STATUS", "node_count": "NODES",
    "gpu_count": "GPUS", "active_jobs": "RUNNING", "queued_jobs": "QUEUED",
}  # fmt: skip
NODES: Mapping[str, str] = {
    "id": "ID", "cluster": "CLUSTER", "hostname": "HOSTNAME", "status": "STATUS", "ip_address": "ADDRESS",
    "total_gpus": "GPUS", "cpu_cores": "CORES", "ram_gb": "RAM GB", "last_heartbeat_at": "LAST HEARTBEAT",
}  # fmt: skip
GPUS: Mapping[str, str] = {
    "id": "ID", "cluster": "CLUSTER", "hostname": "HOSTNAME", "gpu_index": "GPU", "model": "MODEL",
    "status": "STATUS", "utilization_pct": "UTIL %", "memory_used_mb": "USED MB",
    "memory_total_mb": "TOTAL MB", "temperature_c": "°C", "power_draw_w": "W",
}  # fmt: skip
KEYS: Mapping[str, str] = {
    "id": "ID", "key_prefix": "KEY", "label": "LABEL", "permissions": "PERMISSIONS", "cluster_id": "CLUSTER",
    "tenant_id": "TENANT", "last_used_at": "LAST USED", "expires_at": "EXPIRES", "revoked_at": "REVOKED",
}  # fmt: skip


async def clusters(client: RestClient) -> list[Record]:
    """All clusters the key may see. Raises what the client raises, like all here."""
    return [each async for each in client.pages("/api/clusters", list[Record])]


async def nodes(client: RestClient, cluster: str | None) -> list[Record]:
    """The nodes of a cluster, by name or id, or of all; each with its cluster's name, without its GPUs."""
    return [
        {name: value for name, value in node.items() if name != "gpus"}
        for node in await _nodes_with_gpus(client, cluster)
    ]


async def gpus(client: RestClient, cluster: str | None) -> list[Record]:
    """The GPUs of a cluster or of all, each with its node's hostname and its cluster's name."""
    return [
        {**gpu, "hostname": node["hostname"], "cluster": node["cluster"]}
        for node in await _nodes_with_gpus(client, cluster)
        for gpu in _records(node.get("gpus"))
    ]


async def keys(client: RestClient) -> list[Record]:
    """All keys, revoked ones too."""
    return [each async for each in client.pages("/api/api-keys", list[Record])]


async def _nodes_with_gpus(client: RestClient, cluster: str | None) -> list[Record]:
    found = await clusters(client)
    wanted = [each for each in found if cluster is None or cluster in (str(each["id"]), each["name"])]
    if cluster is not None and not wanted:
        raise not_found("cluster", cluster)
    nodes = []
    for each in wanted:
        detail = await client.get(f"/api/clusters/{each['id']}", Record)
        nodes += [{**node, "cluster": each["name"]} for node in _records(detail.get("nodes"))]
    return nodes


def _records(value: object) -> list[Record]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def table(records: Sequence[Record], columns: Mapping[str, str]) -> str:
    """Aligned columns without frames, for eyes, `grep` and `awk` alike; numbers to the right."""
    rows = [list(columns.values())] + [[cell(record.get(name)) for name in columns] for record in records]
    right = [all(isinstance(record.get(name), int | float | None) for record in records) for name in columns]
    widths = [max(len(row[place]) for row in rows) for place in range(len(columns))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    )


def cell(value: object) -> str:
    """One value as a person reads it; - for what is not known."""
    match value:
        case None:
            return "-"
        case list():
            return ",".join(cell(each) for each in value)
        case float():
            return f"{value:.1f}"
        case str():
            return _moment(value)
        case _:
            return str(value)


def _moment(text: str) -> str:
    """A time of the API to the second; any other text as it is."""
    if not text.endswith("Z"):
        return text
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%SZ}"
    except ValueError:
        return text
