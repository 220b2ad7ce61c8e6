"""The agent as it runs: simulated GPUs, a small control plane over HTTP, real signals, real processes."""

import asyncio
import json
import os
import re
import signal
import socket
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from gpuforge_agent import app, state
from gpuforge_agent.app import Supervisor, run_until
from gpuforge_agent.check import Report
from gpuforge_agent.check import check as doctored
from gpuforge_agent.config import Examined
from gpuforge_agent.doctor import Finding
from gpuforge_agent.state import claimed
from tests.fake_control_plane import KEY, FakeControlPlane, problem
from tests.running_agent import GPUS, START, RunningAgent, environment, process


def assert_all_arrived(plane: FakeControlPlane) -> None:
    """Every reading of each GPU from the first on, once, in order, with its own time."""
    assert len(plane.gpus) == GPUS
    for gpu in plane.gpus:
        times = plane.times_of(gpu["uuid"])
        assert times == [START + timedelta(seconds=number) for number in range(1, len(times) + 1)]
        assert len(times) >= 2


@pytest.fixture
async def plane() -> AsyncIterator[FakeControlPlane]:
    """A control plane that knows nothing yet."""
    async with FakeControlPlane().serving() as serving:
        yield serving


async def test_it_registers_reads_delivers_and_beats(plane: FakeControlPlane) -> None:
    agent = RunningAgent(plane.url, KEY)
    async with agent.running():
        await plane.until(lambda now: len(now.metrics) >= 10 * GPUS and now.nodes["gpu"]["beats"] >= 3)
    assert_all_arrived(plane)
    assert plane.nodes["gpu"]["ip_address"] == "127.0.0.1"
    assert plane.nodes["gpu"]["agent_version"]
    assert all(0 <= metric["utilization_pct"] <= 100 for metric in plane.metrics)


async def test_the_control_plane_goes_away_and_comes_back_and_nothing_is_missing(free_port: int) -> None:
    plane = FakeControlPlane()
    async with plane.serving(free_port):
        agent = RunningAgent(plane.url, KEY)
        running = agent.running()
        await running.__aenter__()
        await plane.until(lambda now: len(now.metrics) >= 4 * GPUS)
    await agent.clock.more(20)
    arrived = len(plane.metrics)
    async with plane.serving(free_port):
        await plane.until(lambda now: len(now.metrics) >= arrived + 25 * GPUS)
        await running.__aexit__(None, None, None)
    assert_all_arrived(plane)


async def test_an_agent_that_starts_again_learns_the_ids_it_had(plane: FakeControlPlane) -> None:
    async with RunningAgent(plane.url, KEY).running():
        await plane.until(lambda now: len(now.metrics) >= GPUS)
    ids = [gpu["id"] for gpu in plane.gpus]
    again = len(plane.metrics)
    async with RunningAgent(plane.url, KEY).running():
        await plane.until(lambda now: len(now.requests) > 0 and len(now.batches) > again)
    assert [gpu["id"] for gpu in plane.gpus] == ids
    assert len(plane.nodes) == 1


async def test_one_agent_plays_many_nodes(plane: FakeControlPlane) -> None:
    agent = RunningAgent(plane.url, KEY, simulated_nodes=3)
    async with agent.running():
        await plane.until(
            lambda now: len(now.nodes) == 3 and len({metric["gpu_id"] for metric in now.metrics}) == 3 * GPUS
        )
    assert sorted(plane.nodes) == ["gpu-01", "gpu-02", "gpu-03"]
    assert len({gpu["uuid"] for gpu in plane.gpus}) == 3 * GPUS


async def test_what_is_left_is_delivered_on_the_way_out(plane: FakeControlPlane) -> None:
    agent = RunningAgent(plane.url, KEY, push_interval_s=3600)
    async with agent.running():
        await agent.clock.more(5)
        assert plane.requests == []
    assert_all_arrived(plane)


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
        agent = RunningAgent(plane.url, KEY)
        async with agent.running():
            await agent.clock.more(5)
        released.set()  # only now: the agent was gone before anything answered
    assert plane.metrics == []


async def test_a_stop_does_not_wait_for_a_disk_that_hangs(
    free_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "LAST_SYNC_S", 0.05)
    reached, released = threading.Event(), threading.Event()

    def hang(_: list[Path]) -> None:
        reached.set()
        released.wait()

    monkeypatch.setattr("gpuforge_agent.spool.put_on_disk", hang)
    agent = RunningAgent(f"http://127.0.0.1:{free_port}", KEY, state_dir=str(tmp_path))
    try:
        async with agent.running():
            await agent.clock.more(5)
        assert reached.is_set()
    finally:
        released.set()


