"""The REST client against a real server: what it sends, what it makes of each answer, when it repeats."""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypedDict

import pytest
from aiohttp import web

from gpuforge_client.failures import ControlPlaneUnreachable, GatewayFailed, UnexpectedAnswer
from gpuforge_client.resolver import Resolver
from gpuforge_client.rest import RestClient, new_idempotency_key
from gpuforge_client.retry import ONCE, RetryPolicy, World
from gpuforge_shared.apikey import assemble
from gpuforge_shared.errors import (
    Conflict,
    FieldError,
    GPUForgeError,
    InternalError,
    Invalid,
    NotFound,
    TooManyRequests,
)
from gpuforge_shared.wire.fleet import ClusterCreate, Metric, MetricsBatch, NodeRegister
from tests.loopback import served

KEY = assemble("7" * 56)


class Thing(TypedDict):
    """An answer."""

    id: int
    at: datetime


THING = {"id": 1, "at": "2026-05-09T00:30:00Z", "unknown": "is passed over"}

Reply = Callable[[web.Request], web.StreamResponse]


@dataclass
class Server:
    """Answers with `replies` in turn, the last one for ever, and keeps what came."""

    replies: list[Reply] = field(default_factory=list)
    seen: list[tuple[web.Request, str]] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Take the next reply."""
        self.seen.append((request, await request.text()))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply(request)

    def client(
        self, retry: RetryPolicy = ONCE, *, key: str | None = KEY, timeout_s: float = 10.0
    ) -> RestClient:
        """A client of this server that notes its waits instead of waiting, with no jitter."""
        world = World(sleep=self._sleep, draw=lambda: 0.0, clock=lambda: datetime(2026, 5, 9, tzinfo=UTC))
        return RestClient(self.url, key, retry=retry, world=world)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server on a free port."""
    serving = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serving.answer)
    async with served(app) as serving.url:
        yield serving


def json(body: object, status: int = 200, **headers: str) -> Reply:
    """A JSON answer; `Retry_After=…` becomes a header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: web.json_response(body, status=status, headers=named)


def text(body: str, status: int = 200, **headers: str) -> Reply:
    """What a proxy or a stranger answers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: web.Response(text=body, status=status, content_type="text/html", headers=named)


def hang_up(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def test_an_answer_is_decoded_into_its_type_and_unknown_fields_pass(server: Server) -> None:
    server.replies = [json(THING)]
    async with server.client() as client:
        thing = await client.get("/api/things/1", Thing, params={"days": 30, "all": True, "cursor": None})
    assert thing == {"id": 1, "at": datetime(2026, 5, 9, 0, 30, tzinfo=UTC)}
    request, _ = server.seen[0]
    assert request.path_qs == "/api/things/1?days=30&all=true"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["Accept"] == "application/json"


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        pytest.param({"id": 1}, '{"id":1}', id="mapping"),
        pytest.param(ClusterCreate(name="east"), '{"name":"east"}', id="pydantic, absent fields stay absent"),
        pytest.param(
            NodeRegister(cluster_id=1, hostname="a", ip_address=None),
            '{"cluster_id":1,"hostname":"a","ip_address":null}',
            id="pydantic, null said is null sent",
        ),
        pytest.param(
            MetricsBatch(metrics=[Metric(gpu_id=1, recorded_at=datetime(2026, 5, 9, tzinfo=UTC))]),
            '{"metrics":[{"gpu_id":1,"recorded_at":"2026-05-09T00:00:00Z"}]}',
            id="msgspec",
        ),
    ],
)
async def test_every_kind_of_body_is_sent_as_json(server: Server, body: ClusterCreate, sent: str) -> None:
    server.replies = [json(THING, 201)]
    async with server.client() as client:
        await client.post("/api/things", Thing, body=body)
    request, content = server.seen[0]
    assert content == sent
    assert request.headers["Content-Type"] == "application/json"
    assert "Idempotency-Key" not in request.headers


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_the_other_methods(server: Server, method: str) -> None:
    server.replies = [json(THING)]
    async with server.client(key=None) as client:
        match method:
            case "PUT":
                await client.put("/t", Thing, body={"a": 1})
            case "PATCH":
                await client.patch("/t", Thing, body={"a": 1})
            case _:
                await client.delete("/t", Thing)
    request, content = server.seen[0]
    assert request.method == method
    assert content == ("" if method == "DELETE" else '{"a":1}')
    assert "Authorization" not in request.headers


