"""A small Stripe on a loopback port: payment links, idempotency keys, checkouts, webhooks, faults on order.

    async with running_fake_stripe() as stripe_server:
        gateway = StripeGateway(api_key=SecretStr(stripe_server.key), api_base=stripe_server.url)
        …
        event = stripe_server.complete_checkout(link_id)
        body, headers = stripe_server.webhook(event)

It knows what Stripe's documentation says, and nobody has compared it with the real one.
"""

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import parse_qsl

import stripe
from aiohttp import web
from stripe.params import PaymentLinkCreateParams, PaymentLinkRetrieveParams, PaymentLinkUpdateParams

from tests.loopback import served
from tests.stripe_parameters import ParameterRefused, check, nested

KEY = "sk_test_" + "GpuForgeFake" * 3
WEBHOOK_SECRET = "whsec_" + "GpuForgeFake" * 3
LOWEST, HIGHEST = 50, 99_999_999  # cents of USD

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Answer so, once. `stored`: after the endpoint began, so the same key gets it again."""

    status: int
    body: str = '{"error": {"type": "api_error", "message": "An unknown error occurred"}}'
    headers: dict[str, str] = field(default_factory=dict)
    stored: bool = False


class Hang:
    """Take the request and never answer, once."""


class DropBefore:
    """Close the connection without having done anything, once."""


class DropAfter:
    """Do the work, store the answer under the key, and close the connection instead of sending it, once."""


INTERNAL_ERROR = Fault(status=500, stored=True)
BAD_GATEWAY = Fault(status=502, body="<html>Bad gateway</html>", headers={"Content-Type": "text/html"})


def rate_limited(retry_after_s: int) -> Fault:
    body = (
        '{"error": {"type": "invalid_request_error", "code": "rate_limit", "message": "Too many requests"}}'
    )
    return Fault(status=429, body=body, headers={"Retry-After": str(retry_after_s)})


@dataclass(frozen=True, kw_only=True)
class Request:
    """What came in."""

    method: str
    path: str
    idempotency_key: str | None
    parameters: Json
    client: str  # what the SDK tells of itself and of the machine


@dataclass(frozen=True)
class _Stored:
    fingerprint: str
    status: int
    body: str


class CheckoutRefused(Exception):
    """What somebody with the link's URL sees instead of a payment page."""


