"""The agent as it runs: simulated GPUs, a small control plane over HTTP, real signals, real processes."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gpuforge_agent import app
from gpuforge_agent.app import Supervisor, run_until
from gpuforge_agent.config import AgentSettings
from gpuforge_client.retry import World
from tests.fake_control_plane import KEY, FakeControlPlane

START = datetime(2026, 5, 9, tzinfo=UTC)
GPUS = 2


class CountingClock:
    """A second later at every look, so that a gap or a swap in what arrives shows."""

    def __init__(self) -> None:
        self.looks = 0
        self._awaited: list[tuple[int, asyncio.Event]] = []

    def __call__(self) -> datetime:
        """Now."""
        self.looks += 1
        for looks, reached in self._awaited:
            if self.looks >= looks:
                reached.set()
        return START + timedelta(seconds=self.looks)

    async def more(self, looks: int) -> None:
        """Wait until it was looked at so many times more."""
        reached = asyncio.Event()
        self._awaited.append((self.looks + looks, reached))
        await reached.wait()


class Agent:
    """One agent in this process, with a clock of its own and hardly any jitter."""

    def __init__(self, plane: FakeControlPlane, **changes: object) -> None:
        self.plane = plane
        self.clock = CountingClock()
        self.settings = AgentSettings.model_validate(
            {
                "control_plane_url": plane.url,
                "api_key": KEY,
                "hostname": "gpu",
                "source": "simulated",
                "simulated_gpus": GPUS,
                "interval_s": 0.01,
                "push_interval_s": 0.03,
                "heartbeat_interval_s": 0.1,
                **changes,
            }
        )

    @contextlib.asynccontextmanager
    async def running(self, supervisor: Supervisor | None = None) -> AsyncIterator[None]:
        """Started, and stopped at the end."""
        stop = asyncio.Event()
        world = World(clock=self.clock, draw=lambda: 0.02)
        task = asyncio.create_task(
            run_until(stop, self.settings, supervisor=supervisor or Supervisor(), world=world)
        )
        try:
            yield
        finally:
            stop.set()
            async with asyncio.timeout(20):
                await task

    def assert_all_arrived(self, hostname: str = "gpu") -> None:
        """Every reading from the first on, of each GPU, once, in order, with its own time."""
        node_id = self.plane.nodes[hostname]["id"]
        uuids = [gpu["uuid"] for gpu in self.plane.gpus if gpu["node_id"] == node_id]
        assert len(uuids) == self.settings.simulated_gpus
        for uuid in uuids:
            times = self.plane.times_of(uuid)
            assert times == [START + timedelta(seconds=number) for number in range(1, len(times) + 1)]
            assert len(times) >= 2


@pytest.fixture
async def plane() -> AsyncIterator[FakeControlPlane]:
    """A control plane that knows nothing yet."""
    async with FakeControlPlane().serving() as serving:
        yield serving


async def test_it_registers_reads_delivers_and_beats(plane: FakeControlPlane) -> None:
    agent = Agent(plane)
    async with agent.running():
        await plane.until(lambda now: len(now.metrics) >= 10 * GPUS and now.nodes["gpu"]["beats"] >= 3)
    agent.assert_all_arrived()
    assert plane.nodes["gpu"]["ip_address"] == "127.0.0.1"
    assert plane.nodes["gpu"]["agent_version"]
    assert all(0 <= metric["utilization_pct"] <= 100 for metric in plane.metrics)


async def test_the_control_plane_goes_away_and_comes_back_and_nothing_is_missing(free_port: int) -> None:
    plane = FakeControlPlane()
    async with plane.serving(free_port):
        agent = Agent(plane)
        running = agent.running()
        await running.__aenter__()
        await plane.until(lambda now: len(now.metrics) >= 4 * GPUS)
    await agent.clock.more(20)
    arrived = len(plane.metrics)
    async with plane.serving(free_port):
        await plane.until(lambda now: len(now.metrics) >= arrived + 25 * GPUS)
        await running.__aexit__(None, None, None)
    agent.assert_all_arrived()


async def test_an_agent_that_starts_again_learns_the_ids_it_had(plane: FakeControlPlane) -> None:
    async with Agent(plane).running():
        await plane.until(lambda now: len(now.metrics) >= GPUS)
    ids = [gpu["id"] for gpu in plane.gpus]
    again = len(plane.metrics)
    async with Agent(plane).running():
        await plane.until(lambda now: len(now.requests) > 0 and len(now.batches) > again)
    assert [gpu["id"] for gpu in plane.gpus] == ids
    assert len(plane.nodes) == 1


async def test_one_agent_plays_many_nodes(plane: FakeControlPlane) -> None:
    agent = Agent(plane, simulated_nodes=3)
    async with agent.running():
        await plane.until(
            lambda now: len(now.nodes) == 3 and len({metric["gpu_id"] for metric in now.metrics}) == 3 * GPUS
        )
    assert sorted(plane.nodes) == ["gpu-01", "gpu-02", "gpu-03"]
    assert len({gpu["uuid"] for gpu in plane.gpus}) == 3 * GPUS


async def test_what_is_left_is_delivered_on_the_way_out(plane: FakeControlPlane) -> None:
    agent = Agent(plane, push_interval_s=3600)
    async with agent.running():
        await agent.clock.more(5)
        assert plane.requests == []
    agent.assert_all_arrived()


async def test_a_stop_does_not_wait_for_a_control_plane_that_hangs(
    plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "LAST_DELIVERY_S", 0.05)
    released = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    monkeypatch.setattr(plane, "_answer", hang)
    async with plane.serving():
        agent = Agent(plane)
        async with agent.running():
            await agent.clock.more(5)
        released.set()  # only now: the agent was gone before anything answered
    assert plane.metrics == []


async def test_a_loop_that_breaks_ends_the_agent(
    plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("gpuforge_agent.push.Pusher.deliver", broken)
    agent = Agent(plane)
    with pytest.raises(ExceptionGroup) as raised:
        await run_until(asyncio.Event(), agent.settings, supervisor=Supervisor())
    assert raised.group_contains(ZeroDivisionError)


async def test_systemd_hears_ready_the_watchdog_and_the_end(plane: FakeControlPlane, tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    heard: list[str] = []
    beats = asyncio.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.setblocking(False)

        def hear() -> None:
            heard.append(systemd.recv(100).decode())
            if heard.count("WATCHDOG=1") >= 3:
                beats.set()

        asyncio.get_running_loop().add_reader(systemd, hear)
        async with Agent(plane).running(Supervisor(socket=address, watchdog_s=0.02)):
            await beats.wait()
        asyncio.get_running_loop().remove_reader(systemd)
    assert heard[0] == "READY=1"
    assert heard[-1] == "STOPPING=1"


def environment(plane: FakeControlPlane, **changes: str) -> Mapping[str, str]:
    """Of an agent in a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GPUFORGE_")}
    return inherited | {
        "GPUFORGE_CONTROL_PLANE_URL": plane.url,
        "GPUFORGE_API_KEY": KEY,
        "GPUFORGE_HOSTNAME": "gpu-01",
        "GPUFORGE_SOURCE": "simulated",
        "GPUFORGE_PUSH_INTERVAL_S": "0.05",
        **changes,
    }


