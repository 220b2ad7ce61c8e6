"""The one error tree: what the control plane answers and what the client raises.

GPUForgeError
├── MalformedBody 400      ├── Conflict 409               ├── TooManyRequests 429 (retry_after)
├── Unauthorized 401       ├── BodyTooLarge 413           ├── Unavailable 503 (retry_after)
├── Forbidden 403          ├── UnsupportedMediaType 415   └── InternalError 500
├── NotFound 404           └── Invalid 422 (errors)
├── MethodNotAllowed 405
└── NotAcceptable 406

Each maps to one RFC 9457 problem document; `code` is the stable, machine-readable name of the case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

MAX_ERRORS = 100  # faults of one body that an answer names: past that, it helps nobody
MAX_PATH = 255  # characters of a path: a name that a client made up may have megabytes


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid input: `path` like `metrics[3].utilization_pct` or `query.limit`, `message` in words."""

    path: str
    message: str


class GPUForgeError(Exception):
    """Base of all errors that cross the REST border. `str()` is the one-line sentence for a person."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal Server Error"
    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: tuple[FieldError, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.errors = errors
        self.retry_after = retry_after  # seconds; None where waiting would not help


class MalformedBody(GPUForgeError):
    status, title, default_code = 400, "Bad Request", "malformed_json"


class Unauthorized(GPUForgeError):
    status, title, default_code = 401, "Unauthorized", "unauthorized"


class Forbidden(GPUForgeError):
    status, title, default_code = 403, "Forbidden", "forbidden"


class NotFound(GPUForgeError):
    status, title, default_code = 404, "Not Found", "not_found"


class MethodNotAllowed(GPUForgeError):
    status, title, default_code = 405, "Method Not Allowed", "method_not_allowed"


class NotAcceptable(GPUForgeError):
    status, title, default_code = 406, "Not Acceptable", "not_acceptable"


class Conflict(GPUForgeError):
    status, title, default_code = 409, "Conflict", "conflict"


class BodyTooLarge(GPUForgeError):
    status, title, default_code = 413, "Content Too Large", "body_too_large"


class UnsupportedMediaType(GPUForgeError):
    status, title, default_code = 415, "Unsupported Media Type", "unsupported_media_type"


class Invalid(GPUForgeError):
    status, title, default_code = 422, "Unprocessable Content", "invalid"


class TooManyRequests(GPUForgeError):
    status, title, default_code = 429, "Too Many Requests", "too_many_requests"


class Unavailable(GPUForgeError):
    status, title, default_code = 503, "Service Unavailable", "unavailable"


class InternalError(GPUForgeError):
    """Something of ours broke; the request id in the answer finds the traceback in the log."""


BY_STATUS: dict[int, type[GPUForgeError]] = {
    error.status: error
    for error in (
        MalformedBody,
        Unauthorized,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        NotAcceptable,
        Conflict,
        BodyTooLarge,
        UnsupportedMediaType,
        Invalid,
        TooManyRequests,
        Unavailable,
        InternalError,
    )
}


def root_of(error: BaseException) -> BaseException:
    """What is behind an error, in the words of whoever noticed first."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def not_found(noun: str, id_: int | str) -> NotFound:
    """The 404 of an object, the same words everywhere: `no cluster 7`."""
    return NotFound(f"no {noun} {id_}", code=f"{noun.replace(' ', '_').lower()}_not_found")


def invalid(path: str, message: str, code: str | None = None) -> Invalid:
    """A 422 with a single field at fault."""
    return Invalid(f"{path}: {message}", code=code, errors=(FieldError(path, message),))