async def test_a_problem_document_becomes_the_error_of_its_status(server: Server) -> None:
    errors = [{"path": "metrics[3].utilization_pct", "message": "must be ≤ 100"}]
    server.replies = [json({"detail": "one is wrong", "code": "bad_metric", "errors": errors, "new": 1}, 422)]
    async with server.client() as client:
        with pytest.raises(Invalid, match="one is wrong") as raised:
            await client.get("/t", Thing)
    assert raised.value.code == "bad_metric"
    assert raised.value.errors == (FieldError("metrics[3].utilization_pct", "must be ≤ 100"),)


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        pytest.param(text("<html>"), UnexpectedAnswer, "6 bytes of text/html", id="200 that is no JSON"),
        pytest.param(json({"id": "x"}), UnexpectedAnswer, "fitting version", id="200 of another shape"),
        pytest.param(text("<html>", 404), NotFound, "/t answered 404 with 6 bytes", id="404 of a stranger"),
        pytest.param(text("gone", 418), UnexpectedAnswer, "answered 418", id="a status we never give"),
        pytest.param(text("x", 502), GatewayFailed, "answered 502", id="proxy"),
        pytest.param(json({"code": 7}, 404), NotFound, "answered 404", id="problem of a wrong shape"),
        pytest.param(
            json({"detail": "x"}, 500, X_Request_Id="abc"), InternalError, "request id abc", id="500"
        ),
        pytest.param(text("", 308, Location="https://other"), UnexpectedAnswer, "to https://other", id="308"),
        pytest.param(
            json(THING, Link='<http://[bad>; rel="next"'), UnexpectedAnswer, "a Link that is none", id="Link"
        ),
        pytest.param(hang_up, ControlPlaneUnreachable, "during POST /t", id="hang-up"),
    ],
)
async def test_whatever_else_comes_is_an_error_in_words(
    server: Server, reply: Reply, kind: type[GPUForgeError], said: str
) -> None:
    server.replies = [reply]
    async with server.client() as client:
        with pytest.raises(kind, match=said) as raised:
            await client.post("/t", Thing)
    assert len(server.seen) == 1
    assert KEY not in str(raised.value)


async def test_an_answer_without_an_end_is_not_read_to_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpuforge_client.rest.LARGEST_ANSWER", 1 << 20)
    server.replies = [lambda _: web.Response(body=b"[" + b"1," * (4 << 20))]
    async with server.client() as client:
        with pytest.raises(UnexpectedAnswer, match="over 1 MiB"):
            await client.get("/t", Thing)
        server.replies = [lambda _: web.Response(body=b"[" + b"1," * (1 << 18) + b"1]")]
        assert len(await client.get("/t", list[int])) == (1 << 18) + 1


async def test_a_redirect_does_not_carry_the_key_anywhere(server: Server) -> None:
    server.replies = [text("", 302, Location=f"{server.url}/elsewhere"), json(THING)]
    async with server.client() as client:
        with pytest.raises(UnexpectedAnswer) as raised:
            await client.get("/t", Thing)
    assert raised.value.code == "redirected"
    assert [request.path for request, _ in server.seen] == ["/t"]


async def test_nobody_there_is_said_with_address_and_next_step(free_port: int) -> None:
    async with RestClient(f"http://127.0.0.1:{free_port}", retry=ONCE) as client:
        with pytest.raises(ControlPlaneUnreachable) as raised:
            await client.get("/t", Thing)
    assert not raised.value.sent
    assert str(raised.value) == (
        f"can't connect to http://127.0.0.1:{free_port} (Connection refused); check the URL, and that the "
        "control plane runs (gpuforge-controlplane serve)"
    )


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("http://127.0.0.1:8080", ["127.0.0.1"]),
        ("http://localhost", ["127.0.0.1", "::1"]),
        ("http://[::1]:8080", ["::1"]),
        ("https://127.0.0.9", ["127.0.0.1"]),
    ],
)
async def test_the_local_address_is_the_one_on_the_way_to_the_control_plane(
    url: str, addresses: list[str]
) -> None:
    assert await RestClient(url).local_address() in addresses


async def test_a_name_that_nobody_resolves_is_given_up_in_time_and_looked_up_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered, lookups = threading.Event(), []

    def look_up(host: str, *_: object, **__: object) -> list[object]:
        lookups.append(host)
        answered.wait()
        raise socket.gaierror(socket.EAI_NONAME, "late")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(Resolver.__init__, "__defaults__", (0.05,))
    async with RestClient("http://gpus.example.com", retry=ONCE) as client:
        for _ in range(3):
            with pytest.raises(ControlPlaneUnreachable, match="no answer from the name servers") as raised:
                await client.get("/t", Thing)
            assert not raised.value.sent
        assert await client.local_address() is None
    answered.set()
    assert lookups == ["gpus.example.com"]


async def test_silence_is_given_up_in_time() -> None:
    hung_up = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        hung_up.set()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as deaf:
        port = deaf.sockets[0].getsockname()[1]
        async with RestClient(f"http://127.0.0.1:{port}", retry=ONCE, timeout_s=0.05) as client:
            with pytest.raises(ControlPlaneUnreachable, match=r"no answer in 0\.05 s") as raised:
                await client.get("/t", Thing)
        await hung_up.wait()
    assert raised.value.sent


PATIENT = RetryPolicy(attempts=4, base_s=1.0)


