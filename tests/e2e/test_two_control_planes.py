"""Two control planes, real processes, on one PostgreSQL: both serve, one leads, either may go at any time."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from gpuforge_client.rest import RestClient
from gpuforge_controlplane.loops.leader import RENEW_S, TTL
from gpuforge_controlplane.loops.runner import _JITTER
from gpuforge_controlplane.loops.schedule import LOOK_S
from gpuforge_controlplane.services.keys import create_key_on_host
from gpuforge_controlplane.storage.database import HANG_S
from gpuforge_shared.clock import utc_now
from gpuforge_shared.wire.jobs import JobRecord
from gpuforge_shared.wire.keys import KeyCreate
from tests.api.work import broken
from tests.running_agent import environment, process
from tests.storage.rows import Shelf, shelf_at

NODES, JOBS = 124, 1_000  # 992 GPUs: not everybody can run
QUOTA = 100
PATIENCE_S = 30.0  # a loaded machine is no bug


def test_by_its_own_figures_another_takes_over_within_ten_seconds() -> None:
    """After a kill -9 just after a renewal; after a hang, too, that keeps the lease locked."""
    lease_s = TTL.total_seconds()
    assert lease_s + (RENEW_S + LOOK_S) * (1 + _JITTER) < 10
    assert lease_s > HANG_S
    assert lease_s > 2 * RENEW_S * (1 + _JITTER)  # one renewal may fail


@dataclass(slots=True, kw_only=True)
class Replica:
    """A control plane in a process of its own."""

    command: asyncio.subprocess.Process
    key: str
    url: str = ""
    events: list[str] = field(default_factory=list)
    heard: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def listen(self) -> None:
        """Note what it logs, until it ends."""
        assert self.command.stderr is not None
        async for line in self.command.stderr:
            told = json.loads(line)
            async with self.heard:
                self.events.append(told["event"])
                self.url = told.get("url", self.url)
                self.heard.notify_all()

    async def until(self, holds: Callable[[list[str]], bool]) -> None:
        """Wait for a log that is as wanted."""
        async with asyncio.timeout(PATIENCE_S), self.heard:
            await self.heard.wait_for(lambda: holds(self.events))

    @property
    def leads(self) -> bool:
        """What it last said of itself."""
        said = [event for event in self.events if event.endswith(("leading", "leads"))]
        return said[-1:] == ["leading"]

    def client(self) -> RestClient:
        return RestClient(self.url, self.key)


@contextlib.asynccontextmanager
async def replica(url: str, key: str) -> AsyncIterator[Replica]:
    """One that serves; it is killed at the end. A cycle in 5 min at most, but when it is woken."""
    env = {
        **environment("", ""),
        "GPUFORGE_DATABASE_URL": url,
        "GPUFORGE_LOG_FORMAT": "json",
        "GPUFORGE_DEMO": "off",
        "GPUFORGE_SCHEDULE_INTERVAL_S": "300",
    }
    async with process("gpuforge_controlplane", "serve", "--port", "0", env=env) as command:
        served = Replica(command=command, key=key)
        listening = asyncio.create_task(served.listen())
        try:
            await served.until(lambda events: "serving" in events)
            yield served
        finally:
            with contextlib.suppress(ProcessLookupError):
                command.kill()  # a stopped one, too
            await listening


@pytest.fixture
async def shelf(migrated_database_url: str) -> AsyncIterator[Shelf]:
    async with shelf_at(migrated_database_url) as shelf:
        shelf.now = utc_now()
        for _ in range(NODES):
            await shelf.node(8)
        yield shelf


@pytest.fixture
async def replicas(shelf: Shelf) -> AsyncIterator[tuple[Replica, Replica]]:
    """The one that leads, and the other."""
    body = KeyCreate.model_validate({"label": "test", "permissions": ["admin"]})
    key = await create_key_on_host(shelf.database, utc_now, body)
    url = shelf.database.url.render_as_string(hide_password=False)
    async with replica(url, key) as first, replica(url, key) as second:
        await first.until(lambda _: first.leads)
        assert not second.leads
        yield first, second


async def submitted(through: Replica, count: int, **fields: object) -> list[int]:
    """The ids of jobs that were answered, submitted sixteen at a time."""
    async with through.client() as client:
        turns = asyncio.Semaphore(16)

        async def submit() -> int:
            async with turns:
                body = {"cluster_id": 1, "name": "train", **fields}
                return (await client.post("/api/jobs", JobRecord, body=body))["id"]

        return list(await asyncio.gather(*(submit() for _ in range(count))))


async def until(shelf: Shelf, holds: Callable[[dict[int, str]], bool]) -> dict[int, str]:
    """The statuses of all jobs once they are as wanted."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if holds(statuses := await shelf.statuses()):
                return statuses
            await asyncio.sleep(0.05)  # the two replicas need the processor more than this look does


async def runs(shelf: Shelf, through: Replica) -> None:
    """See that a job submitted there comes to run: somebody leads, and was woken."""
    (job,) = await submitted(through, 1, priority=1)
    await until(shelf, lambda statuses: statuses[job] == "running")


async def room_for(shelf: Shelf, through: Replica, jobs: list[int]) -> None:
    """End these jobs."""
    async with through.client() as client:
        for job in jobs:
            await client.patch(f"/api/jobs/{job}", JobRecord, body={"status": "completed"})


@pytest.mark.parametrize("dialect", ["postgresql"])
@pytest.mark.timeout(180)
async def test_a_thousand_jobs_and_then_the_leader_is_stopped_and_killed(
    shelf: Shelf, replicas: tuple[Replica, Replica]
) -> None:
    leader, other = replicas
    tenant = await shelf.tenant(QUOTA)
    ids = await asyncio.gather(
        submitted(leader, JOBS // 2 - QUOTA, gpu_count=1),
        submitted(leader, QUOTA, gpu_count=1, tenant_id=tenant),
        submitted(other, JOBS // 2 - QUOTA, gpu_count=1),
        submitted(other, QUOTA, gpu_count=1, tenant_id=tenant),
    )
    told = [job for some in ids for job in some]
    assert sorted(told) == list(range(1, JOBS + 1))
    running = JOBS - QUOTA  # of the tenant's two hundred jobs a hundred may run
    statuses = await until(shelf, lambda found: list(found.values()).count("running") == running)
    assert sorted(statuses) == sorted(told)
    assert set(statuses.values()) == {"running", "queued"}
    assert await broken(shelf.database) == []
    assert other.leads is False

    # Through the replica that does not lead a job starts as soon, and an end makes room as soon.
    await runs(shelf, other)

    # Stopped past its lease: another takes over. Going on, it finds that its time has passed.
    leader.command.send_signal(signal.SIGSTOP)
    await other.until(lambda _: other.leads)
    await runs(shelf, other)
    leader.command.send_signal(signal.SIGCONT)
    await leader.until(lambda _: not leader.leads)
    await asyncio.gather(runs(shelf, leader), runs(shelf, other))
    assert [row.token for row in await shelf.all("SELECT token FROM leases")] == [2]

    # Killed: the one that was stopped before takes over in its turn.
    other.command.kill()
    await other.command.wait()
    await runs(shelf, leader)
    assert leader.leads
    await room_for(shelf, leader, told[:8])
    assert await broken(shelf.database) == []
    held = await shelf.all("SELECT ended_at FROM allocations")
    assert (len(held), sum(row.ended_at is not None for row in held)) == (running + 5, 8)
