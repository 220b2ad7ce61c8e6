"""Rows about the server itself: alive, ready, metrics, the API's own description."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Literal

import msgspec
from aiohttp import web
from typing_extensions import TypedDict  # pydantic reads typing's own from 3.12 on only

from gpuforge_controlplane import migrations
from gpuforge_controlplane.api import observations
from gpuforge_controlplane.api.endpoint import Api
from gpuforge_controlplane.api.openapi import describe
from gpuforge_controlplane.api.route import Route
from gpuforge_controlplane.storage.database import schema_revision
from gpuforge_shared.errors import Unavailable


class Health(TypedDict):
    """That the server answers, or may be sent work."""

    status: Literal["ok"]
    time: datetime  # of this server: a caller may compare its clock


async def healthz(api: Api, _request: web.Request) -> web.StreamResponse:
    """Whether the process is alive: it answers, whatever the database does."""
    return _json(Health(status="ok", time=api.clock()))


async def readyz(api: Api, _request: web.Request) -> web.StreamResponse:
    """Whether the server can do work: the database answers and its schema is not older than the code."""
    async with api.database.read() as tx:
        revision = await schema_revision(tx)
    if revision is None or revision < migrations.head():
        raise Unavailable(
            f"the database is at schema {revision or 'none'}, this code needs {migrations.head()}; "
            "run gpuforge-controlplane migrate",
            code="schema_outdated",
            retry_after=5.0,
        )
    return _json(Health(status="ok", time=api.clock()))


async def prometheus(api: Api, _request: web.Request) -> web.StreamResponse:
    """Counters of this process, in Prometheus' text format."""
    return web.Response(
        body=api.observations.exposition(), headers={"Content-Type": observations.CONTENT_TYPE}
    )


async def openapi(api: Api, _request: web.Request) -> web.StreamResponse:
    """This API as an OpenAPI 3.1 document."""
    return web.Response(body=_described(tuple(api.routes)), content_type="application/json")


@lru_cache(maxsize=4)  # 0.2 s of work, which anybody may ask for without a key
def _described(routes: Sequence[Route]) -> bytes:
    return msgspec.json.encode(describe(routes))


def _json(answer: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")
