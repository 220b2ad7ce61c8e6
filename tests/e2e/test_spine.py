"""The whole way of a figure, in real processes: a driver, the agent, the control plane, a REST answer."""

import asyncio
import contextlib
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gpuforge_agent.check import check
from gpuforge_agent.config import Examined
from gpuforge_client.rest import RestClient
from gpuforge_shared.clock import utc_now
from gpuforge_shared.wire.fleet import ClusterCreated, ClusterDetail, GpuRecord
from gpuforge_shared.wire.keys import KeyCreated
from tests.fakenvml.expected import readings_of
from tests.fakenvml.library import FakeNvml, eight_gpus, fakenvml, fakenvml_libraries
from tests.running_agent import GPUS, RunningAgent, environment, process

__all__ = ["fakenvml", "fakenvml_libraries"]


@dataclass
class ControlPlane:
    """The real one, on SQLite, killed and started at will."""

    database: Path
    port: int
    url: str = ""
    admin_key: str = ""

    async def prepare(self) -> None:
        """Make the first key."""
        self.admin_key = await self._command("create-key", "--label", "test", "--permissions", "admin")

    async def _command(self, *arguments: str) -> str:
        async with process("gpuforge_controlplane", *arguments, env=self._environment()) as command:
            output, errors = await command.communicate()
            assert command.returncode == 0, errors.decode()
            return output.decode().strip()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Until the end of the block, where it is killed with SIGKILL."""
        env = self._environment()
        async with process("gpuforge_controlplane", "serve", "--port", str(self.port), env=env) as command:
            assert command.stderr is not None
            async for line in command.stderr:
                event = json.loads(line)
                if event["event"] == "serving":
                    self.url = event["url"]
                    break
            draining = asyncio.create_task(command.stderr.read())
            try:
                yield
            finally:
                command.kill()
                await draining

    def client(self) -> RestClient:
        """With the admin's key."""
        return RestClient(self.url, self.admin_key)

    def _environment(self) -> dict[str, str]:
        return {
            **environment("", ""),
            "GPUFORGE_DATABASE_URL": f"sqlite+aiosqlite:///{self.database}",
            "GPUFORGE_LOG_FORMAT": "json",
        }


@pytest.fixture
async def plane(tmp_path: Path, free_port: int, migrated_sqlite: Path) -> ControlPlane:
    """Ready to serve."""
    plane = ControlPlane(tmp_path / "gpuforge.db", free_port)
    shutil.copyfile(migrated_sqlite, plane.database)
    await plane.prepare()
    return plane


async def cluster_key(client: RestClient) -> str:
    """The key of a new cluster, whose id is 1."""
    created = await client.post("/api/clusters", ClusterCreated, body={"name": "east"})
    assert created["id"] == 1
    return created["api_key"]


async def gpus_when(client: RestClient, holds: Callable[[list[GpuRecord]], bool]) -> list[GpuRecord]:
    """The cluster's GPUs, asked for until they are as wanted; 30 s at most."""
    async with asyncio.timeout(30):
        while True:
            cluster = await client.get("/api/clusters/1", ClusterDetail)
            gpus = [gpu for node in cluster["nodes"] for gpu in node["gpus"]]
            if holds(gpus):
                return gpus


async def test_the_very_figures_of_the_driver_come_out_of_the_api(
    plane: ControlPlane, fakenvml: FakeNvml
) -> None:
    host = eight_gpus()
    async with plane.serving(), plane.client() as client:
        changes = {
            "GPUFORGE_SOURCE": "nvml",
            "GPUFORGE_NVML_LIBRARY": str(fakenvml.library),
            "FAKENVML_STATE": str(fakenvml.state),
        }
        env = environment(plane.url, await cluster_key(client), **changes)
        async with process("gpuforge_agent", "run", "--interval", "0.1", env=env) as agent:
            records = await gpus_when(
                client, lambda gpus: len(gpus) == 8 and all(gpu["recorded_at"] for gpu in gpus)
            )
            agent.terminate()
            await agent.communicate()
    expected = readings_of(host)
    for record, reading in zip(sorted(records, key=lambda gpu: gpu["gpu_index"] or 0), expected, strict=True):
        assert record["uuid"] == reading.uuid
        assert record["gpu_index"] == reading.index
        assert record["utilization_pct"] == reading.utilization_pct
        assert record["memory_used_mb"] == reading.memory_used_mb
        assert record["memory_total_mb"] == reading.memory_total_mb
        assert record["temperature_c"] == reading.temperature_c
        assert record["power_draw_w"] == reading.power_draw_w
        assert record["missing"] == {}
        assert record["status"] == ("active" if (reading.utilization_pct or 0) > 10 else "idle")


