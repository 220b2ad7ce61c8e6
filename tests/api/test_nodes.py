"""Clusters and nodes over HTTP: registration, heartbeats, silence, retirement."""

import asyncio

from gpuforge_controlplane.domain.fleet import OFFLINE_AFTER
from tests.api.harness import ON_SQLITE, Json, Plane, Site, build_site

NODES = "/api/clusters/nodes"
FULL = {
    "hostname": "gpu-01",
    "ip_address": "10.0.1.10",
    "total_gpus": 8,
    "cpu_cores": 128,
    "ram_gb": 1024,
    "agent_version": "0.1.0",
}


async def cluster(plane: Plane, name: str = "east") -> int:
    return int((await plane.admin.write("/api/clusters", {"name": name}))["id"])


async def told(plane: Plane, node_id: int) -> dict[str, Json]:
    """What the node's record says of what its agent told."""
    node = await plane.admin.read(f"{NODES}/{node_id}")
    return {name: node[name] for name in FULL}


async def test_the_first_call_registers_and_the_next_is_a_heartbeat(plane: Plane) -> None:
    body = {"cluster_id": await cluster(plane), **FULL}
    first = await plane.admin.post(NODES, body)
    plane.clock.forward(seconds=30)
    second = await plane.admin.post(NODES, body)
    assert (first.status, second.status) == (201, 200)
    assert second.body == {**first.body, "last_heartbeat_at": "2026-05-09T12:00:30Z"}
    assert {name: first.body[name] for name in FULL} == FULL
    assert (first.body["state"], first.body["status"]) == ("active", "active")


async def test_absent_and_null_fields_keep_their_value(plane: Plane) -> None:
    cluster_id = await cluster(plane)
    node = await plane.admin.write(NODES, {"cluster_id": cluster_id, **FULL})
    bare = {"cluster_id": cluster_id, "hostname": "gpu-01"}
    for beat in (bare, {**bare, "ip_address": None, "cpu_cores": None}):
        assert (await plane.admin.post(NODES, beat)).status == 200
        assert await told(plane, node["id"]) == FULL
    changed = {"ip_address": "fd00::1", "cpu_cores": 64, "ram_gb": 0}
    await plane.admin.write(NODES, {**bare, **changed})
    assert await told(plane, node["id"]) == {**FULL, **changed}


@ON_SQLITE
async def test_hostnames_are_unique_within_a_cluster_alone(plane: Plane) -> None:
    first, second = await cluster(plane), await cluster(plane, "west")
    ids = {(await plane.admin.write(NODES, {"cluster_id": each, **FULL}))["id"] for each in (first, second)}
    assert len(ids) == 2


