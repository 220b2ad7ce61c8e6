"""What can go wrong between a caller and the control plane, as errors with a sentence that helps."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
import msgspec
from yarl import URL

from gpuforge_shared.errors import BY_STATUS, FieldError, GPUForgeError

T = TypeVar("T")


class ControlPlaneUnreachable(GPUForgeError):
    """No answer. `sent` tells whether the request may have arrived before the connection failed."""

    status, title, default_code = 503, "Control plane unreachable", "control_plane_unreachable"

    def __init__(self, detail: str, *, sent: bool, code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.sent = sent


class CertificateRefused(ControlPlaneUnreachable):
    """TLS did not vouch for the other side; trying again does not change a certificate."""

    default_code = "certificate_refused"


class GatewayFailed(GPUForgeError):
    """502 or 504: a proxy lost the control plane while it was working on the request."""

    status, title, default_code = 502, "Bad Gateway", "gateway_failed"


class UnexpectedAnswer(GPUForgeError):
    """An answer that no control plane of ours gives: HTML, a redirect, a body of another shape."""

    status, title, default_code = 502, "Unexpected answer", "unexpected_answer"


class _FieldProblem(msgspec.Struct):
    path: str = ""
    message: str = ""


class _Problem(msgspec.Struct):
    """RFC 9457 as the control plane writes it. Every field may be absent: proxies write problems too."""

    title: str = ""
    detail: str = ""
    code: str | None = None
    errors: list[_FieldProblem] = []


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came, whatever its status."""

    url: URL
    status: int
    headers: Mapping[str, str]
    content: bytes
    next_query: str | None  # of the Link to the next page


def decode(answer: Answer, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnexpectedAnswer(
            f"{answer.url} answered {answer.status} with {_excerpt(answer)}, which is not what this version "
            f"reads ({error}); check that the URL is a GPUForge control plane of a fitting version"
        ) from None


def refusal(answer: Answer, retry_after_s: float | None) -> GPUForgeError:
    """The error of an answer of 300 or above, in the words of its problem document if it has one."""
    if answer.status < 400:
        return _redirected(answer)
    problem = _problem(answer)
    words = (
        problem.detail or problem.title or f"{answer.url} answered {answer.status} with {_excerpt(answer)}"
    )
    if answer.status >= 500 and (request_id := answer.headers.get("X-Request-Id")):
        words = f"{words} (request id {request_id})"
    kind = GatewayFailed if answer.status in (502, 504) else BY_STATUS.get(answer.status, UnexpectedAnswer)
    return kind(
        words,
        code=problem.code,
        errors=tuple(FieldError(each.path, each.message) for each in problem.errors),
        retry_after=retry_after_s,
    )


def _problem(answer: Answer) -> _Problem:
    try:
        return msgspec.json.decode(answer.content, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Problem()


def _redirected(answer: Answer) -> GPUForgeError:
    target = answer.headers.get("Location", "nowhere")
    return UnexpectedAnswer(
        f"{answer.url} redirects to {target}; the key is not sent there: set the control plane's URL to the "
        "address that answers itself",
        code="redirected",
    )


def _excerpt(answer: Answer) -> str:
    kind = answer.headers.get("Content-Type", "no content type").split(";")[0]
    return f"{len(answer.content)} bytes of {kind}"


def unreachable(method: str, url: URL, error: Exception, timeout_s: float) -> ControlPlaneUnreachable:
    """A sentence with the address, what happened and what to look at."""
    origin = url.origin()
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return CertificateRefused(
            f"{origin}: TLS failed ({error}); check the certificate, and http against https", sent=False
        )
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return ControlPlaneUnreachable(
            f"can't connect to {origin} ({_reason(error)}); check the URL, and that the control plane runs "
            "(gpuforge-controlplane serve)",
            sent=False,
        )
    happened = (
        f"no answer in {timeout_s:g} s" if isinstance(error, TimeoutError) and timeout_s else _reason(error)
    )
    return ControlPlaneUnreachable(
        f"lost {origin} during {method} {url.path} ({happened}); look at its log", sent=True
    )


def _reason(error: Exception) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    number = cause.errno if isinstance(cause, OSError) and not isinstance(cause, socket.gaierror) else None
    if number is not None and number > 0:
        return os.strerror(number)  # asyncio puts the address in the place of the words
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