async def test_a_disk_that_hangs_holds_up_neither_heartbeats_nor_samples_and_is_reported(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpuforge_agent.spool.HANG_S", 0.05)
    released, write = threading.Event(), os.write
    released.set()

    def hang(file: int, content: bytes) -> int:
        released.wait()
        return write(file, content)

    monkeypatch.setattr("gpuforge_agent.segments.os.write", hang)
    agent = RunningAgent(plane.url, KEY, state_dir=str(tmp_path), heartbeat_interval_s=0.05)
    try:
        async with agent.running():
            await plane.until(lambda now: len(now.metrics) > 10)
            released.clear()
            await plane.until(
                lambda now: any(
                    report["host"]["missing"].get("disk_used_mb") == "hung" for report in now.reports
                )
            )
            arrived, beats = len(plane.metrics), plane.nodes["gpu"]["beats"]
            await plane.until(
                lambda now: len(now.metrics) > arrived + 10 and now.nodes["gpu"]["beats"] > beats + 2
            )
            released.set()
            reported = len(plane.reports)
            await plane.until(
                lambda now: "disk_used_mb" in now.reports[-1]["host"] and len(now.reports) > reported + 1
            )
    finally:
        released.set()
    assert_all_arrived(plane)


async def test_a_folder_that_comes_later_takes_the_queue(
    free_port: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gpuforge_agent")
    blocked = tmp_path / "not mounted yet"
    await asyncio.to_thread(blocked.write_text, "")
    agent = RunningAgent(f"http://127.0.0.1:{free_port}", KEY, state_dir=str(blocked / "state"))
    async with agent.running():
        await agent.clock.more(10)
        await asyncio.to_thread(blocked.unlink)
        await agent.clock.more(10)
    assert [each.message.partition(":")[0] for each in caplog.records if "queue" in each.message] == [
        "the disk of the queue fails at writing, samples wait in memory",
        "the queue is on disk again",
    ]
    plane, later = FakeControlPlane(), START + timedelta(seconds=agent.clock.looks)
    url = f"http://127.0.0.1:{free_port}"
    again = RunningAgent(url, KEY, start=later, state_dir=str(blocked / "state"))
    async with plane.serving(free_port), again.running():
        await plane.until(lambda now: len(now.metrics) >= 25 * GPUS)
    assert_all_arrived(plane)


async def test_a_loop_that_breaks_ends_the_agent(
    plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("gpuforge_agent.push.Pusher.deliver", broken)
    agent = RunningAgent(plane.url, KEY)
    with pytest.raises(ExceptionGroup) as raised:
        await run_until(asyncio.Event(), agent.settings, supervisor=Supervisor())
    assert raised.group_contains(ZeroDivisionError)


async def test_prometheus_reads_a_running_agent(plane: FakeControlPlane, free_port: int) -> None:
    agent = RunningAgent(plane.url, KEY, metrics_listen=str(free_port))
    async with agent.running():
        await plane.until(lambda now: len(now.metrics) >= 4 * GPUS)
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{free_port}/metrics") as answer:
            text = await answer.text()
    assert text.count("\ngpuforge_gpu_utilization_ratio{") == GPUS
    assert 'gpuforge_agent_delivered_samples_total{node="gpu"} ' in text


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
        async with RunningAgent(plane.url, KEY).running(Supervisor(socket=address, watchdog_s=0.02)):
            await beats.wait()
        asyncio.get_running_loop().remove_reader(systemd)
    assert heard[0] == "READY=1"
    assert heard[-1] == "STOPPING=1"


@pytest.mark.parametrize(
    ("socket_", "source", "ends"),
    [
        pytest.param("@gpuforge-test-nobody-hears", "nvml", True, id="under systemd"),
        pytest.param("@gpuforge-test-nobody-hears", "simulated", False, id="without a driver to wait for"),
        pytest.param(None, "nvml", False, id="where nobody would start it again"),
    ],
)
async def test_it_ends_for_systemd_to_start_it_with_the_devices_of_a_driver_that_came(
    plane: FakeControlPlane,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    socket_: str | None,
    source: str,
    ends: bool,
) -> None:
    monkeypatch.setattr(app, "DRIVER_S", 0.01)
    devices = tmp_path / "devices"
    devices.write_text("Character devices:\n  1 mem\n195 nvidia\n")
    supervisor = Supervisor(socket=socket_, devices=devices)
    agent = RunningAgent(plane.url, KEY, source=source, nvml_library="/nowhere/libnvidia-ml.so.1")
    stop = asyncio.Event()
    running = asyncio.create_task(run_until(stop, agent.settings, supervisor=supervisor))
    await plane.until(lambda now: "gpu" in now.nodes)
    assert not stop.is_set()
    devices.write_text("Character devices:\n  1 mem\n195 nvidia\n236 nvidia-caps\n")
    if ends:
        await stop.wait()
    else:
        beats = plane.nodes["gpu"]["beats"]
        await plane.until(lambda now: now.nodes["gpu"]["beats"] > beats + 1)
        assert not stop.is_set()
        stop.set()
    async with asyncio.timeout(20):
        await running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_signal_ends_it_with_what_is_left_delivered(
    plane: FakeControlPlane, number: signal.Signals
) -> None:
    async with process(
        "gpuforge_agent", "run", "--interval", "0.01", env=environment(plane.url, KEY)
    ) as agent:
        await plane.until(lambda now: len(now.metrics) >= 16)
        agent.send_signal(signal.SIGHUP)  # no terminal of its own has hung up
        await plane.until(lambda now: len(now.metrics) >= 32)
        agent.send_signal(number)
        _, errors = await asyncio.wait_for(agent.communicate(), 20)
    assert agent.returncode == 0
    lines = [json.loads(line) for line in errors.decode().splitlines()]
    assert lines[-1]["event"] == "agent stopped"
    assert KEY not in errors.decode()


NAMES_NOBODY = """
import socket, sys, threading
look_up = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: (
    threading.Event().wait() if host == "gpus.example.com" else look_up(host, *rest, **more)
)
from gpuforge_agent.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


async def test_name_servers_that_never_answer_delay_neither_start_nor_end(tmp_path: Path) -> None:
    (tmp_path / "named.py").write_text(NAMES_NOBODY)
    env = environment("http://gpus.example.com", KEY, PYTHONPATH=str(tmp_path))
    async with process("named", "run", env=env) as agent, asyncio.timeout(20):
        assert agent.stderr is not None
        while b"agent started" not in await agent.stderr.readline():
            pass
        agent.terminate()
        await agent.communicate()
    assert agent.returncode == 0


async def test_what_could_not_be_delivered_is_by_the_next_agent(free_port: int, tmp_path: Path) -> None:
    plane = FakeControlPlane()
    url, folder = f"http://127.0.0.1:{free_port}", str(tmp_path / "state")
    agent = RunningAgent(url, KEY, state_dir=folder)
    async with agent.running():
        await agent.clock.more(20)
    async with plane.serving(free_port):
        later = START + timedelta(seconds=agent.clock.looks)
        async with RunningAgent(url, KEY, start=later, state_dir=folder).running():
            await plane.until(lambda now: len(now.metrics) >= 25 * GPUS)
    assert_all_arrived(plane)


async def test_a_second_agent_on_one_folder_is_refused(plane: FakeControlPlane, tmp_path: Path) -> None:
    env = environment(plane.url, KEY, GPUFORGE_STATE_DIR=str(tmp_path))
    async with state.claimed(tmp_path), process("gpuforge_agent", "run", env=env) as agent:
        _, errors = await asyncio.wait_for(agent.communicate(), 20)
    assert agent.returncode == 1  # systemd tries again: the other may end
    assert b"another agent" in errors
    assert b"Traceback" not in errors


async def check(plane: FakeControlPlane, **changes: str) -> tuple[int | None, dict[str, Any]]:
    """The exit status and the report of `check --json`."""
    async with process(
        "gpuforge_agent", "check", "--json", env=environment(plane.url, KEY, **changes)
    ) as agent:
        output, _ = await asyncio.wait_for(agent.communicate(), 20)
        return agent.returncode, json.loads(output)


async def test_check_finds_all_well_and_stores_nothing(plane: FakeControlPlane) -> None:
    status, report = await check(plane)
    assert status == report["exit_status"] == 0
    assert report["control_plane"] == {
        "url": plane.url, "reachable": True, "key": "accepted", "cluster": "east (id 1)", "problems": [],
        "clock": None, "key_is_wide": False, "key_is_public": False,
    }  # fmt: skip
    assert {each["subject"]: each["level"] for each in report["findings"]} == {
        "gpus": "ok", "mig": "ok", "control plane": "ok", "key": "ok", "clock": "skipped", "state": "warning",
    }  # fmt: skip
    assert [gpu["index"] for gpu in report["gpus"]] == list(range(8))
    assert (plane.nodes, plane.gpus, plane.metrics) == ({}, [], [])


@pytest.mark.parametrize(
    ("changes", "status", "key", "said"),
    [
        pytest.param({"GPUFORGE_API_KEY": KEY[:-1]}, 4, "malformed", "checksum", id="cut short"),
        pytest.param({"GPUFORGE_API_KEY": ""}, 4, "absent", "GPUFORGE_API_KEY_FILE", id="no key"),
        pytest.param(
            {"GPUFORGE_API_KEY": "", "GPUFORGE_API_KEY_FILE": "/dev/null/x"}, 4, "absent",
            "can't read /dev/null/x: Not a directory", id="a key's file that can't be read",
        ),
        pytest.param(
            {"GPUFORGE_CONTROL_PLANE_URL": "http://127.0.0.1:1"}, 3, "untested", "can't connect", id="away"
        ),
        pytest.param({"GPUFORGE_STATE_DIR": "/dev/null/x"}, 5, "accepted", "", id="no place for its state"),
    ],
)  # fmt: skip
async def test_check_names_what_is_wrong(
    plane: FakeControlPlane, changes: dict[str, str], status: int, key: str, said: str
) -> None:
    answered, report = await check(plane, **changes)
    assert (answered, report["control_plane"]["key"]) == (status, key)
    assert said in " ".join(report["control_plane"]["problems"])


async def test_check_says_what_a_key_lacks_what_it_has_too_much_and_that_the_clock_is_wrong(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    settings = RunningAgent(plane.url, KEY, state_dir=str(tmp_path / "state")).settings
    plane.clock, plane.takes_key_for_admins = (lambda: START), True
    report = await doctored(Examined(settings=settings), clock=lambda: START)
    found = {each.subject: each for each in report.findings}
    assert (found["key"].level, found["clock"].level, found["state"].level) == ("warning", "ok", "ok")

    plane.clock = lambda: START - timedelta(minutes=1)
    report = await doctored(Examined(settings=settings), clock=lambda: START)
    assert report.exit_status == 5
    assert "+60.0" in next(each.words for each in report.findings if each.subject == "clock")

    plane.lasting = lambda request, body: (
        problem(403, "scope_lacking") if request.method == "POST" else plane._routed(request, body)
    )
    report = await doctored(Examined(settings=settings), clock=lambda: START)
    assert (report.exit_status, report.control_plane.key) == (4, "refused")


async def test_check_beside_a_running_agent_says_who_has_the_folder_and_what_waits(
    free_port: int, tmp_path: Path
) -> None:
    agent = RunningAgent(f"http://127.0.0.1:{free_port}", KEY, state_dir=str(tmp_path))
    async with agent.running():
        await agent.clock.more(10)
        report = await doctored(Examined(settings=agent.settings))
    (found,) = [each for each in report.findings if each.subject == "state"]
    assert f"process {os.getpid()}" in found.words
    waiting = re.search(r"(\d+) samples wait, 0 lost", found.words)
    assert waiting
    assert int(waiting[1]) >= 9 * GPUS


async def test_check_says_that_the_key_is_refused(plane: FakeControlPlane) -> None:
    plane.key = "another"
    status, report = await check(plane)
    assert (status, report["control_plane"]["key"]) == (4, "refused")


def state_found(report: Report) -> Finding:
    (found,) = [each for each in report.findings if each.subject == "state"]
    return found


async def test_check_does_not_wait_for_a_disk_that_hangs_and_says_so(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpuforge_agent.check.DISK_S", 0.05)
    released = threading.Event()
    monkeypatch.setattr("gpuforge_agent.check.spool_files.backlog", lambda _: released.wait())
    settings = RunningAgent(plane.url, KEY, state_dir=str(tmp_path)).settings
    try:
        report = await doctored(Examined(settings=settings))
    finally:
        released.set()
    found = state_found(report)
    assert (found.level, report.exit_status) == ("failure", 5)
    assert "does not answer" in found.words
    assert "dmesg" in (found.next_step or "")


@pytest.mark.parametrize(("state", "level"), [("D", "failure"), ("S", "ok")])
async def test_check_says_that_the_agent_waits_for_its_disk(
    plane: FakeControlPlane, tmp_path: Path, state: str, level: str
) -> None:
    proc = tmp_path / "proc"
    task = proc / str(os.getpid()) / "task" / "7"
    await asyncio.to_thread(task.mkdir, parents=True)
    await asyncio.to_thread((task / "stat").write_text, f"7 (a (name) D) {state} 1 7")
    async with claimed(tmp_path):
        settings = RunningAgent(plane.url, KEY, state_dir=str(tmp_path), queue_mib=1).settings
        found = state_found(await doctored(Examined(settings=settings), proc=proc))
    assert found.level == level
    assert ("waits for its disk" in found.words) == (state == "D")


async def test_check_tells_a_disk_that_is_read_only_from_a_folder_that_is_others(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = os.statvfs(tmp_path)
    read_only = os.statvfs_result([*mounted[:8], mounted.f_flag | os.ST_RDONLY, mounted.f_namemax])
    monkeypatch.setattr("gpuforge_agent.check.os.statvfs", lambda _: read_only)
    settings = RunningAgent(plane.url, KEY, state_dir=str(tmp_path)).settings
    report = await doctored(Examined(settings=settings))
    found = state_found(report)
    assert "mounted read-only" in found.words
    assert "dmesg" in (found.next_step or "")
