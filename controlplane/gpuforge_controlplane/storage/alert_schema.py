"""Tables of alerts, silences and notifications, and of how busy allocated GPUs were."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    text,
)

from gpuforge_controlplane.storage.columns import ID, JSON_COLUMN, UtcTime, metadata

_UNRESOLVED = text("resolved_at IS NULL")
_END_UNTOLD = text("resolved_at IS NOT NULL AND told_at IS NOT NULL AND end_told_at IS NULL")
_UNDELIVERED = text("delivered_at IS NULL AND given_up_at IS NULL")

# Only rules that somebody changed: the others are as the code has them, so that a new one needs no migration.
alert_rules = Table(
    "alert_rules",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # the catalogue's
    Column("enabled", Boolean, nullable=False),
    Column("threshold", Float, nullable=False),
    Column("clear_threshold", Float, nullable=False),
    Column("for_seconds", Integer, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)

alert_events = Table(
    "alert_events",
    metadata,
    Column("id", ID, primary_key=True),
    Column("rule_id", Integer, nullable=False),
    Column("rule_type", String(32), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("subject_type", String(16), nullable=False),
    Column("subject_id", ID, nullable=False),
    Column("subject", String(300), nullable=False),  # its name then
    Column("tenant_id", ID),  # whose it is: a tenant's key sees no other
    Column("cluster_id", ID),
    Column("value", Float, nullable=False),
    Column("threshold", Float, nullable=False),
    Column("message", String(1024), nullable=False),
    Column("reason", String(32)),  # of its end
    Column("started_at", UtcTime, nullable=False),
    Column("fired_at", UtcTime),
    Column("resolved_at", UtcTime),
    Column("acknowledged_at", UtcTime),
    Column("acknowledged_by", String(300)),
    Column("note", String(255)),
    Column("told_at", UtcTime),  # when notifications last said that it fires
    Column("end_told_at", UtcTime),
    # The last guard: one event a rule and subject, whoever evaluates.
    Index(
        "uq_alert_events_unresolved", "rule_id", "subject_type", "subject_id",
        unique=True, sqlite_where=_UNRESOLVED, postgresql_where=_UNRESOLVED,
    ),
    Index(
        "ix_alert_events_end_untold", "resolved_at", sqlite_where=_END_UNTOLD, postgresql_where=_END_UNTOLD
    ),
    Index(None, "resolved_at"),
    Index("ix_alert_events_rule_subject", "rule_id", "subject_id"),
    sqlite_autoincrement=True,
)  # fmt: skip

# Each change of an event, in order: what the live stream tells. Only ever appended to, and pruned.
alert_transitions = Table(
    "alert_transitions",
    metadata,
    Column("id", ID, primary_key=True),
    Column("event_id", ID, nullable=False),  # of a dropped event, which is gone, too
    Column("rule_type", String(32), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("subject_type", String(16), nullable=False),
    Column("subject_id", ID, nullable=False),
    Column("subject", String(300), nullable=False),
    Column("tenant_id", ID),  # the event's
    Column("cluster_id", ID),
    Column("from_state", String(16)),  # null: it is new
    Column("to_state", String(16), nullable=False),  # the event's, or dropped
    Column("acknowledged", Boolean, nullable=False),
    Column("value", Float, nullable=False),
    Column("message", String(1024), nullable=False),
    Column("reason", String(32)),
    Column("at", UtcTime, nullable=False),
    Index(None, "at"),
    sqlite_autoincrement=True,
)

alert_silences = Table(
    "alert_silences",
    metadata,
    Column("id", ID, primary_key=True),
    Column("subject", String(255), nullable=False),
    Column("rule_type", String(32)),
    Column("until", UtcTime, nullable=False),
    Column("reason", String(255), nullable=False),
    Column("created_by", String(300), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Index(None, "until"),
    sqlite_autoincrement=True,
)

alert_channels = Table(
    "alert_channels",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("type", String(16), nullable=False),
    Column("address", String(255), nullable=False),  # as people may see it: without path and password
    Column("sealed_url", LargeBinary, nullable=False),
    Column("nonce", LargeBinary(32), nullable=False),
    Column("min_severity", String(16), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("last_success_at", UtcTime),
    Column("last_error", String(1024)),
    Column("last_error_at", UtcTime),
    sqlite_autoincrement=True,
)

# The outbox: what a channel is to be sent, until it was.
notifications = Table(
    "notifications",
    metadata,
    Column("id", ID, primary_key=True),
    Column("channel_id", ID, ForeignKey("alert_channels.id", ondelete="CASCADE"), nullable=False),
    Column("uid", String(32), nullable=False),  # the same at each attempt: how a receiver knows a repeat
    Column("notices", JSON_COLUMN, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", UtcTime, nullable=False),
    Column("delivered_at", UtcTime),
    Column("given_up_at", UtcTime),
    Index(
        "ix_notifications_undelivered", "channel_id", "id",
        sqlite_where=_UNDELIVERED, postgresql_where=_UNDELIVERED,
    ),
    Index(None, "created_at"),
    sqlite_autoincrement=True,
)  # fmt: skip

# GPU-seconds that jobs held, by hour, and how many of them their GPUs idled: what leakage is reckoned from.
allocation_hours = Table(
    "allocation_hours",
    metadata,
    Column("hour", UtcTime, nullable=False),
    Column("tenant_id", ID, nullable=False),  # 0: nobody's
    Column("family", String(255), nullable=False),
    Column("held_s", BigInteger, nullable=False),
    Column("idle_s", BigInteger, nullable=False),
    Column("idle_gpus", Integer, nullable=False),  # idle for half an hour, at the last look in that hour
    # Of the seconds held those with telemetry, and percent used times these seconds.
    Column("told_s", BigInteger, nullable=False, server_default=text("0")),
    Column("used_pct_s", Float, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("hour", "tenant_id", "family"),
)

# The whole fleet by five minutes: GPU-seconds that there were, that jobs held, and that were held and idle.
fleet_use = Table(
    "fleet_use",
    metadata,
    Column("bucket", UtcTime, primary_key=True, autoincrement=False),  # its start
    Column(
        "watched_s", Integer, nullable=False
    ),  # for how long somebody looked: what the others are means over
    Column("gpu_s", BigInteger, nullable=False),
    Column("held_s", BigInteger, nullable=False),
    Column("idle_s", BigInteger, nullable=False),
)
