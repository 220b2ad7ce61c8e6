"""The one route table: nothing is served beside it, and all it says of itself is true."""

import re

from aiohttp.web import PlainResource
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from gpuforge_controlplane.api import ui
from gpuforge_controlplane.api.routes import ROUTES
from tests.api.examples import build_scene, examples, rows_to_walk
from tests.api.harness import ON_SQLITE, Plane


@ON_SQLITE
async def test_nothing_is_routed_beside_the_table(plane: Plane) -> None:
    served = set()
    for route in plane.app.router.routes():
        assert route.resource is not None
        served.add((route.method, re.sub(r":\[[^]]+\]\+", "", route.resource.canonical)))
    table = {(row.method, row.path) for row in ROUTES} | {("GET", path) for path in ui.paths()}
    assert served == table | {("HEAD", path) for method, path in table if method == "GET"}
    assert not plane.app._subapps


@ON_SQLITE
async def test_every_row_has_an_example(plane: Plane) -> None:
    """The tests that walk the table send these: a row without one would slip through them."""
    known = examples(await build_scene(plane))
    assert set(known) == {(row.method, row.path) for row in ROUTES}


@ON_SQLITE
async def test_the_document_is_valid_openapi_for_somebody_else(plane: Plane) -> None:
    validate(plane.contract.document, cls=OpenAPIV31SpecValidator)
    assert plane.contract.document["openapi"].startswith("3.1")


@ON_SQLITE
async def test_the_document_has_every_row_and_no_other(plane: Plane) -> None:
    described = {
        (method.upper(), path)
        for path, operations in plane.contract.document["paths"].items()
        for method in operations
    }
    assert described == {(row.method, row.path) for row in ROUTES}


@ON_SQLITE
async def test_every_operation_is_named_and_summed_up(plane: Plane) -> None:
    operations = [
        operation
        for operations in plane.contract.document["paths"].values()
        for operation in operations.values()
    ]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert all(len(operation["summary"]) > 10 for operation in operations)


async def test_every_row_answers_with_a_status_it_documents(plane: Plane) -> None:
    for route, example in rows_to_walk(await build_scene(plane)):
        answer = await plane.admin.call(route.method, example.path, example.body)
        assert answer.status in route.status, (route.method, route.path, answer.raw)


@ON_SQLITE
async def test_every_get_answers_head_without_a_body(plane: Plane) -> None:
    for route, example in rows_to_walk(await build_scene(plane)):
        if route.method != "GET":
            continue
        head = await plane.admin.call("HEAD", example.path)
        assert (head.status, head.raw) == (200, b""), route.path
        assert head.headers["Content-Type"].startswith(route.media)


@ON_SQLITE
async def test_an_id_is_digits_only(plane: Plane) -> None:
    """So that /api/clusters/nodes is never read as a cluster."""
    resource = [each for each in plane.app.router.resources() if isinstance(each, PlainResource)]
    assert resource
    for word in ("nodes", "abc", "1a", "-1", "1.0", "٣", "%31%3Fx"):
        answer = await plane.admin.get(f"/api/clusters/{word}")
        assert answer.status in (404, 405), word


@ON_SQLITE
async def test_a_path_is_met_exactly(plane: Plane) -> None:
    for path in (
        "/api/clusters/",
        "//api/clusters",
        "/API/clusters",
        "/api/clusters/1/",
        "/api",
        "/fleet/",
        "/assets/",
    ):
        answer = await plane.admin.get(path)
        assert (answer.status, answer.code) == (404, "no_such_route"), path
