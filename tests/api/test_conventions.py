"""What all answers have in common: request ids, headers, pages."""

import json
import logging
import re

import pytest

from gpuforge_shared.logs import JsonFormatter
from tests.api.examples import Scene, build_scene, rows_to_walk
from tests.api.harness import ON_SQLITE, Plane, Site, build_site


@ON_SQLITE
async def test_a_sane_request_id_comes_back(plane: Plane) -> None:
    for given in ("a", "x" * 64, "req-1.2:3_4", "0191-af"):
        for path in ("/healthz", "/api/clusters", "/nowhere"):
            answer = await plane.admin.get(path, headers={"X-Request-Id": given})
            assert answer.headers["X-Request-Id"] == given


@ON_SQLITE
async def test_any_other_is_replaced(plane: Plane) -> None:
    for given in ("", "x" * 65, "two words", "a;b", "<script>", "ä", "a\tb"):
        first = await plane.admin.get("/healthz", headers={"X-Request-Id": given})
        second = await plane.admin.get("/healthz", headers={"X-Request-Id": given})
        ids = [answer.headers["X-Request-Id"] for answer in (first, second)]
        assert given not in ids
        assert ids[0] != ids[1]
        assert all(re.fullmatch("[0-9a-f]{16}", each) for each in ids)


@ON_SQLITE
async def test_the_request_id_is_in_answer_log_and_audit_row(
    plane: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.setFormatter(JsonFormatter())
    lines: list[dict[str, object]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            from gpuforge_shared import logs

            lines.append({**vars(record), "request_id": logs.request_id.get()})

    keep = Keep()
    logging.getLogger("gpuforge_controlplane").addHandler(keep)
    try:
        made = await plane.admin.post("/api/clusters", {"name": "x"}, headers={"X-Request-Id": "trace-me"})
        refused = await plane.admin.post("/api/clusters", {"name": "x"}, headers={"X-Request-Id": "and-me"})
    finally:
        logging.getLogger("gpuforge_controlplane").removeHandler(keep)
    assert (made.headers["X-Request-Id"], refused.body["request_id"]) == ("trace-me", "and-me")
    assert [(line["request_id"], line["status"]) for line in lines] == [("trace-me", 201), ("and-me", 409)]
    rows = await plane.admin.read("/api/audit")
    assert [row["request_id"] for row in rows if row["principal"] != "command line"] == ["trace-me"] * 2


@ON_SQLITE
async def test_what_agents_send_every_few_seconds_is_no_line_in_the_log_until_it_is_refused(
    plane: Plane, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="gpuforge_controlplane")
    caplog.clear()
    for path in ("/api/clusters/nodes", f"/api/clusters/nodes/{site.node_id}/health"):
        sent = {"cluster_id": site.cluster_id, "hostname": "east-01"} if path.endswith("nodes") else {}
        assert (await site.agent.post(path, sent)).status == 200, path
        assert not caplog.messages
        assert (await site.agent.post(path, {"cluster_id": "?", "gpus": "?"})).status == 422, path
        assert len(caplog.messages) == 1
        caplog.clear()


@ON_SQLITE
async def test_a_problem_is_one_sentence_with_the_next_step(plane: Plane) -> None:
    answer = await plane.admin.get("/api/nowhere")
    assert answer.body == {
        "type": "urn:gpuforge:problem:no_such_route",
        "title": "Not Found",
        "status": 404,
        "detail": "no such route: /api/nowhere; GET /api/openapi.json lists all",
        "code": "no_such_route",
        "error": "no such route: /api/nowhere; GET /api/openapi.json lists all",
        "request_id": answer.headers["X-Request-Id"],
    }


@ON_SQLITE
async def test_health_and_readiness_ask_no_key(plane: Plane) -> None:
    for path in ("/healthz", "/readyz"):
        assert (await plane.anonymous.read(path)) == {"status": "ok", "time": "2026-05-09T12:00:00Z"}


@ON_SQLITE
async def test_counters_are_by_template_and_never_by_id(plane: Plane, site: Site) -> None:
    await plane.admin.get(f"/api/clusters/{site.cluster_id}")
    await plane.admin.get("/api/clusters/999")
    await plane.admin.get("/secret/path/of/somebody")
    await site.agent.write("/api/clusters/metrics", {"metrics": [{"gpu_id": site.gpu_ids[0]}]})
    text = (await plane.anonymous.get("/metrics")).raw.decode()
    got = {'status="200"': 1.0, 'status="404"': 1.0}
    for status, count in got.items():
        line = f'gpuforge_http_requests_total{{method="GET",route="/api/clusters/{{cluster_id}}",{status}}}'
        assert f"{line} {count}" in text.replace(":[0-9]+", "")
    assert 'gpuforge_ingest_samples_total{fate="accepted"} 1.0' in text
    assert "secret" not in text
    assert 'route="unknown"' in text


# Lists in pages

LISTS = {
    "/api/clusters",
    "/api/dashboard/gpu-allocation",
    "/api/api-keys",
    "/api/dashboard",
    "/api/audit",
    "/api/jobs",
}


async def fill(plane: Plane) -> Scene:
    """At least three of everything."""
    scene = await build_scene(plane)
    for number in range(3):
        job = {"cluster_id": scene.site.cluster_id, "name": f"job {number}", "tenant_id": scene.tenant_id}
        await plane.admin.write("/api/jobs", job)
    await build_site(plane, "north")
    await plane.tenant("a third")
    for _ in range(3):
        await plane.cycle()
    return scene


async def test_pages_neither_lose_nor_repeat(plane: Plane, subtests: pytest.Subtests) -> None:
    walked = set()
    for route, example in rows_to_walk(await fill(plane)):
        if "cursor" not in route.query.model_fields:
            continue
        walked.add(route.path)
        for limit in (1, 2, 100):
            with subtests.test(route.path, limit=limit):
                whole = _items((await plane.admin.get(example.path)).body)
                pages = [
                    _items(answer.body) for answer in await plane.admin.pages(f"{example.path}?limit={limit}")
                ]
                assert len(whole) >= (3 if route.path in LISTS else 1)
                assert [item for page in pages for item in page] == whole
                assert all(len(page) == limit for page in pages[:-1])
    assert walked >= LISTS


@ON_SQLITE
async def test_a_link_keeps_the_filters(plane: Plane) -> None:
    await fill(plane)
    pages = await plane.admin.pages("/api/audit?object_type=gpu&limit=2")
    assert [row["object_type"] for answer in pages for row in answer.body] == ["gpu"] * 10
    assert (await plane.admin.get("/api/audit?object_type=gpu&limit=10")).next_page is None


async def test_a_row_that_comes_between_two_pages_moves_none(plane: Plane) -> None:
    await fill(plane)
    first = await plane.admin.get("/api/audit?limit=3")
    await plane.admin.write("/api/clusters", {"name": "in between"})
    assert first.next_page
    second = await plane.admin.get(first.next_page)
    assert second.body[0]["id"] == first.body[-1]["id"] - 1


@ON_SQLITE
async def test_a_cursor_reads_as_nothing(plane: Plane) -> None:
    """Opaque, so that nobody counts on what it is made of."""
    await fill(plane)
    following = (await plane.admin.get("/api/clusters?limit=1")).next_page
    assert following
    assert re.fullmatch(r"/api/clusters\?limit=1&cursor=[A-Za-z0-9_-]+", following)


def _items(body: object) -> list[str]:
    if isinstance(body, dict):
        body = body["nodes"] if "nodes" in body else body["events"]
    items = body
    assert isinstance(items, list)
    return [json.dumps(item) for item in items]
