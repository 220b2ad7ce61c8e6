"""A control plane on a loopback port, and a client that holds every answer to the server's own OpenAPI."""

import asyncio
import contextlib
import io
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from jsonschema import Draft202012Validator
from multidict import CIMultiDictProxy
from sqlalchemy import Row, select, text
from sqlalchemy.sql import Executable

from gpuforge_controlplane.api.application import application, runner
from gpuforge_controlplane.api.endpoint import Api
from gpuforge_controlplane.app import control_plane
from gpuforge_controlplane.config import ControlPlaneSettings
from gpuforge_controlplane.domain.alerts import Transition
from gpuforge_controlplane.domain.decisions import Plan
from gpuforge_controlplane.services.keys import create_key_on_host
from gpuforge_controlplane.services.scheduling import run_cycle
from gpuforge_controlplane.services.watching import run_evaluation
from gpuforge_controlplane.storage import leases
from gpuforge_controlplane.storage.database import Database
from gpuforge_controlplane.storage.schema import metadata, tenants
from gpuforge_shared.wire.keys import KeyCreate
from tests.loopback import served

Json = Any
# For what never gets as far as a database, or does nothing there that the two do differently.
ON_SQLITE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
START = datetime(2026, 5, 9, 12, tzinfo=UTC)
# What notification channels need; a test may be sent something on loopback.
SENDING = {"notify_secret": "the test's own secret", "notify_allow_networks": "127.0.0.0/8"}
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "gpuforge",
}


class WallClock:
    """The server's clock; moves when a test says so."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        """By `seconds=`, `hours=` …"""
        self.now += timedelta(**by)


class Contract:
    """What the OpenAPI document promises, read by people who did not write it."""

    def __init__(self, document: Json) -> None:
        self.document = document
        schemas: Json = _closed(document["components"]["schemas"])
        self._components = {"schemas": schemas}
        self._operations = [
            (method.upper(), re.compile(_as_pattern(path)), operation)
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
        ]

    def check(self, method: str, path: str, answer: "Answer") -> None:
        """Fail where an answer is not what the document says of this method, path and status."""
        media = answer.headers["Content-Type"].partition(";")[0]
        # a page has a policy of its own, which its test looks at
        own = {"Content-Security-Policy"} if media == "text/html" else set()
        for name, value in SECURITY_HEADERS.items():
            assert answer.headers.get(name) == value or name in own, name
        assert re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", answer.headers["X-Request-Id"])
        responses = self._responses("GET" if method == "HEAD" else method, path)
        expected = responses[str(answer.status) if str(answer.status) in responses else "default"]
        assert media in expected["content"]
        content = expected["content"][media]
        if answer.status >= 400:
            assert media == "application/problem+json"
        if method == "HEAD" or not media.endswith("json"):
            return
        schema = {**content["schema"], "components": self._components}
        Draft202012Validator(schema).validate(answer.body)
        if answer.status >= 400:
            self._check_problem(answer)

    def _responses(self, method: str, path: str) -> dict[str, Json]:
        for its_method, its_path, operation in self._operations:
            if its_method == method and its_path.fullmatch(path):
                return dict(operation["responses"])
        problem = {"$ref": "#/components/schemas/Problem"}  # no such route: still a problem document
        return {"default": {"content": {"application/problem+json": {"schema": problem}}}}

    @staticmethod
    def _check_problem(answer: "Answer") -> None:
        problem = answer.body
        assert problem["status"] == answer.status
        assert problem["request_id"] == answer.headers["X-Request-Id"]
        assert problem["type"] == f"urn:gpuforge:problem:{problem['code']}"
        assert problem["error"]
        assert "\n" not in problem["error"]
        assert "Traceback" not in answer.raw.decode()


def _as_pattern(path: str) -> str:
    return re.sub(r"{\w+}", "[^/]+", re.sub(r"{\w+_id}", "[0-9]+", path))


def _closed(schemas: Json) -> Json:
    """The schemas with every object closed, so that a field nobody documented is found."""
    if isinstance(schemas, dict):
        closed = {name: _closed(schema) for name, schema in schemas.items()}
        if isinstance(schemas.get("properties"), dict) and schemas.get("type") == "object":
            closed.setdefault("additionalProperties", False)
        return closed
    return [_closed(schema) for schema in schemas] if isinstance(schemas, list) else schemas


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: CIMultiDictProxy[str]
    raw: bytes

    @property
    def body(self) -> Json:
        return json.loads(self.raw)

    @property
    def code(self) -> str:
        """The problem's code."""
        return str(self.body["code"])

    @property
    def paths(self) -> list[str]:
        """The fields that the problem names."""
        return [error["path"] for error in self.body.get("errors", [])]

    @property
    def next_page(self) -> str | None:
        """Where the Link header leads."""
        found = re.fullmatch(r'<(.*)>; rel="next"', self.headers.get("Link", ""))
        return found[1] if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Sends requests with one key, or without."""

    plane: "Plane"
    key: str | None

    async def call(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer, already held to the OpenAPI document. `data` goes out as it is."""
        sent = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        return await self.plane.exchange(method, path, data, sent | dict(headers or {}))

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Json = None, **options: Any) -> Answer:
        return await self.call("POST", path, body, **options)

    async def put(self, path: str, body: Json = None, **options: Any) -> Answer:
        return await self.call("PUT", path, body, **options)

    async def patch(self, path: str, body: Json = None, **options: Any) -> Answer:
        return await self.call("PATCH", path, body, **options)

    async def delete(self, path: str, **options: Any) -> Answer:
        return await self.call("DELETE", path, **options)

    async def read(self, path: str) -> Json:
        """The body of a GET that must succeed."""
        answer = await self.get(path)
        assert answer.status == 200, answer.raw
        return answer.body

    async def write(self, path: str, body: Json) -> Json:
        """The body of a POST that must succeed."""
        answer = await self.post(path, body)
        assert answer.status in (200, 201), answer.raw
        return answer.body

    async def pages(self, path: str) -> list[Answer]:
        """A list's pages, by way of its Link headers."""
        answers = [await self.get(path)]
        while (following := answers[-1].next_page) is not None:
            assert len(answers) < 1_000
            answers.append(await self.get(following))
        return answers


