"""Tables of rolled-up samples: what is known of each GPU in each five minutes and each hour."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
)

from gpuforge_controlplane.storage.columns import ID, UtcTime, metadata


def _rollup(name: str) -> Table:
    """Counts and sums, so that means over any group of GPUs and buckets are exact.

    The key leads with the GPU, against the raw table's: rows are few, and charts ask for one GPU's.
    """
    return Table(
        name,
        metadata,
        Column("bucket", UtcTime, nullable=False),  # its start
        Column("gpu_id", ID, nullable=False),
        Column("samples", Integer, nullable=False),
        Column("utilization_n", Integer, nullable=False),
        Column("utilization_sum", Float),  # percent; null where n is 0, as all that follow
        Column("utilization_min", Float),
        Column("utilization_max", Float),
        Column("memory_n", Integer, nullable=False),
        Column("memory_sum", BigInteger),  # MB
        Column("memory_max", BigInteger),
        Column("temperature_n", Integer, nullable=False),
        Column("temperature_sum", Float),  # Celsius
        Column("temperature_max", Float),
        Column("power_n", Integer, nullable=False),
        Column("power_sum", Float),  # watts
        Column("power_max", Float),
        PrimaryKeyConstraint("gpu_id", "bucket"),
        sqlite_with_rowid=False,
        postgresql_partition_by="RANGE (bucket)",
    )


gpu_rollup_5m = _rollup("gpu_rollup_5m")
gpu_rollup_1h = _rollup("gpu_rollup_1h")

# Up to where samples have been rolled up: one row.
rollup_progress = Table(
    "rollup_progress",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("done_until", UtcTime, nullable=False),
    Column("unused_until", UtcTime),  # the end of the half hour that `unused_gpus` tells of
)

# GPUs that a job held all through half an hour, and that idled on average or told nothing: noted by the
# leader, who looks at every one anyway, for leakage to be read at a glance.
unused_gpus = Table(
    "unused_gpus",
    metadata,
    Column("gpu_id", ID, primary_key=True, autoincrement=False),
    Column("mean_pct", Float),  # null: no telemetry
)

# Buckets that got samples after their end. Only ever appended to, in the samples' own transaction, so that
# ingest waits for nobody; read and deleted by the leader.
late_buckets = Table(
    "late_buckets",
    metadata,
    Column("id", ID, primary_key=True),
    Column("bucket", UtcTime, nullable=False),
    Column("gpu_id", ID, nullable=False),
    Index(None, "bucket"),
    sqlite_autoincrement=True,
)
