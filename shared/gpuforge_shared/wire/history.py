"""History of metrics on the wire: columns for charts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing's own from 3.12 on only

from gpuforge_shared.wire.base import Instant, Query

MAX_POINTS = 1_500
Source = Literal["raw", "5m", "1h"]


class HistoryQuery(Query):
    """Which stretch of time, how finely."""

    since: Instant | None = Field(
        default=None, alias="from", description="From this time on (inclusive); default: a day before `to`."
    )
    until: Instant | None = Field(
        default=None, alias="to", description="Before this time (exclusive); default: now."
    )
    step: Annotated[int, Field(ge=1, le=31 * 86_400)] | None = Field(
        default=None,
        description="Seconds a point; default: what gives up to 300 points. The answer may be coarser.",
    )


class History(TypedDict):
    """Metrics over time, a list a field, one item a point; null where nothing was told: missing is not zero.

    Point k covers [timestamps[k], timestamps[k] + step_s). Means are over all samples of all GPUs in it,
    least and most over the same. Memory and power are a GPU's, so times `gpus` they are the group's.
    """

    step_s: int
    source: Source  # what the points are made of
    complete_until: datetime  # what lies behind may still be missing: it is not rolled up yet
    timestamps: list[datetime]
    gpus: list[int]  # that told something
    samples: list[int]
    utilization_pct: list[float | None]
    utilization_min_pct: list[float | None]
    utilization_max_pct: list[float | None]
    memory_used_mb: list[float | None]
    memory_used_max_mb: list[float | None]
    temperature_c: list[float | None]
    temperature_max_c: list[float | None]
    power_draw_w: list[float | None]
    power_draw_max_w: list[float | None]
