"""The REST client: one typed call a request, problem documents as exceptions, careful retries."""

from __future__ import annotations

import logging
import socket
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias, TypeVar

import aiohttp
import msgspec
from yarl import URL

from gpuforge_client.failures import Answer, UnexpectedAnswer, decode, refusal, unreachable
from gpuforge_client.resolver import Resolver
from gpuforge_client.retry import (
    PATIENT,
    REAL,
    RetryPolicy,
    World,
    next_wait_s,
    parse_retry_after,
    retrying,
)
from gpuforge_shared import apikey
from gpuforge_shared.errors import invalid

if TYPE_CHECKING:
    from pydantic import BaseModel, SecretStr

logger = logging.getLogger(__name__)

LARGEST_ANSWER = 64 << 20  # bytes, decompressed

T = TypeVar("T")
Body: TypeAlias = "BaseModel | msgspec.Struct | Mapping[str, object]"
Query = Mapping[str, str | int | bool | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    method: str
    url: URL
    content: bytes | None
    idempotency_key: str | None
    repeatable: bool


def new_idempotency_key() -> str:
    """A fresh value for `Idempotency-Key`: keep it for as long as the same intent is repeated."""
    return uuid.uuid4().hex


class RestClient:
    """Calls to one control plane; `async with` opens and closes its connections.

    Every call raises a GPUForgeError: the class of the answer's status with its `code`, `errors` and
    `retry_after`, or ControlPlaneUnreachable, GatewayFailed, UnexpectedAnswer. Redirects are never
    followed, so the key goes to `base_url` only; proxies of the environment are not used.
    """

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr | str | None = None,
        *,
        user_agent: str = "gpuforge-client",
        timeout_s: float = 30.0,
        retry: RetryPolicy = PATIENT,
        world: World = REAL,
    ) -> None:
        self._base = _base(base_url)
        self._key = _header_safe(api_key)
        self._user_agent = user_agent
        self._timeout_s = timeout_s
        self._retry = retry
        self._world = world
        self._resolver = Resolver()
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        shown = "no key" if self._key is None else "a key"
        if self._key is not None and self._key.startswith(apikey.PREFIX):
            shown = f"key {apikey.display_prefix(self._key)}…"
        return f"<RestClient {self._base} with {shown}>"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers={"User-Agent": self._user_agent, "Accept": "application/json"},
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(resolver=self._resolver),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def local_address(self) -> str | None:
        """This host's address that packets to the control plane leave from; None while there is no way there.

        Connecting a UDP socket sends nothing: it only asks the kernel for a route.
        """
        host, port = self._base.host, self._base.port
        assert host is not None
        assert port is not None
        try:
            found = (await self._resolver.resolve(host, port))[0]
            with socket.socket(found["family"], socket.SOCK_DGRAM) as probe:
                probe.connect((found["host"], port))
                return str(probe.getsockname()[0])
        except (OSError, IndexError):
            return None

    async def get(self, path: str, answer: type[T], *, params: Query | None = None) -> T:
        """GET `path`, its body decoded as `answer`; unknown fields are passed over."""
        return decode(await self._call(self._request("GET", path, params=params)), answer)

    async def post(
        self,
        path: str,
        answer: type[T],
        *,
        body: Body | None = None,
        params: Query | None = None,
        idempotency_key: str | None = None,
        repeatable: bool = False,
    ) -> T:
        """POST `body`. It is repeated after a broken connection only with an `idempotency_key` (see
        `new_idempotency_key`), or where the caller knows the route to be `repeatable` by nature."""
        request = self._request(
            "POST",
            path,
            body=body,
            params=params,
            idempotency_key=idempotency_key,
            repeatable=repeatable or idempotency_key is not None,
        )
        return decode(await self._call(request), answer)

    async def put(
        self,
        path: str,
        answer: type[T],
        *,
        body: Body,
        params: Query | None = None,
    ) -> T:
        """PUT `body`."""
        return decode(await self._call(self._request("PUT", path, body=body, params=params)), answer)

    async def patch(
        self,
        path: str,
        answer: type[T],
        *,
        body: Body,
        params: Query | None = None,
    ) -> T:
        """PATCH with `body`; not repeated after a broken connection."""
        request = self._request("PATCH", path, body=body, params=params, repeatable=False)
        return decode(await self._call(request), answer)

    async def delete(self, path: str, answer: type[T], *, params: Query | None = None) -> T:
        """DELETE `path`; the answer is the final record."""
        return decode(await self._call(self._request("DELETE", path, params=params)), answer)

    async def pages(
        self, path: str, answer: type[list[T]], *, params: Query | None = None
    ) -> AsyncIterator[T]:
        """The items of a list, page after page, along `Link: …; rel="next"`.

        Only the link's query is taken: every page is read from the same place, whatever host a proxy wrote.
        """
        request = self._request("GET", path, params=params)
        while True:
            page = await self._call(request)
            for item in decode(page, answer):
                yield item
            if page.next_query is None:
                return
            request = replace(request, url=request.url.with_query(page.next_query))

    def _request(
        self,
        method: str,
        path: str,
        *,
        params: Query | None = None,
        body: Body | None = None,
        idempotency_key: str | None = None,
        repeatable: bool = True,
    ) -> _Request:
        url = URL(str(self._base).rstrip("/") + path)
        return _Request(
            method=method,
            url=url.update_query(_query(params)) if params else url,
            content=None if body is None else _encode(body),
            idempotency_key=idempotency_key,
            repeatable=repeatable,
        )

    async def _call(self, request: _Request) -> Answer:
        def wait(error: BaseException, attempt: int) -> float | None:
            draw = self._world.draw()
            return next_wait_s(self._retry, attempt, error, repeatable=request.repeatable, draw=draw)

        def before_wait(error: BaseException, seconds: float) -> None:
            logger.info("%s; next try in %.1f s", error, seconds)

        answer: Answer = await retrying(wait, self._world, before_wait)(self._attempt, request)
        return answer

    async def _attempt(self, request: _Request) -> Answer:
        """One request, one answer below 300; anything else is raised."""
        answer = await self._send(request)
        if answer.status >= 300:
            raise refusal(answer, parse_retry_after(answer.headers.get("Retry-After"), self._world.clock()))
        return answer

    async def _send(self, request: _Request) -> Answer:
        if self._session is None:
            raise RuntimeError("RestClient is used outside `async with`")
        try:
            async with self._session.request(
                request.method,
                request.url,
                data=request.content,
                headers=self._headers(request),
                allow_redirects=False,
            ) as response:
                return Answer(
                    url=request.url.with_query(None),
                    status=response.status,
                    headers=response.headers,
                    content=await _whole(response, request.url),
                    next_query=_next_query(response, request.url),
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unreachable(request.method, request.url, error, self._timeout_s) from error

    def _headers(self, request: _Request) -> dict[str, str]:
        headers = {}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        if request.content is not None:
            headers["Content-Type"] = "application/json"
        if request.idempotency_key is not None:
            headers["Idempotency-Key"] = request.idempotency_key
        return headers


async def _whole(response: aiohttp.ClientResponse, url: URL) -> bytes:
    """The body, unless it is larger than any of ours: whoever sends that may never end."""
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > LARGEST_ANSWER:
            raise UnexpectedAnswer(
                f"{url.with_query(None)} answered {response.status} with over {LARGEST_ANSWER >> 20} MiB; "
                "check that the URL is a GPUForge control plane"
            )
    return bytes(content)


def _next_query(response: aiohttp.ClientResponse, url: URL) -> str | None:
    try:
        for relation, link in response.links.items():
            if relation == "next":
                return URL(str(link["url"])).raw_query_string
    except ValueError as error:  # of a proxy's making
        raise UnexpectedAnswer(
            f"{url.with_query(None)} answered {response.status} with a Link that is none ({error})"
        ) from None
    return None


def _base(url: str) -> URL:
    """The control plane's address, checked: it is shown in logs and errors, so it may hold no secret."""
    try:
        base = URL(url)
    except ValueError:
        base = URL()
    if base.scheme not in ("http", "https") or not base.host or not _is_name(base.host):
        raise invalid("control_plane_url", "must be like http://host:8080 or https://host")
    if base.user or base.password or base.query_string or base.fragment:
        raise invalid("control_plane_url", "must not carry a user, password, query or fragment")
    return base


def _is_name(host: str) -> bool:
    """Whether it can be looked up: the look-up itself raises UnicodeError for an empty or too long label."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _header_safe(api_key: SecretStr | str | None) -> str | None:
    """The raw key, without the newline that files end with."""
    raw = api_key if isinstance(api_key, str | None) else api_key.get_secret_value()
    key = None if raw is None else raw.strip()
    if not key:
        return None
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise invalid("api_key", "holds characters that no key has; paste it again")
    return key


def _query(params: Query) -> dict[str, str]:
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in params.items()
        if value is not None
    }


def _encode(body: Body) -> bytes:
    if isinstance(body, msgspec.Struct | Mapping):
        return msgspec.json.encode(body)
    return body.model_dump_json(exclude_unset=True).encode()  # an absent field keeps its value over there
