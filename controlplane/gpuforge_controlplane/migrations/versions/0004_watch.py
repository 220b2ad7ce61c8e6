"""Alert rules that were changed, events, silences, channels, the outbox; how busy allocated GPUs were."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from gpuforge_controlplane.storage.columns import UtcTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
JSON_COLUMN = sa.JSON().with_variant(JSONB(), "postgresql")
UNRESOLVED = sa.text("resolved_at IS NULL")
END_UNTOLD = sa.text("resolved_at IS NOT NULL AND told_at IS NOT NULL AND end_told_at IS NULL")
UNDELIVERED = sa.text("delivered_at IS NULL AND given_up_at IS NULL")


def upgrade() -> None:
    _rules_and_events()
    _notifications()
    op.create_table(
        "allocation_hours",
        sa.Column("hour", UtcTime, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("family", sa.String(255), nullable=False),
        sa.Column("held_s", sa.BigInteger, nullable=False),
        sa.Column("idle_s", sa.BigInteger, nullable=False),
        sa.Column("idle_gpus", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("hour", "tenant_id", "family", name="pk_allocation_hours"),
    )


def _rules_and_events() -> None:
    op.create_table(
        "alert_rules",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("threshold", sa.Float, nullable=False),
        sa.Column("clear_threshold", sa.Float, nullable=False),
        sa.Column("for_seconds", sa.Integer, nullable=False),
        sa.Column("updated_at", UtcTime, nullable=False),
    )
    op.create_table(
        "alert_events",
        sa.Column("id", ID, primary_key=True),
        sa.Column("rule_id", sa.Integer, nullable=False),
        sa.Column("rule_type", sa.String(32), nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("subject_type", sa.String(16), nullable=False),
        sa.Column("subject_id", ID, nullable=False),
        sa.Column("subject", sa.String(300), nullable=False),
        sa.Column("tenant_id", ID),
        sa.Column("cluster_id", ID),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column("threshold", sa.Float, nullable=False),
        sa.Column("message", sa.String(1024), nullable=False),
        sa.Column("reason", sa.String(32)),
        sa.Column("started_at", UtcTime, nullable=False),
        sa.Column("fired_at", UtcTime),
        sa.Column("resolved_at", UtcTime),
        sa.Column("acknowledged_at", UtcTime),
        sa.Column("acknowledged_by", sa.String(300)),
        sa.Column("note", sa.String(255)),
        sa.Column("told_at", UtcTime),
        sa.Column("end_told_at", UtcTime),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_alert_events_unresolved",
        "alert_events",
        ["rule_id", "subject_type", "subject_id"],
        unique=True,
        sqlite_where=UNRESOLVED,
        postgresql_where=UNRESOLVED,
    )
    op.create_index(
        "ix_alert_events_end_untold",
        "alert_events",
        ["resolved_at"],
        sqlite_where=END_UNTOLD,
        postgresql_where=END_UNTOLD,
    )
    op.create_index("ix_alert_events_resolved_at", "alert_events", ["resolved_at"])


def _notifications() -> None:
    op.create_table(
        "alert_silences",
        sa.Column("id", ID, primary_key=True),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("rule_type", sa.String(32)),
        sa.Column("until", UtcTime, nullable=False),
        sa.Column("reason", sa.String(255), nullable=False),
        sa.Column("created_by", sa.String(300), nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("ended_at", UtcTime),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_alert_silences_until", "alert_silences", ["until"])
    op.create_table(
        "alert_channels",
        sa.Column("id", ID, primary_key=True),
        sa.Column("name", sa.String(255), nullable=False, unique=True),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("address", sa.String(255), nullable=False),
        sa.Column("sealed_url", sa.LargeBinary, nullable=False),
        sa.Column("nonce", sa.LargeBinary(32), nullable=False),
        sa.Column("min_severity", sa.String(16), nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("last_success_at", UtcTime),
        sa.Column("last_error", sa.String(1024)),
        sa.Column("last_error_at", UtcTime),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "notifications",
        sa.Column("id", ID, primary_key=True),
        sa.Column("channel_id", ID, sa.ForeignKey("alert_channels.id", ondelete="CASCADE"), nullable=False),
        sa.Column("uid", sa.String(32), nullable=False),
        sa.Column("notices", JSON_COLUMN, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", UtcTime, nullable=False),
        sa.Column("delivered_at", UtcTime),
        sa.Column("given_up_at", UtcTime),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_notifications_undelivered",
        "notifications",
        ["channel_id", "id"],
        sqlite_where=UNDELIVERED,
        postgresql_where=UNDELIVERED,
    )
    op.create_index("ix_notifications_created_at", "notifications", ["created_at"])
