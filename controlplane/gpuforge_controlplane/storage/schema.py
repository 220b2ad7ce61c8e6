"""The tables, as SQLAlchemy sees them. Migrations make them; `test_migrations` holds the two together."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    false,
    text,
)

from gpuforge_controlplane.storage.columns import ID, JSON_COLUMN
from gpuforge_controlplane.storage.columns import UtcTime as UtcTime
from gpuforge_controlplane.storage.columns import from_micros as from_micros
from gpuforge_controlplane.storage.columns import metadata as metadata
from gpuforge_controlplane.storage.columns import to_micros as to_micros

_LIVE = text("status IN ('queued', 'blocked', 'running')")
_OPEN = text("ended_at IS NULL")
_ENDED = text("ended_at IS NOT NULL")
_ON_METER = text("NOT settled")

tenants = Table(
    "tenants",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("gpu_quota", Integer, nullable=False),
    Column("contact_email", String(255)),
    Column("plan_tier", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    sqlite_autoincrement=True,  # an id, once on an invoice, must never name another tenant
)

clusters = Table(
    "clusters",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("region", String(255)),
    Column("created_at", UtcTime, nullable=False),
    sqlite_autoincrement=True,
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", ID, primary_key=True),
    Column("cluster_id", ID, ForeignKey("clusters.id"), nullable=False),
    Column("hostname", String(255), nullable=False),
    Column("ip_address", String(64)),
    Column("total_gpus", Integer),
    Column("cpu_cores", Integer),
    Column("ram_gb", Integer),
    Column("agent_version", String(255)),
    Column("clock_offset_s", Float),  # of the node's clock against ours, by its agent
    Column("queued_samples", BigInteger),  # what waits at the node, what was lost there, and when, last
    Column("dropped_samples", BigInteger),
    Column("gap_since", UtcTime),
    Column("gap_until", UtcTime),
    Column("state", String(16), nullable=False),
    Column("last_heartbeat_at", UtcTime, nullable=False),
    Column("retired_at", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    UniqueConstraint("cluster_id", "hostname"),
    sqlite_autoincrement=True,
)

# Latest metrics live in the GPU's own row: KPIs and maps read them without touching the raw samples.
gpus = Table(
    "gpus",
    metadata,
    Column("id", ID, primary_key=True),
    Column("node_id", ID, ForeignKey("nodes.id"), nullable=False),
    Column("gpu_index", Integer),  # null: another card took its slot, this one is kept for its history
    Column("uuid", String(255), unique=True),
    Column("model", String(255)),
    Column("vram_mb", BigInteger),
    Column("status", String(16), nullable=False),
    Column("utilization_pct", Float),
    Column("memory_used_mb", BigInteger),
    Column("memory_total_mb", BigInteger),
    Column("temperature_c", Float),
    Column("power_draw_w", Float),
    Column("recorded_at", UtcTime),
    Column("missing", JSON_COLUMN),
    Column("created_at", UtcTime, nullable=False),
    UniqueConstraint("node_id", "gpu_index"),
    sqlite_autoincrement=True,
    # Updated every few seconds and never in an indexed column: room for heap-only updates.
    postgresql_with={"fillfactor": 70},
)

# Raw samples. The key leads with time: rows arrive in its order, 5x faster than by GPU (measured). No foreign
# key: ingest joins the GPU anyway, and the check would cost a look-up a row.
gpu_metrics = Table(
    "gpu_metrics",
    metadata,
    Column("recorded_at", UtcTime, nullable=False),
    Column("gpu_id", ID, nullable=False),
    Column("utilization_pct", Float),
    Column("memory_used_mb", BigInteger),
    Column("memory_total_mb", BigInteger),
    Column("temperature_c", Float),
    Column("power_draw_w", Float),
    PrimaryKeyConstraint("recorded_at", "gpu_id"),
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (recorded_at)",
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", ID, primary_key=True),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("key_prefix", String(12), nullable=False),
    Column("label", String(255), nullable=False),
    Column("tenant_id", ID, ForeignKey("tenants.id", ondelete="SET NULL")),
    Column("cluster_id", ID, ForeignKey("clusters.id")),
    Column("permissions", JSON_COLUMN, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("last_used_at", UtcTime),
    Column("expires_at", UtcTime),
    Column("revoked_at", UtcTime),
    sqlite_autoincrement=True,
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", ID, primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("principal", String(300), nullable=False),
    Column("action", String(64), nullable=False),
    Column("object_type", String(32), nullable=False),
    Column("object_id", ID),
    Column("before", JSON_COLUMN),
    Column("after", JSON_COLUMN),
    Column("request_id", String(64), nullable=False),
    Index(None, "object_type", "object_id"),
    Index(None, "at"),
    sqlite_autoincrement=True,
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("principal", String(300), nullable=False),
    Column("route", String(255), nullable=False),
    Column("key_digest", LargeBinary(32), nullable=False),
    Column("request_digest", LargeBinary(32), nullable=False),
    Column("status", Integer),  # null only inside the transaction that is still working on it
    Column("answer", LargeBinary),
    Column("nonce", LargeBinary(32), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("principal", "route", "key_digest"),
    Index(None, "created_at"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", ID, primary_key=True),
    Column("cluster_id", ID, ForeignKey("clusters.id"), nullable=False),
    Column("tenant_id", ID, ForeignKey("tenants.id", ondelete="SET NULL")),
    Column("name", String(255), nullable=False),
    Column("gpu_count", Integer, nullable=False),
    Column("gpu_type", String(255)),  # as submitted
    Column("family", String(255)),  # null: any one family of the cluster
    Column("priority", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("block_reason", String(1024)),
    Column("submitted_by", String(255)),
    Column("estimated_duration_min", Integer),
    Column("time_limit_min", Integer),
    Column("on_node_loss", String(16), nullable=False),
    Column("requeues", Integer, nullable=False),
    Column("submitted_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("ended_at", UtcTime),
    Column("end_reason", String(1024)),
    # What the scheduler reads every cycle: live jobs alone, however many have ended over the years.
    Index("ix_jobs_live", "status", "cluster_id", sqlite_where=_LIVE, postgresql_where=_LIVE),
    Index(None, "tenant_id"),
    Index(None, "cluster_id"),
    Index(None, "submitted_at"),
    sqlite_autoincrement=True,
)

# Who held which GPU over [started_at, ended_at): what the meter follows. Rows are closed, never deleted.
allocations = Table(
    "allocations",
    metadata,
    Column("id", ID, primary_key=True),
    Column("job_id", ID, ForeignKey("jobs.id"), nullable=False),
    Column("gpu_id", ID, ForeignKey("gpus.id"), nullable=False),
    Column("node_id", ID, nullable=False),
    Column("family", String(255), nullable=False),
    Column("tenant_id", ID),  # as it was at the start: a deleted tenant still owes for it
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("metered_until", UtcTime),  # the meter's cursor, moved in the transaction that writes the rows
    Column(
        "settled", Boolean, nullable=False, server_default=false()
    ),  # has ended, and is metered to its end
    Index(None, "job_id"),
    # What ended after a moment, which is asked at every start. Partial: SQLite would look up `IS NULL` in it,
    # and find all that is held.
    Index("ix_allocations_ended", "ended_at", sqlite_where=_ENDED, postgresql_where=_ENDED),
    Index("ix_allocations_unsettled", "id", sqlite_where=_ON_METER, postgresql_where=_ON_METER),
    # The last guard: no code path can give a GPU to two jobs at once.
    Index("uq_allocations_live_gpu", "gpu_id", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
    sqlite_autoincrement=True,
)

job_events = Table(
    "job_events",
    metadata,
    Column("id", ID, primary_key=True),
    Column("job_id", ID, ForeignKey("jobs.id"), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("from_status", String(16)),
    Column("to_status", String(16), nullable=False),
    Column("reason", String(1024)),
    Column("actor", String(300), nullable=False),
    Index(None, "job_id"),
    Index(None, "at"),
    sqlite_autoincrement=True,
)

scheduler_cycles = Table(
    "scheduler_cycles",
    metadata,
    Column("id", ID, primary_key=True),
    Column("started_at", UtcTime, nullable=False),
    Column("duration_ms", Float, nullable=False),
    Column("processed", Integer, nullable=False),
    Column("started", Integer, nullable=False),
    Column("blocked", Integer, nullable=False),
    Column("unblocked", Integer, nullable=False),
    Column("reasons", JSON_COLUMN, nullable=False),
    Column("input_hash", String(32), nullable=False),
    Column("shortages", JSON_COLUMN, nullable=False),  # why each shape waits: for the reasons of single jobs
    Index(None, "started_at"),
    sqlite_autoincrement=True,
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("holder", String(255), nullable=False),
    Column("token", BigInteger, nullable=False),  # grows with every change of holder: a fence for old ones
    Column("expires_at", UtcTime, nullable=False),
)
