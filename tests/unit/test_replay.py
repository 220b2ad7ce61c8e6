"""The replay harness on a trace small enough to work out by hand, and FIFO by an independent calculation."""

from __future__ import annotations

from random import Random

import pytest

from tests.bench.replay import TraceJob, read_trace, replay, with_estimates

# Two nodes of 8. 1 fills node one, 2 half of node two; 3 needs a whole node and waits for 1; 4 would fit at
# once, but strict FIFO holds it behind 3.
BY_HAND = [
    TraceJob(id=1, submit_s=0, duration_s=100, gpus=8),
    TraceJob(id=2, submit_s=0, duration_s=300, gpus=4),
    TraceJob(id=3, submit_s=10, duration_s=50, gpus=8),
    TraceJob(id=4, submit_s=20, duration_s=40, gpus=4),
]


def test_fifo_by_hand() -> None:
    figures = replay(BY_HAND, "fifo", nodes=2)
    # starts 0, 0, 100, 100: waits 0, 0, 90, 80; completion times 100, 300, 140, 120
    assert (figures.mean_wait, figures.max_wait, figures.mean_jct) == (42.5, 90, 165)


def test_the_shipped_policy_lets_the_small_one_pass() -> None:
    figures = replay(with_estimates(BY_HAND, "perfect"), "shipped", nodes=2)
    # 4 runs at 20 beside 2 and ends at 60, before 3's reservation at 100: waits 0, 0, 90, 0
    assert (figures.mean_wait, figures.max_wait) == (22.5, 90)


def fifo_waits(jobs: list[TraceJob], gpus: int) -> list[int]:
    """Strict FIFO on one-GPU jobs, by the oldest rule: the next in line takes the first to be free."""
    free_at = [0] * gpus
    waits, started = [], 0
    for job in jobs:
        started = max(started, job.submit_s, min(free_at))
        free_at[free_at.index(min(free_at))] = started + job.duration_s
        waits.append(started - job.submit_s)
    return waits


@pytest.mark.parametrize("seed", range(5))
def test_fifo_by_another_calculation(seed: int) -> None:
    draw = Random(seed)
    jobs = [
        TraceJob(id=number, submit_s=submit, duration_s=draw.randint(1, 900), gpus=1)
        for number, submit in enumerate(sorted(draw.randint(0, 3_000) for _ in range(200)))
    ]
    waits = fifo_waits(jobs, 16)
    figures = replay(jobs, "fifo", nodes=2)
    assert figures.max_wait == max(waits)
    assert figures.mean_wait == pytest.approx(sum(waits) / len(waits))
    assert figures.mean_jct == pytest.approx(sum(waits) / len(waits) + sum(j.duration_s for j in jobs) / 200)


def test_the_short_form_of_a_trace() -> None:
    short = ["job_id,submit_s,duration_s,gpus", "7,5,60,8"]
    assert read_trace(short) == [TraceJob(id=7, submit_s=5, duration_s=60, gpus=8)]


def test_estimates_are_the_same_at_every_run_and_round_up() -> None:
    once, again = with_estimates(BY_HAND, "off4"), with_estimates(BY_HAND, "off4")
    assert once == again
    assert all(job.estimate_s is not None and job.estimate_s % 300 == 0 for job in once)