async def test_what_the_driver_can_not_say_is_null_with_its_reason(
    plane: ControlPlane, fakenvml: FakeNvml
) -> None:
    host = eight_gpus()
    async with plane.serving(), plane.client() as client:
        changes = {
            "GPUFORGE_SOURCE": "nvml",
            "GPUFORGE_NVML_LIBRARY": str(fakenvml.library),
            "FAKENVML_STATE": str(fakenvml.state),
        }
        env = environment(plane.url, await cluster_key(client), **changes)
        async with process("gpuforge_agent", "run", "--interval", "0.1", env=env):
            await gpus_when(client, lambda gpus: len(gpus) == 8 and all(gpu["recorded_at"] for gpu in gpus))
            fakenvml.show(host.with_gpu(3, host.gpus[3].lost()))
            records = await gpus_when(client, lambda gpus: any(gpu["missing"] for gpu in gpus))
    lost = [gpu for gpu in records if gpu["missing"]]
    assert [gpu["gpu_index"] for gpu in lost] == [3]
    assert lost[0]["utilization_pct"] is None
    assert set(lost[0]["missing"].values()) == {"lost"}


async def test_the_control_plane_is_killed_again_and_again_and_not_a_sample_is_missing(
    plane: ControlPlane,
) -> None:
    start = utc_now().replace(microsecond=0) - timedelta(hours=1)
    async with plane.serving(), plane.client() as client:
        key = await cluster_key(client)
    agent = RunningAgent(plane.url, key, start=start, interval_s=0.05, push_interval_s=0.1)
    async with contextlib.AsyncExitStack() as running:
        await running.enter_async_context(agent.running())
        for last in (False, False, True):
            async with plane.serving(), plane.client() as client:
                await gpus_when(client, newer_than(start + timedelta(seconds=agent.clock.looks)))
                if last:
                    await running.aclose()
    read = [start + timedelta(seconds=number) for number in range(1, agent.clock.looks + 1)]
    with contextlib.closing(sqlite3.connect(plane.database)) as database:
        rows = database.execute("SELECT gpu_id, recorded_at FROM gpu_metrics ORDER BY gpu_id, recorded_at")
        stored = [(gpu_id, datetime.fromtimestamp(at / 1e6, UTC)) for gpu_id, at in rows]
    assert stored == [(gpu_id, at) for gpu_id in range(1, GPUS + 1) for at in read]


async def test_the_doctor_tells_an_agents_key_from_one_that_may_less_or_more(
    plane: ControlPlane, tmp_path: Path
) -> None:
    async with plane.serving(), plane.client() as client:
        own = await cluster_key(client)
        wanted = {"label": "reader", "permissions": ["read"]}
        reader = (await client.post("/api/api-keys", KeyCreated, body=wanted))["key"]
        found = {}
        for name, key in (("own", own), ("admin", plane.admin_key), ("reader", reader)):
            agent = RunningAgent(plane.url, key, state_dir=str(tmp_path / "state"))
            report = await check(Examined(settings=agent.settings))
            levels = {finding.subject: finding.level for finding in report.findings}
            found[name] = (report.exit_status, levels["key"], levels["clock"])
    assert found == {"own": (0, "ok", "ok"), "admin": (0, "warning", "ok"), "reader": (4, "failure", "ok")}


def newer_than(moment: datetime) -> Callable[[list[GpuRecord]], bool]:
    """Whether every GPU has a sample that was recorded after `moment`."""

    def holds(gpus: list[GpuRecord]) -> bool:
        times = [gpu["recorded_at"] for gpu in gpus]
        return bool(times) and all(at is not None and at > moment for at in times)

    return holds
