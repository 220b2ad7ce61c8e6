"""The route table as an OpenAPI 3.1 document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from gpuforge_controlplane.api.problems import CONTENT_TYPE
from gpuforge_controlplane.api.route import Route

Json = dict[str, Any]
_REF = "#/components/schemas/{model}"
_PROBLEM: Json = {
    "type": "object",
    "description": "RFC 9457 problem document; `code` is stable and machine-readable.",
    "required": ["type", "title", "status", "detail", "code", "error", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "error": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "message"],
                "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
_SCHEMES: Json = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key: gfk_ and 64 hex digits."}
}


def describe(routes: Sequence[Route]) -> Json:
    """The whole document."""
    schemas, answers, bodies = _schemas(routes)
    paths: dict[str, Json] = {}
    for index, route in enumerate(routes):
        operation = _operation(route, answers[index], bodies.get(index))
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "GPUForge Fleet Orchestration API", "version": "1"},
        "paths": paths,
        "components": {"schemas": schemas | {"Problem": _PROBLEM}, "securitySchemes": _SCHEMES},
    }


def _schemas(routes: Sequence[Route]) -> tuple[Json, dict[int, Json], dict[int, Json]]:
    """All component schemas, and by row the schema of its answer and of its body."""
    inputs: list[tuple[tuple[int, str], JsonSchemaMode, TypeAdapter[Any]]] = []
    hot: dict[int, type[msgspec.Struct]] = {}
    for index, route in enumerate(routes):
        inputs.append(((index, "answer"), "serialization", TypeAdapter(route.answer)))
        inputs += [
            ((index, f"event {name}"), "serialization", TypeAdapter(event)) for name, event in route.events
        ]
        if route.body is None:
            continue
        if issubclass(route.body, BaseModel):
            inputs.append(((index, "body"), "validation", TypeAdapter(route.body)))
        else:
            hot[index] = route.body
    found, definitions = TypeAdapter.json_schemas(inputs, ref_template=_REF)
    refs, components = msgspec.json.schema_components(
        hot.values(), ref_template="#/components/schemas/{name}"
    )
    answers = {index: schema for ((index, part), _), schema in found.items() if part == "answer"}
    bodies = {index: schema for ((index, part), _), schema in found.items() if part == "body"}
    schemas = {**definitions.get("$defs", {}), **components}
    return schemas, answers, bodies | dict(zip(hot, refs, strict=True))


def _operation(route: Route, answer: Json, body: Json | None) -> Json:
    operation: Json = {
        "operationId": route.service.__name__,
        "tags": [route.tag],
        "summary": route.summary,
        **({"description": route.description} if route.description else {}),
        "responses": {
            **{
                str(status): {"description": _words(status), "content": _content(route, answer)}
                for status in route.status
            },
            "default": {
                "description": "What went wrong",
                "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
        "security": [] if route.access is None else [{"key": []}] if route.writes else [{"key": []}, {}],
    }
    if parameters := [*_path_parameters(route.path), *_query_parameters(route), *_headers(route)]:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if route.access is not None:
        operation["x-gpuforge-scope"] = route.access.scope
    if route.events:  # OpenAPI 3.1 has no words for what the messages of a stream carry
        operation["x-gpuforge-events"] = {
            name: {"$ref": _REF.format(model=event.__name__)} for name, event in route.events
        }
    return operation


def _content(route: Route, answer: Json) -> Json:
    """The answer, and its further forms."""
    return {
        route.media: {"schema": answer},
        **{media: {"schema": {"type": "string"}} for media, _ in route.views},
    }


def _words(status: int) -> str:
    return {200: "OK", 201: "Created"}[status]


def _path_parameters(path: str) -> Iterable[Json]:
    for name in re.findall(r"{(\w+)}", path):
        schema: Json = {"type": "integer", "minimum": 1} if name.endswith("_id") else {"type": "string"}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(route: Route) -> Iterable[Json]:
    schema = route.query.model_json_schema()
    for name, field in schema.get("properties", {}).items():
        parameter: Json = {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "schema": {key: value for key, value in field.items() if key not in ("title", "description")},
        }
        if "description" in field:
            parameter["description"] = field["description"]
        yield parameter


def _headers(route: Route) -> Iterable[Json]:
    if route.events:
        yield {
            "name": "Last-Event-ID",
            "in": "header",
            "required": False,
            "description": "The id of the last message: go on after it.",
            "schema": {"type": "string"},
        }
    if route.method == "POST":
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "A repeat with the same key and body within 24 h gets the first answer.",
            "schema": {"type": "string", "maxLength": 255},
        }
