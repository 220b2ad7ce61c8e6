"""Which addresses may be connected to, and that nothing else is."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

from aiohttp.abc import AbstractResolver, ResolveResult

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are where a gateway leads to
# What the running thread may connect to, and what it was refused.
_bounds: ContextVar[tuple[Sequence[Network], list[str]] | None] = ContextVar("bounds", default=None)


def refusal_of(host: str, allowed: Sequence[Network]) -> str | None:
    """Why nothing connects to this host, as far as it tells itself; a name tells nothing."""
    if host.lower().rstrip(".").rpartition(".")[2] == "localhost":
        host = "127.0.0.1"
    address = _literal(host)
    return None if address is None or _may(address, allowed) else _refusal(host)


class GuardedResolver(AbstractResolver):
    """Looks names up and refuses those of which any address is not allowed; what it answers is connected to,
    so that a name can't stand for something else a moment later."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        answers = [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=0)
            for kind, _, proto, _, address in found
        ]
        for answer in answers:
            if (why := _refusal_to_connect(answer["host"], self._allowed)) is not None:
                raise OSError(None, f"{host}: {why}")
        return answers

    async def close(self) -> None:
        """Nothing is kept open."""


@contextmanager
def bounded(allowed: Sequence[Network]) -> Iterator[list[str]]:
    """Code of others connects from this thread to what is allowed alone; yields what it was refused.

    It may look up, redirect and try again as it likes: the interpreter itself asks before each connection.
    """
    _watch_connections()
    refused: list[str] = []
    token = _bounds.set((allowed, refused))
    try:
        yield refused
    finally:
        _bounds.reset(token)


@cache
def _watch_connections() -> None:
    """Once a process, for good: hooks can't be taken out again. Outside of `bounded` it does nothing."""
    sys.addaudithook(_on_event)


def _on_event(event: str, arguments: tuple[object, ...]) -> None:
    if event != "socket.connect" or (bounds := _bounds.get()) is None:
        return
    allowed, refused = bounds
    where = arguments[1]
    host = str(where[0] if isinstance(where, tuple) else where)
    if (why := _refusal_to_connect(host, allowed)) is not None:
        refused.append(why)
        raise OSError(None, why)


def _refusal_to_connect(host: str, allowed: Sequence[Network]) -> str | None:
    """Unlike `refusal_of` of what is looked up already: here a name is nothing to connect to."""
    address = _literal(host)
    return None if address is not None and _may(address, allowed) else _refusal(host)


def _literal(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _may(address: _Address, allowed: Sequence[Network]) -> bool:
    address = _meant(address)
    if any(address in network for network in allowed):
        return True
    return address.is_global and not address.is_multicast


def _meant(address: _Address) -> _Address:
    """An IPv6 address may carry the IPv4 address that it leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address


def _refusal(host: str) -> str:
    return f"{host} is no public address; GPUFORGE_NOTIFY_ALLOW_NETWORKS can allow its network"
