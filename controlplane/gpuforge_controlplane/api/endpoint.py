"""One adapter for all rows: authenticate, parse, open a transaction, call, render."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import msgspec
from aiohttp import web
from pydantic import BaseModel, SecretStr, ValidationError

from gpuforge_controlplane.api import problems
from gpuforge_controlplane.api.accept import preferred
from gpuforge_controlplane.api.observations import Observations
from gpuforge_controlplane.api.route import Route
from gpuforge_controlplane.api.traffic import Traffic
from gpuforge_controlplane.domain.access import Kind, Principal, closure, refusal
from gpuforge_controlplane.domain.buckets import Kept
from gpuforge_controlplane.services import ingest
from gpuforge_controlplane.services.context import Context, Page, Upserted, encode_cursor
from gpuforge_controlplane.services.idempotency import Once, Reply, claim_of, once
from gpuforge_controlplane.services.ingest import Ingest
from gpuforge_controlplane.services.keys import KeyRing
from gpuforge_controlplane.services.live import Live
from gpuforge_controlplane.services.outbound import Outbound
from gpuforge_controlplane.services.owned import OwnedGpus
from gpuforge_controlplane.services.payments import PaymentDesk
from gpuforge_controlplane.services.together import Asked, Many, Together
from gpuforge_controlplane.storage.database import Connection, Database
from gpuforge_shared.clock import Clock
from gpuforge_shared.errors import (
    Forbidden,
    MalformedBody,
    NotAcceptable,
    Unauthorized,
    UnsupportedMediaType,
    invalid,
)
from gpuforge_shared.wire.base import MAX_ID
from gpuforge_shared.wire.fleet import MetricsBatch

Demo = Literal["sample", "off", "live"]

REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
DEMO: web.RequestKey[str | None] = web.RequestKey("demo")  # which demo answers, if one does

_ENCODER = msgspec.json.Encoder(decimal_format="number")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_MAX_ID_DIGITS = 18  # more than any id ever, and less than what a column overflows at


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """What endpoints work with; made by app.py."""

    database: Database
    sample: Database | None  # the built-in sample fleet, for anonymous readers
    keyring: KeyRing
    ingest: Ingest
    together: Mapping[Many, Together]
    observations: Observations
    traffic: Traffic
    owned: OwnedGpus
    desk: PaymentDesk
    webhook_secret: SecretStr | None  # what Stripe signs with
    outbound: Outbound
    live: Live
    sample_live: Live | None
    exports: asyncio.Semaphore  # long answers that hold a connection each
    clock: Clock
    demo: Demo
    kept: Kept
    routes: Sequence[Route]

    def end_streams(self) -> None:
        """Nothing else would: a stream is a request in flight for as long as its reader likes."""
        self.live.stop()
        if self.sample_live is not None:
            self.sample_live.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, with which raw key, and the database that answers them."""

    principal: Principal
    database: Database
    bearer: str | None
    demo: Demo | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A parsed request."""

    ids: Mapping[str, int | str]
    inputs: Mapping[str, Any]  # `body=` and `query=`, as the service takes them
    payload: bytes


async def answer(api: Api, route: Route, request: web.Request) -> web.StreamResponse:
    """The response to a request on a row of the table. Raises GPUForgeError for all that is refused."""
    if route.raw:
        response: web.StreamResponse = await route.service(api, request)
        return response
    caller = await authenticate(api, route, request)
    request[DEMO] = caller.demo
    call = _parse(route, request, await read_body(request) if route.body else b"")
    if route.stream:
        streamed: web.StreamResponse = await route.service(api, request, caller, call.inputs["query"])
        return streamed
    with api.traffic.served(agent=caller.principal.kind is Kind.CLUSTER):
        return await _served(api, route, request, caller, call)


async def _served(
    api: Api, route: Route, request: web.Request, caller: Caller, call: Call
) -> web.StreamResponse:
    keyed = "Idempotency-Key" in request.headers
    reads = not route.writes or (_is_dry(call) and not keyed)
    if (route.many or route.samples) and not reads and not keyed:
        return _render(route, request, _reply(route, await _accept(api, route, request, caller, call)))
    if not reads:
        return await _write(api, route, request, caller, call)
    media = _media(route, request)
    async with caller.database.read() as tx:
        found = await route.service(_context(api, request, caller, tx), *call.ids.values(), **call.inputs)
    if route.views:
        return _view(route, media, found)
    return _render(route, request, _reply(route, found))


def _is_dry(call: Call) -> bool:
    """Whether the request only asks what it would do: then it reads, and holds no writer up."""
    return getattr(call.inputs.get("query"), "dry_run", False)


async def read_body(request: web.Request) -> bytes:
    """The body, whole. Raises MalformedBody, and aiohttp's own where it is too large."""
    try:
        return await request.read()
    except (ConnectionError, web.RequestPayloadError) as error:
        raise MalformedBody(
            "the body broke off, or is not in the encoding that its headers claim", code="bad_request"
        ) from error


