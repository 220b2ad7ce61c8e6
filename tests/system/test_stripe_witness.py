"""An independent witness: localstripe, another's imitation of Stripe, signs webhooks that must be believed.

It knows no payment links, so what a payment's event looks like it can't witness.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from gpuforge_controlplane.gateways.stripe_webhooks import Ignored, WebhookRefused, read_webhook
from gpuforge_shared.clock import utc_now
from tests.loopback import served

SECRET = "whsec_agreed_upon"
KEY = {"Authorization": "Bearer sk_test_12345"}

# Its own start() listens on every address, and its store is a pickle in a fixed place: neither is of use.
SERVE = """
import socket, sys
from aiohttp import web
from localstripe import resources, server

resources.Store.dump_to_disk = lambda self: None
web.run_app(server.app, sock=socket.socket(fileno=int(sys.argv[1])), print=None)
"""


@pytest.fixture
def localstripe(tmp_path: Path) -> Iterator[str]:
    """Its URL. It is handed a socket that listens already, so nobody has to wait until it is up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, "-c", SERVE, str(listener.fileno())]
        process = subprocess.Popen(command, pass_fds=[listener.fileno()], cwd=tmp_path)
    try:
        yield url
    finally:
        process.kill()
        process.wait()


class Receiver:
    """An endpoint for webhooks."""

    def __init__(self) -> None:
        self.url = ""
        self.arrived: asyncio.Queue[tuple[bytes, str]] = asyncio.Queue()

    async def take(self, request: web.Request) -> web.Response:
        await self.arrived.put((await request.read(), request.headers["Stripe-Signature"]))
        return web.Response()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/webhook", receiver.take)
    async with served(app) as url:
        receiver.url = f"{url}/webhook"
        yield receiver


@contextlib.asynccontextmanager
async def session(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    limit = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(url, headers=KEY, timeout=limit, raise_for_status=True) as opened:
        yield opened


async def test_what_localstripe_signs_is_believed(localstripe: str, receiver: Receiver) -> None:
    async with session(localstripe) as client:
        endpoint = {"url": receiver.url, "secret": SECRET, "events": ["customer.created"]}
        await client.post("/_config/webhooks/ours", json=endpoint)
        answer = await client.post("/v1/customers", data={"name": "Zoë 漢字 & söhne", "metadata[a]": "1"})
        customer = await answer.json()
        async with asyncio.timeout(30):
            payload, signature = await receiver.arrived.get()
    assert customer["id"].encode() in payload
    read = read_webhook(payload, signature, SECRET, utc_now())
    assert isinstance(read, Ignored), read
    assert read.event_type == "customer.created"
    for body, secret in ((payload + b" ", SECRET), (payload, "whsec_another")):
        refused = read_webhook(body, signature, secret, utc_now())
        assert isinstance(refused, WebhookRefused)
        assert refused.code == "signature_mismatch"
