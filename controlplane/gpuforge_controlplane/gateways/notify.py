"""Sending to channels, by HTTP or apprise: within a deadline, and to no address that is not allowed."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

DEADLINE_S = 10.0  # of one attempt, from the look-up of the name to the last byte
# Of apprise's services those that need no address of their own in this network, and e-mail. Others can read
# files, run programs, or speak to anything that listens.
APPRISE_SCHEMES = frozenset(
    {
        "discord", "gchat", "mailto", "mailtos", "msteams", "opsgenie", "pagerduty", "pover", "sendgrid",
        "slack", "splunk", "tgram", "twilio", "victorops", "webex", "workflows", "zulip",
    }
)  # fmt: skip


class DeliveryError(Exception):
    """A channel did not take a notification; the text says why, without any secret."""


def fault_of(url: str, schemes: Sequence[str], allowed: Sequence[Network]) -> str | None:
    """Why nothing will be sent to this URL, as far as it tells itself; None where nothing speaks against it.

    Names are looked up when something is sent, and what they stand for is checked then.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return "is no URL"
    if parts.scheme.lower() not in schemes:
        return f"must begin with one of {', '.join(f'{scheme}://' for scheme in sorted(schemes))}"
    if not host:
        return "names no host"
    literal = _literal(host)
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        literal = ipaddress.IPv4Address("127.0.0.1")
    return None if literal is None or _may(literal, allowed) else _refusal(literal)


async def post(url: str, body: bytes, headers: Mapping[str, str], allowed: Sequence[Network]) -> None:
    """POST JSON. Raises DeliveryError unless the answer is a 2xx within the deadline.

    Redirects are not followed: they could lead where the URL itself must not.
    """
    if (fault := fault_of(url, ("http", "https"), allowed)) is not None:
        raise DeliveryError(f"the URL {fault}")
    connector = aiohttp.TCPConnector(resolver=_Guard(allowed), use_dns_cache=False)
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.post(
                url,
                data=body,
                headers={"Content-Type": "application/json", "User-Agent": "gpuforge", **headers},
                allow_redirects=False,
            ) as response,
        ):
            if not 200 <= response.status < 300:
                raise DeliveryError(f"it answered {response.status}")
    except TimeoutError:
        raise DeliveryError(f"it did not answer within {DEADLINE_S:.0f} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise DeliveryError(_words(error)) from None


async def by_apprise(url: str, title: str, text: str, allowed: Sequence[Network]) -> None:
    """Send through apprise, which is installed with `gpuforge[notify]`. Raises DeliveryError.

    apprise connects by itself, in a thread: its host is checked just before, and its own timeouts end what
    the deadline gives up.
    """
    if (fault := fault_of(url, sorted(APPRISE_SCHEMES), allowed)) is not None:
        raise DeliveryError(f"the URL {fault}")
    try:
        async with asyncio.timeout(DEADLINE_S):
            await _check_names(url, allowed)
            refusal = await asyncio.to_thread(_apprise, url, title, text)
    except TimeoutError:
        raise DeliveryError(f"it did not answer within {DEADLINE_S:.0f} s") from None
    if refusal is not None:
        raise DeliveryError(refusal)


def _apprise(url: str, title: str, text: str) -> str | None:
    """Send; why it was not taken, None where it was."""
    try:
        import apprise  # half a second, and an extra
    except ImportError:
        return "apprise is not installed; pip install 'gpuforge[notify]'"
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its lines may show what the URL holds
    sender = apprise.Apprise()
    if not sender.add(url):
        return "apprise does not understand the URL"
    return None if sender.notify(body=text, title=title) else "the service did not take it"


async def _check_names(url: str, allowed: Sequence[Network]) -> None:
    """A URL's host may be a token instead (slack://token/…): what is no name stands for no address."""
    host = urlsplit(url).hostname or ""
    if "." in host:
        try:
            await _Guard(allowed).resolve(host)
        except OSError as error:
            raise DeliveryError(_words(error)) from None


class _Guard(AbstractResolver):
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
            literal = _literal(answer["host"])
            if literal is None or not _may(literal, self._allowed):
                raise OSError(None, f"{host}: {_refusal(literal)}")
        return answers

    async def close(self) -> None:
        """Nothing is kept open."""


def _literal(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _may(address: _Address, allowed: Sequence[Network]) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in allowed):
        return True
    return address.is_global and not address.is_multicast


def _refusal(address: _Address | None) -> str:
    return f"{address} is no public address; GPUFORGE_NOTIFY_ALLOW_NETWORKS can allow its network"


def _words(error: Exception) -> str:
    """Of an error that may name the URL with its secrets: what happened, and no more."""
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
