"""Readers without a key: the sample fleet, the live one on loopback alone, or nobody."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from gpuforge_controlplane.config import read_settings
from gpuforge_controlplane.services.sample import SampleFleet
from gpuforge_controlplane.storage.database import Database
from gpuforge_controlplane.storage.schema import gpus
from gpuforge_controlplane.storage.throwaway import throwaway
from gpuforge_shared.settings import SettingsError
from tests.api.conftest import Serve
from tests.api.harness import ON_SQLITE, WallClock, build_site


@ON_SQLITE
async def test_the_sample_is_made_up_marked_and_alive(serve: Serve) -> None:
    plane = await serve(demo="sample")
    await build_site(plane, "real")
    answer = await plane.anonymous.get("/api/clusters")
    assert answer.headers["X-GPUForge-Demo"] == "sample"
    assert [cluster["name"] for cluster in answer.body] == ["us-east-prod", "eu-west-infer", "lab"]
    assert {cluster["status"] for cluster in answer.body} == {"active"}
    overview = await plane.anonymous.read("/api/dashboard")
    assert overview["stats"]["total_gpus"] == 32
    assert 0 < overview["stats"]["avg_utilization_pct"] < 100
    assert "real" not in str(overview)


async def test_the_sample_figures_move() -> None:
    clock = WallClock()
    async with throwaway("gpuforge-test-") as database:
        fleet = SampleFleet(database, timedelta(hours=1))
        await fleet.build(clock())
        shown = [await _figures(database)]
        clock.forward(seconds=10)
        await fleet.refresh(clock())
        shown.append(await _figures(database))
    assert shown[0] != shown[1]
    assert all(0 <= figure <= 100 for figures in shown for figure in figures)


async def _figures(database: Database) -> list[float]:
    async with database.read() as tx:
        return [row.utilization_pct for row in await tx.execute(select(gpus.c.utilization_pct))]


@ON_SQLITE
async def test_a_key_is_answered_with_real_data_and_no_mark(serve: Serve) -> None:
    plane = await serve(demo="sample")
    answer = await plane.admin.get("/api/clusters")
    assert answer.body == []
    assert "X-GPUForge-Demo" not in answer.headers


@ON_SQLITE
async def test_a_refusal_out_of_the_sample_is_marked_too(serve: Serve) -> None:
    plane = await serve(demo="sample")
    for path, status in (("/api/clusters/999", 404), ("/api/clusters?limit=0", 422)):
        answer = await plane.anonymous.get(path)
        assert (answer.status, answer.headers["X-GPUForge-Demo"]) == (status, "sample")


@ON_SQLITE
async def test_nothing_is_written_without_a_key(serve: Serve) -> None:
    plane = await serve(demo="sample")
    before = await plane.contents()
    answer = await plane.anonymous.post(
        "/api/clusters", {"name": "x"}, headers={"Idempotency-Key": "anonymous"}
    )
    assert answer.status == 401
    assert "X-GPUForge-Demo" not in answer.headers
    assert "create-key" in answer.body["detail"]
    assert await plane.contents() == before


async def test_live_shows_the_real_fleet(serve: Serve) -> None:
    plane = await serve(demo="live")
    await build_site(plane, "real")
    answer = await plane.anonymous.get("/api/clusters")
    assert [cluster["name"] for cluster in answer.body] == ["real"]
    assert answer.headers["X-GPUForge-Demo"] == "live"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_live_is_for_loopback(host: str) -> None:
    assert read_settings(file=None, flags={"demo": "live", "host": host}, environ={}).demo == "live"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gpuforge.example", "127.0.0.1.example"])
def test_live_is_refused_elsewhere(host: str) -> None:
    with pytest.raises(SettingsError, match="so it needs host="):
        read_settings(file=None, flags={"demo": "live", "host": host}, environ={})
