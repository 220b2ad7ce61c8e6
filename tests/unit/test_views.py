"""What a reader sees of the fleet: a stream as it is written, beside what it says."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gpuforge_controlplane.services.reader import MOST_PENDING, Reader, StreamEnded
from gpuforge_controlplane.services.views import Fleet, View, fleet_of, message
from gpuforge_controlplane.storage.live import Holder, PlacedGpu, PlacedNode, ShownCluster, Still
from gpuforge_shared.wire.events import AlertMessage, HelloMessage, JobMessage
from tests.stream_reader import Map, last_map, messages

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
NOW = datetime(2026, 5, 9, 12, tzinfo=UTC)

STILL = Still(
    clusters=[
        ShownCluster(id=1, name="east", region="us-east-1"),
        ShownCluster(id=2, name="lab", region=None),
    ],
    nodes=[
        PlacedNode(id=11, cluster_id=1, hostname="gpu-01"),
        PlacedNode(id=12, cluster_id=2, hostname="lab-01"),
    ],
    gpus=[
        PlacedGpu(id=101, gpu_index=0, model="NVIDIA H100 80GB HBM3", memory_total_mb=81_559),
        PlacedGpu(id=102, gpu_index=1, model="NVIDIA H100 80GB HBM3", memory_total_mb=81_559),
        PlacedGpu(id=103, gpu_index=2, model="NVIDIA H100 80GB HBM3", memory_total_mb=81_559),
        PlacedGpu(id=205, gpu_index=0, model=None, memory_total_mb=None),
    ],
)
HOLDERS = {
    7: Holder(
        id=7, name="llama-3-70b", started_at=NOW - timedelta(hours=1), tenant_id=1, tenant_name="NovAI"
    ),
    9: Holder(id=9, name="notebook", started_at=NOW, tenant_id=None, tenant_name=None),
}
ROWS = (  # gpu, node, utilisation, memory, temperature, power, flags, job, tenant
    (101, 11, 97, 88, 71, 87, 1 | 8, 7, 1),
    (102, 11, 0, 88, 38, 9, 0 | 8, 7, 1),
    (103, 11, 100, 0, 254, 254, 2 | 16 | 8, 9, 0),
    (205, 12, 255, 255, 255, 255, 3 | 32 | 64, 0, 0),
)
LATER = (
    (101, 11, 96, 88, 72, 86, 1 | 8, 7, 1),
    (102, 11, 0, 0, 38, 9, 0, 0, 0),
    (103, 11, 100, 0, 254, 254, 2 | 16 | 8, 9, 0),
    (205, 12, 255, 255, 255, 255, 3 | 32 | 64, 0, 0),
)
MOVED = JobMessage(
    job_id=7,
    name="llama-3-70b",
    cluster_id=1,
    tenant_id=1,
    gpu_count=1,
    from_status="running",
    status="completed",
    reason=None,
    at=NOW,
)

FIRED = AlertMessage(
    event_id=3,
    rule_type="quota_breach",
    severity="warning",
    subject_type="tenant",
    subject_id=1,
    subject="NovAI",
    tenant_id=1,
    cluster_id=None,
    from_state="pending",
    state="firing",
    acknowledged=False,
    value=95.0,
    message="tenant NovAI uses 95 %",
    reason=None,
    at=NOW,
)


def reader(tenant_id: int | None = None) -> Reader:
    return Reader(tenant_id, frames=True, abort=lambda: None)


async def sent(one: Reader) -> str:
    return (await one.next(0)).decode()


async def golden_stream() -> str:
    """Two looks at a small fleet, and two events between them."""
    one, view = reader(), View(None)
    one.greet([b"retry: 2000\n\n", message("hello", HelloMessage(resumed=False), "41.97.5")])
    view.show(fleet_of(ROWS, NOW), STILL, HOLDERS, "41.97.5")
    one.refresh(view)
    stream = await sent(one) + ": alive\n\n"
    one.push(message("job", MOVED, "42.97.5"))
    one.push(message("alert", FIRED, "42.97.6"))
    view.show(fleet_of(LATER, NOW + timedelta(seconds=1)), STILL, HOLDERS, "42.97.6")
    one.refresh(view)
    return stream + await sent(one)


async def test_the_stream_is_written_as_the_golden_one() -> None:
    """The dashboard's decoder is tested on this file: a change here is a change there."""
    assert await golden_stream() == (GOLDEN / "stream.sse").read_text()


