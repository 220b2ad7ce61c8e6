"""kill -9 of agent and control plane at random: what was acknowledged or in the queue is stored, and once.

    python -m tests.bench.chaos [--seconds 60] [--seed 1]

Both are processes of their own. Between them stands a witness that notes which samples the control plane
acknowledged; another keeps a second name on every file of the queue, so that it can be read when all is over.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import msgspec
from aiohttp import web

from gpuforge_agent.sample import Sample
from gpuforge_agent.segments import scan
from gpuforge_agent.spool_files import backlog
from gpuforge_controlplane.migrations import migrate
from gpuforge_controlplane.services.keys import create_key_on_host
from gpuforge_controlplane.storage.database import Database
from gpuforge_shared.clock import utc_now
from gpuforge_shared.wire.keys import KeyCreate
from tests.loopback import free_loopback_port, served
from tests.running_agent import environment

Key = tuple[str, datetime]  # a GPU's UUID and a moment
GPUS = 8
DRAIN_S = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was left when all was over."""

    seconds: float
    agent_kills: int
    plane_kills: int
    acknowledged: int
    written: int  # samples in the queue's files, all lives together
    stored: int
    acknowledged_lost: int
    written_lost: int
    stored_twice: int
    waiting: int  # in the queue at the end


class Mortal:
    """A process that is killed and started again; its log goes on."""

    def __init__(self, *command: str, env: Mapping[str, str], log: Path) -> None:
        self._command = [sys.executable, "-m", *command]
        self._env = env
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self.kills = 0

    async def start(self) -> None:
        """Begin the next life."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=self._env, stdout=asyncio.subprocess.DEVNULL, stderr=log
            )

    async def kill(self) -> None:
        """End this life at once."""
        await self._end(signal.SIGKILL)
        self.kills += 1

    async def stop(self) -> None:
        """Ask it to end, and see that it has; no harm in a second time."""
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        await self._process.wait()


class Witness:
    """A proxy that notes the samples of every batch that the control plane answered with 200."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.acknowledged: set[tuple[int, datetime]] = set()  # by the id of the GPU
        self.something = asyncio.Event()  # was acknowledged

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """The URL to send to."""
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        async with served(app) as url, aiohttp.ClientSession() as self._session:
            yield url

    async def _pass_on(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {
            name: request.headers[name]
            for name in ("Authorization", "Content-Type")
            if name in request.headers
        }
        try:
            async with self._session.request(
                request.method, self._target + request.path_qs, data=body, headers=headers
            ) as answer:
                content, status, kind = await answer.read(), answer.status, answer.content_type
        except (aiohttp.ClientError, OSError):
            return web.Response(status=502)
        if request.path == "/api/clusters/metrics" and status == 200:
            told = msgspec.json.decode(content)
            assert not told["rejected"], told
            for each in msgspec.json.decode(body)["metrics"]:
                self.acknowledged.add((each["gpu_id"], datetime.fromisoformat(each["recorded_at"])))
            self.something.set()
        return web.Response(body=content, status=status, content_type=kind)


async def prepare(database_url: str) -> str:
    """An empty fleet; the raw key of an administrator."""
    await migrate(database_url)
    database = Database(database_url)
    key = await create_key_on_host(database, utc_now, KeyCreate(label="chaos", permissions=["admin"]))
    await database.close()
    return key


async def cluster_key(url: str, admin: str) -> str:
    """The key of a new cluster, once the control plane answers."""
    headers = {"Authorization": f"Bearer {admin}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with session.post(f"{url}/api/clusters", json={"name": "chaos"}) as answer:
                    created = await answer.json()
                    return str(created["api_key"])
            await asyncio.sleep(0.1)


def keep_names(queue: Path, kept: Path, over: threading.Event) -> None:
    """Give every file of the queue a second name, so that it outlives its deletion."""
    kept.mkdir()
    while not over.wait(0.02):
        for path in queue.glob("*.queue"):
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                os.link(path, kept / path.name)


async def chaos(folder: Path, seconds: float, seed: int) -> Outcome:
    """Let them live and die for so long in that folder, then let what is left arrive, and count."""
    draw = random.Random(seed)
    url = f"sqlite+aiosqlite:///{folder}/gpuforge.db"
    admin = await prepare(url)
    port = free_loopback_port()
    target, state = f"http://127.0.0.1:{port}", folder / "state"
    env = {**environment("", ""), "GPUFORGE_DATABASE_URL": url, "GPUFORGE_DEMO": "off"}
    plane = Mortal("gpuforge_controlplane", "serve", "--port", str(port), env=env, log=folder / "plane.log")
    witness = Witness(target)
    async with witness.serving() as proxy, contextlib.AsyncExitStack() as ends:
        ends.push_async_callback(plane.stop)
        await plane.start()
        env = {
            **environment(proxy, await cluster_key(target, admin)),
            "GPUFORGE_STATE_DIR": str(state),
            "GPUFORGE_INTERVAL_S": "0.05",
            "GPUFORGE_PUSH_INTERVAL_S": "0.1",
            "GPUFORGE_SIMULATED_GPUS": str(GPUS),
        }
        agent = Mortal("gpuforge_agent", "run", env=env, log=folder / "agent.log")
        ends.push_async_callback(agent.stop)
        over = threading.Event()
        ends.callback(over.set)
        names = asyncio.create_task(asyncio.to_thread(keep_names, state / "queue", folder / "kept", over))
        await agent.start()
        await witness.something.wait()  # on a busy machine no life of seconds may come that far
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            await asyncio.sleep(draw.uniform(0.1, 4.0))
            victims = draw.choice([[agent], [agent], [plane], [agent, plane]])
            for victim in victims:
                await victim.kill()
            for victim in victims:
                await victim.start()
        lasted = time.monotonic() - began
        waiting = await drain(agent, state / "queue", witness)
        over.set()
        await names
    return count(folder, witness, waiting, lasted, (agent.kills, plane.kills))


async def drain(agent: Mortal, queue: Path, witness: Witness) -> int:
    """Let the agent deliver what waits, and end; the samples that wait even then."""
    ends_at = time.monotonic() + DRAIN_S
    while True:
        await agent.stop()
        waiting = backlog(queue)[0]
        if not waiting or time.monotonic() > ends_at:
            return waiting
        await agent.start()
        await asyncio.to_thread(wait_until_short, queue, witness, ends_at)


def wait_until_short(queue: Path, witness: Witness, ends_at: float) -> None:
    """Until the agent delivers, and a stop delivers the rest; or that time (monotonic) has come."""
    before = len(witness.acknowledged)
    while time.monotonic() < ends_at:
        time.sleep(0.1)
        if len(witness.acknowledged) > before and backlog(queue)[0] < GPUS * 10:
            return


def count(folder: Path, witness: Witness, waiting: int, seconds: float, kills: tuple[int, int]) -> Outcome:
    """Compare what was written and acknowledged with what is stored."""
    with contextlib.closing(sqlite3.connect(folder / "gpuforge.db")) as database:
        uuids: dict[int, str] = dict(database.execute("SELECT id, uuid FROM gpus"))
        rows = [
            (uuids[gpu_id], datetime.fromtimestamp(at / 1e6, UTC))
            for gpu_id, at in database.execute("SELECT gpu_id, recorded_at FROM gpu_metrics")
        ]
    stored = set(rows)
    acknowledged = {(uuids[gpu_id], at) for gpu_id, at in witness.acknowledged}
    written = samples_in(folder / "kept")
    return Outcome(
        seconds=seconds,
        agent_kills=kills[0],
        plane_kills=kills[1],
        acknowledged=len(acknowledged),
        written=len(written),
        stored=len(stored),
        acknowledged_lost=len(acknowledged - stored),
        written_lost=len(written - stored),
        stored_twice=len(rows) - len(stored),
        waiting=waiting,
    )


def samples_in(kept: Path) -> set[Key]:
    """Every sample that was ever in the queue."""
    found: set[Key] = set()
    for path in kept.glob("*.queue"):
        for record in scan(path):
            sample = msgspec.json.decode(record.content, type=Sample)
            found.add((sample.uuid, sample.recorded_at))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpuforge-chaos-") as name:
        found = asyncio.run(chaos(Path(name), asked.seconds, asked.seed))
    print(
        f"{found.seconds:.0f} s, {found.agent_kills} times kill -9 of the agent, {found.plane_kills} of the "
        f"control plane (seed {asked.seed})"
    )
    print(f"samples written to the queue {found.written:,}, acknowledged {found.acknowledged:,}, "
          f"stored {found.stored:,}")  # fmt: skip
    print(
        f"acknowledged and lost {found.acknowledged_lost}, written and lost {found.written_lost}, "
        f"stored twice {found.stored_twice}, waiting at the end {found.waiting}"
    )


if __name__ == "__main__":
    main()
