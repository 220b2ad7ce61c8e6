"""Rates, the ledger, invoices, the outbox to Stripe, budgets; the meter's cursor on allocations."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from gpuforge_controlplane.storage.columns import UtcTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
ON_METER = sa.text("NOT settled")
LIST_PRICE = sa.text("tenant_id IS NULL")
UNBILLED = sa.text("invoice_id IS NULL")
UNDONE = sa.text("done_at IS NULL")

# The published rate card, in millionths of a dollar per GPU-hour; it holds for whatever ran before, too.
RATE_CARD = {"H100": 4_760_000, "A100": 2_210_000, "A6000": 1_280_000}


def upgrade() -> None:
    op.add_column("allocations", sa.Column("metered_until", UtcTime))
    op.add_column("allocations", sa.Column("settled", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_index(
        "ix_allocations_unsettled", "allocations", ["id"], sqlite_where=ON_METER, postgresql_where=ON_METER
    )
    op.create_table(
        "rates",
        sa.Column("id", ID, primary_key=True),
        sa.Column("family", sa.String(255), nullable=False),
        sa.Column("tenant_id", ID),
        sa.Column("price_micros", sa.BigInteger),
        sa.Column("effective_from", UtcTime, nullable=False),
        sa.UniqueConstraint("family", "tenant_id", "effective_from"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "invoices",
        sa.Column("id", ID, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("tenant_name", sa.String(255), nullable=False),
        sa.Column("tenant_email", sa.String(255)),
        sa.Column("period_start", UtcTime, nullable=False),
        sa.Column("period_end", UtcTime, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("total_cents", sa.BigInteger, nullable=False),
        sa.Column("gpu_seconds", sa.BigInteger, nullable=False),
        sa.Column("issued_at", UtcTime, nullable=False),
        sa.Column("due_at", UtcTime, nullable=False),
        sa.Column("paid_at", UtcTime),
        sa.Column("paid_by", sa.String(16)),
        sa.Column("voided_at", UtcTime),
        sa.Column("void_reason", sa.String(255)),
        sa.Column("link_id", sa.String(255)),
        sa.Column("link_url", sa.String(2048)),
        sa.Column("link_reason", sa.String(1024)),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "invoice_lines",
        sa.Column("id", ID, primary_key=True),
        sa.Column("invoice_id", ID, sa.ForeignKey("invoices.id"), nullable=False),
        sa.Column("family", sa.String(255), nullable=False),
        sa.Column("rate_id", ID, sa.ForeignKey("rates.id"), nullable=False),
        sa.Column("price_micros", sa.BigInteger, nullable=False),
        sa.Column("gpu_seconds", sa.BigInteger, nullable=False),
        sa.Column("amount_cents", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("invoice_id", "rate_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "usage_events",
        sa.Column("id", ID, primary_key=True),
        sa.Column("allocation_id", ID, sa.ForeignKey("allocations.id"), nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("gpu_id", ID, nullable=False),
        sa.Column("tenant_id", ID),
        sa.Column("family", sa.String(255), nullable=False),
        sa.Column("rate_id", ID, sa.ForeignKey("rates.id")),
        sa.Column("started_at", UtcTime, nullable=False),
        sa.Column("ended_at", UtcTime, nullable=False),
        sa.Column("gpu_seconds", sa.Integer, nullable=False),
        sa.Column("metered_at", UtcTime, nullable=False),
        sa.Column("invoice_id", ID, sa.ForeignKey("invoices.id")),
        sa.UniqueConstraint("allocation_id", "started_at"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "usage_days",
        sa.Column("day", UtcTime, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("family", sa.String(255), nullable=False),
        sa.Column("rate_id", ID, nullable=False),
        sa.Column("gpu_seconds", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("day", "tenant_id", "family", "rate_id"),
    )
    op.create_table(
        "payment_tasks",
        sa.Column("id", ID, primary_key=True),
        sa.Column("invoice_id", ID, sa.ForeignKey("invoices.id"), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("link_id", sa.String(255)),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", UtcTime, nullable=False),
        sa.Column("claimed_until", UtcTime),
        sa.Column("last_error", sa.String(1024)),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("done_at", UtcTime),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "stripe_events",
        sa.Column("event_id", sa.String(255), primary_key=True),
        sa.Column("invoice_id", ID),
        sa.Column("outcome", sa.String(64), nullable=False),
        sa.Column("received_at", UtcTime, nullable=False),
    )
    op.create_table(
        "budgets",
        sa.Column("tenant_id", ID, sa.ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("monthly_cents", sa.BigInteger, nullable=False),
        sa.Column("updated_at", UtcTime, nullable=False),
    )
    op.create_table(
        "budget_crossings",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("month", UtcTime, nullable=False),
        sa.Column("percent", sa.Integer, nullable=False),
        sa.Column("budget_cents", sa.BigInteger, nullable=False),
        sa.Column("spent_cents", sa.BigInteger, nullable=False),
        sa.Column("crossed_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "month", "percent"),
    )
    op.create_table(
        "former_tenants",
        sa.Column("id", ID, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("contact_email", sa.String(255)),
        sa.Column("deleted_at", UtcTime, nullable=False),
    )
    op.create_index(
        "uq_rates_list_price",
        "rates",
        ["family", "effective_from"],
        unique=True,
        sqlite_where=LIST_PRICE,
        postgresql_where=LIST_PRICE,
    )
    op.create_index(
        "ix_usage_events_unbilled",
        "usage_events",
        ["tenant_id", "ended_at"],
        sqlite_where=UNBILLED,
        postgresql_where=UNBILLED,
    )
    op.create_index(
        "ix_payment_tasks_undone", "payment_tasks", ["due_at"], sqlite_where=UNDONE, postgresql_where=UNDONE
    )
    op.create_index("ix_invoices_tenant_id_status", "invoices", ["tenant_id", "status"])
    op.create_index("ix_invoices_status_due_at", "invoices", ["status", "due_at"])
    op.create_index("ix_usage_events_tenant_id_started_at", "usage_events", ["tenant_id", "started_at"])
    op.create_index("ix_usage_events_started_at", "usage_events", ["started_at"])
    op.create_index("ix_usage_events_invoice_id", "usage_events", ["invoice_id"])
    op.create_index("ix_payment_tasks_invoice_id", "payment_tasks", ["invoice_id"])
    rates = sa.table(
        "rates", sa.column("family"), sa.column("price_micros"), sa.column("effective_from", UtcTime)
    )
    begin = datetime(1970, 1, 1, tzinfo=UTC)
    op.bulk_insert(
        rates,
        [
            {"family": family, "price_micros": price, "effective_from": begin}
            for family, price in RATE_CARD.items()
        ],
    )
