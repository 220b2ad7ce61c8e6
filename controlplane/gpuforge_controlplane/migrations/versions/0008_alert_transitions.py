"""Each change of an alert event, in order, for the live stream."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gpuforge_controlplane.storage.columns import UtcTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "alert_transitions",
        sa.Column("id", ID, primary_key=True),
        sa.Column("event_id", ID, nullable=False),
        sa.Column("rule_type", sa.String(32), nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("subject_type", sa.String(16), nullable=False),
        sa.Column("subject_id", ID, nullable=False),
        sa.Column("subject", sa.String(300), nullable=False),
        sa.Column("tenant_id", ID),
        sa.Column("cluster_id", ID),
        sa.Column("from_state", sa.String(16)),
        sa.Column("to_state", sa.String(16), nullable=False),
        sa.Column("acknowledged", sa.Boolean, nullable=False),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column("message", sa.String(1024), nullable=False),
        sa.Column("reason", sa.String(32)),
        sa.Column("at", UtcTime, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_alert_transitions_at", "alert_transitions", ["at"])
