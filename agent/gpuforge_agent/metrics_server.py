"""The agent's own `GET /metrics`: as much HTTP as a scraper needs, without a web framework in memory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from gpuforge_agent.exposition import CONTENT_TYPE
from gpuforge_client.resolver import Resolver

logger = logging.getLogger(__name__)

REQUEST_S = 5.0
AGAIN_S = 30.0  # between two tries to have the port
MOST_AT_ONCE = 8
_MOST_HEADERS = 1 << 13


@contextlib.asynccontextmanager
async def serving(listen: tuple[str, int] | None, text: Callable[[], str]) -> AsyncIterator[int | None]:
    """Answer with `text()` until the end of the block; yields the port, None where nobody listens.

    A port that can't be had is logged and tried again: what the agent is for does not depend on it, and an
    address may come later than the agent.
    """
    if listen is None:
        yield None
        return
    resolver = Resolver()
    server = await _listening(listen, text, resolver, logging.WARNING)
    later = asyncio.create_task(_listening_at_last(listen, text, resolver)) if server is None else None
    try:
        yield None if server is None else int(server.sockets[0].getsockname()[1])
    finally:
        if later is not None and not later.cancel():
            server = later.result()
        if server is not None:
            server.close()
            await server.wait_closed()


async def _listening_at_last(
    listen: tuple[str, int], text: Callable[[], str], resolver: Resolver
) -> asyncio.Server:
    while True:
        await asyncio.sleep(AGAIN_S)
        if (server := await _listening(listen, text, resolver, logging.DEBUG)) is not None:
            return server


async def _listening(
    listen: tuple[str, int], text: Callable[[], str], resolver: Resolver, if_not: int
) -> asyncio.Server | None:
    """`if_not`: the level at which it is logged that nothing listens."""
    free = asyncio.Semaphore(MOST_AT_ONCE)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not free.locked():  # beyond that, whoever calls is no scraper
                async with free, asyncio.timeout(REQUEST_S):
                    writer.write(_answer(await reader.readuntil(b"\r\n\r\n"), text))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            logger.debug("a scrape broke off: %s", error)
        finally:
            writer.close()

    host, port = listen
    try:
        # a name is not left to start_server: it asks in a thread that the process waits for at its end
        addresses = [found["host"] for found in await resolver.resolve(host, port)]
        server = await asyncio.start_server(handle, addresses, port, limit=_MOST_HEADERS)
    except OSError as error:
        logger.log(if_not, "nothing listens for Prometheus on %s port %d yet: %s", host, port, error)
        return None
    logger.info("Prometheus may read http://%s:%d/metrics", host, server.sockets[0].getsockname()[1])
    return server


def _answer(request: bytes, text: Callable[[], str]) -> bytes:
    method, _, rest = request.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if method not in (b"GET", b"HEAD"):
        return _response("405 Method Not Allowed", b"GET /metrics\n")
    if path != b"/metrics":
        return _response("404 Not Found", b"GET /metrics\n")
    whole = _response("200 OK", text().encode())
    return whole if method == b"GET" else whole[: whole.index(b"\r\n\r\n") + 4]


def _response(status: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
