"""What nodes and GPUs report of their health, their faults; how far a clock is off, what a queue lost."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from gpuforge_controlplane.storage.columns import UtcTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
JSON_COLUMN = sa.JSON().with_variant(JSONB(), "postgresql")
OPEN = sa.text("cleared_at IS NULL")
XID = sa.text("kind = 'xid'")


def upgrade() -> None:
    op.add_column("nodes", sa.Column("clock_offset_s", sa.Float))
    for count in ("queued_samples", "dropped_samples"):
        op.add_column("nodes", sa.Column(count, sa.BigInteger))
    for moment in ("gap_since", "gap_until"):
        op.add_column("nodes", sa.Column(moment, UtcTime))
    op.create_table(
        "node_health",
        sa.Column("node_id", ID, sa.ForeignKey("nodes.id"), primary_key=True, autoincrement=False),
        sa.Column("reported_at", UtcTime, nullable=False),
        sa.Column("host", JSON_COLUMN, nullable=False),
        sa.Column("driver_fault", JSON_COLUMN),
        sa.Column("collectors", JSON_COLUMN, nullable=False),
    )
    op.create_table(
        "gpu_health",
        sa.Column("gpu_id", ID, sa.ForeignKey("gpus.id"), primary_key=True, autoincrement=False),
        sa.Column("reported_at", UtcTime, nullable=False),
        sa.Column("health", JSON_COLUMN),
        sa.Column("processes", JSON_COLUMN),
        sa.Column("processes_missing", sa.String(64)),
        sa.Column("xids", JSON_COLUMN, nullable=False),
        sa.Column("ecc_volatile", sa.BigInteger),
        sa.Column("ecc_aggregate", sa.BigInteger),
        postgresql_with={"fillfactor": 70},
    )
    op.create_table(
        "gpu_faults",
        sa.Column("id", ID, primary_key=True),
        sa.Column("gpu_id", ID, sa.ForeignKey("gpus.id"), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("message", sa.String(255), nullable=False),
        sa.Column("seen_at", UtcTime, nullable=False),
        sa.Column("cleared_at", UtcTime),
        sa.Column("needs_operator", sa.Boolean, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_gpu_faults_open",
        "gpu_faults",
        ["gpu_id", "kind", "code"],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.create_index(
        "uq_gpu_faults_xid",
        "gpu_faults",
        ["gpu_id", "code", "seen_at"],
        unique=True,
        sqlite_where=XID,
        postgresql_where=XID,
    )
    op.create_index("ix_gpu_faults_seen_at", "gpu_faults", ["seen_at"])
