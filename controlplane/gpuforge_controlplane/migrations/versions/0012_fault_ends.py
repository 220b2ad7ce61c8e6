"""By whose word a fault ended, and a card's past faults by card."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("gpu_faults", sa.Column("cleared_by", sa.String(300)))
    op.add_column("gpu_faults", sa.Column("note", sa.String(255)))
    op.create_index("ix_gpu_faults_gpu_id", "gpu_faults", ["gpu_id"])
