"""The dashboard's files: a strict policy, cached as long as they stay the same, or said to be missing."""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gpuforge_controlplane.api import ui
from tests.api.harness import ON_SQLITE, Plane

Client = TestClient[web.Request, web.Application]
SCRIPT = b"console.log(1)\n" * 40


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "favicon.svg").write_text("<svg/>")
    (tmp_path / ".stamp").write_text("abc")
    (tmp_path / "assets" / "index-abc123.js").write_bytes(SCRIPT)
    (tmp_path / "assets" / "index-abc123.js.gz").write_bytes(gzip.compress(SCRIPT))
    app = web.Application()
    ui.add_ui(app, tmp_path)
    async with TestClient(TestServer(app), auto_decompress=False) as client:
        yield client


@pytest.mark.parametrize("tab", ui.TABS)
async def test_every_tab_is_the_same_page(client: Client, tab: str) -> None:
    async with client.get(f"/{tab}?job=7") as response:
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-cache"
        assert await response.text() == "<!doctype html>"


async def test_the_policy_allows_nothing_from_elsewhere_and_nothing_inline(
    client: Client,
) -> None:
    async with client.get("/") as response:
        policy = dict(
            directive.split(" ", 1) for directive in response.headers["Content-Security-Policy"].split("; ")
        )
    assert policy.pop("default-src") == "'none'"
    assert set(policy.values()) == {"'self'", "'none'"}
    assert {"script-src", "style-src", "connect-src", "frame-ancestors", "base-uri"} <= policy.keys()


async def test_a_hashed_file_is_kept_for_good_and_sent_as_small_as_the_reader_takes_it(
    client: Client,
) -> None:
    path = "/assets/index-abc123.js"
    async with client.get(path, headers={"Accept-Encoding": "br, gzip"}) as small:
        assert small.headers["Content-Encoding"] == "gzip"
        assert small.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert gzip.decompress(await small.read()) == SCRIPT
    async with client.get(path, headers={"Accept-Encoding": "identity"}) as plain:
        assert "Content-Encoding" not in plain.headers
        assert (await plain.read(), plain.headers["Vary"]) == (SCRIPT, "Accept-Encoding")


async def test_a_page_that_is_known_already_is_not_sent_again(
    client: Client,
) -> None:
    async with client.get("/") as first:
        known = first.headers["ETag"]
    async with client.get("/", headers={"If-None-Match": known}) as again:
        assert (again.status, await again.read()) == (304, b"")
    async with client.get("/", headers={"If-None-Match": '"of yesterday"'}) as other:
        assert other.status == 200


@pytest.mark.parametrize("name", ["index.html", "..%2findex.html", ".stamp", "nothing.js", "%2e%2e/.stamp"])
async def test_no_other_file_is_reached_by_any_name(client: Client, name: str) -> None:
    async with client.get(f"/assets/{name}") as response:
        assert response.status in (404, 500)  # the bare application renders no problem documents
        assert b"doctype" not in await response.read()


@ON_SQLITE
async def test_the_control_plane_serves_it_with_the_headers_of_all_answers(plane: Plane) -> None:
    async with plane.session.get(plane.url + "/fleet") as response:
        if not ui.read(ui.BUILT):
            assert (response.status, (await response.json())["code"]) == (404, "ui_not_built")
            return
        assert response.headers["Content-Security-Policy"] == ui.POLICY
        assert response.headers["Cache-Control"] == "no-cache"
        for name, value in (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")):
            assert response.headers[name] == value
        assert "X-Request-Id" in response.headers


async def test_without_a_build_every_path_says_what_to_do(tmp_path: Path) -> None:
    assert ui.read(tmp_path) == {}
    with pytest.raises(Exception, match="UI not built"):
        ui._file({}, "index.html")


def test_an_answer_never_depends_on_the_systems_table_of_media(tmp_path: Path) -> None:
    (tmp_path / "index.html").touch()
    (tmp_path / "a.woff2").touch()
    assert ui.read(tmp_path)["a.woff2"].media == "font/woff2"
