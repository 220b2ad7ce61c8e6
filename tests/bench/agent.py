"""The agent's footprint with eight GPUs and every reading on; nvitop-exporter's beside it."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import tempfile
import time
from pathlib import Path

from tests.bench.faulty import Api, agent_on, cpu_s, fake_driver, pss_mib
from tests.bench.server import serving
from tests.loopback import free_loopback_port

SETTLE_S = 12.0


def measured(name: str, pid: int, seconds: float) -> str:
    """A row of the table, over that many seconds."""
    time.sleep(SETTLE_S)
    cpu, began = cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    share = 100 * (cpu_s(pid) - cpu) / (time.monotonic() - began)
    return f"| {name} | {pss_mib(pid):.1f} MiB | {share:.2f} % |"


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--nvitop-exporter", metavar="PATH")
    given = options.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fake = fake_driver(folder)
        server = stack.enter_context(serving(f"sqlite+aiosqlite:///{folder / 'bench.db'}", folder / "log"))
        key = Api(server).ask("POST", "/api/clusters", {"name": "bench"})["api_key"]
        with agent_on(fake, server, key):  # which compiles what an installed one finds compiled
            time.sleep(SETTLE_S)
        print("| what | PSS, all processes | of one core |\n|---|---|---|")
        for interval in ("5", "1"):
            with agent_on(fake, server, key, "--interval", interval) as agent:
                print(measured(f"agent, every {interval} s", agent.pid, given.seconds), flush=True)
        if given.nvitop_exporter:
            port = str(free_loopback_port())
            command = [
                given.nvitop_exporter,
                "--bind-address",
                "127.0.0.1",
                "--port",
                port,
                "--interval",
                "1",
            ]
            with subprocess.Popen(command, env=fake.environment(), stderr=subprocess.DEVNULL) as exporter:
                print(measured("nvitop-exporter, every 1 s", exporter.pid, given.seconds), flush=True)
                exporter.kill()


if __name__ == "__main__":
    main()
