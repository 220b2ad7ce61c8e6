"""What alert rules look at, read in one snapshot: columns, not objects; grouped by the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import select

from gpuforge_controlplane.domain.budgets import month_start
from gpuforge_controlplane.domain.invoicing import InvoiceStatus, number_of
from gpuforge_controlplane.domain.metering import metered_to, owed_since
from gpuforge_controlplane.domain.watched import Cluster, Gpu, Holding, Invoice, Node, Tenant, Watched
from gpuforge_controlplane.storage import budgets, kpis, ledger, means
from gpuforge_controlplane.storage.billing_schema import invoices
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.means import Lately
from gpuforge_controlplane.storage.statements import tuples

METER_HAS = timedelta(minutes=5)  # to write a day that has just ended: no need to look how far it is

# A crossing of a month's last minutes is noted in the next one, and told, too.
MONTH_LASTS = timedelta(hours=1)

# Times are wanted as seconds since the epoch.
_SECONDS = {"sqlite": "({} / 1000000.0)", "postgresql": "extract(epoch FROM {})::float8"}


async def load(
    tx: Connection, now: datetime, hearing_since: datetime, lately: Lately | None = None
) -> Watched:
    """The picture at `now`; `hearing_since` as in `Watched`. `lately`: what the look before read of rollups,
    kept up to date for the next one."""
    seconds = _SECONDS[tx.dialect.name]
    lately = Lately() if lately is None else lately
    until = await means.rolled_until(tx, now)
    if until is not None and until == lately.until:
        holdings = await _holdings_as(tx, seconds, lately.held)
    else:
        lately.clusters = {} if until is None else await means.of_clusters(tx, until)
        holdings = list(map(Holding._make, await _holdings(tx, seconds, until)))
        lately.held = {(each.gpu_id, each.job_id): each.mean_pct for each in holdings}
        lately.until = until
    return Watched(
        hearing_since=hearing_since.timestamp(),
        clusters=await _clusters(tx, seconds, lately.clusters),
        nodes=await _nodes(tx, seconds),
        gpus=await _gpus(tx, seconds),
        holdings=holdings,
        tenants=await _tenants(tx, now),
        invoices=await _invoices(tx, now),
        usage_owed_since=await _usage_owed_since(tx, now),
    )


async def _clusters(tx: Connection, seconds: str, used: Mapping[int, float]) -> list[Cluster]:
    oldest = f"SELECT cluster_id, {seconds.format('min(submitted_at)')} FROM jobs"  # noqa: S608  # constants
    queued: Iterable[tuple[int, float]] = await tuples(
        tx, f"{oldest} WHERE status = 'queued' GROUP BY cluster_id"
    )
    waits = dict(queued)
    return [
        Cluster(cluster_id, name, used.get(cluster_id), waits.get(cluster_id))
        for cluster_id, name in await tuples(tx, "SELECT id, name FROM clusters")
    ]


async def _nodes(tx: Connection, seconds: str) -> list[Node]:
    heard = seconds.format("last_heartbeat_at")
    query = f"SELECT id, cluster_id, hostname, {heard} FROM nodes WHERE retired_at IS NULL"  # noqa: S608
    return list(map(Node._make, await tuples(tx, query)))


async def _gpus(tx: Connection, seconds: str) -> list[Gpu]:
    reported = seconds.format("coalesce(recorded_at, created_at)")
    query = (
        f"SELECT id, node_id, gpu_index, {reported}, temperature_c, status, utilization_pct FROM gpus"  # noqa: S608
        " WHERE gpu_index IS NOT NULL"
        " AND node_id IN (SELECT id FROM nodes WHERE retired_at IS NULL)"
    )
    faults = await _faults(tx)
    told = ("unhealthy",)
    return [
        Gpu(
            gpu_id, node_id, index, at, temperature,
            tuple(faults.get(gpu_id, told)) if status == "unhealthy" else (), used,
        )
        for gpu_id, node_id, index, at, temperature, status, used in await tuples(tx, query)
    ]  # fmt: skip


async def _faults(tx: Connection) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for gpu_id, message in await tuples(
        tx, "SELECT gpu_id, message FROM gpu_faults WHERE cleared_at IS NULL ORDER BY id"
    ):
        found.setdefault(gpu_id, []).append(message)
    return found


async def _holdings(
    tx: Connection, seconds: str, until: datetime | None
) -> Iterable[tuple[int, int, int | None, float, str, float | None]]:
    """A `Holding` each; its mean over the time to `until`, None without."""
    started = seconds.format("a.started_at")
    mean = "NULL" if until is None else means.of_held(tx, until)
    query = (
        f"SELECT a.gpu_id, a.job_id, j.tenant_id, {started}, a.family, {mean} FROM allocations a"  # noqa: S608
        " JOIN jobs j ON j.id = a.job_id WHERE a.ended_at IS NULL"
    )
    return await tuples(tx, query)


async def _holdings_as(
    tx: Connection, seconds: str, used: Mapping[tuple[int, int], float | None]
) -> list[Holding]:
    """What jobs hold now with means that are known. Of what was not held then no bucket tells yet."""
    return [
        Holding(gpu_id, job_id, tenant_id, since, family, used.get((gpu_id, job_id)))
        for gpu_id, job_id, tenant_id, since, family, _ in await _holdings(tx, seconds, None)
    ]


async def _tenants(tx: Connection, now: datetime) -> list[Tenant]:
    month = month_start(now - MONTH_LASTS)
    crossed, told = await budgets.crossed(tx, month), await budgets.told(tx, month)
    held = (await kpis.live_jobs(tx, None)).gpus_in_use
    found = await tuples(tx, "SELECT id, name, gpu_quota FROM tenants WHERE status = 'active'")
    return [
        Tenant(tenant_id, name, quota, held.get(tenant_id, 0), crossed.get(tenant_id), told.get(tenant_id, 0))
        for tenant_id, name, quota in found
    ]


async def _invoices(tx: Connection, now: datetime) -> list[Invoice]:
    """What is not paid; what somebody called overdue is so from now on at the latest."""
    table = invoices.c
    found = await tx.execute(
        select(table.id, table.sequence, table.tenant_id, table.due_at, table.status)
        .where(table.status.in_((str(InvoiceStatus.PENDING), str(InvoiceStatus.OVERDUE))))
        .order_by(table.id)
    )
    return [
        Invoice(
            row.id,
            number_of(row.sequence),
            row.tenant_id,
            (min(row.due_at, now) if row.status == InvoiceStatus.OVERDUE else row.due_at).timestamp(),
        )
        for row in found
    ]


async def _usage_owed_since(tx: Connection, now: datetime) -> float | None:
    """What ends is metered as it ends, what runs once its day is over: since when rows of either are missing;
    None where none are."""
    end, running_since = await ledger.first_unmetered(tx)
    owed = [] if end is None else [end]
    midnight = (now - METER_HAS).replace(hour=0, minute=0, second=0, microsecond=0)
    if running_since is not None and running_since < midnight:
        owed += filter(None, (_owed(open_, midnight) for open_ in await ledger.accruing(tx, before=midnight)))
    return min(owed).timestamp() if owed else None


def _owed(open_: ledger.Accruing, midnight: datetime) -> datetime | None:
    ends_by = ledger.ends_by(open_["run_started_at"], open_["time_limit_min"])
    return owed_since(open_["since"], metered_to(midnight, open_["heard"], ends_by))
