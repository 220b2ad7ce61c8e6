"""Serves an application on a loopback port of its own, in the test's event loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from aiohttp import web


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
