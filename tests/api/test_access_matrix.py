"""Who may call what: every row of the table against every kind of caller, by a table of its own."""

import pytest

from gpuforge_controlplane.api.route import Route
from gpuforge_controlplane.api.routes import ROUTES
from tests.api.conftest import Serve
from tests.api.examples import Scene, build_scene, rows_to_walk
from tests.api.harness import ON_SQLITE, Answer, Caller, Plane

# The contract in one table. R, W, A: an operator's key that reads, writes, administers. T: a tenant's key
# with all three scopes. C: the cluster's own key. Everybody else is refused.
MAY = {
    "GET /api/clusters": "RWATC",
    "POST /api/clusters": "WA",
    "GET /api/clusters/{cluster_id}": "RWATC",
    "POST /api/clusters/nodes": "WAC",
    "GET /api/clusters/nodes/{node_id}": "RWAC",
    "PATCH /api/clusters/nodes/{node_id}": "WAC",
    "DELETE /api/clusters/nodes/{node_id}": "WA",
    "POST /api/clusters/nodes/{node_id}/health": "WAC",
    "POST /api/gpus/{gpu_id}/clear-fault": "WA",
    "POST /api/clusters/gpus": "WAC",
    "POST /api/clusters/metrics": "WAC",
    "GET /api/dashboard/gpu-allocation": "RWAT",
    "GET /api/tenants": "RWAT",
    "POST /api/tenants": "WA",
    "GET /api/tenants/{tenant_id}": "RWAT",
    "PUT /api/tenants/{tenant_id}": "WA",
    "DELETE /api/tenants/{tenant_id}": "WA",
    "GET /api/jobs": "RWAT",
    "POST /api/jobs": "WAT",
    "GET /api/jobs/{job_id}": "RWAT",
    "PATCH /api/jobs/{job_id}": "WAT",
    "GET /api/jobs/{job_id}/explain": "RWAT",
    "GET /api/dashboard/scheduling-metrics": "RWAT",
    "GET /api/scheduler/logs": "RWA",
    "GET /api/alerts/rules": "RWAT",
    "PATCH /api/alerts/rules/{rule_id}": "WA",
    "GET /api/alerts/events": "RWAT",
    "POST /api/alerts/events/{event_id}/acknowledge": "WA",
    "GET /api/tenants/{tenant_id}/usage": "RWAT",
    "PUT /api/tenants/{tenant_id}/budget": "WA",
    "GET /api/tenants/{tenant_id}/invoice/preview": "RWAT",
    "POST /api/tenants/{tenant_id}/invoice": "WA",
    "GET /api/usage/export.csv": "RWAT",
    "GET /api/billing/summary": "RWAT",
    "GET /api/invoices": "RWAT",
    "GET /api/invoices/{invoice_id}": "RWAT",
    "PATCH /api/invoices/{invoice_id}/status": "WA",
    "POST /api/invoices/{invoice_id}/void": "A",
    "GET /api/rates": "RWAT",
    "PUT /api/rates/{family}": "A",
    "GET /api/dashboard/revenue": "RWAT",
    "GET /api/alerts/silences": "RWA",
    "POST /api/alerts/silences": "WA",
    "DELETE /api/alerts/silences/{silence_id}": "WA",
    "GET /api/alerts/channels": "RWA",
    "POST /api/alerts/channels": "A",
    "DELETE /api/alerts/channels/{channel_id}": "A",
    "GET /api/dashboard/leakage": "RWAT",
    "POST /api/api-keys": "AT",
    "GET /api/api-keys": "AT",
    "DELETE /api/api-keys/{key_id}": "AT",
    "GET /api/dashboard": "RWAT",
    "GET /api/gpus/{gpu_id}/metrics": "RWAT",
    "GET /api/clusters/nodes/{node_id}/metrics": "RWAC",
    "GET /api/clusters/{cluster_id}/metrics": "RWAT",
    "GET /api/jobs/{job_id}/metrics": "RWAT",
    "GET /api/tenants/{tenant_id}/metrics": "RWAT",
    "GET /api/events": "RWAT",
    "GET /api/dashboard/kpis": "RWAT",
    "GET /api/dashboard/allocation-history": "RWA",
    "GET /api/audit": "A",
    "GET /api/whoami": "RWATC",
}
OPEN = {"POST /api/stripe/webhook", "GET /api/openapi.json", "GET /healthz", "GET /readyz", "GET /metrics"}


async def caller(letter: str, plane: Plane, scene: Scene) -> Caller:
    """Somebody of that kind."""
    match letter:
        case "R" | "W" | "A":
            scope = {"R": "read", "W": "write", "A": "admin"}[letter]
            return await plane.holder_of(permissions=[scope])
        case "T":
            return await plane.holder_of(permissions=["read", "write", "admin"], tenant_id=scene.tenant_id)
        case _:
            return scene.site.agent


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


def test_the_table_here_knows_every_row() -> None:
    assert {named(route) for route in ROUTES} == MAY.keys() | OPEN


@pytest.mark.parametrize("letter", "RWATC")
async def test_a_caller_passes_where_the_contract_lets_it_and_nowhere_else(plane: Plane, letter: str) -> None:
    scene = await build_scene(plane)
    asks = await caller(letter, plane, scene)
    await asks.get("/api/clusters")  # so that the key's last use is noted
    before = await plane.contents()
    for route, example in rows_to_walk(scene):
        if letter not in MAY.get(named(route), letter):
            answer = await asks.call(route.method, example.path, example.body)
            assert (answer.status, answer.code) == (403, "forbidden"), named(route)
    assert await plane.contents() == before
    for route, example in rows_to_walk(scene):
        if letter in MAY.get(named(route), letter):
            answer = await asks.call(route.method, example.path, example.body)
            assert answer.status in route.status, (named(route), answer.raw)


@ON_SQLITE
async def test_nobody_passes_without_a_key_when_demo_is_off(plane: Plane) -> None:
    for route, example in rows_to_walk(await build_scene(plane)):
        answer = await plane.anonymous.call(route.method, example.path, example.body)
        if named(route) in OPEN:
            assert answer.status == 200
        else:
            assert_sent_away(answer)


@ON_SQLITE
async def test_an_anonymous_reader_of_the_sample_sees_all_of_it_and_writes_nothing(serve: Serve) -> None:
    plane = await serve(demo="sample")
    for route, example in rows_to_walk(await build_scene(plane)):
        answer = await plane.anonymous.call(route.method, example.path, example.body)
        if route.writes:
            assert_sent_away(answer)
        elif named(route) not in OPEN:
            assert answer.status == 200, named(route)
            assert answer.headers["X-GPUForge-Demo"] == "sample"


async def test_an_anonymous_reader_of_live_data_reads_like_a_read_key(serve: Serve) -> None:
    plane = await serve(demo="live")
    for route, example in rows_to_walk(await build_scene(plane)):
        answer = await plane.anonymous.call(route.method, example.path, example.body)
        if named(route) in OPEN:
            continue
        if not route.writes and "R" in MAY[named(route)]:
            assert (answer.status, answer.headers["X-GPUForge-Demo"]) == (200, "live"), named(route)
        else:
            assert_sent_away(answer)


@ON_SQLITE
async def test_a_forbidden_request_is_refused_before_its_body_is_looked_at(plane: Plane) -> None:
    reader = await plane.holder_of(permissions=["read"])
    answer = await reader.call("POST", "/api/clusters", data=b"no JSON at all")
    assert answer.status == 403


def assert_sent_away(answer: Answer) -> None:
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="gpuforge"')
    assert "Authorization: Bearer" in answer.body["detail"]
