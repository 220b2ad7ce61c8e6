"""What the benchmarks share: a control plane in a process of its own, and a generator of plain requests."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

Request = tuple[str, bytes]  # path and body of a POST


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A control plane in a process of its own."""

    port: int
    key: str
    process: subprocess.Popen[bytes]

    def cpu_s(self) -> float:
        """CPU seconds used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self) -> float:
        """Resident memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextlib.contextmanager
def serving(database_url: str, log: Path) -> Iterator[Server]:
    """A control plane on a free port; ended with the block."""
    command = [sys.executable, "-m", "gpuforge_controlplane"]
    environment = {**os.environ, "GPUFORGE_DATABASE_URL": database_url, "GPUFORGE_LOG_FORMAT": "json"}
    create = [*command, "create-key", "--label", "bench", "--permissions", "read,write,admin"]
    key = subprocess.run(create, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    with log.open("wb") as sink:
        process = subprocess.Popen([*command, "serve", "--port", "0"], env=environment, stderr=sink)
        try:
            yield Server(port=_port_of(process, log), key=key, process=process)
        finally:
            process.terminate()
            process.wait(10)


def _port_of(process: subprocess.Popen[bytes], log: Path) -> int:
    while process.poll() is None:
        for line in log.read_bytes().splitlines():
            found = msgspec.json.decode(line)
            if found["event"] == "serving":
                return int(found["url"].rpartition(":")[2])
        time.sleep(0.05)
    raise SystemExit(f"the control plane did not start:\n{log.read_text()}")


async def hammer(server: Server, requests: Iterator[Request], until: float, connections: int) -> list[float]:
    """Keep `connections` POSTs in flight until `until` (perf_counter) or they end; the seconds each took."""
    head = f" HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {server.key}\r\n"
    rest = f"{head}Content-Type: application/json\r\nContent-Length: ".encode()
    raw = (b"POST %b%b%d\r\n\r\n%b" % (path.encode(), rest, len(body), body) for path, body in requests)
    took: list[float] = []
    await asyncio.gather(*(_connection(server.port, raw, until, took) for _ in range(connections)))
    return took


async def _connection(port: int, requests: Iterator[bytes], until: float, took: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in requests:
        began = time.perf_counter()
        if began > until:
            break
        writer.write(request)
        headers = await reader.readuntil(b"\r\n\r\n")
        if not headers.startswith(b"HTTP/1.1 20"):
            raise SystemExit(f"the server answered {headers.decode()}")
        length = int(headers.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        took.append(time.perf_counter() - began)
    writer.close()


def on_fleets(
    about: str,
    prepare: Callable[[str, int], Awaitable[None]],
    ask: Callable[[Server, int], Awaitable[None]],
    requests: int,
) -> None:
    """The command line of a benchmark that fills a database for each `--gpus` and asks a server on it."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--gpus", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--requests", type=int, default=requests)
    asked = parser.parse_args()
    for gpus in asked.gpus:
        print(f"{gpus:,} GPUs")
        with tempfile.TemporaryDirectory(prefix="gpuforge-bench-") as folder:
            url = f"sqlite+aiosqlite:///{folder}/bench.db"
            asyncio.run(_awaited(prepare(url, gpus)))
            with serving(url, Path(folder) / "log") as server:
                asyncio.run(_awaited(ask(server, asked.requests)))


async def _awaited(work: Awaitable[None]) -> None:
    await work
