"""The agent's own `GET /metrics`: as much HTTP as a scraper needs, without a web framework in memory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from gpuforge_agent.exposition import CONTENT_TYPE

logger = logging.getLogger(__name__)

REQUEST_S = 5.0
MOST_AT_ONCE = 8
_MOST_HEADERS = 1 << 13


@contextlib.asynccontextmanager
async def serving(listen: tuple[str, int] | None, text: Callable[[], str]) -> AsyncIterator[int | None]:
    """Answer with `text()` until the end of the block; yields the port, None where nobody listens.

    A port that can't be had is logged and no more: what the agent is for does not depend on it.
    """
    server = await _listening(listen, text)
    if server is None:
        yield None
        return
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await server.wait_closed()


async def _listening(listen: tuple[str, int] | None, text: Callable[[], str]) -> asyncio.Server | None:
    if listen is None:
        return None
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
        server = await asyncio.start_server(handle, host, port, limit=_MOST_HEADERS)
    except OSError as error:
        logger.warning("nothing listens for Prometheus on %s port %d: %s", host, port, error)
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
