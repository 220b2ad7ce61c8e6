"""A webhook's other end, on loopback: keeps what it was sent, and can be down, hang or redirect."""

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.loopback import served


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def told(self) -> list[tuple[str, str, str]]:
        """Kind, rule and subject of each notice."""
        return [(each["kind"], each["rule_type"], each["subject"]) for each in self.json["notices"]]

    def is_signed_with(self, secret: str) -> bool:
        """As a receiver would check it, by the documentation alone."""
        parts = dict(part.split("=") for part in self.headers["X-GPUForge-Signature"].split(","))
        wanted = hmac.new(secret.encode(), parts["t"].encode() + b"." + self.body, hashlib.sha256)
        return hmac.compare_digest(wanted.hexdigest(), parts["v1"])


@dataclass(slots=True)
class Receiver:
    """Takes what comes, unless told otherwise."""

    url: str = ""
    status: int = 200
    hangs: bool = False
    got: list[Received] = field(default_factory=list)  # what it took
    tried: list[Received] = field(default_factory=list)  # all that came
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        received = Received(path=request.path, headers=dict(request.headers), body=await request.read())
        self.tried.append(received)
        self.arrived.set()
        if self.hangs:
            await self.released.wait()
        if self.status == 200:
            self.got.append(received)
        headers = {"Location": f"{self.url}/elsewhere"} if self.status == 307 else {}
        return web.Response(status=self.status, headers=headers)


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a free loopback port."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.take)
    async with served(app) as receiver.url:
        try:
            yield receiver
        finally:
            receiver.released.set()
