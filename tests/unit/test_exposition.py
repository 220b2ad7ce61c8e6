"""What Prometheus reads of an agent: base units, escaped labels, and nothing where nothing is known."""

import asyncio
import contextlib
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gpuforge_agent import metrics_server
from gpuforge_agent.exposition import Counts, NodeFigures, exposition
from gpuforge_agent.sources.base import GpuIdentity, Reading, Reason, Xid
from gpuforge_agent.timetable import Collecting, Run
from gpuforge_client.resolver import Resolver

NOW = datetime(2026, 5, 9, tzinfo=UTC)
CARD = GpuIdentity(uuid="GPU-0", index=0, model="NVIDIA H100", vram_mb=81_559, pci_bus_id=None)
WELL = Reading(
    uuid="GPU-0", index=0, utilization_pct=87.0, memory_used_mb=1024, memory_total_mb=81_559,
    temperature_c=61.0, missing={"power_draw_w": Reason.NOT_SUPPORTED},
)  # fmt: skip
NODE = NodeFigures(
    hostname='gpu"1\\', gpus=(CARD,), readings=(WELL,), read_at=NOW, queued=16, on_disk=False, lost=3,
    counts=Counts(delivered=100, refused=2, newest_at=NOW), clock_offset_s=-0.25,
    runs=(
        Run(
            what=Collecting(name="metrics", period_s=5), ran_at=NOW, duration_s=0.25, failed=1, runs=7,
            failures=2,
        ),
        Run(what=Collecting(name="host", period_s=30), ran_at=NOW, duration_s=0.5, failed=0),
    ),
    missed_deadlines={"metrics": 3}, xids={Xid(uuid="GPU-0", code=48): 2},
)  # fmt: skip
ON_CARD = {"node": 'gpu"1\\', "gpu": "0", "uuid": "GPU-0", "model": "NVIDIA H100"}


