"""What a row of the route table is."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from pydantic import BaseModel

from gpuforge_controlplane.domain.access import Access
from gpuforge_controlplane.services.together import Many
from gpuforge_shared.wire.base import NoQuery, Query

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Body = type[BaseModel] | type[msgspec.Struct]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """An answer in another form than JSON."""

    body: bytes
    filename: str  # for whoever saves it
    policy: str | None = None  # its own Content-Security-Policy; None: everybody's, which allows nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One endpoint. `{…_id}` in the path is a whole number, any other `{name}` a word; in order, they are the
    service's arguments."""

    method: Method
    path: str
    # (ctx, *path ids, body= or query=) -> answer, Upserted or Page; a raw row: (api, request) -> response
    service: Callable[..., Awaitable[Any]]
    answer: Any  # the type of the answer, for OpenAPI and for the tests that hold answers to it
    access: Access | None  # None: open to all, and says nothing about anybody
    tag: str
    body: Body | None = None
    query: type[Query] = NoQuery
    status: tuple[int, ...] = (200,)  # (201, 200): an upsert
    sealed: str | None = None  # the answer's field with a raw key: never stored, not even for a repeat
    many: Many | None = None  # as `service`, of requests that arrive together: see services/together
    samples: bool = False  # the way of samples, by the thousand a request: see services/ingest
    raw: bool = False  # takes the request and answers a response of its own
    stream: bool = False  # (api, request, caller, query) -> a response that lasts; its caller is known
    events: tuple[tuple[str, Any], ...] = ()  # of a stream of events: what each of them carries, by name
    media: str = "application/json"
    # further forms of the answer, for whoever's `Accept` prefers them: by media type, from the answer
    views: tuple[tuple[str, Callable[[Any], Sheet]], ...] = ()
    # (payment desk, answer) -> answer, once the write is committed: for what must not happen in a transaction
    afterwards: Callable[..., Awaitable[Any]] | None = None

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def summary(self) -> str:
        """What the endpoint does: the first line of its service's docstring."""
        return self._documented[0]

    @property
    def description(self) -> str:
        """The rest of it."""
        return self._documented[2].strip()

    @property
    def _documented(self) -> tuple[str, str, str]:
        return (inspect.getdoc(self.service) or "").partition("\n")
