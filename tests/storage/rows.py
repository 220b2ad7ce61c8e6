"""A fleet and jobs put straight into a database, for tests of what reads and writes them."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Table, text
from sqlalchemy.sql import Executable

from gpuforge_controlplane.domain.access import Kind, Principal, closure
from gpuforge_controlplane.domain.decisions import Plan
from gpuforge_controlplane.domain.fleet import OFFLINE_AFTER
from gpuforge_controlplane.domain.scheduler import plan
from gpuforge_controlplane.domain.snapshot import snapshot_of
from gpuforge_controlplane.services.context import Context
from gpuforge_controlplane.storage import leases, snapshots
from gpuforge_controlplane.storage.database import Connection, Database
from gpuforge_controlplane.storage.schema import clusters, gpus, job_events, jobs, nodes, tenants

Out = TypeVar("Out")

OPERATOR = Principal(name="operator", kind=Kind.OPERATOR, scopes=closure(("admin",)))
NOW = datetime(2026, 5, 9, 12, tzinfo=UTC)
MODEL = "NVIDIA H100 80GB HBM3"


def agents_of(cluster_id: int) -> Principal:
    """The key of a cluster's agents."""
    name = f"agents of {cluster_id}"
    return Principal(name=name, kind=Kind.CLUSTER, scopes=closure(("write",)), cluster_id=cluster_id)


@dataclass(slots=True)
class Shelf:
    """A migrated database with cluster 1 in it."""

    database: Database
    now: datetime = NOW

    def clock(self) -> datetime:
        return self.now

    async def insert(self, table: Table, *rows: dict[str, Any]) -> int:
        """The id of the first of these new rows, which must be alike in their columns."""
        async with self.database.write() as tx:
            made = await tx.execute(table.insert().returning(table.c.id), list(rows))
            return min(int(row_id) for row_id in made.scalars())

    async def node(self, gpu_count: int = 8, *, model: str | None = MODEL, **fields: Any) -> int:
        """A new node's id; its GPUs' ids follow each other."""
        count = (await self.all("SELECT count(*) FROM nodes"))[0][0]
        row = {
            "cluster_id": 1,
            "hostname": f"node-{count}",
            "state": "active",
            "last_heartbeat_at": self.now,
            "created_at": self.now,
            **fields,
        }
        node_id = await self.insert(nodes, row)
        if gpu_count:
            card = {"node_id": node_id, "model": model, "status": "idle", "created_at": self.now}
            await self.insert(gpus, *({**card, "gpu_index": index} for index in range(gpu_count)))
        return node_id

    async def tenant(self, quota: int, status: str = "active") -> int:
        count = (await self.all("SELECT count(*) FROM tenants"))[0][0]
        row = {"name": f"tenant {count}", "gpu_quota": quota, "plan_tier": "pro", "status": status}
        return await self.insert(tenants, {**row, "created_at": self.now})

    async def queue(self, count: int = 1, gpu_count: int = 1, **fields: Any) -> list[int]:
        """Ids of new jobs, queued and alike."""
        row = {
            "cluster_id": 1,
            "name": "train",
            "gpu_count": gpu_count,
            "priority": 5,
            "status": "queued",
            "on_node_loss": "requeue",
            "requeues": 0,
            "submitted_at": self.now,
            **fields,
        }
        first = await self.insert(jobs, *[row] * count)
        ids = list(range(first, first + count))
        event = {"at": self.now, "from_status": None, "to_status": row["status"], "actor": "test"}
        await self.insert(job_events, *({**event, "job_id": job_id} for job_id in ids))
        return ids

    async def together(
        self,
        serve: Callable[[Sequence[Any]], Awaitable[Sequence[Out]]],
        *asked: tuple[Principal, *tuple[Any, ...]],
    ) -> Sequence[Out]:
        """What a service answers to these requests, `r0` and on, in one transaction."""

        async def work(tx: Connection) -> Sequence[Out]:
            about: dict[str, Any] = {"tx": tx, "now": self.now, "retention": timedelta(days=1)}
            return await serve(
                [
                    (Context(principal=who, request_id=f"r{at}", **about), *inputs)
                    for at, (who, *inputs) in enumerate(asked)
                ]
            )

        return await self.database.transact(work)

    async def lease(self, holder: str = "the test") -> int:
        """The fencing token of a lease that is long enough for any test."""
        async with self.database.write() as tx:
            token = await leases.take(tx, holder, timedelta(hours=1))
        assert token is not None
        return token

    async def plan(self) -> Plan:
        """What a cycle would decide now."""
        async with self.database.read() as tx:
            rows = await snapshots.load(tx, self.now - OFFLINE_AFTER)
        return plan(snapshot_of(*rows), self.now.timestamp())

    async def all(self, query: str | Executable, **values: Any) -> Sequence[Any]:
        """What the database holds."""
        async with self.database.read() as tx:
            return (await tx.execute(text(query) if isinstance(query, str) else query, values)).all()

    async def run(self, statement: str, **values: Any) -> None:
        """Change what the database holds."""
        async with self.database.write() as tx:
            await tx.execute(text(statement), values)

    async def statuses(self) -> dict[int, str]:
        """Of all jobs, by id."""
        rows = await self.all("SELECT id, status FROM jobs ORDER BY id")
        return {row[0]: row[1] for row in rows}


@contextlib.asynccontextmanager
async def shelf_at(url: str) -> AsyncIterator[Shelf]:
    """A shelf on the migrated database at `url`."""
    database = Database(url)
    try:
        shelf = Shelf(database)
        await shelf.insert(clusters, {"name": "east", "created_at": NOW})
        yield shelf
    finally:
        await database.close()


async def cut_off(tx: Connection) -> None:
    """Lose the connection, as a network or a server that dies would have it."""
    raw = await tx.get_raw_connection()
    driver = raw.driver_connection
    assert driver is not None
    driver.terminate()
