"""The audit log: every write of the table leaves a row in its own transaction, a refused one none."""

from typing import Any

import pytest

from gpuforge_controlplane.api.route import Route
from tests.api.examples import build_scene, rows_to_walk
from tests.api.harness import ON_SQLITE, Json, Plane, Site, build_site

UNAUDITED = {"/api/clusters/metrics"}  # telemetry is its own record


async def audit(plane: Plane, query: str = "") -> list[Json]:
    rows: list[Json] = await plane.admin.read(f"/api/audit{query}")
    return rows


async def test_every_write_leaves_who_what_and_in_which_request(
    plane: Plane, subtests: pytest.Subtests
) -> None:
    for number, (route, example) in enumerate(rows_to_walk(await build_scene(plane))):
        if not route.writes:
            continue
        with subtests.test(f"{route.method} {route.path}"):
            plane.clock.forward(seconds=1)
            last = (await audit(plane))[0]["id"]
            given = f"walk-{number}"
            answer = await plane.admin.call(
                route.method, example.path, example.body, headers={"X-Request-Id": given}
            )
            assert answer.status in route.status, answer.raw
            new = [row for row in await audit(plane) if row["id"] > last]
            assert bool(new) == (route.path not in UNAUDITED)
            for row in new:
                assert (row["request_id"], row["principal"]) == (given, "key 1 (the admin)")
                assert row["at"] == f"{plane.clock():%Y-%m-%dT%H:%M:%S}Z"
                assert row["object_id"] is not None
                assert row["before"] is not None or row["after"] is not None
                assert row["before"] != row["after"]


@ON_SQLITE
async def test_reading_leaves_nothing(plane: Plane) -> None:
    rows = rows_to_walk(await build_scene(plane))
    before = await plane.count("audit_log")
    for route, example in rows:
        if not route.writes:
            await plane.admin.call(route.method, example.path)
    assert await plane.count("audit_log") == before


async def test_a_refused_write_leaves_nothing(plane: Plane, site: Site, subtests: pytest.Subtests) -> None:
    other = await build_site(plane, "west")
    before = await plane.contents()
    claim = [{"gpu_index": 5, "model": "new"}, {"gpu_index": 6, "uuid": "GPU-west-0"}]
    requests: list[tuple[str, str, Any, int]] = [
        ("POST", "/api/clusters", {"name": "east"}, 409),
        ("POST", "/api/clusters/nodes", {"cluster_id": 99, "hostname": "x"}, 404),
        ("PATCH", "/api/clusters/nodes/99", {"state": "active"}, 404),
        ("PATCH", f"/api/clusters/nodes/{site.node_id}", {"state": "gone"}, 422),
        ("DELETE", "/api/clusters/nodes/99", None, 404),
        ("POST", "/api/clusters/gpus", {"node_id": 99, "gpus": [{}]}, 404),
        ("POST", "/api/api-keys", {"label": "x", "tenant_id": 99}, 404),
        ("DELETE", "/api/api-keys/99", None, 404),
    ]
    for method, path, body, status in requests:
        with subtests.test(f"{method} {path}"):
            assert (await plane.admin.call(method, path, body)).status == status
    assert (
        await site.agent.post("/api/clusters/gpus", {"node_id": site.node_id, "gpus": claim})
    ).status == 409
    assert await plane.contents() == before
    assert other.node_id


async def test_a_heartbeat_that_tells_nothing_new_leaves_nothing(plane: Plane, site: Site) -> None:
    beat = {"cluster_id": site.cluster_id, "hostname": "east-01"}
    before = await plane.count("audit_log")
    for _ in range(3):
        plane.clock.forward(seconds=10)
        assert (await site.agent.post("/api/clusters/nodes", beat)).status == 200
    cards = [{"uuid": f"GPU-east-{index}", "model": "NVIDIA H100 80GB"} for index in range(2)]
    assert (await site.agent.post("/api/clusters/gpus", {"node_id": site.node_id, "gpus": cards})).body == []
    await plane.admin.patch(f"/api/clusters/nodes/{site.node_id}", {"state": "active"})
    assert await plane.count("audit_log") == before