def parsed(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """By a reader that is not ours: samples by name."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_every_figure_is_there_in_base_units_and_what_is_missing_says_why() -> None:
    found = parsed(exposition("1.2", [NODE]))
    node = {"node": 'gpu"1\\'}
    assert found == {
        "gpuforge_agent_info": [({"version": "1.2"}, 1)],
        "gpuforge_agent_queue_samples": [(node, 16)],
        "gpuforge_agent_queue_on_disk": [(node, 0)],
        "gpuforge_agent_lost_samples_total": [(node, 3)],
        "gpuforge_agent_delivered_samples_total": [(node, 100)],
        "gpuforge_agent_refused_samples_total": [(node, 2)],
        "gpuforge_agent_newest_delivered_timestamp_seconds": [(node, NOW.timestamp())],
        "gpuforge_agent_last_reading_timestamp_seconds": [(node, NOW.timestamp())],
        "gpuforge_agent_clock_offset_seconds": [(node, -0.25)],
        **{
            f"gpuforge_agent_collector_{name}": [
                ({**node, "collector": "metrics"}, metrics),
                ({**node, "collector": "host"}, host),
            ]
            for name, metrics, host in (
                ("duration_seconds", 0.25, 0.5),
                ("unread", 1, 0),
                ("runs_total", 7, 1),
                ("failures_total", 2, 0),
                ("last_run_timestamp_seconds", NOW.timestamp(), NOW.timestamp()),
            )
        },
        "gpuforge_agent_collector_deadlines_missed_total": [({**node, "collector": "metrics"}, 3)],
        "gpuforge_gpu_xids_total": [({**node, "uuid": "GPU-0", "code": "48"}, 2)],
        "gpuforge_gpu_utilization_ratio": [(ON_CARD, pytest.approx(0.87))],
        "gpuforge_gpu_memory_used_bytes": [(ON_CARD, 2**30)],
        "gpuforge_gpu_memory_total_bytes": [(ON_CARD, 81_559 * 2**20)],
        "gpuforge_gpu_temperature_celsius": [(ON_CARD, 61)],
        "gpuforge_gpu_missing": [({**ON_CARD, "figure": "power_draw_w", "reason": "not_supported"}, 1)],
    }


def test_an_agent_that_has_read_nothing_shows_no_figure() -> None:
    found = parsed(exposition("1.2", [NodeFigures(hostname="n")]))
    assert not [name for name in found if name.startswith("gpuforge_gpu")]
    assert "gpuforge_agent_clock_offset_seconds" not in found
    assert found["gpuforge_agent_queue_samples"] == [({"node": "n"}, 0)]


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"200", b"figures\n", id="the metrics"),
        pytest.param(b"GET /metrics?a=b HTTP/1.0\r\n\r\n", b"200", b"figures\n", id="with a query"),
        pytest.param(b"HEAD /metrics HTTP/1.1\r\n\r\n", b"200", b"", id="the head alone"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", b"404", b"GET /metrics\n", id="elsewhere"),
        pytest.param(b"POST /metrics HTTP/1.1\r\n\r\n", b"405", b"GET /metrics\n", id="a write"),
    ],
)
async def test_it_speaks_as_much_http_as_a_scraper_needs(request_: bytes, status: bytes, body: bytes) -> None:
    async with metrics_server.serving(("127.0.0.1", 0), lambda: "figures\n") as port:
        assert port
        head, _, content = (await ask(port, request_)).partition(b"\r\n\r\n")
    assert head.split()[1] == status
    assert content == body
    assert b"Connection: close" in head


async def test_whoever_babbles_or_says_nothing_keeps_nobody_from_scraping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics_server, "REQUEST_S", 0.05)
    async with metrics_server.serving(("127.0.0.1", 0), lambda: "figures\n") as port:
        assert port
        with contextlib.suppress(ConnectionResetError):
            assert await ask(port, b"x" * 100_000 + b"\r\n\r\n") == b""
        assert await ask(port, b"GET /metrics") == b""  # and then silence
        assert b"figures" in await ask(port, b"GET /metrics HTTP/1.1\r\n\r\n")


async def test_a_port_that_is_taken_is_said_and_stops_nobody(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async with (
        metrics_server.serving(("127.0.0.1", 0), str) as port,
        metrics_server.serving(("127.0.0.1", port or 0), str) as none,
    ):
        assert none is None
    assert caplog.text.count("nothing listens") == 1
    async with metrics_server.serving(None, str) as off:
        assert off is None


async def test_a_port_that_is_free_later_is_had_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "AGAIN_S", 0.01)
    async with contextlib.AsyncExitStack() as second, asyncio.timeout(20):
        async with metrics_server.serving(("127.0.0.1", 0), lambda: "first\n") as port:
            assert port
            await second.enter_async_context(metrics_server.serving(("127.0.0.1", port), lambda: "second\n"))
        answer = b""
        while b"second" not in answer:
            with contextlib.suppress(ConnectionRefusedError):
                answer = await ask(port, b"GET /metrics HTTP/1.1\r\n\r\n")
    with pytest.raises(ConnectionRefusedError):
        await ask(port, b"GET /metrics HTTP/1.1\r\n\r\n")


async def test_a_name_that_nobody_resolves_is_given_up_in_time_and_listened_on_once_somebody_does(
    monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    answered, look_up = threading.Event(), socket.getaddrinfo

    def late(host: str, *rest: Any, **more: Any) -> object:
        if host == "gpu-01.example.com":
            answered.wait()
        return look_up("127.0.0.1", *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", late)
    monkeypatch.setattr(Resolver.__init__, "__defaults__", (0.05,))
    monkeypatch.setattr(metrics_server, "AGAIN_S", 0.01)
    listen = ("gpu-01.example.com", free_port)
    try:
        async with asyncio.timeout(20):
            async with metrics_server.serving(listen, lambda: "figures\n") as none:
                assert none is None
            async with metrics_server.serving(listen, lambda: "figures\n"):
                answered.set()
                answer = b""
                while b"figures" not in answer:
                    with contextlib.suppress(ConnectionRefusedError):
                        answer = await ask(free_port, b"GET /metrics HTTP/1.1\r\n\r\n")
    finally:
        answered.set()  # whoever still asks ends