def test_the_golden_stream_says_what_stands_beside_it() -> None:
    """The file was written by hand, the decoder from the documentation."""
    read = list(messages((GOLDEN / "stream.sse").read_text()))
    expected = json.loads((GOLDEN / "stream.json").read_text())
    assert [message.event for message in read] == expected["events"]
    assert [message.id for message in read if message.id] == expected["ids"]
    first = next(place for place, message in enumerate(read) if message.event == "frame")
    assert last_map(read[: first + 1]).gpus() == expected["first_frame"]
    assert last_map(read).gpus() == expected["last_frame"]


async def test_a_tenant_is_shown_the_gpus_of_its_jobs_alone() -> None:
    one, view = reader(1), View(1)
    view.show(fleet_of(ROWS, NOW), STILL, HOLDERS, "1.1")
    one.refresh(view)
    text = await sent(one)
    shown = last_map(messages(text)).gpus()
    assert [(gpu["id"], gpu["job"], gpu["utilization_pct"]) for gpu in shown] == [
        (101, "llama-3-70b", 97),
        (102, "llama-3-70b", 0),
    ]
    assert "lab" not in text
    assert "notebook" not in text
    # One of its GPUs is let go: the fleet that it sees is another.
    view.show(fleet_of(LATER, NOW), STILL, HOLDERS, "1.1")
    one.refresh(view)
    read = list(messages(await sent(one)))
    assert [message.event for message in read] == ["snapshot", "allocation", "frame"]
    assert [gpu["id"] for gpu in last_map(read).gpus()] == [101]


async def test_whoever_is_slow_gets_the_newest_frame_and_what_it_needs_to_read_it() -> None:
    slow, quick, view = reader(), reader(), View(None)
    shown = Map()
    looks = ((STILL, ROWS), (STILL, LATER), (_grown(), (*LATER, (206, 12, *LATER[-1][2:]))))
    for second, (still, rows) in enumerate(looks):
        view.show(fleet_of(rows, NOW + timedelta(seconds=second)), still, HOLDERS, "1.1")
        slow.refresh(view)
        quick.refresh(view)
        for each in messages(await sent(quick)):
            shown.take(each)
    read = list(messages(await sent(slow)))
    assert [message.event for message in read] == ["snapshot", "allocation", "frame"]
    assert last_map(read).gpus() == shown.gpus()
    assert len(shown.gpus()) == 5


def _grown() -> Still:
    more = PlacedGpu(id=206, gpu_index=1, model="NVIDIA A100", memory_total_mb=None)
    return STILL._replace(gpus=[*STILL.gpus, more])


async def test_what_stands_still_is_sent_once() -> None:
    one, view = reader(), View(None)
    for second in range(3):
        again = STILL._replace(nodes=list(STILL.nodes))  # read anew, and as it was
        view.show(fleet_of(ROWS, NOW + timedelta(seconds=second)), again, HOLDERS, "1.1")
        one.refresh(view)
        events = [message.event for message in messages(await sent(one))]
        assert events == (["snapshot", "allocation", "frame"] if second == 0 else ["frame"])


def test_an_empty_fleet_is_a_fleet() -> None:
    view = View(None)
    empty = fleet_of((), NOW)
    assert isinstance(empty, Fleet)
    view.show(empty, Still([], [], []), {}, "0.0")
    shown = last_map(messages((view.snapshot + view.allocation + view.frame).decode()))
    assert shown.gpus() == []


async def test_too_much_in_waiting_ends_the_stream() -> None:
    one = reader()
    for _ in range(3):
        one.push(b"x" * (MOST_PENDING // 2))
    with pytest.raises(StreamEnded):
        await one.next(0)