async def authenticate(api: Api, route: Route, request: web.Request) -> Caller:
    """Who calls and whether they may. Raises Unauthorized or Forbidden."""
    header = request.headers.get("Authorization")
    caller = _anonymous(api, route) if header is None else await _holder(api, header)
    if route.access is not None and (why := refusal(caller.principal, route.access)) is not None:
        if caller.principal.kind is Kind.ANONYMOUS:
            raise Unauthorized(f"send Authorization: Bearer <key>; {why}")
        raise Forbidden(why)
    return caller


async def _holder(api: Api, header: str) -> Caller:
    scheme, _, raw = header.partition(" ")
    if scheme.lower() != "bearer" or not raw.strip():
        raise Unauthorized("send the key as Authorization: Bearer <key>")
    bearer = raw.strip()
    return Caller(principal=await api.keyring.principal(bearer), database=api.database, bearer=bearer)


def _anonymous(api: Api, route: Route) -> Caller:
    """Demo mode: a reader without a key sees the sample fleet (all of it), or the live one where allowed."""
    if route.writes or api.demo == "off":
        raise Unauthorized(
            "send Authorization: Bearer <key>; create one with gpuforge-controlplane create-key"
        )
    scopes = closure(("admin",)) if api.demo == "sample" else closure(("read",))
    database = api.sample if api.demo == "sample" else api.database
    assert database is not None  # app.py makes the sample fleet in that mode
    principal = Principal(name="anonymous", kind=Kind.ANONYMOUS, scopes=scopes)
    return Caller(principal=principal, database=database, bearer=None, demo=api.demo)


async def _accept(api: Api, route: Route, request: web.Request, caller: Caller, call: Call) -> object:
    body = call.inputs["body"]
    if route.many is None:
        return await _ingest(api, caller, body)
    context = partial(_context, api, request, caller)
    return await api.together[route.many].submit(Asked(inputs=(*call.ids.values(), body), context=context))


async def _ingest(api: Api, caller: Caller, batch: MetricsBatch) -> object:
    accepted = await api.ingest.accept(batch, caller.principal, api.clock())
    api.observations.samples(
        accepted=accepted["accepted"],
        duplicates=accepted["duplicates"],
        rejected=len(accepted["rejected"]),
    )
    return accepted


async def _write(
    api: Api, route: Route, request: web.Request, caller: Caller, call: Call
) -> web.StreamResponse:
    wanted = _once(route, request, caller, call)

    async def work(tx: Connection) -> Reply:
        ctx = _context(api, request, caller, tx)

        async def serve() -> Reply:
            return _reply(route, await route.service(ctx, *call.ids.values(), **call.inputs))

        return await serve() if wanted is None else await once(ctx, wanted, serve)

    reply = await caller.database.transact(work)
    if route.afterwards is not None:
        reply = Reply(status=reply.status, answer=await route.afterwards(api.desk, reply.answer))
    return _render(route, request, reply)