@dataclass
class FakeStripe:
    """One account. `faults` answer first, each once, in order."""

    key: str = KEY
    webhook_secret: str = WEBHOOK_SECRET
    url: str = ""
    links: dict[str, Json] = field(default_factory=dict)
    sessions: dict[str, Json] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    faults: deque[Fault | Hang | DropBefore | DropAfter] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._stored: dict[str, _Stored] = {}
        self._numbers = count(1)
        self._closing = asyncio.Event()

    # What a payer does

    def open_checkout(self, link_id: str) -> Json:
        """The session that somebody gets who follows the link. Raises CheckoutRefused."""
        link = self.links[link_id]
        if not link["active"]:
            raise CheckoutRefused(f"{link_id} is not active")
        session = {
            "id": self._id("cs_test_"),
            "object": "checkout.session",
            "amount_total": link["amount_total"],
            "currency": link["currency"],
            "livemode": False,
            "metadata": dict(link["metadata"]),
            "mode": "payment",
            "payment_link": link_id,
            "payment_status": "unpaid",
            "status": "open",
        }
        self.sessions[session["id"]] = session
        return session

    def complete_checkout(self, link_id: str, *, paid: bool = True) -> Json:
        """Follow the link and pay: the event. Not `paid`: by bank debit, which succeeds days later."""
        return self.complete_session(self.open_checkout(link_id)["id"], paid=paid)

    def complete_session(self, session_id: str, *, paid: bool = True) -> Json:
        """Complete an open session: the event. A deactivated link does not hinder that, its limit does."""
        session = self.sessions[session_id]
        link = self.links[session["payment_link"]]
        completed = (link["restrictions"] or {}).get("completed_sessions")
        if session["status"] != "open" or (completed and completed["count"] >= completed["limit"]):
            raise CheckoutRefused(f"{session_id} can no longer be completed")
        if completed:
            completed["count"] += 1
            link["active"] = link["active"] and completed["count"] < completed["limit"]
        session.update(status="complete", payment_status="paid" if paid else "unpaid")
        return self.event("checkout.session.completed", session)

    def settle(self, session_id: str, *, succeeded: bool = True) -> Json:
        """The bank debit of a completed, unpaid session went through, or not: the event."""
        session = self.sessions[session_id]
        assert (session["status"], session["payment_status"]) == ("complete", "unpaid")
        session["payment_status"] = "paid" if succeeded else "unpaid"
        outcome = "succeeded" if succeeded else "failed"
        return self.event(f"checkout.session.async_payment_{outcome}", session)

    # Events

    def event(self, kind: str, subject: Json, *, created: int | None = None) -> Json:
        """An event about a copy of `subject`; `created` in seconds since 1970, now unless told."""
        return {
            "id": self._id("evt_"),
            "object": "event",
            "api_version": "2026-01-01",
            "created": int(time.time()) if created is None else created,
            "data": {"object": json.loads(json.dumps(subject))},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": kind,
        }

    def webhook(
        self, event: Json, *, at: int | None = None, secret: str | None = None
    ) -> tuple[bytes, dict[str, str]]:
        """Body and headers of an event's webhook, signed by the SDK; `at` in seconds, now unless told."""
        body = json.dumps(event, indent=2)
        signature = stripe.WebhookSignature.generate_signature_header(
            body, secret or self.webhook_secret, int(time.time()) if at is None else at
        )
        return body.encode(), {"Content-Type": "application/json", "Stripe-Signature": signature}

    # The API

    @contextlib.asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator["FakeStripe"]:
        """Listen on 127.0.0.1; `port` 0 takes a free one. May be entered again after it was left."""
        self._closing.clear()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        async with served(app, port) as self.url:
            try:
                yield self
            finally:
                self._closing.set()

    def _id(self, prefix: str) -> str:
        return f"{prefix}{next(self._numbers):014d}"

    async def _answer(self, request: web.Request) -> web.Response:
        form = await request.text() if request.method == "POST" else request.query_string
        given = Request(
            method=request.method,
            path=request.path,
            idempotency_key=request.headers.get("Idempotency-Key"),
            parameters=nested(parse_qsl(form, keep_blank_values=True, strict_parsing=bool(form))),
            client=request.headers.get("X-Stripe-Client-User-Agent", ""),
        )
        self.requests.append(given)
        fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, Hang):
            await self._closing.wait()
        if isinstance(fault, Hang | DropBefore):
            return _hung_up(request)
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return _error(401, "invalid_request_error", f"Invalid API Key provided: {self.key[:8]}****")
        status, body, headers = self._once(given, fault if isinstance(fault, Fault) else None)
        if isinstance(fault, DropAfter):
            return _hung_up(request)
        return web.Response(
            status=status,
            text=body,
            headers={"Content-Type": "application/json", "Request-Id": "req_fake"} | headers,
        )

    def _once(self, given: Request, fault: Fault | None) -> tuple[int, str, dict[str, str]]:
        """Once under one key, its answer kept, be it a failure; only what fails validation is not."""
        if fault and not fault.stored:
            return fault.status, fault.body, fault.headers
        fingerprint = json.dumps([given.method, given.path, given.parameters], sort_keys=True)
        key = given.idempotency_key if given.method == "POST" else None
        if key is not None and len(key) > 255:
            return (
                400,
                _error_body("invalid_request_error", "Idempotency keys are at most 255 characters"),
                {},
            )
        if key in self._stored:
            stored = self._stored[key]
            if stored.fingerprint != fingerprint:
                message = f"Keys for idempotent requests can only be used with the same parameters: {key}"
                return 400, _error_body("idempotency_error", message), {}
            return stored.status, stored.body, {"Idempotent-Replayed": "true"}
        try:
            status, body = (fault.status, fault.body) if fault else (200, json.dumps(self._work(given)))
        except ParameterRefused as error:
            return 400, _error_body("invalid_request_error", error.message, error.code, error.parameter), {}
        except LookupError:
            return 404, _error_body("invalid_request_error", "No such thing", "resource_missing"), {}
        if key is not None:
            self._stored[key] = _Stored(fingerprint, status, body)
        return status, body, dict(fault.headers) if fault else {}

    def _work(self, given: Request) -> Json:
        match given.method, given.path.split("/")[1:]:
            case "POST", ["v1", "payment_links"]:
                return self._create(check(given.parameters, PaymentLinkCreateParams))
            case "POST", ["v1", "payment_links", link_id]:
                return self._update(link_id, check(given.parameters, PaymentLinkUpdateParams))
            case "GET", ["v1", "payment_links", link_id]:
                check(given.parameters, PaymentLinkRetrieveParams)
                return self.links[link_id]
        raise LookupError(given.path)

    def _create(self, parameters: Json) -> Json:
        total, currency = _total(parameters["line_items"])
        _check_metadata(parameters.get("metadata", {}))
        _check_metadata(parameters.get("payment_intent_data", {}).get("metadata", {}))
        limit = parameters.get("restrictions")
        link_id = self._id("plink_")
        self.links[link_id] = {
            "id": link_id,
            "object": "payment_link",
            "active": True,
            "currency": currency,
            "livemode": False,
            "metadata": parameters.get("metadata", {}),
            "payment_intent_data": parameters.get("payment_intent_data"),
            "restrictions": limit and {"completed_sessions": {"count": 0, **limit["completed_sessions"]}},
            "url": f"https://buy.stripe.test/{link_id}",
            "amount_total": total,  # Stripe has this on the sessions alone
        }
        return self.links[link_id]

    def _update(self, link_id: str, parameters: Json) -> Json:
        unsupported = parameters.keys() - {"active"}
        assert not unsupported, f"this fake knows nothing of {unsupported}"
        self.links[link_id].update(parameters)
        return self.links[link_id]


