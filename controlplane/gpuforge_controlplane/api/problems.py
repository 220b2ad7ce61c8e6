"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

import msgspec
from aiohttp import web
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gpuforge_shared.errors import (
    MAX_ERRORS,
    MAX_PATH,
    BodyTooLarge,
    FieldError,
    GPUForgeError,
    InternalError,
    Invalid,
    MalformedBody,
    MethodNotAllowed,
    NotFound,
    Unauthorized,
)

CONTENT_TYPE = "application/problem+json"


def document(error: GPUForgeError, request_id: str) -> dict[str, object]:
    """The problem document of an error."""
    problem: dict[str, object] = {
        "type": f"urn:gpuforge:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "error": error.detail.splitlines()[0] if error.detail else error.title,
        "request_id": request_id,
    }
    if error.errors:
        problem["errors"] = [{"path": field.path, "message": field.message} for field in error.errors]
    return problem


def response(error: GPUForgeError, request_id: str) -> web.Response:
    """The answer to a request that failed."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="gpuforge"'
    return web.Response(
        body=msgspec.json.encode(document(error, request_id)),
        status=error.status,
        content_type=CONTENT_TYPE,
        headers=headers,
    )


def from_validation(
    error: ValidationError, known: Iterable[str], prefix: str = ""
) -> MalformedBody | Invalid:
    """What pydantic found wrong, with the path of each field; broken JSON is a 400 of its own.

    `known` are the names that an unknown one may be a typo of.
    """
    found = error.errors(include_url=False, include_input=False, include_context=False)
    if found[0]["type"] == "json_invalid":
        return MalformedBody(f"the body is not JSON: {found[0]['msg'].removeprefix('Invalid JSON: ')}")
    names = sorted(known)
    fields = tuple(
        FieldError((prefix + path_of(item["loc"]))[:MAX_PATH], _words(item, names))
        for item in found[:MAX_ERRORS]
    )
    first = f"{fields[0].path}: {fields[0].message}"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Invalid(first + more, errors=fields)


def _words(item: ErrorDetails, known: list[str]) -> str:
    if item["type"] != "extra_forbidden":
        return item["msg"]
    near = difflib.get_close_matches(str(item["loc"][-1])[:MAX_PATH], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known) or 'none'}"
    return f"unknown field; {hint}"


def path_of(location: tuple[int | str, ...]) -> str:
    """`("gpus", 3, "model")` as `gpus[3].model`."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path or "body"


def from_http(error: web.HTTPException, path: str) -> GPUForgeError:
    """What aiohttp itself refused, in our words."""
    if isinstance(error, web.HTTPNotFound):
        return NotFound(f"no such route: {path}; GET /api/openapi.json lists all", code="no_such_route")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return MethodNotAllowed(f"{error.method} is not allowed on {path}; allowed: {allowed}")
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return BodyTooLarge("the body is larger than the server takes; send it in several requests")
    if 400 <= error.status < 500:
        return MalformedBody(error.reason or "bad request", code="bad_request")
    return InternalError("the server failed to answer; the request id finds the reason in its log")
