"""A small control plane on a loopback port: the agent's side of the contract, with faults on order."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aiohttp import web

from gpuforge_shared.apikey import assemble
from gpuforge_shared.clock import Clock
from tests.loopback import served

KEY = assemble("5" * 56)

Json = dict[str, Any]
Fault = Callable[[web.Request, Any], web.Response | None]


def problem(
    status: int, code: str, *, headers: Mapping[str, str] | None = None, **fields: Any
) -> web.Response:
    """An RFC 9457 answer, as the contract has it."""
    document = {"status": status, "code": code, "title": code, "detail": f"{code} of the fake", **fields}
    return web.json_response(
        document, status=status, content_type="application/problem+json", headers=dict(headers or {})
    )


@dataclass
class FakeControlPlane:
    """One cluster. What came in is kept; `faults` answer first, each once, in order."""

    key: str = KEY
    nodes: dict[str, Json] = field(default_factory=dict)  # by hostname
    gpus: list[Json] = field(default_factory=list)
    metrics: list[Json] = field(default_factory=list)  # stored, without duplicates
    reports: list[Json] = field(default_factory=list)  # of health
    # ids that the next report is told are none of its GPUs
    strangers: list[int] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)  # items of each batch that arrived
    requests: list[str] = field(default_factory=list)  # "POST /api/…"
    faults: deque[Fault] = field(default_factory=deque)
    lasting: Fault | None = None
    clock: Clock | None = None  # None: older, does not tell its time
    takes_key_for_admins: bool = False
    knows_whose_key_it_is: bool = True  # else it is a key bound to no cluster
    url: str = ""

    def __post_init__(self) -> None:
        self._seen: set[tuple[int, str]] = set()
        self._changed = asyncio.Condition()

    async def until(self, holds: Callable[["FakeControlPlane"], bool]) -> None:
        """Wait for a request after which `holds` is true; 20 s at most."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(lambda: holds(self))

    def times_of(self, uuid: str) -> list[datetime]:
        """`recorded_at` of what was stored of one GPU, in order of arrival."""
        ids = {gpu["id"] for gpu in self.gpus if gpu["uuid"] == uuid}
        return [datetime.fromisoformat(each["recorded_at"]) for each in self.metrics if each["gpu_id"] in ids]

    def lose_everything(self) -> None:
        """As after a restore from an old backup."""
        self.nodes.clear()
        self.gpus.clear()

    @contextlib.asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator["FakeControlPlane"]:
        """Listen on 127.0.0.1; `port` 0 takes a free one. May be entered again after it was left."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        async with served(app, port) as self.url:
            yield self

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        async with self._changed:
            self.requests.append(f"{request.method} {request.path}")
            answer = self._faulty(request, body) or self._routed(request, body)
            self._changed.notify_all()
        return answer

    def _faulty(self, request: web.Request, body: Any) -> web.Response | None:
        if self.lasting is not None and (answer := self.lasting(request, body)) is not None:
            return answer
        if self.faults and (answer := self.faults[0](request, body)) is not None:
            self.faults.popleft()
            return answer
        return None

    def _routed(self, request: web.Request, body: Any) -> web.Response:
        if (answer := self._gate(request)) is not None:
            return answer
        match request.method, request.path.removeprefix("/api/clusters"):
            case "GET", "":
                return web.json_response([{"id": 1, "name": "east", "from_the_future": True}])
            case "POST", "/nodes":
                return self._node(body)
            case "POST", "/gpus":
                return self._gpus(body)
            case "POST", "/metrics":
                return self._metrics(body["metrics"])
            case "POST", path if path.endswith("/health"):
                self.reports.append(body)
                told, self.strangers = self.strangers, []
                return web.json_response({"gpus": len(body["gpus"]), "opened": [], "unknown_gpus": told})
            case "GET", path:
                return self._detail(int(path.rsplit("/", 1)[-1]))
        return problem(404, "not_found")

    def _gate(self, request: web.Request) -> web.Response | None:
        """What is answered without looking at clusters."""
        if request.path == "/healthz":
            told = {} if self.clock is None else {"time": self.clock().isoformat()}
            return web.json_response({"status": "ok", **told})
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return problem(401, "unauthorized")
        if request.path == "/api/whoami":
            return web.json_response({"cluster_id": 1 if self.knows_whose_key_it_is else None})
        if request.path == "/api/tenants":
            return web.json_response([]) if self.takes_key_for_admins else problem(403, "not_for_agents")
        return None

    def _node(self, body: Json) -> web.Response:
        new = body["hostname"] not in self.nodes
        node = self.nodes.setdefault(body["hostname"], {"id": 100 + len(self.nodes), "beats": 0})
        node.update(body, beats=node["beats"] + 1)
        answer = node if self.clock is None else {**node, "last_heartbeat_at": self.clock().isoformat()}
        return web.json_response(answer, status=201 if new else 200)

    def _gpus(self, body: Json) -> web.Response:
        created = []
        for gpu in body["gpus"]:
            known = [each for each in self.gpus if each["uuid"] == gpu["uuid"]]
            if known:
                known[0].update(gpu)
            else:
                created.append({"id": 1_000 + len(self.gpus), "node_id": body["node_id"], **gpu})
                self.gpus.append(created[-1])
        return web.json_response(created, status=201 if created else 200)

    def _detail(self, node_id: int) -> web.Response:
        for node in self.nodes.values():
            if node["id"] == node_id:
                gpus = [gpu for gpu in self.gpus if gpu["node_id"] == node_id]
                return web.json_response({**node, "gpus": gpus})
        return problem(404, "node_not_found")

    def _metrics(self, metrics: list[Json]) -> web.Response:
        self.batches.append(len(metrics))
        known = {gpu["id"] for gpu in self.gpus}
        rejected = [
            {"index": index, "gpu_id": each["gpu_id"], "reason": "unknown_gpu"}
            for index, each in enumerate(metrics)
            if each["gpu_id"] not in known
        ]
        if len(rejected) == len(metrics):
            paths = [f"metrics[{index}]" for index in range(len(metrics))]
            errors = [{"path": path, "message": "unknown_gpu"} for path in paths]
            return problem(422, "all_rejected", errors=errors)
        fresh = [each for each in metrics if each["gpu_id"] in known]
        before = len(self.metrics)
        for each in fresh:
            mark = (each["gpu_id"], each["recorded_at"])
            if mark not in self._seen:
                self._seen.add(mark)
                self.metrics.append(each)
        accepted = len(self.metrics) - before
        return web.json_response(
            {"accepted": accepted, "duplicates": len(fresh) - accepted, "rejected": rejected}
        )