def _total(items: list[Json]) -> tuple[int, str]:
    """Cents and currency of a link's lines. Raises ParameterRefused where Stripe would refuse them."""
    total, currencies = 0, set()
    for number, item in enumerate(items):
        where = f"line_items[{number}][price_data]"
        price = item.get("price_data")
        assert price, "this fake knows inline prices alone"
        if ("product" in price) == ("product_data" in price):
            raise ParameterRefused("parameter_missing", "One of product or product_data is required", where)
        if "unit_amount" not in price:
            raise ParameterRefused(
                "parameter_missing", f"Missing required param: {where}[unit_amount].", where
            )
        if price["currency"] != "usd":
            raise ParameterRefused("invalid_currency", f"Invalid currency: {price['currency']}", where)
        total += price["unit_amount"] * item.get("quantity", 1)
        currencies.add(price["currency"])
    if total < LOWEST:
        raise ParameterRefused(
            "amount_too_small", "The total amount must be at least $0.50 usd", "line_items"
        )
    if total > HIGHEST:
        raise ParameterRefused("amount_too_large", "The total must be no more than $999,999.99", "line_items")
    return total, currencies.pop()


def _check_metadata(metadata: dict[str, str]) -> None:
    if len(metadata) > 50 or any(len(key) > 40 or len(value) > 500 for key, value in metadata.items()):
        raise ParameterRefused("parameter_invalid", "50 keys of 40 characters, values of 500", "metadata")


def _error_body(kind: str, message: str, code: str | None = None, parameter: str | None = None) -> str:
    optional = {"code": code, "param": parameter}
    known = {name: value for name, value in optional.items() if value is not None}
    return json.dumps({"error": {"type": kind, "message": message, **known}})


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.Response(status=status, text=_error_body(kind, message), content_type="application/json")


def _hung_up(request: web.Request) -> web.Response:
    assert request.transport
    request.transport.abort()
    return web.Response()


@contextlib.asynccontextmanager
async def running_fake_stripe() -> AsyncIterator[FakeStripe]:
    """A fresh one on a free loopback port."""
    async with FakeStripe().serving() as server:
        yield server
