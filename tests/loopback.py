"""Loopback ports: one that is free, and an application served on one in the test's event loop."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator

from aiohttp import web


def free_loopback_port() -> int:
    """A TCP port on 127.0.0.1 that was free a moment ago, and is given to nobody who asks the kernel for any:
    it lies below net.ipv4.ip_local_port_range."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.asynccontextmanager
async def served(app: web.Application | web.AppRunner, port: int = 0) -> AsyncIterator[str]:
    """The URL it is served at; `port` 0 takes a free one. Requests in flight have 0.1 s to end."""
    runner = app if isinstance(app, web.AppRunner) else web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", port))
    await web.SockSite(runner, listening).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        # asyncio forgets a connection that it accepts in its last turn as a server, and never closes it
        asyncio.get_running_loop().remove_reader(listening)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await runner.cleanup()
