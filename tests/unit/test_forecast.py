"""When a waiting job starts, told from expected ends: worked out by hand on small fleets."""

import pytest

from gpuforge_controlplane.domain import forecast
from gpuforge_controlplane.domain.forecast import Forecast, queue_ahead
from gpuforge_controlplane.domain.quota import Tenant
from gpuforge_controlplane.domain.snapshot import Node, QueuedJob, RunningJob

NOW = 1_000_000.0
MINUTE, HOUR, DAY = 60, 3_600, 86_400


def node(node_id: int, *, idle: int = 0, owned: int = 8, family: str = "H100", up: bool = True) -> Node:
    """Of cluster 1; its idle GPUs' ids tell the node."""
    return Node(node_id, 1, family, owned, up, tuple(100 * node_id + gpu for gpu in range(idle)))


def running(
    job_id: int,
    held: dict[int, int],
    *,
    since: float = 0,
    estimate: int | None = None,
    limit: int | None = None,
    tenant: int | None = None,
) -> RunningJob:
    """A job that has run for `since` seconds."""
    return RunningJob(job_id, tenant, 1, "H100", NOW - since, estimate, limit, tuple(held.items()))


def waiting(job_id: int, gpus: int, *, priority: int = 5, **fields: object) -> QueuedJob:
    """Submitted in the order of ids."""
    job = QueuedJob(priority, float(job_id), job_id, 1, "H100", gpus, None, None)
    return job._replace(**fields)  # type: ignore[arg-type]  # fields by name


def starts_in(forecast: Forecast, job_id: int) -> float | None:
    """Seconds from now."""
    at = forecast.start_of(job_id, NOW)
    return None if at is None else at - NOW


def test_a_job_that_fits_starts_now() -> None:
    assert starts_in(Forecast([node(1, idle=8)], [], [], [waiting(1, 8)]), 1) == 0


def test_a_full_node_frees_at_the_estimated_end() -> None:
    fleet = Forecast([node(1)], [], [running(9, {1: 8}, since=MINUTE, estimate=HOUR)], [waiting(1, 8)])
    assert starts_in(fleet, 1) == HOUR - MINUTE


def test_without_an_estimate_a_job_counts_as_a_day_long() -> None:
    assert starts_in(Forecast([node(1)], [], [running(9, {1: 8}, since=HOUR)], [waiting(1, 1)]), 1) == (
        DAY - HOUR
    )


def test_an_overrun_is_expected_to_run_half_as_long_again() -> None:
    late = running(9, {1: 8}, since=2 * HOUR, estimate=HOUR)
    assert starts_in(Forecast([node(1)], [], [late], [waiting(1, 1)]), 1) == HOUR


def test_a_time_limit_bounds_what_an_estimate_says() -> None:
    limited = running(9, {1: 8}, estimate=DAY, limit=HOUR)
    assert starts_in(Forecast([node(1)], [], [limited], [waiting(1, 1)]), 1) == HOUR


def test_those_ahead_take_their_turn_first() -> None:
    ends = [running(9, {1: 8}, estimate=HOUR)]
    queue = [waiting(1, 8, estimate_s=2 * HOUR), waiting(2, 8, estimate_s=HOUR), waiting(3, 8)]
    assert [starts_in(Forecast([node(1)], [], ends, queue), job) for job in (1, 2, 3)] == [
        HOUR,
        3 * HOUR,
        4 * HOUR,
    ]


def test_a_gang_waits_for_all_its_nodes() -> None:
    ends = [running(8, {1: 8}, estimate=HOUR), running(9, {2: 8}, estimate=3 * HOUR)]
    assert starts_in(Forecast([node(1), node(2)], [], ends, [waiting(1, 16)]), 1) == 3 * HOUR


def test_a_short_job_passes_a_gang_it_does_not_delay() -> None:
    ends = [running(9, {2: 8}, estimate=3 * HOUR)]
    queue = [waiting(1, 16), waiting(2, 8, estimate_s=HOUR), waiting(3, 8)]
    nodes = [node(1, idle=8), node(2)]
    assert [starts_in(Forecast(nodes, [], ends, queue), job) for job in (2, 1, 3)] == [
        0,
        3 * HOUR,
        3 * HOUR + DAY,
    ]


def test_a_quota_that_is_full_frees_with_the_tenants_own_jobs() -> None:
    tenant = Tenant(id=4, quota=8)
    ends = [running(8, {1: 8}, estimate=2 * HOUR, tenant=4), running(9, {2: 8}, estimate=HOUR)]
    nodes = [node(1), node(2), node(3, idle=8)]
    assert starts_in(Forecast(nodes, [tenant], ends, [waiting(1, 8, tenant_id=4)]), 1) == 2 * HOUR


def test_what_a_cordoned_node_frees_is_nobodys() -> None:
    ends = [running(8, {1: 8}, estimate=HOUR), running(9, {2: 8}, estimate=2 * HOUR)]
    nodes = [node(1, up=False), node(2)]
    assert starts_in(Forecast(nodes, [], ends, [waiting(1, 8)]), 1) == 2 * HOUR


def test_ends_in_other_clusters_bring_nothing() -> None:
    elsewhere = running(8, {70: 8}, estimate=HOUR)._replace(cluster_id=2)
    ends = [elsewhere, running(9, {1: 8}, estimate=2 * HOUR)]
    assert starts_in(Forecast([node(1)], [], ends, [waiting(1, 8)]), 1) == 2 * HOUR


def test_no_end_brings_a_place_is_no_answer() -> None:
    down = [node(1, owned=8, up=False)]
    assert starts_in(Forecast(down, [], [], [waiting(1, 8)]), 1) is None


def test_too_far_ahead_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = [running(9, {1: 8}, estimate=HOUR)]
    queue = [waiting(job, 8, estimate_s=HOUR) for job in range(1, 5)]
    assert starts_in(Forecast([node(1)], [], ends, queue), 4) == 4 * HOUR
    monkeypatch.setattr(forecast, "MAX_ENDS", 2)
    assert starts_in(Forecast([node(1)], [], ends, queue), 2) == 2 * HOUR
    assert starts_in(Forecast([node(1)], [], ends, queue), 4) is None
    monkeypatch.setattr(forecast, "MAX_ENDS", 200)
    monkeypatch.setattr(forecast, "MAX_ROWS", 7)
    assert starts_in(Forecast([node(1)], [], ends, queue), 2) == 2 * HOUR
    assert starts_in(Forecast([node(1)], [], ends, queue), 4) is None
    monkeypatch.setattr(forecast, "MAX_WAITING", 3)
    assert starts_in(Forecast([node(1)], [], ends, queue), 1) is None


def test_the_queue_ahead() -> None:
    me = waiting(5, 1)
    others = [
        waiting(9, 1),
        waiting(7, 1, priority=4),
        waiting(4, 1),
        waiting(3, 1, priority=6),
        waiting(2, 1, cluster_id=2),
        waiting(1, 1, block_reason="EXCEEDS_TENANT_QUOTA: …"),
        me,
    ]
    assert [job.id for job in queue_ahead(others, me)] == [7, 4]
