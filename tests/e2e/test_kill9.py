"""kill -9 of the control plane at its busiest: what was answered is there, what was not can be said again."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import pytest
from sqlalchemy import select

from gpuforge_controlplane.services.keys import create_key_on_host
from gpuforge_controlplane.storage.database import Database
from gpuforge_controlplane.storage.schema import api_keys, clusters, gpu_metrics, gpus
from gpuforge_shared.clock import utc_now
from gpuforge_shared.wire.keys import KeyCreate
from tests.running_agent import environment, process

Json = dict[str, Any]
GPUS = 8


@dataclass(slots=True)
class Victim:
    """A control plane in a process of its own, on one database from life to life."""

    database_url: str
    key: str
    url: str = ""
    log: list[str] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def life(self) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Serves; what it yields kills it, and it is dead in the end."""
        env = {**environment("", ""), "GPUFORGE_DATABASE_URL": self.database_url, "GPUFORGE_DEMO": "off"}
        async with process("gpuforge_controlplane", "serve", "--port", "0", env=env) as server:
            assert server.stderr
            reading = asyncio.create_task(self._read(server.stderr))
            async with asyncio.timeout(30):
                while not self.url:
                    assert not reading.done(), "\n".join(self.log)
                    await asyncio.sleep(0.01)

            async def kill() -> None:
                if server.returncode is None:
                    server.kill()
                await server.wait()
                await reading
                self.url = ""

            try:
                yield kill
            finally:
                await kill()

    async def _read(self, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            self.log.append(line.decode())
            event = json.loads(line)
            if event["event"] == "serving":
                self.url = event["url"]

    async def post(
        self, session: aiohttp.ClientSession, path: str, body: Json, **headers: str
    ) -> Json | None:
        """The answer, or None where the server died on it."""
        headers["Authorization"] = f"Bearer {self.key}"
        try:
            async with session.post(self.url + path, json=body, headers=headers) as response:
                answer: Json = await response.json(content_type=None)
                assert response.status in (200, 201), answer
                return answer
        except (aiohttp.ClientError, ConnectionError):
            return None


@pytest.fixture
async def victim(migrated_database_url: str) -> Victim:
    """With an admin's key."""
    database = Database(migrated_database_url)
    wanted = KeyCreate(label="admin", permissions=["admin"])
    key = await create_key_on_host(database, utc_now, wanted)
    await database.close()
    return Victim(migrated_database_url, key)


async def test_every_batch_that_was_answered_is_there(victim: Victim) -> None:
    start = utc_now() - timedelta(hours=1)
    acknowledged: set[tuple[int, datetime]] = set()
    sent: list[Json] = []
    enough = asyncio.Event()

    def batch(agent: int, number: int) -> Json:
        at = start + timedelta(milliseconds=10 * number + agent)
        samples = [
            {"gpu_id": gpu, "recorded_at": at.isoformat(), "utilization_pct": 50} for gpu in range(1, 9)
        ]
        return {"metrics": samples}

    async def agent(number: int, session: aiohttp.ClientSession) -> None:
        for turn in range(10_000):
            body = batch(number, turn)
            sent.append(body)
            answer = await victim.post(session, "/api/clusters/metrics", body)
            if answer is None:
                return
            assert answer["accepted"] == GPUS
            acknowledged.update(_times(body))
            if len(acknowledged) >= 150 * GPUS:
                enough.set()

    async with victim.life() as kill, aiohttp.ClientSession() as session:
        await _furnish(victim, session)
        agents = [asyncio.create_task(agent(number, session)) for number in range(6)]
        await enough.wait()
        await kill()
        await asyncio.gather(*agents)
    stored, latest = await _stored(victim.database_url)
    assert acknowledged <= stored
    assert latest == {gpu: max(at for each, at in stored if each == gpu) for gpu in range(1, GPUS + 1)}

    async with victim.life(), aiohttp.ClientSession() as session:  # all of it again: nothing counts twice
        totals = [await victim.post(session, "/api/clusters/metrics", body) for body in sent]
    accepted = sum(answer["accepted"] for answer in totals if answer)
    duplicates = sum(answer["duplicates"] for answer in totals if answer)
    assert duplicates == len(stored)
    assert accepted + duplicates == len(sent) * GPUS
    assert (await _stored(victim.database_url))[0] == {key for body in sent for key in _times(body)}
    assert "Traceback" not in "".join(victim.log)


async def test_an_idempotency_key_outlives_the_server(victim: Victim) -> None:
    answered: dict[int, Json] = {}
    enough = asyncio.Event()

    async def create(session: aiohttp.ClientSession, number: int) -> Json | None:
        body = {"name": f"cluster {number}"}
        return await victim.post(session, "/api/clusters", body, **{"Idempotency-Key": f"order-{number}"})

    async def customer(first: int, session: aiohttp.ClientSession) -> None:
        for number in range(first, 1_000, 4):
            answer = await create(session, number)
            if answer is None:
                return
            answered[number] = answer
            if len(answered) >= 30:
                enough.set()

    async with victim.life() as kill, aiohttp.ClientSession() as session:
        customers = [asyncio.create_task(customer(first, session)) for first in range(4)]
        await enough.wait()
        await kill()
        await asyncio.gather(*customers)
    tried = max(answered) + 5
    async with victim.life(), aiohttp.ClientSession() as session:
        again = {number: await create(session, number) for number in range(tried)}
    assert {number: again[number] for number in answered} == answered  # the raw keys as well
    names = await _column(victim.database_url, clusters.c.name)
    assert sorted(names) == sorted(f"cluster {number}" for number in range(tried))
    assert len(await _column(victim.database_url, api_keys.c.id)) == 1 + tried


async def _furnish(victim: Victim, session: aiohttp.ClientSession) -> None:
    cluster = await victim.post(session, "/api/clusters", {"name": "x"})
    assert cluster
    node = await victim.post(session, "/api/clusters/nodes", {"cluster_id": cluster["id"], "hostname": "n"})
    assert node
    await victim.post(session, "/api/clusters/gpus", {"node_id": node["id"], "gpus": [{}] * GPUS})


def _times(body: Json) -> list[tuple[int, datetime]]:
    return [(each["gpu_id"], datetime.fromisoformat(each["recorded_at"])) for each in body["metrics"]]


async def _stored(url: str) -> tuple[set[tuple[int, datetime]], dict[int, datetime]]:
    database = Database(url)
    async with database.read() as tx:
        rows = await tx.execute(select(gpu_metrics.c.gpu_id, gpu_metrics.c.recorded_at))
        latest = await tx.execute(select(gpus.c.id, gpus.c.recorded_at))
        found = {(row.gpu_id, row.recorded_at) for row in rows}, {row.id: row.recorded_at for row in latest}
    await database.close()
    return found


async def _column(url: str, column: Any) -> list[Any]:
    database = Database(url)
    async with database.read() as tx:
        found = list((await tx.execute(select(column))).scalars())
    await database.close()
    return found
