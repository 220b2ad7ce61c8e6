"""Keys, audit log, idempotency; clusters, nodes, GPUs and their samples; tenants, for keys to be bound to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from gpuforge_controlplane.storage.schema import UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
JSON_COLUMN = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", ID, primary_key=True),
        sa.Column("name", sa.String(255), nullable=False, unique=True),
        sa.Column("gpu_quota", sa.Integer, nullable=False),
        sa.Column("contact_email", sa.String(255)),
        sa.Column("plan_tier", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sqlite_autoincrement=True,
    )

    op.create_table(
        "clusters",
        sa.Column("id", ID, primary_key=True),
        sa.Column("name", sa.String(255), nullable=False, unique=True),
        sa.Column("region", sa.String(255)),
        sa.Column("created_at", UtcTime, nullable=False),
        sqlite_autoincrement=True,
    )

    op.create_table(
        "nodes",
        sa.Column("id", ID, primary_key=True),
        sa.Column("cluster_id", ID, sa.ForeignKey("clusters.id"), nullable=False),
        sa.Column("hostname", sa.String(255), nullable=False),
        sa.Column("ip_address", sa.String(64)),
        sa.Column("total_gpus", sa.Integer),
        sa.Column("cpu_cores", sa.Integer),
        sa.Column("ram_gb", sa.Integer),
        sa.Column("agent_version", sa.String(255)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("last_heartbeat_at", UtcTime, nullable=False),
        sa.Column("retired_at", UtcTime),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.UniqueConstraint("cluster_id", "hostname"),
        sqlite_autoincrement=True,
    )

    op.create_table(
        "gpus",
        sa.Column("id", ID, primary_key=True),
        sa.Column("node_id", ID, sa.ForeignKey("nodes.id"), nullable=False),
        sa.Column("gpu_index", sa.Integer),
        sa.Column("uuid", sa.String(255), unique=True),
        sa.Column("model", sa.String(255)),
        sa.Column("vram_mb", sa.BigInteger),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("utilization_pct", sa.Float),
        sa.Column("memory_used_mb", sa.BigInteger),
        sa.Column("memory_total_mb", sa.BigInteger),
        sa.Column("temperature_c", sa.Float),
        sa.Column("power_draw_w", sa.Float),
        sa.Column("recorded_at", UtcTime),
        sa.Column("missing", JSON_COLUMN),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.UniqueConstraint("node_id", "gpu_index"),
        sqlite_autoincrement=True,
        postgresql_with={"fillfactor": 70},
    )

    op.create_table(
        "gpu_metrics",
        sa.Column("recorded_at", UtcTime, nullable=False),
        sa.Column("gpu_id", ID, nullable=False),
        sa.Column("utilization_pct", sa.Float),
        sa.Column("memory_used_mb", sa.BigInteger),
        sa.Column("memory_total_mb", sa.BigInteger),
        sa.Column("temperature_c", sa.Float),
        sa.Column("power_draw_w", sa.Float),
        sa.PrimaryKeyConstraint("recorded_at", "gpu_id"),
        sqlite_with_rowid=False,
        postgresql_partition_by="RANGE (recorded_at)",
    )

    op.create_table(
        "api_keys",
        sa.Column("id", ID, primary_key=True),
        sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("key_prefix", sa.String(12), nullable=False),
        sa.Column("label", sa.String(255), nullable=False),
        sa.Column("tenant_id", ID, sa.ForeignKey("tenants.id", ondelete="SET NULL")),
        sa.Column("cluster_id", ID, sa.ForeignKey("clusters.id")),
        sa.Column("permissions", JSON_COLUMN, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("last_used_at", UtcTime),
        sa.Column("expires_at", UtcTime),
        sa.Column("revoked_at", UtcTime),
        sqlite_autoincrement=True,
    )

    op.create_table(
        "audit_log",
        sa.Column("id", ID, primary_key=True),
        sa.Column("at", UtcTime, nullable=False),
        sa.Column("principal", sa.String(300), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("object_type", sa.String(32), nullable=False),
        sa.Column("object_id", ID),
        sa.Column("before", JSON_COLUMN),
        sa.Column("after", JSON_COLUMN),
        sa.Column("request_id", sa.String(64), nullable=False),
        sqlite_autoincrement=True,
    )

    op.create_table(
        "idempotency_keys",
        sa.Column("principal", sa.String(300), nullable=False),
        sa.Column("route", sa.String(255), nullable=False),
        sa.Column("key_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("nonce", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("principal", "route", "key_digest"),
    )
    op.create_index("ix_audit_log_object_type_object_id", "audit_log", ["object_type", "object_id"])
    op.create_index("ix_audit_log_at", "audit_log", ["at"])
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
