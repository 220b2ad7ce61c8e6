"""Every field of every body at the edges of what JSON can say: an answer in words, never a 500."""

from collections.abc import Iterator
from typing import Any

import pytest

from gpuforge_shared.wire.base import MAX_ID
from tests.api.examples import build_scene, rows_to_walk
from tests.api.harness import Json, Plane

EDGES: tuple[Json, ...] = (
    None, "", "\u0000", "é" * 255, "x" * 256, 0, -1, 2**31, MAX_ID, MAX_ID + 1, 1.5, 1e308, True,
    [], {}, [None], [{}],
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z",  # asyncpg takes these two for the infinities
)  # fmt: skip


async def test_a_field_at_the_edge_of_what_can_be_sent(plane: Plane, subtests: pytest.Subtests) -> None:
    described = await plane.anonymous.read("/api/openapi.json")
    rows = rows_to_walk(await build_scene(plane))
    for route, example in rows:
        operation = described["paths"][route.path][route.method.lower()]
        if "requestBody" not in operation:
            continue
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        for body in _bodies(described, schema, example.body):
            with subtests.test(path=f"{route.method} {route.path}", body=body):
                answer = await plane.admin.call(route.method, example.path, body)
                assert answer.status < 500, answer.raw
    for route, example in rows:
        if route.method == "GET" and not route.stream:
            with subtests.test(path=route.path, reads="what was stored meanwhile"):
                assert (await plane.admin.get(example.path)).status < 500


def _bodies(described: Json, schema: Json, body: dict[str, Any]) -> Iterator[Json]:
    """The body with one field at an edge, and with one field of each list's first object."""
    for name, field in _resolved(described, schema).get("properties", {}).items():
        yield from ({**body, name: edge} for edge in EDGES)
        first = (body.get(name) or [{}])[0] if isinstance(body.get(name), list | None) else {}
        items = _resolved(described, _resolved(described, field).get("items", {}))
        for inner in items.get("properties", {}):
            yield from ({**body, name: [{**first, inner: edge}]} for edge in EDGES)


def _resolved(described: Json, schema: Json) -> Any:
    while "$ref" in schema:
        schema = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema
