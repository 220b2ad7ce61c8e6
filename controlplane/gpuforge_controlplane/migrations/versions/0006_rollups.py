"""Samples rolled up by five minutes and by hour, and which buckets are late."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gpuforge_controlplane.storage.columns import UtcTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    for name in ("gpu_rollup_5m", "gpu_rollup_1h"):
        _rollup(name)
    op.create_table(
        "rollup_progress",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("done_until", UtcTime, nullable=False),
    )
    op.create_table(
        "late_buckets",
        sa.Column("id", ID, primary_key=True),
        sa.Column("bucket", UtcTime, nullable=False),
        sa.Column("gpu_id", ID, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_late_buckets_bucket", "late_buckets", ["bucket"])


def _rollup(name: str) -> None:
    op.create_table(
        name,
        sa.Column("bucket", UtcTime, nullable=False),
        sa.Column("gpu_id", ID, nullable=False),
        sa.Column("samples", sa.Integer, nullable=False),
        sa.Column("utilization_n", sa.Integer, nullable=False),
        sa.Column("utilization_sum", sa.Float),
        sa.Column("utilization_min", sa.Float),
        sa.Column("utilization_max", sa.Float),
        sa.Column("memory_n", sa.Integer, nullable=False),
        sa.Column("memory_sum", sa.BigInteger),
        sa.Column("memory_max", sa.BigInteger),
        sa.Column("temperature_n", sa.Integer, nullable=False),
        sa.Column("temperature_sum", sa.Float),
        sa.Column("temperature_max", sa.Float),
        sa.Column("power_n", sa.Integer, nullable=False),
        sa.Column("power_sum", sa.Float),
        sa.Column("power_max", sa.Float),
        sa.PrimaryKeyConstraint("gpu_id", "bucket"),
        sqlite_with_rowid=False,
        postgresql_partition_by="RANGE (bucket)",
    )
