"""How finely history is told: from which samples, in steps of which length."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from gpuforge_controlplane.domain.buckets import FIVE_MINUTES, HOUR, Kept, start_of

POINTS = 300  # a chart is some thousand pixels wide: more points than this show nothing more
SAMPLE_EVERY_S = 10
MOST_ROWS = 500_000  # what one question may read: a tenth of a second
STEPS_S = (10, 30, 60, 300, 900, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400, 7 * 86_400, 31 * 86_400)

Source = Literal["raw", "5m", "1h"]
WIDTH: dict[Source, timedelta] = {"5m": FIVE_MINUTES, "1h": HOUR}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What is asked for: [since, until), in steps of `step_s` or of what fits."""

    since: datetime
    until: datetime
    step_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What is told: points of `step_s` seconds from the first step that begins in the window on."""

    source: Source
    step_s: int
    first: datetime
    until: datetime


def resolve(
    window: Window, *, gpus: int, fleet: int, now: datetime, kept: Kept, rolled_up: bool
) -> Resolution:
    """The finest source that covers the window and is not too much to read for `gpus` GPUs of a `fleet`.

    Raw samples are in order of time, so reading some of a stretch reads all of the fleet's. Where nothing is
    rolled up, in a database that is new or made up, they are all there is.
    """
    length_s = (window.until - window.since).total_seconds()
    step_s = window.step_s or next((step for step in STEPS_S if length_s / step <= POINTS), STEPS_S[-1])
    affordable: list[tuple[Source, bool]] = [
        ("raw", not rolled_up or (step_s < 300 and window.since >= now - kept.raw
            and fleet * length_s / SAMPLE_EVERY_S <= MOST_ROWS)),
        ("5m", step_s < 3_600 and window.since >= now - kept.five_minutes
            and gpus * length_s / 300 <= MOST_ROWS),
        ("1h", True),
    ]  # fmt: skip
    source = next(source for source, fits in affordable if fits)
    if source != "raw":
        width = int(WIDTH[source].total_seconds())
        step_s = max(width, -(-step_s // width) * width)
    step = timedelta(seconds=step_s)
    first = start_of(window.since, step)
    return Resolution(source=source, step_s=step_s, first=first, until=window.until)
