"""The table as an aiohttp application, and what every answer has in common."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable

from aiohttp import http_exceptions, web
from aiohttp.typedefs import Middleware

from gpuforge_controlplane.api import problems, ui
from gpuforge_controlplane.api.endpoint import DEMO, REQUEST_ID, Api, answer
from gpuforge_controlplane.api.route import Route
from gpuforge_shared import logs
from gpuforge_shared.errors import GPUForgeError, InternalError, Unavailable, root_of

_log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "gpuforge",  # aiohttp would tell its version and Python's
}
_OWN = ("Content-Security-Policy", "Cache-Control")
# Asked every few seconds by machines: logged at debug level while all is well, and of a 503 a warning tells.
_QUIET = (
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/clusters/metrics",
    "/api/clusters/nodes",
    "/api/clusters/nodes/{node_id}/health",
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(api: Api, *, max_body_mib: int) -> web.Application:
    """The routes of the table and the dashboard as an aiohttp application."""
    app = web.Application(client_max_size=max_body_mib * 1024 * 1024, middlewares=[_surround(api)])
    app.on_response_prepare.append(_complete)

    async def farewell(_: web.Application) -> None:
        api.end_streams()

    app.on_shutdown.append(farewell)
    for route in api.routes:
        path = re.sub(r"{(\w+_id)}", r"{\1:[0-9]+}", route.path)
        if route.method == "GET":
            app.router.add_get(path, _handler(api, route))
        else:
            app.router.add_route(route.method, path, _handler(api, route))
    ui.add_ui(app)
    return app


def runner(app: web.Application, *, stop_s: float) -> web.AppRunner:
    """What serves the application; told to stop, it lets requests in flight end for `stop_s` seconds."""
    logging.getLogger("aiohttp.server").addFilter(_is_news)
    return web.AppRunner(app, access_log=None, shutdown_timeout=stop_s)


def _is_news(record: logging.LogRecord) -> bool:
    """aiohttp logs a traceback for bytes that are no HTTP: whoever can connect could fill the disk."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, http_exceptions.HttpProcessingError | web.RequestPayloadError)


def _handler(api: Api, route: Route) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await answer(api, route, request)

    return handle


def _surround(api: Api) -> Middleware:
    """What every answer has in common: request id, security headers, problem documents, log, counters."""

    troubles = logs.Seldom(_log, "can't serve")

    @web.middleware
    async def surround(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        given = request.headers.get("X-Request-Id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        request[REQUEST_ID] = request_id
        token = logs.request_id.set(request_id)
        try:
            with api.traffic.passing():
                response = await _answer(request, handler, request_id, troubles)
            if api.traffic.stopping:
                response.force_close()
            seconds = None if response.prepared else time.perf_counter() - began
            _note(api, request, response.status, seconds)
        finally:
            logs.request_id.reset(token)
        return response

    return surround


async def _answer(
    request: web.Request, handler: Handler, request_id: str, troubles: logs.Seldom
) -> web.StreamResponse:
    try:
        return await handler(request)
    except GPUForgeError as error:
        if error.status >= 500:
            root = root_of(error)
            troubles.say(type(root).__name__, str(root))
        return problems.response(error, request_id)
    except web.HTTPException as error:
        response = problems.response(problems.from_http(error, request.path), request_id)
        if isinstance(error, web.HTTPMethodNotAllowed):
            response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        return response
    except Exception:  # noqa: BLE001  # the last resort: the caller gets an id, the log the traceback
        _log.exception("request failed", extra={"method": request.method, "path": request.path})
        broken = InternalError("the server failed to answer; the request id finds the reason in its log")
        return problems.response(broken, request_id)


async def _complete(request: web.Request, response: web.StreamResponse) -> None:
    """What every answer has in its head, a stream's as well: called just before that is sent."""
    if (request_id := request.get(REQUEST_ID)) is None:
        return  # refused by aiohttp before it came to us
    # the dashboard's files come with a policy and a caching of their own
    own = {name: response.headers[name] for name in _OWN if name in response.headers}
    response.headers.update(_SECURITY_HEADERS | own | {"X-Request-Id": request_id})
    if (demo := request.get(DEMO)) is not None:
        response.headers["X-GPUForge-Demo"] = demo  # of a refusal, too


def _note(api: Api, request: web.Request, status: int, seconds: float | None) -> None:
    resource = request.match_info.route.resource
    template = resource.canonical if resource is not None else "unknown"
    api.observations.request(request.method, template, status, seconds)
    no_news = status < 400 or status == Unavailable.status
    level = logging.DEBUG if template in _QUIET and no_news else logging.INFO
    if _log.isEnabledFor(level):
        fields: dict[str, object] = {"method": request.method, "path": request.path, "status": status}
        if seconds is not None:
            fields["ms"] = round(1000 * seconds, 1)
        _log.log(level, "request", extra=fields)
