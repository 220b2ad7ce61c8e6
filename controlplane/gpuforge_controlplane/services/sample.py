"""The built-in sample fleet: what a reader without a key sees. Made up, small, and alive."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from gpuforge_controlplane.domain.access import Kind, Principal, closure
from gpuforge_controlplane.domain.fleet import OFFLINE_AFTER
from gpuforge_controlplane.domain.pricing import PUBLISHED
from gpuforge_controlplane.domain.scheduler import plan
from gpuforge_controlplane.domain.snapshot import snapshot_of
from gpuforge_controlplane.services import drafts, fleet, inventory, invoices, scheduling, tenants
from gpuforge_controlplane.services.context import Context
from gpuforge_controlplane.services.keys import mint
from gpuforge_controlplane.services.registration import register_node
from gpuforge_controlplane.services.submissions import create_job
from gpuforge_controlplane.storage import metrics, payments, rates, snapshots
from gpuforge_controlplane.storage.database import Connection, Database
from gpuforge_controlplane.storage.metrics import Sample
from gpuforge_shared.wire.billing import InvoiceQuery, InvoiceStatusUpdate
from gpuforge_shared.wire.fleet import ClusterCreate, GpuObject, GpuRegister, NodeRegister
from gpuforge_shared.wire.jobs import JobCreate
from gpuforge_shared.wire.tenants import PlanTier, TenantCreate

EVERY_S = 10.0
_HISTORY = timedelta(days=6)  # for how long the jobs have run

_AUTHOR = Principal(name="sample", kind=Kind.OPERATOR, scopes=closure(("admin",)))


class _Cluster(NamedTuple):
    name: str
    region: str
    model: str
    vram_mb: int
    watts: float
    hostnames: tuple[str, ...]
    gpus: int  # a node


_FLEET = (
    _Cluster("us-east-prod", "us-east-1", "NVIDIA H100 80GB HBM3", 81_559, 700.0, ("gpu-01", "gpu-02"), 8),
    _Cluster("eu-west-infer", "eu-west-1", "NVIDIA A100-SXM4-80GB", 81_920, 400.0, ("gpu-03",), 8),
    _Cluster("lab", "us-west-2", "NVIDIA RTX A6000", 49_140, 300.0, ("lab-01", "lab-02"), 4),
)


_TENANTS: tuple[tuple[str, int, PlanTier], ...] = (("NovAI Labs", 10, "enterprise"), ("Acme ML", 8, "pro"))
_JOBS = (  # tenant, cluster, name, GPUs
    (1, 1, "llama-3-70b-finetune", 8),
    (2, 1, "vision-pretrain", 6),
    (2, 2, "batch-embeddings", 4),
    (1, 3, "notebook", 2),
    (1, 2, "evaluation", 16),
)


class SampleFleet:
    """Builds the sample fleet once, then keeps its heartbeats and figures fresh."""

    def __init__(self, database: Database, retention: timedelta) -> None:
        self._database = database
        self._retention = retention
        self._nodes: list[tuple[NodeRegister, list[int], _Cluster]] = []

    async def build(self, now: datetime) -> None:
        """Clusters, nodes, GPUs, keys, jobs and what they cost, through the same use cases as real ones."""
        async with self._database.write() as tx:
            ctx = self._context(tx, now - _HISTORY)
            for family, price in PUBLISHED.items():
                await rates.add(tx, family=family, tenant_id=None, price_micros=price, effective_from=ctx.now)
            await mint(ctx, label="dashboard", permissions=("read",))
            await mint(ctx, label="billing-export", permissions=("read", "write"))
            for cluster in _FLEET:
                made = await fleet.create_cluster(
                    ctx, ClusterCreate(name=cluster.name, region=cluster.region)
                )
                for hostname in cluster.hostnames:
                    await self._build_node(ctx, made["id"], hostname, cluster)
            await _build_jobs(ctx)
        await self.refresh(now)
        async with self._database.write() as tx:
            await _build_invoices(self._context(tx, now))

    async def refresh(self, now: datetime) -> None:
        """A heartbeat of every node and a sample of every GPU."""
        async with self._database.write() as tx:
            ctx = self._context(tx, now)
            for body, _, _ in self._nodes:
                await register_node(ctx, body)
            await metrics.store(tx, list(self._samples(now)))
            while await metrics.prune(tx, now - timedelta(hours=1)):
                pass

    async def _build_node(self, ctx: Context, cluster_id: int, hostname: str, cluster: _Cluster) -> None:
        body = NodeRegister(
            cluster_id=cluster_id, hostname=hostname, total_gpus=cluster.gpus, cpu_cores=128, ram_gb=1024
        )
        node = (await register_node(ctx, body)).answer
        gpus = [
            GpuObject(model=cluster.model, vram_mb=cluster.vram_mb, uuid=f"GPU-sample-{hostname}-{index}")
            for index in range(cluster.gpus)
        ]
        made = await inventory.register_gpus(ctx, GpuRegister(node_id=node["id"], gpus=gpus))
        self._nodes.append((body, [gpu["id"] for gpu in made.answer], cluster))

    def _context(self, tx: Connection, now: datetime) -> Context:
        return Context(tx=tx, principal=_AUTHOR, now=now, request_id="sample", retention=self._retention)

    def _samples(self, now: datetime) -> Iterator[Sample]:
        for _, gpu_ids, cluster in self._nodes:
            for gpu_id in gpu_ids:
                load = _load(gpu_id, now.timestamp())
                yield Sample(
                    gpu_id=gpu_id,
                    recorded_at=now,
                    utilization_pct=round(100 * load, 1),
                    memory_used_mb=int(cluster.vram_mb * (0.05 + 0.85 * load)),
                    memory_total_mb=cluster.vram_mb,
                    temperature_c=round(32 + 44 * load, 1),
                    power_draw_w=round(cluster.watts * (0.12 + 0.8 * load), 1),
                    missing=None,
                    within_cluster=None,
                )


async def _build_jobs(ctx: Context) -> None:
    """Tenants and jobs: some run, one waits, one is blocked."""
    for name, quota, tier in _TENANTS:
        await tenants.create_tenant(ctx, TenantCreate(name=name, gpu_quota=quota, plan_tier=tier))
    for tenant_id, cluster_id, name, gpus in _JOBS:
        body = JobCreate(cluster_id=cluster_id, tenant_id=tenant_id, name=name, gpu_count=gpus)
        await create_job(ctx, body)
    rows = await snapshots.load(ctx.tx, ctx.now - OFFLINE_AFTER)
    decided = plan(snapshot_of(*rows), ctx.now.timestamp())
    await scheduling.start(ctx.tx, decided.starts, ctx.now, scheduling.ACTOR)


async def _build_invoices(ctx: Context) -> None:
    """One that is paid, one that is not."""
    for tenant_id, _ in enumerate(_TENANTS, 1):
        made = (await drafts.create_invoice(ctx, tenant_id, InvoiceQuery(days=30))).answer["invoice"]
        if tenant_id == 1:
            await invoices.set_status(ctx, made["id"], InvoiceStatusUpdate(status="paid"))
    await payments.clear(ctx.tx, ctx.now, "a made-up invoice: nobody has to pay it")


def _load(gpu_id: int, seconds: float) -> float:
    """0..1: every fourth GPU idles, the others work in slow waves of their own."""
    if gpu_id % 4 == 0:
        return 0.0
    wave = math.sin(seconds / 90 + gpu_id) + 0.3 * math.sin(seconds / 11 + 2.7 * gpu_id)
    return min(1.0, max(0.0, 0.78 + 0.16 * wave))
