"""How long jobs are believed to run, as a table."""

import pytest

from gpuforge_controlplane.domain.durations import believed_end, is_overdue, re_estimated_end


@pytest.mark.parametrize(
    ("estimate_s", "time_limit_s", "end"),
    [(None, None, 86_500), (600, None, 700), (None, 600, 700), (600, 60, 160), (60, 600, 160)],
)
def test_a_job_ends_by_its_estimate_or_its_limit(
    estimate_s: int | None, time_limit_s: int | None, end: float
) -> None:
    assert believed_end(100, estimate_s, time_limit_s) == end


@pytest.mark.parametrize(
    ("time_limit_s", "now", "end"),
    [
        pytest.param(None, 300, 400, id="half as long again as it has run"),
        pytest.param(250, 300, 350, id="its limit comes first"),
        pytest.param(150, 300, 300, id="never before now"),
    ],
)
def test_a_job_that_outlives_its_estimate(time_limit_s: int | None, now: float, end: float) -> None:
    assert re_estimated_end(100, time_limit_s, now) == end


@pytest.mark.parametrize(
    ("time_limit_s", "now", "overdue"),
    [(None, 1e12, False), (60, 159.9, False), (60, 160, True), (60, 99, False)],
)
def test_a_job_may_run_for_its_time_limit(time_limit_s: int | None, now: float, overdue: bool) -> None:
    assert is_overdue(100, time_limit_s, now) is overdue