@contextlib.asynccontextmanager
async def process(*arguments: str, env: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command, killed if the test leaves it running."""
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gpuforge_agent", *arguments, env=env,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield agent
    finally:
        with contextlib.suppress(ProcessLookupError):
            agent.kill()
        await agent.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_signal_ends_it_with_what_is_left_delivered(
    plane: FakeControlPlane, number: signal.Signals
) -> None:
    async with process("run", "--interval", "0.01", env=environment(plane)) as agent:
        await plane.until(lambda now: len(now.metrics) >= 16)
        agent.send_signal(number)
        _, errors = await asyncio.wait_for(agent.communicate(), 20)
    assert agent.returncode == 0
    lines = [json.loads(line) for line in errors.decode().splitlines()]
    assert lines[-1]["event"] == "agent stopped"
    assert KEY not in errors.decode()


async def check(plane: FakeControlPlane, **changes: str) -> tuple[int | None, dict[str, Any]]:
    """The exit status and the report of `check --json`."""
    async with process("check", "--json", env=environment(plane, **changes)) as agent:
        output, _ = await asyncio.wait_for(agent.communicate(), 20)
        return agent.returncode, json.loads(output)


async def test_check_finds_all_well_and_stores_nothing(plane: FakeControlPlane) -> None:
    status, report = await check(plane)
    assert status == report["exit_status"] == 0
    assert report["control_plane"] == {
        "url": plane.url, "reachable": True, "key": "accepted", "cluster": "east (id 1)", "problems": [],
    }  # fmt: skip
    assert [gpu["index"] for gpu in report["gpus"]] == list(range(8))
    assert plane.requests == ["GET /healthz", "GET /api/clusters"]


@pytest.mark.parametrize(
    ("changes", "status", "key", "said"),
    [
        pytest.param({"GPUFORGE_API_KEY": KEY[:-1]}, 4, "malformed", "checksum", id="cut short"),
        pytest.param({"GPUFORGE_API_KEY": ""}, 4, "absent", "GPUFORGE_API_KEY_FILE", id="no key"),
        pytest.param(
            {"GPUFORGE_CONTROL_PLANE_URL": "http://127.0.0.1:1"}, 3, "untested", "can't connect", id="away"
        ),
    ],
)
async def test_check_names_what_is_wrong(
    plane: FakeControlPlane, changes: dict[str, str], status: int, key: str, said: str
) -> None:
    answered, report = await check(plane, **changes)
    assert (answered, report["control_plane"]["key"]) == (status, key)
    assert said in " ".join(report["control_plane"]["problems"])


async def test_check_says_that_the_key_is_refused(plane: FakeControlPlane) -> None:
    plane.key = "another"
    status, report = await check(plane)
    assert (status, report["control_plane"]["key"]) == (4, "refused")