async def test_ten_first_calls_at_once_make_one_node(plane: Plane) -> None:
    body = {"cluster_id": await cluster(plane), **FULL}
    answers = await asyncio.gather(*(plane.admin.post(NODES, body) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [200] * 9 + [201]
    assert {answer.body["id"] for answer in answers} == {1}
    assert await plane.count("nodes") == 1


async def test_ten_clusters_of_one_name_at_once_make_one(plane: Plane) -> None:
    answers = await asyncio.gather(*(plane.admin.post("/api/clusters", {"name": "x"}) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 9
    assert {answer.code for answer in answers if answer.status == 409} == {"name_taken"}
    assert await plane.count("clusters") == 1
    assert await plane.count("api_keys") == 2  # the admin's and the cluster's


@ON_SQLITE
async def test_a_name_is_trimmed_before_it_is_compared(plane: Plane) -> None:
    await cluster(plane, "east")
    assert (await plane.admin.post("/api/clusters", {"name": "  east "})).status == 409


# Silence


async def test_a_silent_node_is_offline_with_its_gpus(plane: Plane, site: Site) -> None:
    await build_site(plane, "west")
    await plane.admin.write(NODES, {"cluster_id": site.cluster_id, "hostname": "east-02"})
    await plane.admin.write(
        "/api/clusters/metrics", {"metrics": [{"gpu_id": gpu, "utilization_pct": 50} for gpu in site.gpu_ids]}
    )
    plane.clock.forward(seconds=OFFLINE_AFTER.total_seconds())
    assert await _look(plane, site) == ("active", "active", ["active", "active"])
    plane.clock.forward(seconds=0.000001)
    await plane.admin.write(NODES, {"cluster_id": site.cluster_id, "hostname": "east-02"})
    assert await _look(plane, site) == ("degraded", "offline", ["offline", "offline"])
    stats = (await plane.admin.read(f"/api/dashboard?cluster_id={site.cluster_id}"))["stats"]
    assert (stats["total_nodes"], stats["online_nodes"]) == (2, 1)
    assert (stats["offline_gpus"], stats["active_gpus"], stats["avg_utilization_pct"]) == (2, 0, None)
    plane.clock.forward(seconds=91)
    assert await _look(plane, site) == ("offline", "offline", ["offline", "offline"])
    shown = await plane.admin.read("/api/dashboard/gpu-allocation")
    assert {gpu["status"] for gpu in shown} == {"offline"}


async def test_a_heartbeat_brings_all_back_as_it_was(plane: Plane, site: Site) -> None:
    await plane.admin.write(
        "/api/clusters/metrics", {"metrics": [{"gpu_id": site.gpu_ids[0], "utilization_pct": 50}]}
    )
    plane.clock.forward(minutes=10)
    assert await _look(plane, site) == ("offline", "offline", ["offline", "offline"])
    await site.agent.write(NODES, {"cluster_id": site.cluster_id, "hostname": "east-01"})
    assert await _look(plane, site) == ("active", "active", ["active", "idle"])


async def _look(plane: Plane, site: Site) -> tuple[str, str, list[str]]:
    """The status of the site's cluster, its first node and that node's GPUs, as three routes agree on it."""
    detail = await plane.admin.read(f"/api/clusters/{site.cluster_id}")
    listed = {each["id"]: each["status"] for each in await plane.admin.read("/api/clusters")}
    node = await plane.admin.read(f"{NODES}/{site.node_id}")
    assert listed[site.cluster_id] == detail["status"]
    listed_node = next(each for each in detail["nodes"] if each["id"] == site.node_id)
    assert {**node, "gpus": None, **listed_node} == {**node, "gpus": listed_node["gpus"]}
    for gpu, listed_gpu in zip(node["gpus"], listed_node["gpus"], strict=True):
        assert {**gpu, **listed_gpu} == gpu  # the node's own route tells more of each, and nothing else
    return detail["status"], node["status"], [gpu["status"] for gpu in node["gpus"]]


# What an operator wants


async def test_a_state_shows_and_survives_heartbeats(plane: Plane, site: Site) -> None:
    for state in ("cordoned", "draining", "active"):
        answer = await plane.admin.patch(f"{NODES}/{site.node_id}", {"state": state})
        assert answer.body["state"] == state
        beat = await site.agent.write(NODES, {"cluster_id": site.cluster_id, "hostname": "east-01"})
        assert (beat["state"], beat["status"]) == (state, state)
        plane.clock.forward(minutes=10)
        node = await plane.admin.read(f"{NODES}/{site.node_id}")
        assert (node["state"], node["status"]) == (state, "offline")


async def test_a_retired_node_leaves_every_list_and_keeps_its_history(plane: Plane, site: Site) -> None:
    retired = await plane.admin.delete(f"{NODES}/{site.node_id}")
    assert (retired.status, retired.body["status"]) == (200, "retired")
    detail = await plane.admin.read(f"/api/clusters/{site.cluster_id}")
    assert (detail["node_count"], detail["gpu_count"], detail["nodes"]) == (0, 0, [])
    assert detail["status"] == "active"
    assert await plane.admin.read("/api/dashboard/gpu-allocation") == []
    overview = await plane.admin.read("/api/dashboard")
    assert (overview["nodes"], overview["stats"]["total_gpus"]) == ([], 0)
    node = await plane.admin.read(f"{NODES}/{site.node_id}")
    assert (node["status"], [gpu["status"] for gpu in node["gpus"]]) == ("retired", ["offline", "offline"])


@ON_SQLITE
async def test_a_retired_nodes_agent_is_told_what_to_do(plane: Plane, site: Site) -> None:
    await plane.admin.delete(f"{NODES}/{site.node_id}")
    before = await plane.contents()
    beat = await site.agent.post(NODES, {"cluster_id": site.cluster_id, "hostname": "east-01"})
    cards = await site.agent.post("/api/clusters/gpus", {"node_id": site.node_id, "gpus": [{}]})
    wish = await site.agent.patch(f"{NODES}/{site.node_id}", {"state": "active"})
    for answer in (beat, cards, wish):
        assert (answer.status, answer.code) == (409, "node_retired")
    assert f"PATCH {NODES}/{site.node_id}" in beat.body["detail"]
    assert await plane.contents() == before


@ON_SQLITE
async def test_retiring_twice_changes_nothing(plane: Plane, site: Site) -> None:
    await plane.admin.delete(f"{NODES}/{site.node_id}")
    before = await plane.contents()
    plane.clock.forward(hours=1)
    assert (await plane.admin.delete(f"{NODES}/{site.node_id}")).status == 200
    assert await plane.contents() == before


async def test_a_retired_node_comes_back(plane: Plane, site: Site) -> None:
    await plane.admin.delete(f"{NODES}/{site.node_id}")
    back = await plane.admin.patch(f"{NODES}/{site.node_id}", {"state": "active"})
    assert (back.status, back.body["status"]) == (200, "active")
    assert (await plane.admin.read("/api/clusters"))[0]["gpu_count"] == 2


async def test_overviews_of_one_cluster(plane: Plane, site: Site) -> None:
    other = await build_site(plane, "west")
    overview = await plane.admin.read(f"/api/dashboard?cluster_id={other.cluster_id}")
    assert [node["id"] for node in overview["nodes"]] == [other.node_id]
    assert (overview["stats"]["total_clusters"], overview["stats"]["total_gpus"]) == (1, 2)
    shown = await plane.admin.read(f"/api/dashboard/gpu-allocation?cluster_id={other.cluster_id}")
    assert [gpu["gpu_id"] for gpu in shown] == list(other.gpu_ids)
    assert {(gpu["cluster_name"], gpu["hostname"]) for gpu in shown} == {("west", "west-01")}
    for path in ("/api/dashboard?cluster_id=99",):
        assert (await plane.admin.get(path)).code == "cluster_not_found"
