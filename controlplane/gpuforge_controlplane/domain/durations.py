"""How long jobs are believed to run, and what a job that outlives its estimate is worth."""

# A job without an estimate counts as a day long: long enough that nobody gains by not giving one.
UNESTIMATED_S = 86_400

# A job that has outlived its estimate is expected to run half as long again as it already has.
OVERRUN_FACTOR = 1.5


def believed_end(started_at: float, estimate_s: int | None, time_limit_s: int | None) -> float:
    """When a running job would end if its estimate were true: seconds since the epoch."""
    length = UNESTIMATED_S if estimate_s is None else estimate_s
    return started_at + (length if time_limit_s is None else min(length, time_limit_s))


def re_estimated_end(started_at: float, time_limit_s: int | None, now: float) -> float:
    """When a job past its believed end is expected to end: seconds since the epoch, never before `now`."""
    end = started_at + OVERRUN_FACTOR * (now - started_at)
    return end if time_limit_s is None else max(now, min(end, started_at + time_limit_s))


def is_overdue(started_at: float, time_limit_s: int | None, now: float) -> bool:
    """Whether a running job has reached its time limit and is to be ended as failed."""
    return time_limit_s is not None and now - started_at >= time_limit_s
