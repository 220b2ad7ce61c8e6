"""What the benches of the agent share: a fake driver, an agent on it, and the other tools beside."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.server import Server
from tests.fakenvml.library import FakeNvml, build, eight_gpus


def fake_driver(folder: Path) -> FakeNvml:
    """Built, with eight GPUs."""
    compiler = shutil.which("gcc")
    if compiler is None:
        raise SystemExit("gcc is needed, with libc's headers")
    library = build(compiler, folder / "driver")
    fake = FakeNvml(library=library, old_library=library, state=folder / "nvml.state")
    fake.show(eight_gpus())
    return fake


@dataclass(frozen=True, slots=True)
class Api:
    """The control plane, asked plainly."""

    server: Server

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The answer's body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.server.port}{path}",
            data,
            {"Authorization": f"Bearer {self.server.key}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@contextlib.contextmanager
def agent_on(
    fake: FakeNvml, server: Server, key: str, *flags: str, within: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """The agent as a sysadmin runs it, ended with the block. `within`: a command that becomes its own."""
    environment = {
        **fake.environment(),
        "GPUFORGE_API_KEY": key,
        "GPUFORGE_CONTROL_PLANE_URL": f"http://127.0.0.1:{server.port}",
        "GPUFORGE_NVML_LIBRARY": str(fake.library),
        "GPUFORGE_HOSTNAME": "bench",
        "GPUFORGE_STATE_DIR": str(fake.state.parent / "agent"),
        "GPUFORGE_LOG_LEVEL": "error",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else each start compiles all of it anew, in its memory
    command = [*within, sys.executable, "-m", "gpuforge_agent", "run", *flags]
    process = subprocess.Popen(command, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(15)


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def pss_mib(pid: int) -> float:
    """Proportional set size of a process and its descendants."""
    return _mapped_mib(pid, "Pss:")


def rss_mib(pid: int) -> float:
    """Resident set sizes of a process and its descendants, added up: what they share counts for each."""
    return _mapped_mib(pid, "Rss:")


def private_mib(pid: int) -> float:
    """What a process and its descendants share with nobody: no other process's coming or going changes it."""
    return _mapped_mib(pid, ("Private_Clean:", "Private_Dirty:"))


def _mapped_mib(pid: int, what: str | tuple[str, ...]) -> float:
    kib = 0
    for each in family(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
            kib += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(what))
    return kib / 1024


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its living descendants, and of those that ended and were waited for."""
    ticks = 0
    for each in family(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def tool(command: list[str], environment: Mapping[str, str], timeout_s: float) -> tuple[str | None, float]:
    """What a tool printed, None where it did not end in time or failed; and how long it took."""
    began = time.monotonic()
    try:
        run = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return None, time.monotonic() - began
    said = (
        run.stdout
        if run.returncode == 0
        else f"exit {run.returncode}: {(run.stderr or '?').splitlines()[-1]}"
    )
    return said, time.monotonic() - began
