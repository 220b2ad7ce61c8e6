"""`gpuforge demo` as people run it: real processes, real signals, what stays and what must not."""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gpuforge_client import config

pytestmark = pytest.mark.timeout(240)
COPIES = {"agent of us-eas": "H100", "agent of eu-wes": "A100", "agent of lab": "A6000"}
END_S = 20  # generous: a shared machine may be busy


@dataclass
class Demo:
    """A running demo and what it has said."""

    process: subprocess.Popen[str]
    said: str = ""

    def until(self, words: str) -> str:
        """Read on until a line holds `words`; that line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if words in line:
                return line
        pytest.fail(f"ended without saying {words!r}:\n{self.said}")

    def end(self) -> int:
        """Its exit status, with all it said read."""
        self.said += self.process.communicate(timeout=END_S)[0]
        return self.process.returncode

    @property
    def key(self) -> str:
        found = re.search(r"admin key +(gfk_[0-9a-f]{64})\n", self.said)
        assert found
        return found[1]

    def children(self) -> dict[str, int]:
        """A pidfd for each, by `serve` or the simulated model: a pid may be given again, these never."""
        pid = self.process.pid
        found = {}
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
            # of a copy: its command line is the demo's
            called = Path(f"/proc/{child}/comm").read_text().strip()
            model = words[words.index("--simulated-model") + 1] if "run" in words else COPIES.get(called)
            found[model or "serve"] = os.pidfd_open(int(child))
        return found


def gone(pidfd: int) -> bool:
    """Whether that process ends within END_S."""
    return bool(select.select([pidfd], [], [], END_S)[0])


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gpuforge_client", "demo", *arguments],
        env=config.plain_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # where the tests run under nohup(1), the demo would rightly outlive a SIGHUP
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )


@contextlib.contextmanager
def running(data: Path, port: int) -> Iterator[Demo]:
    demo = Demo(start("--nodes", "3", "--port", str(port), "--data", str(data)))
    try:
        demo.until("GPUForge is live: 24 GPUs on 3 nodes in 3 clusters")
        demo.until("begins anew")
        yield demo
    finally:
        demo.process.kill()
        demo.process.communicate()


def answer(port: int, path: str, key: str, body: dict[str, Any] | None = None) -> Any:
    """What a GET answers; a POST of that body, if there is one."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=END_S) as response:
        return json.load(response)


def refused(*arguments: str) -> str:
    """What a demo says that can't start."""
    demo = Demo(start(*arguments))
    assert demo.end() == 1
    return demo.said


def test_a_demo_from_its_first_start_to_kill_9(tmp_path: Path, free_port: int) -> None:
    data = tmp_path / "demo"
    with running(data, free_port) as demo:
        first_key = demo.key
        assert (data / "admin.key").stat().st_mode & 0o777 == 0o600
        assert f"http://127.0.0.1:{free_port}\n" in demo.said
        clusters = answer(free_port, "/api/clusters", demo.key)
        assert [(each["status"], each["gpu_count"]) for each in clusters] == [("active", 8)] * 3
        hook = {"name": "mine", "type": "webhook", "url": "http://127.0.0.1:9/hook"}
        assert answer(free_port, "/api/alerts/channels", demo.key, hook)["signing_secret"]
        secret = (data / "notify.secret").read_text()
        assert f"a demo runs on {data} already" in refused("--port", "1", "--data", str(data))
        taken = refused("--port", str(free_port), "--data", str(tmp_path / "other"))
        offered = re.search(r"gpuforge demo --port (\d+)\n +make demo PORT=(\d+)", taken)
        assert f"port {free_port} is taken" in taken
        assert offered
        assert int(offered[1]) == int(offered[2]) > free_port
        children = demo.children()
        assert sorted(children) == ["A100", "A6000", "H100", "serve"]
        demo.process.send_signal(signal.SIGINT)
        assert demo.end() == 0
        assert demo.said.endswith("Stopped: nothing is left running.\n")
        assert all(gone(pidfd) for pidfd in children.values())

    with running(data, free_port) as demo:
        assert demo.key == first_key
        assert (data / "notify.secret").read_text() == secret
        signal.pidfd_send_signal(demo.children()["A6000"], signal.SIGKILL)
        demo.until("the agent of lab ended (SIGKILL); the last lines of")
        demo.until("It was started again.")
        children = demo.children()
        assert len(children) == 4
        demo.process.kill()
        assert all(gone(pidfd) for pidfd in children.values())


def test_a_control_plane_that_dies_ends_the_demo_in_words(tmp_path: Path, free_port: int) -> None:
    with running(tmp_path, free_port) as demo:
        children = demo.children()
        signal.pidfd_send_signal(children["serve"], signal.SIGKILL)
        assert demo.end() == 1
        assert "gpuforge: the control plane ended (SIGKILL); the last lines of" in demo.said
        assert all(gone(pidfd) for pidfd in children.values())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_other_ways_to_end_it_while_it_starts(tmp_path: Path, free_port: int, number: signal.Signals) -> None:
    demo = Demo(start("--port", str(free_port), "--data", str(tmp_path)))
    try:
        demo.until("starting the control plane")
        demo.process.send_signal(number)
        assert demo.end() == 0
    finally:
        demo.process.kill()
    assert "nothing is left running" in demo.said