@dataclass(slots=True, kw_only=True)
class Plane:
    """A control plane in this process, and a look behind it."""

    url: str
    clock: WallClock
    api: Api
    app: web.Application
    database: Database
    session: aiohttp.ClientSession
    contract: Contract
    token: int  # of the leader's lease, which is the test's: no cycle runs unless a test says so
    admin_key: str
    raw_keys: set[str] = field(default_factory=set)

    @property
    def admin(self) -> Caller:
        return self.holder(self.admin_key)

    @property
    def anonymous(self) -> Caller:
        return Caller(plane=self, key=None)

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port
        return port

    def holder(self, key: str) -> Caller:
        """Who calls with this key."""
        return Caller(plane=self, key=key)

    async def exchange(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        """Send a request as it is, hold the answer to the OpenAPI document, note the raw keys in it."""
        body = io.BytesIO(data) if data is not None else None
        async with self.session.request(method, self.url + path, data=body, headers=headers) as response:
            lasts = response.content_type == "text/event-stream" and method == "GET"
            raw = await (response.content.readuntil(b"\n\n") if lasts else response.read())
            answer = Answer(status=response.status, headers=response.headers, raw=raw)
        self.contract.check(method, path.partition("?")[0], answer)
        self.raw_keys.update(re.findall(r"gfk_[0-9a-f]{64}", answer.raw.decode()))
        return answer

    async def key(self, **wanted: Any) -> str:
        """A new key, minted on the host: `permissions=["read"]`, `tenant_id=1` …"""
        body = KeyCreate.model_validate({"label": "a test's", **wanted})
        raw = await create_key_on_host(self.database, self.clock, body)
        self.raw_keys.add(raw)
        return raw

    async def holder_of(self, **wanted: Any) -> Caller:
        """Who calls with a new key of this kind."""
        return self.holder(await self.key(**wanted))

    async def cycle(self) -> Plan:
        """Run one cycle of the scheduler, now."""
        return await run_cycle(self.database, self.clock, self.token)

    async def evaluate(self) -> Sequence[Transition]:
        """Evaluate the alert rules once, as one who has listened all day."""
        since = self.clock() - timedelta(days=1)
        return await run_evaluation(self.database, self.clock, self.token, hearing_since=since)

    async def tenant(self, name: str = "NovAI Labs") -> int:
        """A tenant's id."""
        row = {"name": name, "gpu_quota": 8, "plan_tier": "pro", "status": "active", "created_at": START}
        async with self.database.write() as tx:
            made = await tx.execute(tenants.insert().values(row).returning(tenants.c.id))
            return int(made.scalar_one())

    async def rows(self, query: str | Executable, **values: Any) -> Sequence[Row[Any]]:
        """What the database holds."""
        async with self.database.read() as tx:
            statement = text(query) if isinstance(query, str) else query
            return (await tx.execute(statement, values)).all()

    async def count(self, table: str) -> int:
        """How many rows."""
        return int((await self.rows(f"SELECT count(*) FROM {table}"))[0][0])

    async def contents(self) -> dict[str, list[str]]:
        """Every row of every table, to compare: what a refused request must leave as it is.

        All but when a key was last used, which is noted of any request.
        """
        rows: dict[str, Sequence[Row[Any]]] = {}
        async with self.database.read() as tx:
            for name, table in metadata.tables.items():
                columns = [column for column in table.c if column.name != "last_used_at"]
                rows[name] = (await tx.execute(select(*columns))).all()
        # afterwards: PostgreSQL ends a transaction that idles for as long as this may take
        return {name: sorted(map(str, found)) for name, found in rows.items()}


@contextlib.asynccontextmanager
async def serving(url: str, clock: WallClock | None = None, **settings: Any) -> AsyncIterator[Plane]:
    """The control plane on the database at `url`, on a free loopback port.

    It never leads: this test holds the lease, so that nothing is scheduled behind its back.
    """
    clock = clock or WallClock()
    given = ControlPlaneSettings(database_url=url, **{"demo": "off", **SENDING, **settings})
    async with contextlib.AsyncExitStack() as stack:
        database = Database(url)
        stack.push_async_callback(database.close)
        async with database.write() as tx:
            token = await leases.take(tx, "the test", timedelta(hours=1))
        assert token is not None
        api = await stack.enter_async_context(control_plane(given, clock))
        app = application(api, max_body_mib=given.max_body_mib)
        address = await stack.enter_async_context(served(runner(app, stop_s=1)))
        session = await stack.enter_async_context(aiohttp.ClientSession(skip_auto_headers=["Content-Type"]))
        async with session.get(f"{address}/api/openapi.json") as described:
            contract = Contract(await described.json())
        plane = Plane(
            url=address,
            clock=clock,
            api=api,
            app=app,
            database=database,
            session=session,
            contract=contract,
            token=token,
            admin_key="",
        )
        plane.admin_key = await plane.key(label="the admin", permissions=["admin"])
        yield plane


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A cluster with a node of two GPUs, and its agents' key."""

    cluster_id: int
    node_id: int
    gpu_ids: tuple[int, int]
    agent: Caller


async def build_site(plane: Plane, name: str, *, cluster_id: int | None = None) -> Site:
    """A site whose hostname and UUIDs follow from its name, in a cluster of its own or this one."""
    agent = plane.admin
    if cluster_id is None:
        cluster = await plane.admin.write("/api/clusters", {"name": name})
        cluster_id, agent = cluster["id"], plane.holder(cluster["api_key"])
    node = await agent.write("/api/clusters/nodes", {"cluster_id": cluster_id, "hostname": f"{name}-01"})
    cards = [{"uuid": f"GPU-{name}-{index}", "model": "NVIDIA H100 80GB"} for index in range(2)]
    first, second = await agent.write("/api/clusters/gpus", {"node_id": node["id"], "gpus": cards})
    assert cluster_id is not None
    return Site(cluster_id=cluster_id, node_id=node["id"], gpu_ids=(first["id"], second["id"]), agent=agent)


async def told(plane: Plane, raw: bytes) -> bytes:
    """What the server answers to these very bytes, until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", plane.port)
    writer.write(raw)
    await writer.drain()
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer


def secrets_in(plane: Plane, kept: Iterator[str]) -> list[str]:
    """Which of the raw keys seen stand in one of these texts, whole or without prefix."""
    texts = list(kept)
    return [key for key in plane.raw_keys if any(key.removeprefix("gfk_") in text for text in texts)]
