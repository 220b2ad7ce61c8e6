"""The demo's jobs: which are over, which are wanted."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from gpuforge_client.demo_work import MOST_WAITING, _Job, length_s, over, quotas, wanted
from gpuforge_shared.wire.jobs import JobCreate

START = datetime(2026, 5, 9, tzinfo=UTC)


def job(job_id: int, status: str = "running", cluster_id: int = 1, name: str = "sweep-001") -> _Job:
    started = START if status == "running" else None
    return _Job(
        id=job_id, cluster_id=cluster_id, status=status, submitted_at=START, name=name, started_at=started
    )


KEPT = [job(1001, cluster_id=1, name="workspace-001"), job(1002, cluster_id=2, name="workspace-002")]


@pytest.mark.parametrize(
    ("status", "after_s", "is_over"),
    [
        pytest.param("running", 0.0, True, id="has run its length"),
        pytest.param("running", -1.0, False, id="a second short of it"),
        pytest.param("queued", 0.0, False, id="never started"),
    ],
)
def test_over(status: str, after_s: float, is_over: bool) -> None:
    now = START + timedelta(seconds=length_s(job(7)) + after_s)
    assert over([job(7, status)], now) == ([7] if is_over else [])


def test_wanted_fills_short_queues_alone() -> None:
    full = [job(number, "queued" if number % 2 else "blocked") for number in range(MOST_WAITING)]
    submissions = wanted([*full, *KEPT], [1, 2], [5, 6], random.Random(1))
    assert [(one.cluster_id, one.tenant_id in (5, 6)) for one in submissions] == [(2, True)]


def test_each_cluster_keeps_a_job_that_outlasts_the_half_hour_of_leakage() -> None:
    submissions = wanted(KEPT[:1], [1, 2, 2], [5, 6, 7], random.Random(1))
    kept = [one for one in submissions if one.name.startswith("workspace")]
    assert [(one.cluster_id, one.gpu_count, one.tenant_id in (5, 6)) for one in kept] == [(2, 4, True)]
    assert length_s(KEPT[0]) > 3600


def test_what_is_wanted_is_what_the_api_takes() -> None:
    for seed in range(50):
        for submission in wanted([], [1, 2], [5], random.Random(seed)):
            JobCreate.model_validate_json(msgspec.json.encode(submission.body()))


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        pytest.param(8, [3, 3, 1], id="one node"),
        pytest.param(96, [40, 32, 12], id="as it comes"),
        pytest.param(8000, [3333, 2667, 1000], id="large"),
    ],
)
def test_quotas_follow_the_fleet(gpus: int, expected: list[int]) -> None:
    assert [quota for _, quota, _ in quotas(gpus)] == expected
