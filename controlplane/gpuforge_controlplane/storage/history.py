"""Metrics over time, out of samples or of what they were rolled up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from gpuforge_controlplane.domain.resolution import WIDTH, Resolution
from gpuforge_controlplane.storage.columns import to_micros
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.statements import time_literal

_TABLE = {"5m": "gpu_rollup_5m", "1h": "gpu_rollup_1h"}
# Each figure's count, sum, least and most; raw samples are rolled up with one sample a bucket.
_FROM_ROLLUP = ", ".join(
    f"sum(r.{name}_n), sum(r.{name}_sum), {least}, max(r.{name}_max)"
    for name, least in (
        ("utilization", "min(r.utilization_min)"),
        ("memory", "NULL"),
        ("temperature", "NULL"),
        ("power", "NULL"),
    )
)
_FROM_RAW = ", ".join(
    f"count(r.{name}), sum(r.{name}), min(r.{name}), max(r.{name})"
    for name in ("utilization_pct", "memory_used_mb", "temperature_c", "power_draw_w")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose metrics: some GPUs at all times, or what jobs held while they held it."""

    gpu_id: int | None = None
    node_id: int | None = None
    cluster_id: int | None = None
    job_id: int | None = None
    tenant_id: int | None = None  # narrows the others to what this tenant's jobs held

    @property
    def held(self) -> bool:
        """Whether only the time counts during which jobs held the GPUs."""
        return self.job_id is not None or self.tenant_id is not None


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure over some samples."""

    count: int
    total: float
    least: float | None
    most: float | None

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None

    def plus(self, other: Figure) -> Figure:
        """Over these samples and others."""
        ends = [end for end in (self.least, other.least) if end is not None]
        tops = [top for top in (self.most, other.most) if top is not None]
        return Figure(
            self.count + other.count,
            self.total + other.total,
            min(ends, default=None),
            max(tops, default=None),
        )


NOTHING = Figure(0, 0.0, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What a stretch of a chart stands for: utilisation, memory, temperature and power, in this order."""

    number: int
    gpus: int
    samples: int
    figures: tuple[Figure, ...]


async def points(
    tx: Connection, subject: Subject, resolution: Resolution, since: datetime | None = None
) -> list[Point]:
    """Those that have a sample; with `since`, out of samples from then on.

    A bucket counts for a job only if it held the GPU all along.
    """
    raw = resolution.source == "raw"
    time = "r.recorded_at" if raw else "r.bucket"
    begin = resolution.first if since is None else max(since, resolution.first)
    wanted = [f"{time} >= {time_literal(tx, begin)}", f"{time} < {time_literal(tx, resolution.until)}"]
    joins = ["gpu_metrics r" if raw else f"{_TABLE[resolution.source]} r"]
    if subject.held:
        joins.append("JOIN allocations a ON a.gpu_id = r.gpu_id JOIN jobs j ON j.id = a.job_id")
        ends_within = f"{time} <" if raw else f"{_later(tx, time, resolution)} <="
        wanted += [f"{time} >= a.started_at", f"(a.ended_at IS NULL OR {ends_within} a.ended_at)"]
    wanted += _of(subject)
    number = _number(tx, time, resolution)
    samples = "count(*)" if raw else "sum(r.samples)"
    query = (
        f"SELECT {number} AS point, count(DISTINCT r.gpu_id), {samples},"  # noqa: S608  # numbers and times
        f" {_FROM_RAW if raw else _FROM_ROLLUP} FROM {' '.join(joins)}"
        f" WHERE {' AND '.join(wanted)} GROUP BY 1 ORDER BY 1"
    )
    return [_point(row) for row in (await tx.execute(text(query))).all()]


def _point(row: Sequence[Any]) -> Point:
    number, gpus, samples, *measures = row
    figures = tuple(
        Figure(int(count or 0), float(total or 0), _float(least), _float(most))
        for count, total, least, most in zip(*[iter(measures)] * 4, strict=True)
    )
    return Point(number=int(number), gpus=int(gpus), samples=int(samples), figures=figures)


def _float(value: float | None) -> float | None:
    """PostgreSQL adds integers up to decimals."""
    return None if value is None else float(value)


async def gpus_of(tx: Connection, subject: Subject) -> tuple[int, int]:
    """How many GPUs the subject has, at most, and how many there are in all."""
    of = " AND ".join(_of(subject)) or "1 = 1"
    if subject.held:
        held = "allocations r JOIN jobs j ON j.id = r.job_id"
        query = f"SELECT count(DISTINCT r.gpu_id) FROM {held} WHERE {of}"  # noqa: S608  # numbers of ours
    else:
        query = f"SELECT count(*) FROM gpus r WHERE {of}".replace("r.gpu_id", "r.id")  # noqa: S608
    found = (await tx.execute(text(f"SELECT ({query}), (SELECT count(*) FROM gpus)"))).one()  # noqa: S608
    return int(found[0]), int(found[1])


def _of(subject: Subject) -> list[str]:
    wanted = []
    if subject.gpu_id is not None:
        wanted.append(f"r.gpu_id = {subject.gpu_id}")
    if subject.node_id is not None:
        wanted.append(f"r.gpu_id IN (SELECT id FROM gpus WHERE node_id = {subject.node_id})")  # noqa: S608
    if subject.cluster_id is not None:
        nodes = f"SELECT id FROM nodes WHERE cluster_id = {subject.cluster_id}"  # noqa: S608
        wanted.append(f"r.gpu_id IN (SELECT id FROM gpus WHERE node_id IN ({nodes}))")  # noqa: S608
    if subject.job_id is not None:
        wanted.append(f"j.id = {subject.job_id}")
    if subject.tenant_id is not None:
        wanted.append(f"j.tenant_id = {subject.tenant_id}")
    return wanted


def _number(tx: Connection, time: str, resolution: Resolution) -> str:
    """Which point a time falls into."""
    if tx.dialect.name == "postgresql":
        seconds = f"extract(epoch FROM {time}) - {resolution.first.timestamp():.0f}"
        return f"CAST(floor(({seconds}) / {resolution.step_s}) AS bigint)"
    return f"({time} - {to_micros(resolution.first)}) / {1_000_000 * resolution.step_s}"


def _later(tx: Connection, time: str, resolution: Resolution) -> str:
    """The end of a bucket."""
    seconds = int(WIDTH[resolution.source].total_seconds())
    if tx.dialect.name == "postgresql":
        return f"{time} + INTERVAL '{seconds} seconds'"
    return f"{time} + {1_000_000 * seconds}"
