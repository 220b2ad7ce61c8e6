"""The agent's memory over 100,000 samples of eight GPUs, with every reading on and all of it delivered.

    python -m tests.bench.growth [--ticks 100000] [--interval 0.004]

It samples as fast as it can, lists and looks after health every 25 samples (by default it is 6), and delivers
ten times a second. The queue is on disk, and Prometheus' endpoint is asked throughout.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
import urllib.request
from pathlib import Path

from tests.bench.faulty import Api, agent_on, cpu_s, fake_driver, family, private_mib, pss_mib, rss_mib
from tests.bench.server import serving
from tests.loopback import free_loopback_port

MARKS = (0.01, 0.1, 0.25, 0.5, 0.75, 1.0)  # parts of the whole at which memory is looked at
COUNTER = 'gpuforge_agent_collector_runs_total{node="bench",collector="metrics"}'


def ticks(port: int) -> int:
    """Samples taken so far, as the agent counts them; none while it does not answer yet."""
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer,
    ):
        for line in answer.read().decode().splitlines():
            if line.startswith(COUNTER):
                return int(line.rpartition(" ")[2])
    return 0


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ticks", type=int, default=100_000)
    options.add_argument("--interval", type=float, default=0.004)
    given = options.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fake = fake_driver(folder)
        server = stack.enter_context(serving(f"sqlite+aiosqlite:///{folder / 'bench.db'}", folder / "log"))
        key = Api(server).ask("POST", "/api/clusters", {"name": "bench"})["api_key"]
        port = free_loopback_port()
        pace = ("--interval", str(given.interval), "--push-interval-s", "0.1")
        beat = ("--heartbeat-interval-s", str(25 * given.interval), "--metrics-listen", str(port))
        agent = stack.enter_context(agent_on(fake, server, key, *pace, *beat))
        began = time.monotonic()
        print("| samples | private | PSS | RSS | processes | CPU so far | after |\n" + 7 * "|---" + "|")
        for mark in MARKS:
            while (done := ticks(port)) < mark * given.ticks:
                time.sleep(0.5)
            print(
                f"| {done:,} | {private_mib(agent.pid):.2f} MiB | {pss_mib(agent.pid):.2f} MiB | "
                f"{rss_mib(agent.pid):.2f} MiB | "
                f"{len(family(agent.pid))} | {cpu_s(agent.pid):.0f} s | {time.monotonic() - began:.0f} s |",
                flush=True,
            )


if __name__ == "__main__":
    main()
