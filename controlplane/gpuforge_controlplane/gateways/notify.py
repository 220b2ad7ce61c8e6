"""Sending to channels, by HTTP or apprise: within a deadline, and to no address that is not allowed."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from urllib.parse import SplitResult, unquote, urlsplit

import aiohttp
from yarl import URL

from gpuforge_controlplane.gateways.addresses import GuardedResolver, Network, bounded, refusal_of

DEADLINE_S = 10.0  # of one attempt, from the look-up of the name to the last byte
# Of apprise's services those that need no address of their own in this network (`workflows` is Teams), and
# e-mail. Others can read files, run programs, or speak to anything that listens.
APPRISE_SCHEMES = frozenset(
    {
        "discord", "gchat", "mailto", "mailtos", "opsgenie", "pagerduty", "pover", "sendgrid",
        "slack", "splunk", "tgram", "twilio", "victorops", "webex", "workflows", "zulip",
    }
)  # fmt: skip
_HAVE_HOSTS = ("http", "https", "mailto", "mailtos")  # of other services it may be a token
# They make apprise read files of this machine, or wait for longer than a channel may.
_REFUSED_PARAMETERS = frozenset({"template", "pgppub", "pgpprv", "cto", "rto"})


class DeliveryError(Exception):
    """A channel did not take a notification; the text says why, without any secret."""


def fault_of(url: str, schemes: Sequence[str], allowed: Sequence[Network]) -> str | None:
    """Why nothing will be sent to this URL, as far as it tells itself; None where nothing speaks against it.

    Names are looked up when something is sent, and what they stand for is checked then.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme.lower() not in schemes:
            return f"must begin with one of {', '.join(f'{scheme}://' for scheme in sorted(schemes))}"
        if not parts.hostname:
            return "names no host"
        host = _host(parts, url)
    except ValueError:
        return "is no URL"
    if parts.scheme.lower() in APPRISE_SCHEMES and (refused := _parameters(url) & _REFUSED_PARAMETERS):
        return f"must not set {', '.join(sorted(refused))}"
    return refusal_of(host, allowed)


def _host(parts: SplitResult, url: str) -> str:
    """The host as the one who connects reads it: an address in full-width digits is one, too.

    Raises ValueError where nobody could.
    """
    host = parts.hostname or ""
    if parts.scheme.lower() not in _HAVE_HOSTS:
        return host
    _ = parts.port
    if parts.scheme.lower() in ("http", "https"):
        host = URL(url).raw_host or ""
    return host.encode("idna").decode()


def _parameters(url: str) -> set[str]:
    """Names of a URL's parameters, taken apart at least wherever apprise does."""
    given = re.split("[?&;]", url)[1:]
    return {unquote(pair.partition("=")[0]).strip().lower() for pair in given}


async def post(url: str, body: bytes, headers: Mapping[str, str], allowed: Sequence[Network]) -> None:
    """POST JSON. Raises DeliveryError unless the answer is a 2xx within the deadline.

    Redirects are not followed: they could lead where the URL itself must not.
    """
    if (fault := fault_of(url, ("http", "https"), allowed)) is not None:
        raise DeliveryError(f"the URL {fault}")
    connector = aiohttp.TCPConnector(resolver=GuardedResolver(allowed), use_dns_cache=False)
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

    apprise connects by itself, in a thread, and its own timeouts end what the deadline gives up.
    """
    if (fault := fault_of(url, sorted(APPRISE_SCHEMES), allowed)) is not None:
        raise DeliveryError(f"the URL {fault}")
    try:
        async with asyncio.timeout(DEADLINE_S):
            refusal = await asyncio.to_thread(_apprise, url, title, text, allowed)
    except TimeoutError:
        raise DeliveryError(f"it did not answer within {DEADLINE_S:.0f} s") from None
    if refusal is not None:
        raise DeliveryError(refusal)


def _apprise(url: str, title: str, text: str, allowed: Sequence[Network]) -> str | None:
    """Send; why it was not taken, None where it was."""
    try:
        import apprise  # half a second, and an extra
    except ImportError:
        return "apprise is not installed; pip install 'gpuforge[notify]'"
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its lines may show what the URL holds
    sender = apprise.Apprise()
    with bounded(allowed) as refused:
        # not left to add(), which takes text for a list of URLs: of services that may not be, too
        service = apprise.Apprise.instantiate(url)
        if service is None:
            return "apprise does not understand the URL"
        sender.add(service)
        if sender.notify(body=text, title=title):
            return None
    return refused[0] if refused else "the service did not take it"


def _words(error: Exception) -> str:
    """Of an error that may name the URL with its secrets: what happened, and no more."""
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