async def test_retry_after_is_waited_for_in_seconds_and_as_a_date(server: Server) -> None:
    server.replies = [
        json({"detail": "slow down"}, 429, Retry_After="7"),
        json({}, 503, Retry_After="Sat, 09 May 2026 00:01:30 GMT"),
        json(THING),
    ]
    async with server.client(PATIENT) as client:
        assert (await client.post("/t", Thing, body={}))["id"] == 1
    assert server.slept == [7.0, 90.0]


async def test_it_gives_up_with_the_last_error(server: Server) -> None:
    server.replies = [json({"detail": "slow down"}, 429, Retry_After="2")]
    async with server.client(PATIENT) as client:
        with pytest.raises(TooManyRequests) as raised:
            await client.get("/t", Thing)
    assert raised.value.retry_after == 2.0
    assert len(server.seen) == 4


@pytest.mark.parametrize("reply", [hang_up, text("", 504)], ids=["hang-up", "504"])
async def test_a_post_that_may_have_been_done_is_repeated_only_where_that_is_safe(
    server: Server, reply: Reply
) -> None:
    server.replies = [reply, json(THING, 201)]
    async with server.client(PATIENT) as client:
        with pytest.raises(GPUForgeError):
            await client.post("/t", Thing, body={})
        server.replies = [reply, json(THING, 201)]
        key = new_idempotency_key()
        await client.post("/t", Thing, body={"a": 1}, idempotency_key=key)
        server.replies = [reply, json(THING, 200)]
        await client.post("/t", Thing, body={}, repeatable=True)
    assert len(server.seen) == 5
    first, second = server.seen[1], server.seen[2]
    assert first[1] == second[1] == '{"a":1}'
    assert first[0].headers["Idempotency-Key"] == second[0].headers["Idempotency-Key"] == key


async def test_the_answer_of_a_first_try_still_running_is_waited_for(server: Server) -> None:
    server.replies = [json({"code": "still_running"}, 409, Retry_After="1"), json(THING, 201)]
    async with server.client(PATIENT) as client:
        await client.post("/t", Thing, body={}, idempotency_key=new_idempotency_key())
        server.replies = [json({"code": "name_taken"}, 409)]
        with pytest.raises(Conflict):
            await client.post("/t", Thing, body={}, idempotency_key=new_idempotency_key())
    assert server.slept == [1.0]
    assert len(server.seen) == 3


async def test_a_list_is_followed_page_by_page_on_the_same_host(server: Server) -> None:
    server.replies = [
        json([THING, THING], Link='<https://elsewhere.example/x?limit=2&cursor=b%2Fc>; rel="next"'),
        json([], Link='</t?limit=2&cursor=d>; rel="next", </t>; rel="first"'),
        json([THING]),
    ]
    async with server.client() as client:
        things = [thing async for thing in client.pages("/t", list[Thing], params={"limit": 2})]
    assert len(things) == 3
    assert [request.path_qs for request, _ in server.seen] == [
        "/t?limit=2",
        "/t?limit=2&cursor=b/c",
        "/t?limit=2&cursor=d",
    ]


async def test_the_key_is_in_no_log_and_no_repr(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.replies = [json({}, 503), hang_up, json(THING)]
    caplog.set_level(logging.DEBUG)
    async with server.client(PATIENT) as client:
        await client.get("/t", Thing)
        assert repr(client) == f"<RestClient {server.url} with key {KEY[:12]}…>"
    assert "next try" in caplog.text
    assert KEY[12:] not in caplog.text


@pytest.mark.parametrize(
    ("url", "key", "path"),
    [
        ("ftp://a", None, "control_plane_url"),
        ("a:8080", None, "control_plane_url"),
        ("http://", None, "control_plane_url"),
        ("http://a:99999", None, "control_plane_url"),
        ("http://a..b", None, "control_plane_url"),
        (f"http://{'a' * 64}.com", None, "control_plane_url"),
        ("http://user:pw@a", None, "control_plane_url"),
        ("http://a?key=1", None, "control_plane_url"),
        ("http://a", "gfk_\r\nX: y", "api_key"),
        ("http://a", "ключ", "api_key"),
    ],
)
def test_an_address_or_key_that_can_not_be_is_refused_at_once(url: str, key: str | None, path: str) -> None:
    with pytest.raises(Invalid) as raised:
        RestClient(url, key)
    assert raised.value.errors[0].path == path


async def test_it_says_when_it_is_used_unopened() -> None:
    with contextlib.suppress(GPUForgeError), pytest.raises(RuntimeError, match="async with"):
        await RestClient("http://127.0.0.1").get("/t", Thing)


async def test_proxies_of_the_environment_are_not_used(
    server: Server, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port}")
    server.replies = [json(THING)]
    async with server.client() as client:
        assert await client.get("/t", Thing)


async def test_a_base_url_may_have_a_path(server: Server) -> None:
    server.replies = [json(THING)]
    async with RestClient(f"{server.url}/gpuforge/", retry=ONCE) as client:
        await client.get("/api/t", Thing)
    assert server.seen[0][0].path == "/gpuforge/api/t"
