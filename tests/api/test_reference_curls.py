"""Every curl of the API reference, as it is printed there, answered as it is documented there."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.api.harness import START, Answer, Json, Plane

HOST = "https://www.gpuforg.com"
IN_THE_REFERENCE = (Path(__file__).parent / "reference_curls.txt").read_text().splitlines()


@dataclass(frozen=True, slots=True, kw_only=True)
class Curl:
    """What a curl line asks for."""

    method: str
    path: str
    headers: dict[str, str]
    data: bytes | None

    @classmethod
    def of(cls, line: str) -> "Curl":
        """Read the line as a shell and curl would."""
        words = iter(shlex.split(line.replace("\\ ", ""))[1:])
        method, url, headers, data = None, "", {}, None
        for word in words:
            match word:
                case "-X":
                    method = next(words)
                case "-H":
                    name, _, value = next(words).partition(": ")
                    headers[name] = value
                case "-d":
                    data = next(words).encode()
                case _:
                    url = word
        return cls(
            method=method or ("GET" if data is None else "POST"),
            path=url.removeprefix(HOST),
            headers=headers,
            data=data,
        )


async def run(plane: Plane, line: str) -> Answer:
    curl = Curl.of(line)
    headers = {name: value.replace("YOUR_KEY", plane.admin_key) for name, value in curl.headers.items()}
    return await plane.exchange(curl.method, curl.path, curl.data, headers)


async def test_each_curl_in_turn(plane: Plane) -> None:
    await run(plane, IN_THE_REFERENCE[1])  # cluster 1 is there before the first GET asks for it
    await plane.admin.write("/api/clusters/nodes", {"cluster_id": 1, "hostname": "gpu-00"})
    statuses = []
    for line in IN_THE_REFERENCE:
        answer = await run(plane, line)
        statuses.append(answer.status)
    assert statuses == [200, 409, 200, 201, 201, 200, 200, 201, 200, 200, 200]


async def test_the_fleet_reads_as_documented(plane: Plane) -> None:
    answers = [await run(plane, line) for line in IN_THE_REFERENCE[1:7]]
    created, cluster, node, gpus, metrics, allocation = (answer.body for answer in answers)
    assert [answer.status for answer in answers] == [201, 200, 201, 201, 200, 200]
    assert created["api_key"].startswith("gfk_")
    assert "api_key" not in cluster
    assert (node["hostname"], node["ip_address"], node["total_gpus"]) == ("gpu-01", "10.0.1.10", 8)
    assert (node["cpu_cores"], node["ram_gb"]) == (128, 1024)
    assert [(gpu["gpu_index"], gpu["model"], gpu["vram_mb"]) for gpu in gpus] == [
        (0, "NVIDIA H100 80GB", 81920),
        (1, "NVIDIA H100 80GB", 81920),
    ]
    assert metrics == {"accepted": 1, "duplicates": 0, "rejected": []}
    assert [(gpu["gpu_id"], gpu["utilization_pct"], gpu["job"]) for gpu in allocation] == [
        (1, 87.3, None),
        (2, None, None),
    ]
    (shown,) = (await run(plane, IN_THE_REFERENCE[0])).body
    assert shown == {
        "id": 1,
        "name": "my-cluster",
        "region": "us-west-2",
        "status": "active",
        "node_count": 1,
        "gpu_count": 2,
        "active_jobs": 0,
        "queued_jobs": 0,
        "created_at": _wire(START),
    }


async def test_the_figures_of_a_sample_come_back_as_they_were_sent(plane: Plane) -> None:
    for line in IN_THE_REFERENCE[1:6]:
        await run(plane, line)
    detail = (await run(plane, IN_THE_REFERENCE[2])).body
    gpu = detail["nodes"][0]["gpus"][0]
    sent = json.loads(Curl.of(IN_THE_REFERENCE[5]).data or b"")["metrics"][0]
    assert {name: gpu[name] for name in sent if name != "gpu_id"} | {"gpu_id": gpu["id"]} == sent
    assert (gpu["status"], gpu["recorded_at"], gpu["missing"]) == ("active", _wire(START), {})
    assert detail["recent_jobs"] == []


async def test_a_key_reads_as_documented(plane: Plane) -> None:
    created = (await run(plane, IN_THE_REFERENCE[7])).body
    assert created["key_prefix"] == created["key"][:12]
    assert len(created["key"]) == len("gfk_") + 64
    documented = {"label": "prod-metrics-ingestor", "permissions": ["read", "write"], "revoked_at": None}
    assert {name: created[name] for name in documented} == documented
    assert created["created_at"] == _wire(START)
    listed = (await run(plane, IN_THE_REFERENCE[8])).body
    assert [key["id"] for key in listed] == [1, created["id"]]
    assert "key" not in listed[1]


async def test_delete_revokes_and_keeps_the_record(plane: Plane) -> None:
    created = await plane.admin.write("/api/api-keys", {"label": "second"})
    third = await plane.admin.write("/api/api-keys", {"label": "third"})
    assert (created["id"], third["id"]) == (2, 3)
    final = await run(plane, IN_THE_REFERENCE[9])
    assert (final.status, final.body["revoked_at"]) == (200, _wire(START))
    assert (await plane.holder(third["key"]).get("/api/clusters")).status == 401
    assert [key["id"] for key in await plane.admin.read("/api/api-keys")] == [1, 2, 3]


@pytest.mark.parametrize("line", IN_THE_REFERENCE, ids=range(len(IN_THE_REFERENCE)))
def test_the_curl_reader_understands_the_line(line: str) -> None:
    curl = Curl.of(line)
    assert curl.path.startswith("/api/")
    assert curl.headers["Authorization"] == "Bearer YOUR_KEY"
    assert (curl.data is not None) == (curl.method == "POST")


def _wire(moment: Json) -> str:
    return str(moment.isoformat().replace("+00:00", "Z"))
