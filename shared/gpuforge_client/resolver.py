"""Looks names up without holding anybody up: neither the other tasks nor the end of the process."""

from __future__ import annotations

import asyncio
import socket
from functools import partial

from aiohttp.abc import AbstractResolver, ResolveResult

from gpuforge_shared.aside import aside

LOOKUP_S = 5.0  # resolv.conf(5): with two name servers that are away, getaddrinfo takes 20 s


class Resolver(AbstractResolver):
    """getaddrinfo(3), given up in time. What it still waits for then is not asked a second time."""

    def __init__(self, within_s: float = LOOKUP_S) -> None:
        self._within_s = within_s
        self._asked: dict[tuple[str, int, int], asyncio.Future[list[ResolveResult]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises OSError where it has none, or nobody says in time."""
        question = (host, port, family)
        answer = self._asked.get(question)
        if answer is None:
            answer = self._asked[question] = aside(partial(_found, host, port, family))
            answer.add_done_callback(partial(self._settle, question))
        try:
            async with asyncio.timeout(self._within_s):
                return await asyncio.shield(answer)
        except TimeoutError:
            raise socket.gaierror(
                socket.EAI_AGAIN, f"no answer from the name servers in {self._within_s:g} s"
            ) from None

    async def close(self) -> None:
        """There is nothing to let go of."""

    def _settle(self, question: tuple[str, int, int], answer: asyncio.Future[list[ResolveResult]]) -> None:
        del self._asked[question]
        if not answer.cancelled():
            answer.exception()  # seen: whoever asked may have left


def _found(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    rows = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [
        ResolveResult(
            hostname=host,
            host=socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0],
            port=port,
            family=kin,
            proto=protocol,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for kin, _, protocol, _, address in rows
    ]
