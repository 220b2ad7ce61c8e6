"""Nodes register and say that they live, one by one and many at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import cast

from gpuforge_controlplane.domain.fleet import heartbeat_is_fresh
from gpuforge_controlplane.services.context import Context, Upserted
from gpuforge_controlplane.services.fleet import may_see, node_record
from gpuforge_controlplane.storage import audit, fleet
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.fleet import StoredNode
from gpuforge_controlplane.storage.statements import Row
from gpuforge_shared.errors import Conflict, GPUForgeError, not_found
from gpuforge_shared.wire.fleet import NodeRecord, NodeRegister

Asked = tuple[Context, NodeRegister]
_Name = tuple[int, str]  # cluster and hostname


async def register_node(ctx: Context, body: NodeRegister) -> Upserted[NodeRecord]:
    """Register a node or hear its heartbeat. Absent fields keep their value."""
    (outcome,) = await register_nodes([(ctx, body)])
    if isinstance(outcome, GPUForgeError):
        raise outcome
    return outcome


async def register_nodes(asked: Sequence[Asked]) -> list[Upserted[NodeRecord] | GPUForgeError]:
    """Register nodes and hear heartbeats in one transaction, that of every context. In order; a refusal is
    none of the others'."""
    tx = asked[0][0].tx
    allowed = [(ctx, body) for ctx, body in asked if may_see(ctx, body.cluster_id)]
    names = {_name(body) for _, body in allowed}
    known = await _known(tx, names)
    made = await _create(tx, [(ctx, body) for ctx, body in allowed if _name(body) not in known])
    # another replica was first; or there is no such cluster
    known |= await _known(tx, names - known.keys() - made.keys())
    heard: set[_Name] = set()
    audited: list[Row] = []
    outcomes: list[Upserted[NodeRecord] | GPUForgeError] = []
    for ctx, body in asked:
        name = _name(body)
        fresh = made.pop(name, None) if may_see(ctx, body.cluster_id) else None
        try:
            before = _open_to(ctx, body, fresh or known.get(name))
        except GPUForgeError as refusal:
            outcomes.append(refusal)
            continue
        if fresh is None:
            known[name] = _after(ctx, body, before)
            audited += _news(ctx, before, known[name])
            heard.add(name)
        else:
            known[name] = fresh
            audited.append(ctx.audit_row("node.create", "node", fresh["id"], after=fresh))
        outcomes.append(Upserted(node_record(ctx, known[name]), created=fresh is not None))
    await fleet.hear_nodes(tx, [known[name] for name in sorted(heard)])
    await audit.append_all(tx, audited)
    return outcomes


async def _known(tx: Connection, names: Collection[_Name]) -> dict[_Name, StoredNode]:
    """Those that are registered, held until the transaction ends."""
    found = await fleet.lock_nodes_named(tx, names) if names else []
    return {(node["cluster_id"], node["hostname"]): node for node in found}


async def _create(tx: Connection, asked: Sequence[Asked]) -> dict[_Name, StoredNode]:
    """Nodes as the first request for each tells of it; none in a cluster that there isn't."""
    if not asked:
        return {}
    clusters = await fleet.clusters_among(tx, sorted({body.cluster_id for _, body in asked}))
    rows: dict[_Name, Row] = {}
    for ctx, body in asked:
        if body.cluster_id in clusters:
            fresh = {"state": "active", "created_at": ctx.now, "last_heartbeat_at": ctx.now}
            rows.setdefault(_name(body), body.model_dump() | _address(body) | fresh)
    # in order of name: two replicas that make the same nodes wait for one another in no circle
    made = await fleet.create_nodes(tx, [row for _, row in sorted(rows.items())])
    return {(node["cluster_id"], node["hostname"]): node for node in made}


def _after(ctx: Context, body: NodeRegister, before: StoredNode) -> StoredNode:
    """The node with what it has told; absent fields keep their value."""
    told = body.model_dump(exclude_none=True) | _address(body) | {"last_heartbeat_at": ctx.now}
    return cast(StoredNode, {**before, **told})


def _address(body: NodeRegister) -> Row:
    return {} if body.ip_address is None else {"ip_address": str(body.ip_address)}


def _news(ctx: Context, before: StoredNode, after: StoredNode) -> list[Row]:
    """What the audit log learns: of a heartbeat that tells nothing new, nothing."""
    if not heartbeat_is_fresh(before["last_heartbeat_at"], ctx.now):
        silent = {"last_heartbeat_at": before["last_heartbeat_at"]}
        return [ctx.audit_row("node.return", "node", after["id"], before=silent, after=_told(after))]
    if _told(after) != _told(before):
        return [ctx.audit_row("node.update", "node", after["id"], before=_told(before), after=_told(after))]
    return []


def _open_to(ctx: Context, body: NodeRegister, node: StoredNode | None) -> StoredNode:
    """The node, if the caller may speak for it. Raises NotFound, or Conflict for one that was retired."""
    if node is None or not may_see(ctx, body.cluster_id):
        raise not_found("cluster", body.cluster_id)
    if node["retired_at"] is not None:
        raise Conflict(
            f"node {node['id']} ({node['hostname']}) was retired; stop its agent, or bring it back with "
            f'PATCH /api/clusters/nodes/{node["id"]} {{"state": "active"}}',
            code="node_retired",
        )
    return node


def _name(body: NodeRegister) -> _Name:
    return body.cluster_id, body.hostname


def _told(node: StoredNode) -> Mapping[str, object]:
    """What an agent tells of its host."""
    return {
        "ip_address": node["ip_address"],
        "total_gpus": node["total_gpus"],
        "cpu_cores": node["cpu_cores"],
        "ram_gb": node["ram_gb"],
        "agent_version": node["agent_version"],
    }
