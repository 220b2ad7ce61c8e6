"""Simulated GPUs follow what the control plane says of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gpuforge_agent import host
from gpuforge_agent.allocation import Follower
from gpuforge_agent.identity import Identity
from gpuforge_agent.sources.simulated import SimulatedSource
from gpuforge_client.rest import RestClient
from gpuforge_client.retry import ONCE


class Plane:
    """A control plane that knows one node."""

    def __init__(self) -> None:
        self.jobs: dict[str, int | None] = {}
        self.away = False

    async def node(self, _request: web.Request) -> web.Response:
        if self.away:
            raise web.HTTPServiceUnavailable
        return web.json_response({"gpus": [{"uuid": uuid, "job_id": job} for uuid, job in self.jobs.items()]})


@pytest.fixture
async def plane() -> Plane:
    return Plane()


@pytest.fixture
async def client(plane: Plane) -> AsyncIterator[RestClient]:
    app = web.Application()
    app.router.add_get("/api/clusters/nodes/7", plane.node)
    async with TestServer(app) as server, RestClient(str(server.make_url("/")), None, retry=ONCE) as client:
        yield client


async def test_gpus_work_while_a_job_holds_them(plane: Plane, client: RestClient) -> None:
    source = SimulatedSource("gpu-01", gpu_count=8, clock=lambda: 100.0)
    alive = {reading.uuid for reading in source.read() if reading.utilization_pct}
    identity = Identity(client, host.describe("gpu-01"))
    follower = Follower(client, identity, source)

    def working() -> set[str]:
        return {reading.uuid for reading in source.read() if reading.utilization_pct}

    await follower.look()  # not registered: nobody holds anything
    assert working() == set()
    identity.node_id = 7
    held = sorted(alive)[:2]
    plane.jobs = {uuid: 3 if uuid in held else None for uuid in alive}
    await follower.look()
    assert working() == set(held)
    plane.away = True
    await follower.look()
    assert working() == set(held)
