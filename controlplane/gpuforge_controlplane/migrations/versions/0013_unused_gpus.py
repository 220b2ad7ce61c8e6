"""Which held GPUs were not used, of the last half hour that is rolled up; an index of ends alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gpuforge_controlplane.storage.columns import ID, UtcTime

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "unused_gpus",
        sa.Column("gpu_id", ID, primary_key=True, autoincrement=False),
        sa.Column("mean_pct", sa.Float),
    )
    op.add_column("rollup_progress", sa.Column("unused_until", UtcTime))
    # Of ends alone: to SQLite an index with nulls looked like the way to what is open, past better ones.
    ended = sa.text("ended_at IS NOT NULL")
    op.drop_index("ix_allocations_ended_at", "allocations")
    op.create_index(
        "ix_allocations_ended", "allocations", ["ended_at"], sqlite_where=ended, postgresql_where=ended
    )
