"""What no client of good will sends: answered with the documented problem, nothing stored, nothing logged."""

import asyncio
import json
import re
import zlib
from dataclasses import dataclass

import pytest

from gpuforge_controlplane.api.routes import ROUTES
from gpuforge_shared.wire.base import MAX_ID
from tests.api.harness import ON_SQLITE, START, Json, Plane, Site, build_site, told

METRICS, NODES, GPUS = "/api/clusters/metrics", "/api/clusters/nodes", "/api/clusters/gpus"
CLUSTERS, KEYS = "/api/clusters", "/api/api-keys"
LATEST = "9999-12-31T23:59:59.999999-23:59"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A body and what must come of it. `path` is among those that the problem names."""

    post: str
    body: Json = None
    raw: bytes | None = None
    status: int = 422
    code: str = "invalid"
    path: str | None = None
    says: str = ""

    @property
    def data(self) -> bytes:
        return self.raw if self.raw is not None else json.dumps(self.body).encode()


def metric(**fields: Json) -> Json:
    return {"metrics": [{"gpu_id": 1, "utilization_pct": 1.0}, {"gpu_id": 1, **fields}]}


def malformed(post: str, raw: bytes) -> Refused:
    return Refused(post=post, raw=raw, status=400, code="malformed_json")


TABLE = {
    # one metric among good ones
    "utilisation over 100": Refused(
        post=METRICS, body=metric(utilization_pct=101), path="metrics[1].utilization_pct"
    ),
    "utilisation negative": Refused(
        post=METRICS, body=metric(utilization_pct=-1), path="metrics[1].utilization_pct"
    ),
    "NaN": Refused(
        post=METRICS,
        raw=b'{"metrics":[{"gpu_id":1,"power_draw_w":NaN},{"gpu_id":1,"temperature_c":-Infinity}]}',
        path="metrics[1].temperature_c",
        says="finite",
    ),
    "Infinity": Refused(
        post=METRICS, body=metric(temperature_c=float("inf")), path="metrics[1].temperature_c"
    ),
    "1e999": Refused(
        post=METRICS,
        raw=b'{"metrics":[{"gpu_id":1,"power_draw_w":1e999}]}',
        path="metrics[0].power_draw_w",
    ),
    "a negative temperature": Refused(
        post=METRICS, body=metric(temperature_c=-1), path="metrics[1].temperature_c"
    ),
    "a huge number": Refused(post=METRICS, body=metric(memory_used_mb=10**30)),
    "a number of 5,000 digits": Refused(
        post=METRICS, raw=b'{"metrics":[{"gpu_id":' + b"9" * 5000 + b"}]}", path="metrics[0].gpu_id"
    ),
    "an id of 30 digits": Refused(post=METRICS, body=metric(gpu_id=10**29), path="metrics[1].gpu_id"),
    "an id of 0": Refused(post=METRICS, body=metric(gpu_id=0), path="metrics[1].gpu_id"),
    "a wrong type deep inside": Refused(
        post=METRICS,
        body=metric(gpu_id="1"),
        path="metrics[1].gpu_id",
        says="metrics[1].gpu_id: Expected `int`, got `str`",
    ),
    "a boolean as a number": Refused(post=METRICS, body=metric(gpu_id=True), path="metrics[1].gpu_id"),
    "an item that is no object": Refused(post=METRICS, body={"metrics": [1]}, path="metrics[0]"),
    "no items": Refused(post=METRICS, body={"metrics": []}, path="metrics"),
    "metrics missing": Refused(post=METRICS, body={}, path="body"),
    "an array for a body": Refused(post=METRICS, body=[], path="body"),
    "a time without zone": Refused(
        post=METRICS, body=metric(recorded_at="2026-05-09T12:00:00"), path="metrics[1].recorded_at"
    ),
    "a time before all time": Refused(
        post=METRICS,
        body={"metrics": [{"gpu_id": 1, "recorded_at": "0001-01-01T00:00:00+23:59"}]},
        code="all_rejected",
        path="metrics[0]",
        says="all 1 items were rejected",
    ),
    "a time after all time": Refused(
        post=METRICS,
        body={"metrics": [{"gpu_id": 1, "recorded_at": LATEST}]},
        code="all_rejected",
        path="metrics[0]",
    ),
    "10,001 items": Refused(
        post=METRICS, body={"metrics": [{"gpu_id": 1}] * 10_001}, path="metrics", says="10000"
    ),
    "NUL in a reason": Refused(post=METRICS, body=metric(missing={"power_draw_w": "\0"})),
    "NUL in a missing field's name": Refused(post=METRICS, body=metric(missing={"\0": "unsupported"})),
    "a long name of a missing field": Refused(post=METRICS, body=metric(missing={"x" * 65: "unsupported"})),
    "33 reasons": Refused(post=METRICS, body=metric(missing={str(n): "x" for n in range(33)})),
    # broken JSON
    "broken": malformed(METRICS, b'{"metrics": [{"gpu_id": 1}'),
    "a comma too many": malformed(METRICS, b'{"metrics": [{"gpu_id": 1},]}'),
    "an empty body": malformed(METRICS, b""),
    "invalid UTF-8 in metrics": malformed(METRICS, b'{"metrics":[{"gpu_id":1,"missing":{"a":"\xff"}}]}'),
    "a lone surrogate in metrics": malformed(
        METRICS, b'{"metrics":[{"gpu_id":1,"missing":{"a":"\\ud800"}}]}'
    ),
    "100,000 brackets inside metrics": Refused(
        post=METRICS, raw=b'{"metrics":' + b"[" * 100_000, path="metrics[0]"
    ),
    "NaN under 900 brackets": Refused(
        post=METRICS,
        raw=b'{"metrics":[{"gpu_id":1,"x":' + b"[" * 900 + b"NaN" + b"]" * 900 + b"}]}",
        says="finite",
    ),
    "NaN under 985 brackets": Refused(
        post=METRICS,
        raw=b'{"metrics":[{"gpu_id":1,"x":' + b"[" * 985 + b"NaN" + b"]" * 985 + b"}]}",
        status=400,
        code="malformed_json",
    ),
    "100,000 brackets": Refused(post=METRICS, raw=b"[" * 100_000, path="body"),
    "broken cluster": malformed(CLUSTERS, b'{"name": "x"'),
    "an empty cluster": malformed(CLUSTERS, b""),
    "invalid UTF-8 in a name": malformed(CLUSTERS, b'{"name": "\xff\xfe"}'),
    "a lone surrogate in a name": malformed(CLUSTERS, b'{"name": "\\ud800"}'),
    "100,000 brackets in a cluster": malformed(CLUSTERS, b"[" * 100_000),
    "UTF-16": malformed(CLUSTERS, '{"name": "x"}'.encode("utf-16")),
    # what people write
    "an unknown field": Refused(
        post=CLUSTERS,
        body={"name": "x", "regoin": "eu-1"},
        path="regoin",
        says="regoin: unknown field; did you mean region?",
    ),
    "an unknown field near nothing": Refused(
        post=CLUSTERS, body={"name": "x", "zzz": 1}, path="zzz", says="known are: name, region"
    ),
    "a name missing": Refused(post=CLUSTERS, body={}, path="name"),
    "a name of another type": Refused(post=CLUSTERS, body={"name": 7}, path="name"),
    "a name null": Refused(post=CLUSTERS, body={"name": None}, path="name"),
    "an empty name": Refused(post=CLUSTERS, body={"name": ""}, path="name"),
    "a name of spaces": Refused(post=CLUSTERS, body={"name": " \t "}, path="name"),
    "a name of 256 letters": Refused(post=CLUSTERS, body={"name": "x" * 256}, path="name"),
    "NUL in a name": Refused(post=CLUSTERS, body={"name": "a\0b"}, path="name", says="control"),
    "an escape in a name": Refused(post=CLUSTERS, body={"name": "a\x1b[31mb"}, path="name"),
    "a line end in a name": Refused(post=CLUSTERS, body={"name": "a\nb"}, path="name"),
    "a string for a body": Refused(post=CLUSTERS, body="x", path="body"),
    "null for a body": Refused(post=CLUSTERS, body=None, raw=b"null", path="body"),
    "NaN for a name": Refused(post=CLUSTERS, raw=b'{"name": NaN}', path="name"),
    "a node of another type": Refused(
        post=NODES, body={"cluster_id": "1", "hostname": "a"}, path="cluster_id"
    ),
    "a node's id of 30 digits": Refused(
        post=NODES, body={"cluster_id": 10**29, "hostname": "a"}, path="cluster_id"
    ),
    "a node without a name": Refused(post=NODES, body={"cluster_id": 1}, path="hostname"),
    "more cores than a column holds": Refused(
        post=NODES, body={"cluster_id": 1, "hostname": "a", "cpu_cores": 2**31}, path="cpu_cores"
    ),
    "RAM below nothing": Refused(
        post=NODES, body={"cluster_id": 1, "hostname": "a", "ram_gb": -1}, path="ram_gb"
    ),
    "no address": Refused(
        post=NODES, body={"cluster_id": 1, "hostname": "a", "ip_address": "10.0.0"}, path="ip_address"
    ),
    "an address with a long zone": Refused(
        post=NODES,
        body={"cluster_id": 1, "hostname": "a", "ip_address": "fe80::1%" + "x" * 300},
        path="ip_address",
    ),
    "an address with NUL": Refused(
        post=NODES, body={"cluster_id": 1, "hostname": "a", "ip_address": "fe80::1%\0"}, path="ip_address"
    ),
    "a wrong type deep inside a node's GPUs": Refused(
        post=GPUS, body={"node_id": 1, "gpus": [{}, {"model": 7}]}, path="gpus[1].model"
    ),
    "an index below nothing": Refused(
        post=GPUS, body={"node_id": 1, "gpus": [{"gpu_index": -1}]}, path="gpus[0].gpu_index"
    ),
    "no GPUs": Refused(post=GPUS, body={"node_id": 1, "gpus": []}, path="gpus"),
    "1,025 GPUs": Refused(post=GPUS, body={"node_id": 1, "gpus": [{}] * 1025}, path="gpus"),
    "an unknown scope": Refused(
        post=KEYS, body={"label": "x", "permissions": ["read", "root"]}, path="permissions[1]"
    ),
    "a scope that is not asked for": Refused(
        post=KEYS, body={"label": "x", "permissions": ["agent"]}, path="permissions[0]"
    ),
    "no scopes": Refused(post=KEYS, body={"label": "x", "permissions": []}, path="permissions"),
    "a key that has expired": Refused(
        post=KEYS, body={"label": "x", "expires_at": "2026-05-09T12:00:00Z"}, path="expires_at"
    ),
    "a key's end after all time": Refused(
        post=KEYS, body={"label": "x", "expires_at": LATEST}, path="expires_at"
    ),
    "a key's end without zone": Refused(
        post=KEYS, body={"label": "x", "expires_at": "2027-05-09T12:00:00"}, path="expires_at"
    ),
}


async def test_a_body_that_is_refused(plane: Plane, subtests: pytest.Subtests) -> None:
    await build_site(plane, "east")
    before = await plane.contents()
    for name, row in TABLE.items():
        with subtests.test(name):
            answer = await plane.admin.post(row.post, data=row.data)
            assert (answer.status, answer.code) == (row.status, row.code), answer.raw[:500]
            assert row.path is None or row.path in answer.paths
            assert row.says in answer.body["detail"]
            assert len(answer.raw) < 100_000
            if row.status == 422:
                assert answer.body["errors"]
    assert await plane.contents() == before


QUERIES = {
    "an unknown parameter": ("/api/clusters?limti=5", "query.limti", "did you mean limit?"),
    "a parameter where there is none": ("/api/clusters/1?limit=5", "query.limit", "known are: none"),
    "a limit of 0": ("/api/clusters?limit=0", "query.limit", ""),
    "a limit of 101": ("/api/clusters?limit=101", "query.limit", ""),
    "a limit in words": ("/api/clusters?limit=ten", "query.limit", ""),
    "a limit given twice": ("/api/clusters?limit=5&limit=6", "query.limit", "more than once"),
    "a made-up cursor": ("/api/clusters?cursor=abc", "query.cursor", "Link"),
    "a cursor of other letters": ("/api/clusters?cursor=%F0%9F%92%A9", "query.cursor", ""),
    "a cursor of another form": ("/api/clusters?cursor=YWZ0ZXI6LTE", "query.cursor", ""),
    "a long cursor": (f"/api/clusters?cursor={'A' * 256}", "query.cursor", ""),
    "NUL in a filter": ("/api/audit?object_type=%00", "query.object_type", "control"),
    "an id of 30 digits": (f"/api/audit?object_id={10**29}", "query.object_id", ""),
    "a time in words": ("/api/audit?since=yesterday", "query.since", ""),
    "a time after all time": (f"/api/audit?until={LATEST}", "query.until", ""),
    "a time before all time": ("/api/audit?since=0001-01-01T00:00:00%2B23:59", "query.since", ""),
    "neither yes nor no": ("/api/dashboard/gpu-allocation?allocated=maybe", "query.allocated", ""),
    "invalid UTF-8": ("/api/clusters?%FF=%FE", None, "unknown"),
    "a surrogate": ("/api/clusters?%ED%A0%80=1", None, "unknown"),
}


async def test_a_query_that_is_refused(plane: Plane, site: Site, subtests: pytest.Subtests) -> None:
    for name, (path, where, says) in QUERIES.items():
        with subtests.test(name):
            answer = await plane.admin.get(path)
            assert (answer.status, answer.code) == (422, "invalid"), answer.raw
            assert where is None or answer.paths == [where]
            assert says in answer.body["detail"]


IDS = (
    "0",
    "999",
    "9223372036854775807",
    "9223372036854775808",
    "9" * 30,
    "9" * 4000,
    "000000000000000000001",
)


@ON_SQLITE
async def test_an_id_that_nothing_has(plane: Plane, site: Site, subtests: pytest.Subtests) -> None:
    for number in IDS:
        for method, path, body, code in (
            ("GET", "/api/clusters/", None, "cluster_not_found"),
            ("GET", "/api/clusters/nodes/", None, "node_not_found"),
            ("PATCH", "/api/clusters/nodes/", {"state": "active"}, "node_not_found"),
            ("DELETE", "/api/clusters/nodes/", None, "node_not_found"),
            ("DELETE", "/api/api-keys/", None, "api_key_not_found"),
        ):
            with subtests.test(number=number, path=path):
                answer = await plane.admin.call(method, path + number, body)
                assert (answer.status, answer.code) == (404, code)


EDGES = {
    "_id": ("2147483648", str(MAX_ID)),  # not every column of an id is as wide as an id may be
    "from": ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
    "to": ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
}


async def test_a_query_at_the_edge_of_what_can_be_asked(
    plane: Plane, site: Site, subtests: pytest.Subtests
) -> None:
    tenant = await plane.tenant()
    for route in ROUTES:
        if route.method != "GET" or route.raw or route.stream:
            continue
        path = re.sub(r"{\w+}", str(tenant), route.path)
        names = [field.alias or name for name, field in route.query.model_fields.items()]
        edges = [(name, edge) for name in names for end in EDGES if name.endswith(end) for edge in EDGES[end]]
        for name, edge in edges:
            with subtests.test(path=path, name=name, edge=edge):
                answer = await plane.admin.get(f"{path}?{name}={edge}")
                assert answer.status in (200, 404, 422), answer.raw


@ON_SQLITE
async def test_a_body_of_9_mb(plane: Plane, site: Site) -> None:
    before = await plane.contents()
    for path in (METRICS, CLUSTERS):
        answer = await plane.admin.post(path, data=b" " * 9_000_000)
        assert (answer.status, answer.code) == (413, "body_too_large")
    assert await plane.contents() == before


@ON_SQLITE
async def test_a_body_of_nearly_8_mib_is_read(plane: Plane, site: Site) -> None:
    padded = json.dumps({"metrics": [{"gpu_id": site.gpu_ids[0], "utilization_pct": 5}]}).encode()
    answer = await plane.admin.post(METRICS, data=padded + b" " * (8 * 1024 * 1024 - len(padded)))
    assert (answer.status, answer.body["accepted"]) == (200, 1)


@ON_SQLITE
async def test_100_000_faults_are_not_all_listed(plane: Plane) -> None:
    """Neither minutes of looking for what each may be a typo of, nor an answer larger than the question."""
    faults = {f"nmae{n}": 1 for n in range(100_000)}
    for path, body in (
        (CLUSTERS, json.dumps({"name": "x", **faults}).encode()),
        (METRICS, b'{"metrics":[{"gpu_id":1,"x":[' + b"NaN," * 100_000 + b"NaN]}]}"),
        (CLUSTERS, json.dumps({"name": "x", "y" * 1_000_000: 1}).encode()),
    ):
        answer = await plane.admin.post(path, data=body)
        assert answer.status == 422
        assert 1 <= len(answer.paths) <= 100
        assert len(answer.raw) < 50_000


CONTENT_TYPES = ["text/plain", "application/x-www-form-urlencoded", "application/xml", "nonsense", ""]


@ON_SQLITE
async def test_another_content_type(plane: Plane, subtests: pytest.Subtests) -> None:
    before = await plane.contents()
    for given in CONTENT_TYPES:
        with subtests.test(given):
            answer = await plane.admin.post(CLUSTERS, data=b'{"name":"x"}', headers={"Content-Type": given})
            assert (answer.status, answer.code) == (415, "unsupported_media_type")
    missing = await plane.exchange(
        "POST", CLUSTERS, b'{"name":"x"}', {"Authorization": f"Bearer {plane.admin_key}"}
    )
    assert missing.status == 415
    assert await plane.contents() == before
    charset = {"Content-Type": "application/json; charset=utf-8"}
    assert (await plane.admin.post(CLUSTERS, data=b'{"name":"x"}', headers=charset)).status == 201


@ON_SQLITE
async def test_a_body_that_is_not_in_the_encoding_it_claims(plane: Plane) -> None:
    before = await plane.contents()
    for encoding in ("gzip", "deflate", "br", "zstd", "nonsense"):
        more = f"Content-Encoding: {encoding}\r\nContent-Length: 12\r\n"
        answer = await told(plane, _head(plane, CLUSTERS, more.encode()) + b'{"name": "x"')
        assert answer.split()[1] == b"400", answer
    assert await plane.contents() == before


@ON_SQLITE
async def test_a_small_body_that_grows_when_unpacked(plane: Plane) -> None:
    bomb = zlib.compress(b" " * 100_000_000, 9)
    answer = await plane.admin.post(CLUSTERS, data=bomb, headers={"Content-Encoding": "deflate"})
    assert answer.status in (400, 413), answer.raw


@ON_SQLITE
async def test_another_method(plane: Plane) -> None:
    for method, path, allowed in (
        ("DELETE", "/api/clusters", "GET, HEAD, POST"),
        ("PATCH", "/api/clusters", "GET, HEAD, POST"),
        ("OPTIONS", "/api/clusters/nodes", "POST"),
        ("GET", "/api/clusters/metrics", "POST"),
        ("TRACE", "/api/clusters/1", "GET, HEAD"),
    ):
        answer = await plane.admin.call(method, path)
        assert (answer.status, answer.headers["Allow"]) == (405, allowed)
        assert answer.code == "method_not_allowed"


RAW = {
    "no HTTP": b"hello\r\n\r\n",
    "a method that is none": b"GE T /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long path": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "a long header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    "invalid UTF-8 in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "an escaped surrogate in the path": b"GET /%ED%A0%80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "invalid UTF-8 in the query": (
        b"GET /api/clusters?\xff=\xfe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    ),
    "invalid UTF-8 in the key": (
        b"GET /api/clusters HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\r\nConnection: close\r\n\r\n"
    ),
    "an expectation": (
        b"POST /api/clusters HTTP/1.1\r\nHost: x\r\nExpect: wonders\r\nContent-Length: 0\r\n"
        b"Connection: close\r\n\r\n"
    ),
    "two lengths": (
        b"POST /api/clusters HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"
    ),
    "a length in words": b"POST /api/clusters HTTP/1.1\r\nHost: x\r\nContent-Length: two\r\n\r\nab",
    "a length and chunks": (
        b"POST /api/clusters HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
    ),
    "a host from elsewhere": (
        b"GET http://evil.example/api/clusters HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    ),
}


@ON_SQLITE
async def test_bytes_that_are_hardly_http(plane: Plane, subtests: pytest.Subtests) -> None:
    for name, raw in RAW.items():
        with subtests.test(name):
            answer = await told(plane, raw)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer
            assert b"text/html" not in head
            assert b"Traceback" not in body
    assert (await plane.admin.get("/healthz")).status == 200


@ON_SQLITE
async def test_a_broken_chunk(plane: Plane) -> None:
    head = _head(plane, CLUSTERS, b"Transfer-Encoding: chunked\r\n")
    answer = await told(plane, head + b"zz\r\nnonsense\r\n\r\n")
    assert answer.split()[1] == b"400"


@ON_SQLITE
async def test_a_client_that_hangs_up_half_way(plane: Plane, dialect: str) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", plane.port)
    writer.write(_head(plane, CLUSTERS, b"Content-Length: 1000\r\n") + b'{"name":')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await plane.admin.get("/healthz")).status == 200
    assert await plane.count("clusters") == 0


@ON_SQLITE
async def test_words_in_a_path_make_no_line_of_their_own_in_the_log(
    plane: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    from gpuforge_shared.logs import HumanFormatter

    await plane.admin.get("/api/%0Aforged%1B[31m")
    formatter = HumanFormatter(colour=False)
    lines = [formatter.format(record) for record in caplog.records if "forged" in str(vars(record))]
    assert lines
    assert all("\n" not in line and "\x1b" not in line for line in lines)


async def test_names_in_every_script_come_back_as_they_were_sent(plane: Plane) -> None:
    for name in ("Größe", "集群", "кластер", "🚀" * 255, "a'b\"c\\d", "<script>", "%00", "null", "­x"):
        assert (await plane.admin.write(CLUSTERS, {"name": name}))["name"] == name
    assert (await plane.admin.read(CLUSTERS))[0]["name"] == "Größe"


@ON_SQLITE
async def test_what_agents_send_may_hold_fields_of_tomorrow(plane: Plane, site: Site) -> None:
    later = {"tomorrow": {"x": [1, None]}}
    node = {"cluster_id": site.cluster_id, "hostname": "east-01", **later}
    assert (await site.agent.post(NODES, node)).status == 200
    gpus = {"node_id": site.node_id, "gpus": [{"gpu_index": 0, **later}], **later}
    assert (await site.agent.post(GPUS, gpus)).status == 200
    metrics = {"metrics": [{"gpu_id": site.gpu_ids[0], **later}], **later}
    assert (await site.agent.post(METRICS, metrics)).status == 200


@ON_SQLITE
async def test_a_sample_without_a_time_gets_the_servers(plane: Plane, site: Site) -> None:
    await site.agent.write(METRICS, {"metrics": [{"gpu_id": site.gpu_ids[0]}]})
    (row,) = await plane.rows("SELECT gpu_id FROM gpu_metrics")
    assert row == (site.gpu_ids[0],)
    node = await plane.admin.read(f"/api/clusters/nodes/{site.node_id}")
    assert node["gpus"][0]["recorded_at"] == f"{START:%Y-%m-%dT%H:%M:%S}Z"


def _head(plane: Plane, path: str, more: bytes) -> bytes:
    return (
        (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {plane.admin_key}\r\n"
            "Content-Type: application/json\r\nConnection: close\r\n"
        ).encode()
        + more
        + b"\r\n"
    )
