"""Health reports in one transaction: each comes to what it would have come to alone."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from gpuforge_controlplane.domain.access import Principal
from gpuforge_controlplane.services.reports import report_nodes
from gpuforge_controlplane.storage.schema import clusters
from gpuforge_shared.errors import NotFound
from gpuforge_shared.wire.health import NodeReport, ReportAccepted
from tests.storage.rows import OPERATOR, Shelf, agents_of

Outcome = ReportAccepted | NotFound


async def report(shelf: Shelf, *asked: tuple[Principal, int, Sequence[dict[str, Any]]]) -> list[object]:
    """What these reports in one transaction open and clear, as GPU and code; a refusal's code."""
    bodies = [(who, node_id, NodeReport.model_validate({"gpus": gpus})) for who, node_id, gpus in asked]
    outcomes: Sequence[Outcome] = await shelf.together(report_nodes, *bodies)
    return [
        one.code
        if isinstance(one, NotFound)
        else [
            [(fault["gpu_id"], fault["code"]) for fault in faults]
            for faults in (one["opened"], one["cleared"])
        ]
        for one in outcomes
    ]


async def statuses(shelf: Shelf) -> list[str]:
    return [row[0] for row in await shelf.all("SELECT status FROM gpus ORDER BY id")]


async def test_each_report_of_a_group_comes_to_its_own(shelf: Shelf) -> None:
    await shelf.insert(clusters, {"name": "west", "created_at": shelf.now})
    east, west = await shelf.node(2), await shelf.node(2, cluster_id=2)
    off_the_bus = {"code": 79, "seen_at": shelf.now}
    outcomes = await report(
        shelf,
        (OPERATOR, east, [{"gpu_id": 1, "unreadable": "hung"}, {"gpu_id": 2}]),
        (agents_of(2), west, [{"gpu_id": 3, "xids": [off_the_bus]}, {"gpu_id": 4}, {"gpu_id": 1}]),
        (agents_of(2), east, [{"gpu_id": 2, "unreadable": "lost"}]),
        (OPERATOR, 99, []),
        (OPERATOR, west, [{"gpu_id": 4, "unreadable": "lost"}]),
    )
    assert outcomes == [
        [[(1, "hung")], []],
        [[(3, "79")], []],
        "node_not_found",
        "node_not_found",
        [[(4, "lost")], []],
    ]
    assert await statuses(shelf) == ["unhealthy", "idle", "unhealthy", "unhealthy"]
    audited = await shelf.all("SELECT action, object_id, principal, request_id FROM audit_log ORDER BY id")
    assert [tuple(row) for row in audited] == [
        ("gpu.fault", 1, "operator", "r0"),
        ("gpu.fault", 3, "agents of 2", "r1"),
        ("gpu.fault", 4, "operator", "r4"),
    ]


async def test_a_node_that_reports_twice_in_a_group_is_taken_in_order(shelf: Shelf) -> None:
    node = await shelf.node(2)
    hung, well = {"gpu_id": 1, "unreadable": "hung"}, {"gpu_id": 1, "unreadable": None}
    counted = [{"gpu_id": 2, "health": {"ecc_volatile_uncorrected": errors}} for errors in (0, 3, 3)]
    outcomes = await report(
        shelf,
        (OPERATOR, node, [hung, counted[0]]),
        (OPERATOR, node, [well, counted[1]]),
        (OPERATOR, node, [well, counted[2]]),
    )
    assert outcomes == [[[(1, "hung")], []], [[(2, "uncorrectable")], [(1, "hung")]], [[], []]]
    assert await statuses(shelf) == ["idle", "unhealthy"]
    shelf.now += timedelta(minutes=1)
    assert await report(shelf, (OPERATOR, node, [well, counted[2]])) == [[[], []]]
    kept = await shelf.all("SELECT reported_at FROM gpu_health")
    assert len({row[0] for row in kept}) == 1
    assert len(kept) == 2
