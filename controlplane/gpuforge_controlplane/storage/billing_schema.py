"""The tables of billing: rates, the ledger, invoices, what goes to Stripe, budgets."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    text,
)

from gpuforge_controlplane.storage.columns import ID, UtcTime, metadata

_LIST_PRICE = text("tenant_id IS NULL")
_UNBILLED = text("invoice_id IS NULL")
_UNDONE = text("done_at IS NULL")

# Prices, in millionths of a dollar per GPU-hour. A version holds from `effective_from` until the next one.
# No foreign keys to tenants here and below: money outlives them.
rates = Table(
    "rates",
    metadata,
    Column("id", ID, primary_key=True),
    Column("family", String(255), nullable=False),
    Column("tenant_id", ID),  # null: the list price of everybody
    Column("price_micros", BigInteger),  # null, of a tenant's: from here on the list price holds again
    Column("effective_from", UtcTime, nullable=False),
    UniqueConstraint("family", "tenant_id", "effective_from"),
    Index(
        "uq_rates_list_price", "family", "effective_from", unique=True,
        sqlite_where=_LIST_PRICE, postgresql_where=_LIST_PRICE,
    ),
    sqlite_autoincrement=True,
)  # fmt: skip

invoices = Table(
    "invoices",
    metadata,
    Column("id", ID, primary_key=True),
    Column("sequence", BigInteger, nullable=False, unique=True),  # without gaps: auditors ask for the missing
    Column("tenant_id", ID, nullable=False),
    Column("tenant_name", String(255), nullable=False),  # as it was when the invoice was issued
    Column("tenant_email", String(255)),
    Column("period_start", UtcTime, nullable=False),
    Column("period_end", UtcTime, nullable=False),
    Column("status", String(16), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("total_cents", BigInteger, nullable=False),
    Column("gpu_seconds", BigInteger, nullable=False),
    Column("issued_at", UtcTime, nullable=False),
    Column("due_at", UtcTime, nullable=False),
    Column("paid_at", UtcTime),
    Column("paid_by", String(16)),
    Column("voided_at", UtcTime),
    Column("void_reason", String(255)),
    Column("link_id", String(255)),
    Column("link_url", String(2048)),
    Column("link_reason", String(1024)),  # why there is no link
    Index(None, "tenant_id", "status"),
    Index(None, "status", "due_at"),
    sqlite_autoincrement=True,
)

invoice_lines = Table(
    "invoice_lines",
    metadata,
    Column("id", ID, primary_key=True),
    Column("invoice_id", ID, ForeignKey("invoices.id"), nullable=False),
    Column("family", String(255), nullable=False),
    Column("rate_id", ID, ForeignKey("rates.id"), nullable=False),
    Column("price_micros", BigInteger, nullable=False),
    Column("gpu_seconds", BigInteger, nullable=False),
    Column("amount_cents", BigInteger, nullable=False),
    UniqueConstraint("invoice_id", "rate_id"),
    sqlite_autoincrement=True,
)

# The ledger: whole GPU-seconds of [started_at, ended_at). Only `invoice_id` of a row ever changes, and as it
# is one column, a row is on one invoice at most.
usage_events = Table(
    "usage_events",
    metadata,
    Column("id", ID, primary_key=True),
    Column("allocation_id", ID, ForeignKey("allocations.id"), nullable=False),
    Column("job_id", ID, nullable=False),
    Column("gpu_id", ID, nullable=False),
    Column("tenant_id", ID),
    Column("family", String(255), nullable=False),
    Column("rate_id", ID, ForeignKey("rates.id")),  # null: unrated
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime, nullable=False),
    Column("gpu_seconds", Integer, nullable=False),
    Column("metered_at", UtcTime, nullable=False),
    Column("invoice_id", ID, ForeignKey("invoices.id")),
    UniqueConstraint("allocation_id", "started_at"),
    Index(None, "tenant_id", "started_at"),
    Index(None, "started_at"),
    Index(None, "invoice_id"),
    Index(
        "ix_usage_events_unbilled", "tenant_id", "ended_at",
        sqlite_where=_UNBILLED, postgresql_where=_UNBILLED,
    ),
    sqlite_autoincrement=True,
)  # fmt: skip

# The ledger's sums by UTC day, kept in the transaction that writes its rows: a quarter's revenue is read from
# some thousand rows. 0 stands for no tenant and for no rate: a key can't hold null.
usage_days = Table(
    "usage_days",
    metadata,
    Column("day", UtcTime, nullable=False),
    Column("tenant_id", ID, nullable=False),
    Column("family", String(255), nullable=False),
    Column("rate_id", ID, nullable=False),
    Column("gpu_seconds", BigInteger, nullable=False),
    PrimaryKeyConstraint("day", "tenant_id", "family", "rate_id"),
)

# The outbox to Stripe: what is to be done, written in the transaction that caused it.
payment_tasks = Table(
    "payment_tasks",
    metadata,
    Column("id", ID, primary_key=True),
    Column("invoice_id", ID, ForeignKey("invoices.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("link_id", String(255)),
    Column("generation", Integer, nullable=False),  # part of the idempotency key
    Column("attempts", Integer, nullable=False),
    Column("due_at", UtcTime, nullable=False),
    Column("claimed_until", UtcTime),
    Column("last_error", String(1024)),
    Column("created_at", UtcTime, nullable=False),
    Column("done_at", UtcTime),
    Index("ix_payment_tasks_undone", "due_at", sqlite_where=_UNDONE, postgresql_where=_UNDONE),
    Index(None, "invoice_id"),
    sqlite_autoincrement=True,
)

# Every event of Stripe's is heeded once, however often it is sent.
stripe_events = Table(
    "stripe_events",
    metadata,
    Column("event_id", String(255), primary_key=True),
    Column("invoice_id", ID),
    Column("outcome", String(64), nullable=False),
    Column("received_at", UtcTime, nullable=False),
)

budgets = Table(
    "budgets",
    metadata,
    Column("tenant_id", ID, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("monthly_cents", BigInteger, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)

budget_crossings = Table(
    "budget_crossings",
    metadata,
    Column("tenant_id", ID, nullable=False),
    Column("month", UtcTime, nullable=False),
    Column("percent", Integer, nullable=False),
    Column("budget_cents", BigInteger, nullable=False),
    Column("spent_cents", BigInteger, nullable=False),
    Column("crossed_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "month", "percent"),
)

# Who they were that money is still spoken of.
former_tenants = Table(
    "former_tenants",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("name", String(255), nullable=False),
    Column("contact_email", String(255)),
    Column("deleted_at", UtcTime, nullable=False),
)
