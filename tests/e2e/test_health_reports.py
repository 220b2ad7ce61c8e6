"""The agent's reports of health: sent at their pace and at once with news, borne by old control planes."""

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from gpuforge_agent.collector import InlineCollector
from gpuforge_agent.health import Checkup, Periods
from gpuforge_agent.host import Host
from gpuforge_agent.identity import Identity
from gpuforge_agent.reporting import PEACE, Reporter
from gpuforge_agent.sampler import Sampler
from gpuforge_agent.sources.simulated import SimulatedSource
from gpuforge_agent.spool import Spool
from gpuforge_agent.timetable import Timetable
from gpuforge_client.rest import RestClient
from gpuforge_client.retry import ONCE
from gpuforge_shared.clock import utc_now
from gpuforge_shared.wire.health import NodeReport
from tests.fake_control_plane import FakeControlPlane, problem
from tests.fakenvml.library import FakeNvml, eight_gpus, fakenvml, fakenvml_libraries
from tests.running_agent import GPUS, RunningAgent, environment, process

__all__ = ["fakenvml", "fakenvml_libraries"]


@pytest.fixture
async def plane() -> AsyncIterator[FakeControlPlane]:
    async with FakeControlPlane().serving() as plane:
        yield plane


def reasons(report: dict[str, Any]) -> list[str | None]:
    """Why each GPU can't be read."""
    return [gpu["unreadable"] for gpu in report["gpus"]]


async def test_a_node_reports_again_and_again_once_it_is_registered(plane: FakeControlPlane) -> None:
    agent = RunningAgent(plane.url, plane.key)
    async with agent.running():
        await plane.until(lambda plane: len(plane.reports) >= 3)
    ids = [gpu["id"] for gpu in plane.gpus]
    for report in plane.reports:
        NodeReport.model_validate(report, strict=False)
        assert [gpu["gpu_id"] for gpu in report["gpus"]] == ids
        assert reasons(report) == [None] * GPUS
    assert plane.requests.index("POST /api/clusters/gpus") < plane.requests.index(
        "POST /api/clusters/nodes/100/health"
    )


async def test_a_control_plane_that_knows_no_reports_gets_all_else(plane: FakeControlPlane) -> None:
    def older(request: web.Request, _: Any) -> web.Response | None:
        return problem(404, "no_such_route") if request.path.endswith("/health") else None

    agent = RunningAgent(plane.url, plane.key)
    plane.lasting = older
    async with agent.running():
        await plane.until(lambda plane: plane.requests.count("POST /api/clusters/nodes/100/health") >= 2)
        stored = len(plane.metrics)
        await plane.until(lambda plane: len(plane.metrics) > stored)
    assert plane.reports == []


async def test_gpus_that_were_given_to_another_node_are_registered_again(
    plane: FakeControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    agent = RunningAgent(plane.url, plane.key)
    async with agent.running():
        await plane.until(lambda plane: bool(plane.reports))
        before = plane.requests.count("POST /api/clusters/gpus")
        plane.strangers = [gpu["id"] for gpu in plane.gpus]
        await plane.until(lambda plane: plane.requests.count("POST /api/clusters/gpus") > before)
        assert "another host calls itself gpu" in caplog.text
        stored = len(plane.metrics)
        await plane.until(lambda plane: len(plane.metrics) > stored)


@pytest.mark.parametrize(
    ("given_away", "said"),
    [
        pytest.param([True, False, True, False, True], 1, id="another host of that name"),
        pytest.param([True, *[False] * PEACE, True], 2, id="moved, and years later moved again"),
        pytest.param([True, *[False] * (PEACE - 1), True], 1, id="hardly any peace"),
    ],
)
async def test_gpus_that_were_given_away_are_said_once_each_time_that_begins(
    plane: FakeControlPlane, caplog: pytest.LogCaptureFixture, given_away: list[bool], said: int
) -> None:
    host = Host(hostname="gpu", cpu_cores=1, ram_gb=1, agent_version="1")
    async with RestClient(plane.url, plane.key, retry=ONCE) as client:
        identity = Identity(client, host)
        source = InlineCollector(SimulatedSource("gpu", gpu_count=1, model="H100"))
        sampler = Sampler(source, Spool(10), utc_now, list_every=1)
        periods = Periods(xids_s=1.0, health_s=1.0, deadline_s=1.0)
        checkup = Checkup(source, sampler, Timetable(), utc_now, periods)
        await checkup.sample()
        await identity.register(sampler.inventory)
        reporter = Reporter(client, identity, checkup)
        for away in given_away:
            plane.strangers = [1] if away else []
            assert await reporter.deliver()
            assert identity.is_current(sampler.inventory) == (not away)
            await identity.register(sampler.inventory)
    assert caplog.text.count("another host calls itself gpu") == said


async def test_a_report_that_is_not_taken_is_said_once_with_what_is_wrong(
    plane: FakeControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(request: web.Request, _: Any) -> web.Response | None:
        fault = [{"path": "host.load_1m", "message": "must be a number"}]
        return problem(422, "invalid", errors=fault) if request.path.endswith("/health") else None

    plane.lasting = refuse
    async with RunningAgent(plane.url, plane.key).running():
        await plane.until(lambda plane: plane.requests.count("POST /api/clusters/nodes/100/health") >= 3)
    (said,) = [each for each in caplog.records if "report of health" in each.message]
    assert vars(said)["fields"] == ["host.load_1m"]


async def test_a_lost_gpu_is_told_at_once_and_usr1_lets_go_of_the_driver(
    plane: FakeControlPlane, fakenvml: FakeNvml
) -> None:
    host = eight_gpus()
    settings = {
        "GPUFORGE_SOURCE": "nvml",
        "GPUFORGE_NVML_LIBRARY": str(fakenvml.library),
        "FAKENVML_STATE": str(fakenvml.state),
        "GPUFORGE_HEARTBEAT_INTERVAL_S": "600",  # reports of their own pace come long after this test
    }
    env = environment(plane.url, plane.key, **settings)
    async with process("gpuforge_agent", "run", "--interval", "0.1", env=env) as agent:
        await plane.until(lambda plane: len(plane.metrics) >= 8)
        fakenvml.show(host.with_gpu(3, host.gpus[3].lost()))
        await plane.until(lambda plane: bool(plane.reports))
        assert reasons(plane.reports[-1]) == [*[None] * 3, "lost", *[None] * 4]
        fakenvml.show(host)
        await plane.until(lambda plane: reasons(plane.reports[-1]) == [None] * 8)
        agent.send_signal(signal.SIGUSR1)
        await plane.until(lambda plane: reasons(plane.reports[-1]) == ["driver_absent"] * 8)
        assert not await readers(agent.pid), "the driver is still held"
        agent.terminate()
        async with asyncio.timeout(20):
            await agent.communicate()


async def readers(pid: int) -> list[str]:
    """The processes that this one started and that live."""
    listing = await asyncio.create_subprocess_exec(
        "ps", "-o", "pid=", "--ppid", str(pid), stdout=asyncio.subprocess.PIPE
    )
    return (await listing.communicate())[0].decode().split()
