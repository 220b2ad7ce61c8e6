"""Jobs, who held which GPU, the scheduler's log, the leader's lease."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from gpuforge_controlplane.storage.schema import UtcTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
JSON_COLUMN = sa.JSON().with_variant(JSONB(), "postgresql")
LIVE = sa.text("status IN ('queued', 'blocked', 'running')")
OPEN = sa.text("ended_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", ID, primary_key=True),
        sa.Column("cluster_id", ID, sa.ForeignKey("clusters.id"), nullable=False),
        sa.Column("tenant_id", ID, sa.ForeignKey("tenants.id", ondelete="SET NULL")),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("gpu_count", sa.Integer, nullable=False),
        sa.Column("gpu_type", sa.String(255)),
        sa.Column("family", sa.String(255)),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("block_reason", sa.String(1024)),
        sa.Column("submitted_by", sa.String(255)),
        sa.Column("estimated_duration_min", sa.Integer),
        sa.Column("time_limit_min", sa.Integer),
        sa.Column("on_node_loss", sa.String(16), nullable=False),
        sa.Column("requeues", sa.Integer, nullable=False),
        sa.Column("submitted_at", UtcTime, nullable=False),
        sa.Column("started_at", UtcTime),
        sa.Column("ended_at", UtcTime),
        sa.Column("end_reason", sa.String(1024)),
        sqlite_autoincrement=True,
    )

    op.create_table(
        "allocations",
        sa.Column("id", ID, primary_key=True),
        sa.Column("job_id", ID, sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("gpu_id", ID, sa.ForeignKey("gpus.id"), nullable=False),
        sa.Column("node_id", ID, nullable=False),
        sa.Column("family", sa.String(255), nullable=False),
        sa.Column("tenant_id", ID),
        sa.Column("started_at", UtcTime, nullable=False),
        sa.Column("ended_at", UtcTime),
        sqlite_autoincrement=True,
    )

    op.create_table(
        "job_events",
        sa.Column("id", ID, primary_key=True),
        sa.Column("job_id", ID, sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("at", UtcTime, nullable=False),
        sa.Column("from_status", sa.String(16)),
        sa.Column("to_status", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(1024)),
        sa.Column("actor", sa.String(300), nullable=False),
        sqlite_autoincrement=True,
    )

    op.create_table(
        "scheduler_cycles",
        sa.Column("id", ID, primary_key=True),
        sa.Column("started_at", UtcTime, nullable=False),
        sa.Column("duration_ms", sa.Float, nullable=False),
        sa.Column("processed", sa.Integer, nullable=False),
        sa.Column("started", sa.Integer, nullable=False),
        sa.Column("blocked", sa.Integer, nullable=False),
        sa.Column("unblocked", sa.Integer, nullable=False),
        sa.Column("reasons", JSON_COLUMN, nullable=False),
        sa.Column("input_hash", sa.String(32), nullable=False),
        sa.Column("shortages", JSON_COLUMN, nullable=False),
        sqlite_autoincrement=True,
    )

    op.create_table(
        "leases",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("holder", sa.String(255), nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("expires_at", UtcTime, nullable=False),
    )
    op.create_index(
        "ix_jobs_live", "jobs", ["status", "cluster_id"], sqlite_where=LIVE, postgresql_where=LIVE
    )
    op.create_index("ix_jobs_tenant_id", "jobs", ["tenant_id"])
    op.create_index("ix_jobs_cluster_id", "jobs", ["cluster_id"])
    op.create_index("ix_jobs_submitted_at", "jobs", ["submitted_at"])
    op.create_index("ix_allocations_job_id", "allocations", ["job_id"])
    op.create_index(
        "uq_allocations_live_gpu",
        "allocations",
        ["gpu_id"],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.create_index("ix_job_events_job_id", "job_events", ["job_id"])
    op.create_index("ix_job_events_at", "job_events", ["at"])
    op.create_index("ix_scheduler_cycles_started_at", "scheduler_cycles", ["started_at"])
