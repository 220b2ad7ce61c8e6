"""What heartbeats and telemetry tell of nodes, GPUs and clusters: tables around the edges."""

from datetime import UTC, datetime, timedelta

import pytest

from gpuforge_controlplane.domain.fleet import (
    ClusterStatus,
    GpuStatus,
    NodeState,
    NodeStatus,
    Screening,
    cluster_status,
    gpu_status,
    node_status,
    welcome,
)

NOW = datetime(2026, 5, 9, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)
SILENT = timedelta(seconds=90)


@pytest.mark.parametrize(
    ("state", "silent", "retired", "expected"),
    [
        pytest.param("active", timedelta(0), False, "active", id="fresh"),
        pytest.param("active", SILENT, False, "active", id="90 s to the microsecond"),
        pytest.param("active", SILENT + TICK, False, "offline", id="a microsecond more"),
        pytest.param("active", -timedelta(hours=1), False, "active", id="a heartbeat ahead of our clock"),
        pytest.param("cordoned", timedelta(0), False, "cordoned", id="cordoned"),
        pytest.param("draining", timedelta(0), False, "draining", id="draining"),
        pytest.param("cordoned", SILENT + TICK, False, "offline", id="gone beats cordoned"),
        pytest.param("active", timedelta(0), True, "retired", id="retired"),
        pytest.param("active", SILENT + TICK, True, "retired", id="retired beats gone"),
    ],
)
def test_node_status(state: NodeState, silent: timedelta, retired: bool, expected: NodeStatus) -> None:
    assert node_status(state, NOW - silent, NOW if retired else None, NOW) == expected


@pytest.mark.parametrize("node", ["active", "cordoned", "draining"])
@pytest.mark.parametrize("own", ["active", "idle", "unhealthy", "offline"])
def test_a_gpu_keeps_its_status_on_a_node_that_is_there(own: GpuStatus, node: NodeStatus) -> None:
    assert gpu_status(own, node) == own


@pytest.mark.parametrize("node", ["offline", "retired"])
@pytest.mark.parametrize("own", ["active", "idle", "unhealthy", "offline"])
def test_nobody_knows_a_gpu_on_a_node_that_is_gone(own: GpuStatus, node: NodeStatus) -> None:
    assert gpu_status(own, node) == "offline"


@pytest.mark.parametrize(
    ("nodes", "gone", "expected"),
    [
        pytest.param(0, 0, "active", id="no node yet"),
        pytest.param(3, 0, "active", id="all there"),
        pytest.param(2, 1, "degraded", id="one gone"),
        pytest.param(2, 2, "offline", id="all gone"),
    ],
)
def test_cluster_status(nodes: int, gone: int, expected: ClusterStatus) -> None:
    assert cluster_status(nodes, gone) == expected


KEEP = timedelta(hours=24)


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        pytest.param(timedelta(0), None, id="now"),
        pytest.param(-timedelta(minutes=5), None, id="5 min ahead"),
        pytest.param(-timedelta(minutes=5) - TICK, "recorded_in_future", id="a microsecond more"),
        pytest.param(KEEP, None, id="as old as is kept"),
        pytest.param(KEEP + TICK, "older_than_retention", id="a microsecond older"),
    ],
)
def test_screening(age: timedelta, expected: Screening | None) -> None:
    assert welcome(NOW, KEEP).refusal(NOW - age) == expected
