"""Alert events of a rule and a subject, over or not: which part of a budget was told."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_alert_events_rule_subject", "alert_events", ["rule_id", "subject_id"])