async def test_before_and_after(plane: Plane, site: Site) -> None:
    beat = {"cluster_id": site.cluster_id, "hostname": "east-01", "cpu_cores": 128}
    await site.agent.write("/api/clusters/nodes", beat)
    await plane.admin.patch(f"/api/clusters/nodes/{site.node_id}", {"state": "draining"})
    await plane.admin.delete(f"/api/clusters/nodes/{site.node_id}")
    retired, drained, updated = (await audit(plane))[:3]
    assert [row["action"] for row in (updated, drained, retired)] == [
        "node.update",
        "node.state",
        "node.retire",
    ]
    assert (updated["before"]["cpu_cores"], updated["after"]["cpu_cores"]) == (None, 128)
    assert (drained["before"]["state"], drained["after"]["state"]) == ("active", "draining")
    assert retired["before"]["retired_at"] is None
    assert retired["after"]["retired_at"] == "2026-05-09T12:00:00Z"
    assert updated["principal"] == "cluster key 2 (agents of east)"


@ON_SQLITE
async def test_a_key_in_the_log_is_its_record_alone(plane: Plane) -> None:
    made = await plane.admin.write("/api/api-keys", {"label": "x"})
    (row, *_) = await audit(plane, "?object_type=api_key")
    assert row["after"] == {name: value for name, value in made.items() if name != "key"}


@ON_SQLITE
async def test_the_hosts_command_line_is_logged_too(plane: Plane) -> None:
    (first,) = await audit(plane)
    assert (first["principal"], first["action"], first["request_id"]) == (
        "command line",
        "key.create",
        "command-line",
    )


async def test_filters_and_order(plane: Plane, site: Site) -> None:
    plane.clock.forward(hours=1)
    await plane.admin.write("/api/clusters", {"name": "late"})
    everything = await audit(plane)
    assert [row["id"] for row in everything] == sorted((row["id"] for row in everything), reverse=True)
    for query, holds in (
        ("?object_type=gpu", lambda row: row["object_type"] == "gpu"),
        (f"?object_type=gpu&object_id={site.gpu_ids[1]}", lambda row: row["object_id"] == site.gpu_ids[1]),
        ("?principal=command%20line", lambda row: row["principal"] == "command line"),
        ("?since=2026-05-09T13:00:00Z", lambda row: row["at"] >= "2026-05-09T13:00:00Z"),
        ("?until=2026-05-09T13:00:00Z", lambda row: row["at"] < "2026-05-09T13:00:00Z"),
        ("?since=2026-05-09T14:00:00%2B01:00", lambda row: row["at"] >= "2026-05-09T13:00:00Z"),
        ("?since=2026-05-09T13:00:01Z", lambda row: False),
    ):
        found = await audit(plane, query)
        wanted = [row for row in everything if holds(row)]
        if "object_type=gpu" in query:
            wanted = [row for row in wanted if row["object_type"] == "gpu"]
        assert found == wanted, query


@ON_SQLITE
async def test_any_principal_can_be_asked_for(plane: Plane) -> None:
    """However long its label: the log names it in up to 300 characters."""
    long = await plane.holder_of(label="x" * 255, permissions=["admin"])
    await long.write("/api/clusters", {"name": "made by it"})
    name = (await audit(plane))[0]["principal"]
    assert len(await audit(plane, f"?principal={name}")) == len(
        [row for row in await audit(plane) if row["principal"] == name]
    )


def test_the_list_of_exceptions_is_short() -> None:
    from gpuforge_controlplane.api.routes import ROUTES

    hot: list[Route] = [route for route in ROUTES if route.path in UNAUDITED]
    assert [route.samples for route in hot] == [True]
