"""The dashboard's files, as they were built into this package: read once, served from memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from gpuforge_shared.errors import NotFound

BUILT = Path(__file__).parent.parent / "_ui"
# The paths of the tabs: each is the same page, which reads its address by itself.
TABS = ("", "fleet", "allocation", "jobs", "tenants", "billing", "alerts", "keys", "reference")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HASHED = "public, max-age=31536000, immutable"  # their names change with their contents
_NAMED = "no-cache"  # asked for again each time, answered with 304 while it is the same
# Python's own table asks the system's, which knows no fonts on some.
_MEDIA = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file, ready to be sent."""

    content: bytes
    zipped: bytes | None  # where the build found that worth it
    media: str
    etag: str
    caching: str

    def answer(self, request: web.Request) -> web.Response:
        """The response to a GET of this file."""
        headers = {
            "Cache-Control": self.caching,
            "Content-Security-Policy": POLICY,
            "Cross-Origin-Opener-Policy": "same-origin",
            "ETag": f'"{self.etag}"',
            "Vary": "Accept-Encoding",
        }
        if any(each.value in (self.etag, "*") for each in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        body = self.content
        if self.zipped is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            body = self.zipped
        return web.Response(body=body, headers=headers | {"Content-Type": self.media})


def paths() -> frozenset[str]:
    """What `add_ui` routes, as aiohttp names it."""
    return frozenset({*(f"/{tab}" for tab in TABS), "/favicon.svg", "/assets/{name}"})


def add_ui(app: web.Application, folder: Path = BUILT) -> None:
    """Route the dashboard. Where none was built, its paths say so, and what to do."""
    files = read(folder)

    async def page(request: web.Request) -> web.Response:
        return _file(files, "index.html").answer(request)

    async def icon(request: web.Request) -> web.Response:
        return _file(files, "favicon.svg").answer(request)

    async def asset(request: web.Request) -> web.Response:
        return _file(files, f"assets/{request.match_info['name']}").answer(request)

    for tab in TABS:
        app.router.add_get(f"/{tab}", page)
    app.router.add_get("/favicon.svg", icon)
    app.router.add_get("/assets/{name:[A-Za-z0-9._-]+}", asset)


def read(folder: Path) -> Mapping[str, File]:
    """The built files by their path below `folder`; empty where nothing was built."""
    return dict(_read(folder)) if (folder / "index.html").is_file() else {}


def _read(folder: Path) -> Iterator[tuple[str, File]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix not in _MEDIA:
            continue
        name = path.relative_to(folder).as_posix()
        content = path.read_bytes()
        zipped = path.with_name(path.name + ".gz")
        yield (
            name,
            File(
                content=content,
                zipped=zipped.read_bytes() if zipped.is_file() else None,
                media=_MEDIA[path.suffix],
                etag=hashlib.sha256(content).hexdigest()[:20],
                caching=_HASHED if name.startswith("assets/") else _NAMED,
            ),
        )


def _file(files: Mapping[str, File], name: str) -> File:
    if not files:
        raise NotFound(
            "UI not built: this installation has no dashboard; install again without GPUFORGE_UI=skip. "
            "The API works: GET /api/openapi.json",
            code="ui_not_built",
        )
    if name not in files:
        raise NotFound(f"no such file of the dashboard: {name}", code="no_such_file")
    return files[name]
