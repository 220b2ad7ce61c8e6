"""Clusters, tenants and jobs by way of HTTP, and what must hold of jobs and GPUs whatever was asked for."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text

from gpuforge_controlplane.domain.decisions import Plan
from gpuforge_controlplane.storage.database import Database
from tests.api.harness import Answer, Caller, Json, Plane

H100 = "NVIDIA H100 80GB HBM3"
A100 = "NVIDIA A100-SXM4-80GB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A node."""

    id: int
    cluster_id: int
    hostname: str
    gpu_ids: tuple[int, ...]


@dataclass(slots=True, kw_only=True)
class Work:
    """A fleet and its jobs, as an operator's key sees them."""

    plane: Plane
    hosts: list[Host] = field(default_factory=list)

    @property
    def admin(self) -> Caller:
        return self.plane.admin

    async def cluster(self, *gpus: int, name: str = "east", model: str = H100) -> int:
        """A new cluster's id, with a node for each number of GPUs."""
        made = await self.admin.write("/api/clusters", {"name": name})
        cluster_id = int(made["id"])
        for number, count in enumerate(gpus, 1):
            await self.host(cluster_id, f"{name}-{number:02}", count, model)
        return cluster_id

    async def host(self, cluster_id: int, hostname: str, gpus: int = 8, model: str = H100) -> Host:
        """A new node with so many GPUs of one model."""
        told = {"cluster_id": cluster_id, "hostname": hostname}
        node = await self.admin.write("/api/clusters/nodes", told)
        cards = [{"uuid": f"GPU-{hostname}-{index}", "model": model} for index in range(gpus)]
        made = await self.admin.write("/api/clusters/gpus", {"node_id": node["id"], "gpus": cards})
        gpu_ids = tuple(gpu["id"] for gpu in made)
        host = Host(id=node["id"], cluster_id=cluster_id, hostname=hostname, gpu_ids=gpu_ids)
        self.hosts.append(host)
        return host

    async def beat(self, *but: Host) -> None:
        """A heartbeat of every node but these."""
        for host in self.hosts:
            if host not in but:
                told = {"cluster_id": host.cluster_id, "hostname": host.hostname}
                await self.admin.write("/api/clusters/nodes", told)

    async def tenant(self, quota: int = 8, name: str = "Acme ML", **fields: Any) -> int:
        """A new tenant's id."""
        made = await self.admin.write("/api/tenants", {"name": name, "gpu_quota": quota, **fields})
        return int(made["id"])

    async def submit(self, cluster_id: int, gpus: int = 1, **fields: Any) -> Json:
        """A new job as it is answered."""
        body = {"cluster_id": cluster_id, "name": "train", "gpu_count": gpus, **fields}
        return await self.admin.write("/api/jobs", body)

    async def running(self, cluster_id: int, gpus: int = 1, **fields: Any) -> int:
        """A new job's id that runs; it must have had room."""
        job = await self.submit(cluster_id, gpus, **fields)
        await self.cycle()
        assert (await self.job(job["id"]))["status"] == "running"
        return int(job["id"])

    async def job(self, job_id: int) -> Json:
        """With allocation and history."""
        return await self.admin.read(f"/api/jobs/{job_id}")

    async def states(self, *jobs: Json) -> list[str]:
        """The statuses of these jobs, given as ids or as they were answered once."""
        ids = [job if isinstance(job, int) else job["id"] for job in jobs]
        return [(await self.job(job_id))["status"] for job_id in ids]

    async def explain(self, job_id: int) -> Json:
        return await self.admin.read(f"/api/jobs/{job_id}/explain")

    async def move(self, job_id: int, status: str, **fields: Any) -> Answer:
        """The answer to a change of status."""
        return await self.admin.patch(f"/api/jobs/{job_id}", {"status": status, **fields})

    async def change(self, path: str, **fields: Any) -> Json:
        """The body of a PUT or PATCH that must succeed."""
        method = "PUT" if "/tenants/" in path else "PATCH"
        answer = await self.admin.call(method, path, fields)
        assert answer.status == 200, answer.raw
        return answer.body

    async def node_state(self, host: Host, state: str) -> None:
        await self.change(f"/api/clusters/nodes/{host.id}", state=state)

    async def cycle(self) -> Plan:
        """One cycle of the scheduler, after which all that must hold does."""
        decided = await self.plane.cycle()
        found = await broken(self.plane.database)
        assert not found, found
        return decided

    async def history(self, job_id: int) -> list[tuple[str | None, str, str | None]]:
        """Each change as (before, after, reason)."""
        rows = (await self.job(job_id))["history"]
        return [(row["from_status"], row["to_status"], row["reason"]) for row in rows]


# What must hold at every moment, each as a query for the ids of what breaks it. Quota is apart: a lowered one
# may be exceeded.
_LAWS = {
    "a GPU held twice": """
        SELECT gpu_id FROM allocations WHERE ended_at IS NULL GROUP BY gpu_id HAVING count(*) > 1
    """,
    "a job that holds other than gpu_count GPUs while it runs, or any while it does not": """
        SELECT j.id FROM jobs j LEFT JOIN allocations a ON a.job_id = j.id AND a.ended_at IS NULL
        GROUP BY j.id, j.status, j.gpu_count
        HAVING count(a.id) <> CASE WHEN j.status = 'running' THEN j.gpu_count ELSE 0 END
    """,
    "a job on GPUs of two families, of another one, or of another cluster": """
        SELECT a.job_id FROM allocations a JOIN jobs j ON j.id = a.job_id JOIN nodes n ON n.id = a.node_id
        WHERE a.ended_at IS NULL GROUP BY a.job_id
        HAVING count(DISTINCT a.family) > 1 OR count(DISTINCT n.cluster_id) > 1
            OR min(n.cluster_id) <> min(j.cluster_id) OR min(a.family) <> min(coalesce(j.family, a.family))
    """,
    "an allocation that ends before it begins": """
        SELECT id FROM allocations WHERE ended_at < started_at
    """,
    "a job with times that contradict its status or each other": """
        SELECT id FROM jobs
        WHERE (status = 'running') <> (started_at IS NOT NULL AND ended_at IS NULL)
            OR (status IN ('completed', 'failed', 'cancelled')) <> (ended_at IS NOT NULL)
            OR ended_at < started_at OR started_at < submitted_at
    """,
    "a job blocked without a reason, or with one and not blocked": """
        SELECT id FROM jobs WHERE (status = 'blocked') <> (block_reason IS NOT NULL)
    """,
    "a job whose history does not end where it is": """
        SELECT j.id FROM jobs j WHERE j.status <> (
            SELECT e.to_status FROM job_events e WHERE e.job_id = j.id ORDER BY e.id DESC LIMIT 1)
    """,
    "an event that does not follow the one before": """
        SELECT e.id FROM job_events e WHERE coalesce(e.from_status, '') <> coalesce((
            SELECT p.to_status FROM job_events p WHERE p.job_id = e.job_id AND p.id < e.id
            ORDER BY p.id DESC LIMIT 1), '')
    """,
}
_BREACHES = text(
    " UNION ALL ".join(
        f"SELECT '{law}' AS law, broken.* FROM ({query}) broken" for law, query in _LAWS.items()
    )
)


async def broken(database: Database) -> list[str]:
    """What does not hold, in words; [] when all is well."""
    async with database.read() as tx:
        return [f"{law}: {number}" for law, number in (await tx.execute(_BREACHES)).all()]
