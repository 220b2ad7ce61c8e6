"""An hour without a control plane, in simulated time: every sample arrives once, in order, as taken."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gpuforge_agent.host import Host
from gpuforge_agent.identity import Identity
from gpuforge_agent.push import BATCH, LONGEST_REST_S, PROBE, Pusher
from gpuforge_agent.sample import Sample
from gpuforge_agent.sources.base import GpuIdentity, Inventory
from gpuforge_agent.spool import Spool
from gpuforge_agent.spool_files import SpoolFiles
from gpuforge_client.failures import GatewayFailed
from gpuforge_client.rest import RestClient
from gpuforge_client.retry import ONCE, World
from tests.fake_control_plane import KEY, FakeControlPlane, problem

START = datetime(2026, 5, 9, tzinfo=UTC)
GPUS = tuple(
    GpuIdentity(uuid=f"GPU-{index}", index=index, model="H100", vram_mb=81_559, pci_bus_id=None)
    for index in range(8)
)
INTERVAL_S = 5


class Hours:
    """Time that passes only in waits, and eight GPUs that are sampled while it does."""

    def __init__(self, spool: Spool, start: datetime = START, taken: list[Sample] | None = None) -> None:
        self.spool = spool
        self.now = start
        self.due = start
        self.taken: list[Sample] = [] if taken is None else taken

    def world(self) -> World:
        """For whoever lives in this time."""
        return World(clock=lambda: self.now, sleep=self.sleep, draw=lambda: 0.5, monotonic=self.seconds)

    async def sleep(self, seconds: float) -> None:
        """Let so much time pass."""
        self.now += timedelta(seconds=seconds)
        while self.due <= self.now:
            for gpu in GPUS:
                self.taken.append(Sample(uuid=gpu.uuid, recorded_at=self.due, utilization_pct=50.0))
                self.spool.append(self.taken[-1])
            self.due += timedelta(seconds=INTERVAL_S)
            await self.spool._catch_up()

    def seconds(self) -> float:
        """Since the start."""
        return (self.now - START).total_seconds()


@pytest.fixture
async def plane() -> AsyncIterator[FakeControlPlane]:
    """Whose host is up; whether the service is, is up to the test."""
    async with FakeControlPlane().serving() as serving:
        yield serving


def on_disk(folder: Path, limit_bytes: int) -> Spool:
    return Spool(20_000, lambda: SpoolFiles(folder / "queue", limit_bytes=limit_bytes))


def pusher_of(client: RestClient, spool: Spool, world: World) -> Pusher:
    host = Host(hostname="gpu-01", cpu_cores=128, ram_gb=1024, agent_version="1")
    return Pusher(client, Identity(client, host), spool, lambda: Inventory(gpus=GPUS), world)


def arrived(plane: FakeControlPlane) -> list[tuple[str, datetime]]:
    uuids = {gpu["id"]: gpu["uuid"] for gpu in plane.gpus}
    return [(uuids[each["gpu_id"]], datetime.fromisoformat(each["recorded_at"])) for each in plane.metrics]


@pytest.mark.parametrize("limit_bytes", [64 << 20, 200_000], ids=["all of it fits", "the queue is full"])
async def test_after_an_hour_every_sample_that_was_kept_arrives_once_in_order(
    plane: FakeControlPlane, tmp_path: Path, caplog: pytest.LogCaptureFixture, limit_bytes: int
) -> None:
    spool = on_disk(tmp_path, limit_bytes)
    hours = Hours(spool)
    world = hours.world()
    asked: list[float] = []

    def away(request: web.Request, body: Any) -> web.Response | None:
        asked.append(hours.seconds())
        return problem(503, "starting") if hours.seconds() < 3600 else plane._routed(request, body)

    plane.lasting = away
    async with RestClient(plane.url, KEY, retry=ONCE, world=world) as client:
        pusher = pusher_of(client, spool, world)
        await hours.sleep(10)
        await pusher.deliver()
    lost = spool.losses.dropped
    kept = [(each.uuid, each.recorded_at) for each in hours.taken][lost:]
    assert arrived(plane) == kept
    assert len(kept) >= (3600 // INTERVAL_S * len(GPUS) if limit_bytes > 1 << 20 else BATCH)
    assert (lost > 0) == (limit_bytes < 1 << 20)
    if lost:
        assert (spool.losses.since, spool.losses.until) == (START, hours.taken[lost].recorded_at)
        (told,) = [each for each in caplog.records if "oldest samples are lost" in each.message]
        assert vars(told)["lost"] == lost
    during = [at for at in asked if at < 3600]
    assert len(during) < 3600 / 20  # patience: once a minute at most, on average half of that
    assert plane.batches[0] == PROBE
    assert max(plane.batches) <= BATCH
    assert spool.losses.damaged == 0


async def test_an_agent_killed_in_the_outage_goes_on_where_it_was(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    def stored_but_unanswered(request: web.Request, body: Any) -> web.Response | None:
        if request.path != "/api/clusters/metrics":
            return None
        plane._metrics(body["metrics"])
        return web.Response(status=504)

    taken: list[Sample] = []
    for life in range(4):
        spool = on_disk(tmp_path, 64 << 20)  # that of the life before is never closed
        hours = Hours(spool, START + timedelta(hours=life), taken)
        await hours.sleep(600)
        async with RestClient(plane.url, KEY, retry=ONCE, world=hours.world()) as client:
            pusher = pusher_of(client, spool, hours.world())
            if life == 1:
                plane.faults.append(stored_but_unanswered)
                with pytest.raises(GatewayFailed):
                    await pusher._step()
            elif life == 2:
                await pusher._step()
            elif life == 3:
                await pusher.deliver()
    assert arrived(plane) == [(each.uuid, each.recorded_at) for each in taken]


@pytest.mark.parametrize(("took_s", "rest_s"), [(0.01, 0.8), (0.5, 40.0), (5.0, LONGEST_REST_S)])
async def test_a_busy_control_plane_is_given_more_peace(
    plane: FakeControlPlane, tmp_path: Path, took_s: float, rest_s: float
) -> None:
    spool = on_disk(tmp_path, 64 << 20)
    now = [0.0]
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    def busy(request: web.Request, body: Any) -> web.Response:
        if request.path == "/api/clusters/metrics":
            now[0] += took_s
        return plane._routed(request, body)

    plane.lasting = busy
    world = World(clock=lambda: START, sleep=rest, draw=lambda: 0.5, monotonic=lambda: now[0])
    for number in range(2 * BATCH + 10):
        spool.append(Sample(uuid="GPU-0", recorded_at=START + timedelta(seconds=number)))
    async with RestClient(plane.url, KEY, retry=ONCE, world=world) as client:
        await pusher_of(client, spool, world).deliver()
    assert rests == [pytest.approx(rest_s)]  # what is left after the second is no backlog
    assert plane.batches == [BATCH, BATCH, 10]
