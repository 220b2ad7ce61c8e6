"""The tables of health: what nodes and GPUs last reported, and the faults that followed."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, String, Table, text

from gpuforge_controlplane.storage.columns import ID, JSON_COLUMN, UtcTime, metadata

_OPEN = text("cleared_at IS NULL")
_XID = text("kind = 'xid'")

# The latest report alone, as it came: what is read of it is read whole.
node_health = Table(
    "node_health",
    metadata,
    Column("node_id", ID, ForeignKey("nodes.id"), primary_key=True, autoincrement=False),
    Column("reported_at", UtcTime, nullable=False),
    Column("host", JSON_COLUMN, nullable=False),
    Column("driver_fault", JSON_COLUMN),
    Column("collectors", JSON_COLUMN, nullable=False),
)

gpu_health = Table(
    "gpu_health",
    metadata,
    Column("gpu_id", ID, ForeignKey("gpus.id"), primary_key=True, autoincrement=False),
    Column("reported_at", UtcTime, nullable=False),
    Column("health", JSON_COLUMN),
    Column("processes", JSON_COLUMN),
    Column("processes_missing", String(64)),
    Column("xids", JSON_COLUMN, nullable=False),  # the latest few, of any kind
    # As last read, however long ago: what is more than this is new.
    Column("ecc_volatile", BigInteger),
    Column("ecc_aggregate", BigInteger),
    postgresql_with={"fillfactor": 70},
)

# A GPU with an open fault takes no job. Rows are closed, never deleted: they are the card's record.
gpu_faults = Table(
    "gpu_faults",
    metadata,
    Column("id", ID, primary_key=True),
    Column("gpu_id", ID, ForeignKey("gpus.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("code", String(64), nullable=False),
    Column("message", String(255), nullable=False),
    Column("seen_at", UtcTime, nullable=False),
    Column("cleared_at", UtcTime),
    Column("needs_operator", Boolean, nullable=False),
    Column("cleared_by", String(300)),  # whose word ended it; NULL: it ended with its cause
    Column("note", String(255)),
    Index(
        "uq_gpu_faults_open", "gpu_id", "kind", "code", unique=True,
        sqlite_where=_OPEN, postgresql_where=_OPEN,
    ),
    # An agent repeats a report whose answer it lost: what was cleared meanwhile must not come back for that.
    Index(
        "uq_gpu_faults_xid", "gpu_id", "code", "seen_at", unique=True,
        sqlite_where=_XID, postgresql_where=_XID,
    ),
    Index(None, "seen_at"),
    Index(None, "gpu_id"),
    sqlite_autoincrement=True,
)  # fmt: skip
