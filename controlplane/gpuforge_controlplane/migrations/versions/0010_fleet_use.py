"""How many GPUs there were, were allocated and were used, by five minutes, for the chart of a day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gpuforge_controlplane.storage.columns import UtcTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "fleet_use",
        sa.Column("bucket", UtcTime, primary_key=True, autoincrement=False),
        sa.Column("watched_s", sa.Integer, nullable=False),
        sa.Column("gpu_s", sa.BigInteger, nullable=False),
        sa.Column("held_s", sa.BigInteger, nullable=False),
        sa.Column("idle_s", sa.BigInteger, nullable=False),
    )