def _once(route: Route, request: web.Request, caller: Caller, call: Call) -> Once | None:
    key = request.headers.get("Idempotency-Key")
    if key is None or route.method != "POST" or caller.bearer is None:
        return None
    if _IDEMPOTENCY_KEY.fullmatch(key) is None:
        raise invalid("Idempotency-Key", "must be 1 to 255 printable ASCII characters without spaces")
    claim = claim_of(
        principal=f"key {caller.principal.key_id}",
        route=f"{route.method} {route.path}",
        key=key,
        request=request.path_qs.encode() + b"\n" + call.payload,
    )
    return Once(claim=claim, bearer=caller.bearer, sealed=route.sealed)


def _parse(route: Route, request: web.Request, payload: bytes) -> Call:
    given = request.match_info.items()
    ids = {name: _id(word) if name.endswith("_id") else word for name, word in given}
    inputs: dict[str, Any] = {}
    query = _query(route, request)
    if route.query.model_fields:
        inputs["query"] = query
    if route.body is not None:
        inputs["body"] = _body(route, request, payload)
    return Call(ids=ids, inputs=inputs, payload=payload)


def _id(digits: str) -> int:
    """The id; for one that no column holds, one that nothing has: its service then knows the right 404."""
    return int(digits) if len(digits) <= _MAX_ID_DIGITS else MAX_ID


def _query(route: Route, request: web.Request) -> BaseModel:
    given = request.query
    repeated = [name for name in given if len(given.getall(name)) > 1]
    if repeated:
        raise invalid(f"query.{repeated[0]}", "given more than once")
    try:
        return route.query.model_validate(dict(given))
    except ValidationError as error:
        known = (field.alias or name for name, field in route.query.model_fields.items())
        raise problems.from_validation(error, known, "query.") from None


def _body(route: Route, request: web.Request, payload: bytes) -> object:
    if request.content_type != "application/json":
        raise UnsupportedMediaType(
            f"send the body as Content-Type: application/json, not {request.content_type}"
        )
    if route.body is MetricsBatch:
        return ingest.decode(payload)
    assert isinstance(route.body, type)
    assert issubclass(route.body, BaseModel)
    try:
        return route.body.model_validate_json(payload)
    except ValidationError as error:
        raise problems.from_validation(error, route.body.model_fields) from None


def _context(api: Api, request: web.Request, caller: Caller, tx: Connection) -> Context:
    return Context(
        tx=tx,
        principal=caller.principal,
        now=api.clock(),
        request_id=request[REQUEST_ID],
        retention=api.kept.raw,
        kept=api.kept,
        owned=api.owned,
        outbound=api.outbound,
    )


def _reply(route: Route, outcome: object) -> Reply:
    if isinstance(outcome, Upserted):
        return Reply(status=201 if outcome.created else 200, answer=outcome.answer)
    return Reply(status=route.status[0], answer=outcome)


def _media(route: Route, request: web.Request) -> str:
    """In which of its forms the caller wants the answer. Raises NotAcceptable."""
    if not route.views:
        return route.media
    offered = (route.media, *(media for media, _ in route.views))
    wanted = request.headers.getall("Accept", ())
    media = preferred(", ".join(wanted), offered)
    if media is None:
        raise NotAcceptable(f"this comes as {', '.join(offered)}; Accept allows none of these")
    return media


def _view(route: Route, media: str, found: object) -> web.Response:
    headers = {"Vary": "Accept"}
    if media == route.media:
        return web.Response(body=_ENCODER.encode(found), content_type=media, headers=headers)
    sheet = dict(route.views)[media](found)
    shown = "inline" if media == "text/html" else "attachment"
    headers["Content-Type"] = f"{media}; charset=utf-8"
    headers["Content-Disposition"] = f'{shown}; filename="{sheet.filename}"'
    if sheet.policy is not None:
        headers["Content-Security-Policy"] = sheet.policy
    return web.Response(body=sheet.body, headers=headers)


def _render(route: Route, request: web.Request, reply: Reply) -> web.Response:
    headers: dict[str, str] = {}
    body = reply.answer
    if isinstance(body, Page):
        if body.last_id is not None:
            following = request.rel_url.update_query(cursor=encode_cursor(body.last_id))
            headers["Link"] = f'<{following}>; rel="next"'
        body = body.answer
    return web.Response(
        body=_ENCODER.encode(body), status=reply.status, content_type=route.media, headers=headers
    )
