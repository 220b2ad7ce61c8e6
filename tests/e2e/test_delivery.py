"""One node's delivery to a small control plane: what survives which trouble. Waits are noted, not waited."""

import itertools
import logging
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from gpuforge_agent.host import Host
from gpuforge_agent.identity import Identity
from gpuforge_agent.push import AWAY, BATCH, REFUSED, REFUSED_FLOOR_S, Pusher
from gpuforge_agent.sample import Sample
from gpuforge_agent.sources.base import Fault, GpuIdentity, Inventory, Reason
from gpuforge_agent.spool import Spool, told_of
from gpuforge_client.rest import RestClient
from gpuforge_client.retry import ONCE, World
from gpuforge_shared.apikey import assemble
from gpuforge_shared.errors import Unauthorized
from tests.fake_control_plane import KEY, FakeControlPlane, problem

START = datetime(2026, 5, 9, tzinfo=UTC)


def gpu(index: int, *, slot: int | None = None) -> GpuIdentity:
    """Card number `index`, in that slot unless it moved."""
    return GpuIdentity(
        uuid=f"GPU-{index}",
        index=index if slot is None else slot,
        model="H100",
        vram_mb=81_559,
        pci_bus_id=None,
    )


@dataclass
class Waits:
    """Notes each wait; what is in `mends` is done during the wait, in turn."""

    seconds: list[float] = field(default_factory=list)
    mends: list[Callable[[], None]] = field(default_factory=list)
    draw: float = 0.0

    async def __call__(self, seconds: float) -> None:
        """Instead of sleeping. More waits than the test foresaw are an endless loop."""
        self.seconds.append(seconds)
        assert len(self.seconds) < 50
        if self.mends:
            self.mends.pop(0)()


class Bench:
    """A node's delivery without its loops."""

    def __init__(self, plane: FakeControlPlane, client: RestClient, world: World, waits: Waits) -> None:
        self.plane = plane
        self.waits = waits
        self.spool = Spool(10_000)
        self.inventory = Inventory(gpus=(gpu(0), gpu(1)))
        host = Host(hostname="gpu-01", cpu_cores=128, ram_gb=1024, agent_version="1")
        self.identity = Identity(client, host, world=world, beside=lambda: told_of(self.spool))
        self.pusher = Pusher(client, self.identity, self.spool, lambda: self.inventory, world)
        self.taken: list[Sample] = []

    def sample(self, count: int, uuid: str = "GPU-0") -> None:
        """Put `count` samples of one GPU in the queue, a second apart, utilisation counting up."""
        for _ in range(count):
            number = len(self.taken)
            at = START + timedelta(seconds=number)
            self.taken.append(Sample(uuid=uuid, recorded_at=at, utilization_pct=float(number % 100)))
            self.spool.append(self.taken[-1])

    def times(self, *uuids: str) -> list[datetime]:
        """When what was stored was recorded, in order of arrival."""
        return [at for uuid in uuids or ("GPU-0",) for at in self.plane.times_of(uuid)]

    def all_times(self, *, but: Collection[int] = ()) -> list[datetime]:
        """When all was recorded that was taken."""
        return [each.recorded_at for number, each in enumerate(self.taken) if number not in but]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """Two GPUs and a control plane that knows nothing yet."""
    waits = Waits()
    world = World(sleep=waits, draw=lambda: waits.draw, clock=lambda: START)
    async with (
        FakeControlPlane().serving() as plane,
        RestClient(plane.url, KEY, retry=ONCE, world=world) as client,
    ):
        yield Bench(plane, client, world, waits)


def refuse(path: str, answer: web.Response) -> Callable[[web.Request, Any], web.Response | None]:
    """A fault that meets one route only."""
    return lambda request, _: answer if request.path == path else None


async def test_it_registers_node_and_gpus_and_sends_under_their_ids(bench: Bench) -> None:
    bench.sample(3)
    await bench.pusher.deliver()
    assert bench.plane.requests == [
        "GET /api/whoami",
        "POST /api/clusters/nodes",
        "POST /api/clusters/gpus",
        "POST /api/clusters/metrics",
    ]
    node = bench.plane.nodes["gpu-01"]
    assert (node["cluster_id"], node["total_gpus"], node["cpu_cores"], node["ram_gb"]) == (1, 2, 128, 1024)
    assert [(each["uuid"], each["gpu_index"]) for each in bench.plane.gpus] == [("GPU-0", 0), ("GPU-1", 1)]
    assert bench.times() == bench.all_times()
    assert len(bench.spool) == 0


async def test_a_key_bound_to_no_cluster_will_do_where_there_is_only_one(bench: Bench) -> None:
    bench.plane.knows_whose_key_it_is = False
    await bench.identity.register(bench.inventory)
    assert bench.plane.requests[:3] == ["GET /api/whoami", "GET /api/clusters", "POST /api/clusters/nodes"]
    assert bench.plane.nodes["gpu-01"]["cluster_id"] == 1


async def test_a_registration_leaves_a_busy_control_plane_in_peace_between_its_requests(bench: Bench) -> None:
    clock = itertools.count(step=3)  # three seconds go by at each look: every answer takes that long
    bench.identity._world = replace(
        bench.identity._world, monotonic=lambda: float(next(clock)), draw=lambda: 0.5
    )
    await bench.identity.register(bench.inventory)
    assert bench.waits.seconds[:1] == [pytest.approx(3.0)]
    assert len(bench.waits.seconds) == 3


async def test_a_gpu_known_before_keeps_its_id_beside_one_that_is_new(bench: Bench) -> None:
    bench.inventory = Inventory(gpus=(gpu(0),))
    await bench.identity.register(bench.inventory)
    (first,) = bench.identity.gpu_ids.values()
    await bench.identity.register(Inventory(gpus=(gpu(1),), absent=(gpu(0),)))
    assert bench.identity.gpu_ids == {"GPU-0": first, "GPU-1": first + 1}


async def test_a_backlog_goes_in_batches_in_order_and_registers_once(bench: Bench) -> None:
    bench.sample(2 * BATCH + 500)
    await bench.pusher.deliver()
    assert bench.plane.batches == [BATCH, BATCH, 500]
    assert bench.times() == bench.all_times()
    assert len(bench.plane.requests) == 3 + 3


async def test_what_was_answered_too_late_is_sent_again_and_counts_once(bench: Bench) -> None:
    def stored_but_unanswered(request: web.Request, body: Any) -> web.Response | None:
        if request.path != "/api/clusters/metrics":
            return None
        bench.plane._metrics(body["metrics"])
        return web.Response(status=504)

    bench.plane.faults.append(stored_but_unanswered)
    bench.sample(5)
    await bench.pusher.deliver()
    assert bench.plane.batches == [5, 5]
    assert bench.times() == bench.all_times()


async def test_retry_after_is_honoured_and_nothing_is_lost_meanwhile(bench: Bench) -> None:
    bench.plane.faults.append(
        refuse("/api/clusters/metrics", problem(429, "slow_down", headers={"Retry-After": "7"}))
    )
    bench.plane.faults.append(
        refuse("/api/clusters/metrics", problem(503, "busy", headers={"Retry-After": "120"}))
    )
    bench.waits.mends.append(lambda: bench.sample(2))
    bench.sample(3)
    await bench.pusher.deliver()
    assert bench.waits.seconds == [7.0, 120.0]
    assert bench.times() == bench.all_times()
    assert len(bench.taken) == 5


@pytest.mark.parametrize("named", [True, False], ids=["named in errors", "not named"])
async def test_an_invalid_item_is_dropped_and_not_its_batch(bench: Bench, *, named: bool) -> None:
    poison = {3, 40, 41}

    def refuse_poison(request: web.Request, body: Any) -> web.Response | None:
        if request.path != "/api/clusters/metrics":
            return bench.plane._routed(request, body)
        bad = {f"{(START + timedelta(seconds=number)).isoformat()}"[:19] + "Z" for number in poison}
        at_fault = [index for index, each in enumerate(body["metrics"]) if each["recorded_at"] in bad]
        if not at_fault:
            return bench.plane._metrics(body["metrics"])
        # as a decoder that stops at the first
        errors = [{"path": f"metrics[{at_fault[0]}].utilization_pct", "message": "no"}] if named else []
        return problem(422, "invalid", errors=errors)

    bench.plane.lasting = refuse_poison
    bench.sample(50)
    await bench.pusher.deliver()
    assert bench.times() == bench.all_times(but=poison)
    assert bench.waits.seconds == []
    assert len(bench.spool) == 0


@pytest.mark.parametrize("status", [200, 422])
async def test_a_rejection_of_what_was_never_sent_harms_nothing(bench: Bench, status: int) -> None:
    strange = [{"index": index, "gpu_id": 1, "reason": "unknown_gpu"} for index in (-1, 99)]
    errors = [{"path": "metrics[99]", "message": "unknown_gpu"}]
    answer = web.json_response({"accepted": 0, "rejected": strange, "errors": errors}, status=status)
    bench.plane.faults.append(refuse("/api/clusters/metrics", answer))
    bench.sample(3)
    await bench.pusher.deliver()
    assert len(bench.spool) == 0
    assert bench.plane.requests.count("POST /api/clusters/gpus") == 1


async def test_a_stranger_who_answers_with_json_has_taken_nothing(bench: Bench) -> None:
    await bench.pusher.deliver()
    bench.sample(3)
    bench.plane.faults.append(refuse("/api/clusters/metrics", web.json_response({"status": "ok"})))
    await bench.pusher.deliver()
    assert bench.times() == bench.all_times()


async def test_a_body_too_large_is_sent_in_parts(bench: Bench) -> None:
    def refuse_large(request: web.Request, body: Any) -> web.Response | None:
        large = request.path == "/api/clusters/metrics" and len(body["metrics"]) > 10
        return problem(413, "body_too_large") if large else bench.plane._routed(request, body)

    bench.plane.lasting = refuse_large
    bench.sample(60)
    await bench.pusher.deliver()
    assert bench.times() == bench.all_times()


@pytest.mark.parametrize("lost", ["all", "one"])
async def test_a_control_plane_that_lost_a_gpu_is_told_of_it_again(bench: Bench, lost: str) -> None:
    bench.sample(1, "GPU-0")
    bench.sample(1, "GPU-1")
    await bench.pusher.deliver()
    if lost == "all":
        bench.plane.lose_everything()
    else:
        del bench.plane.gpus[1]
    bench.plane.gpus.insert(0, {"id": 7, "node_id": 0, "uuid": "GPU-another"})  # so that ids differ now
    for _ in range(3):
        bench.sample(1, "GPU-0")
        bench.sample(1, "GPU-1")
    await bench.pusher.deliver()
    assert bench.waits.seconds == []
    assert {each["uuid"] for each in bench.plane.gpus} == {"GPU-another", "GPU-0", "GPU-1"}
    # what had arrived before the loss went with it
    assert set(bench.times("GPU-0", "GPU-1")) >= {each.recorded_at for each in bench.taken[2:]}


async def test_a_gpu_that_stays_unknown_does_not_hold_up_the_others(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def estranged(request: web.Request, body: Any) -> web.Response | None:
        """Lists GPU-1 as ever, and takes nothing of it."""
        listed = bench.plane.gpus
        if request.path == "/api/clusters/metrics":
            bench.plane.gpus = [each for each in listed if each["uuid"] != "GPU-1"]
        answer = bench.plane._routed(request, body)
        bench.plane.gpus = listed
        return answer

    await bench.pusher.deliver()
    bench.plane.lasting = estranged
    bench.sample(4, "GPU-1")
    bench.sample(4, "GPU-0")
    await bench.pusher.deliver()
    assert bench.plane.requests.count("POST /api/clusters/gpus") == 2  # it was registered again, once
    assert (len(bench.times("GPU-0")), len(bench.times("GPU-1"))) == (4, 0)
    assert len(bench.spool) == 0
    assert len([each for each in caplog.records if "does not take" in each.message]) == 1


async def test_an_inventory_that_changed_is_registered_before_the_next_batch(bench: Bench) -> None:
    bench.sample(1)
    await bench.pusher.deliver()
    known = {each["uuid"]: each["id"] for each in bench.plane.gpus}
    bench.inventory = Inventory(gpus=(gpu(1, slot=0), gpu(2, slot=1)), absent=(gpu(0),))
    bench.sample(1, "GPU-0")  # lost, and said so
    bench.sample(1, "GPU-1")
    bench.sample(1, "GPU-2")
    await bench.pusher.deliver()
    slots = {each["uuid"]: each["gpu_index"] for each in bench.plane.gpus}
    assert (slots["GPU-1"], slots["GPU-2"]) == (0, 1)
    assert bench.plane.nodes["gpu-01"]["total_gpus"] == 3
    assert len(bench.times("GPU-0", "GPU-1", "GPU-2")) == 4
    assert {each["uuid"]: each["id"] for each in bench.plane.gpus}.items() >= known.items()


async def test_a_gpu_that_stopped_answering_changes_nothing(bench: Bench) -> None:
    bench.sample(1)
    await bench.pusher.deliver()
    before = len(bench.plane.requests)
    bench.inventory = Inventory(gpus=(gpu(0),), absent=(gpu(1),))
    bench.sample(1, "GPU-1")
    await bench.pusher.deliver()
    assert bench.plane.requests[before:] == ["POST /api/clusters/metrics"]


async def test_without_a_driver_the_node_is_there_and_its_gpus_keep_their_number(bench: Bench) -> None:
    await bench.pusher.deliver()
    bench.inventory = Inventory(fault=Fault(reason=Reason.DRIVER_ABSENT, detail="no driver"))
    bench.identity.forget()
    await bench.pusher.deliver()
    assert bench.plane.nodes["gpu-01"]["total_gpus"] == 2
    assert bench.plane.requests.count("POST /api/clusters/gpus") == 1


async def test_a_card_with_an_odd_name_is_registered_like_the_others(bench: Bench) -> None:
    bench.inventory = Inventory(gpus=(gpu(0), replace(gpu(1), model="H100\x07\x00 of\udcff a lab")))
    bench.sample(1, "GPU-1")
    await bench.pusher.deliver()
    assert [each["model"] for each in bench.plane.gpus] == [gpu(0).model, "H100 of a lab"]
    assert len(bench.plane.metrics) == 1


async def test_a_gpu_made_by_hand_is_known_by_its_slot(bench: Bench) -> None:
    bench.plane.nodes["gpu-01"] = {"id": 100, "beats": 0}
    answer = web.json_response([])
    bench.plane.faults.append(refuse("/api/clusters/gpus", answer))
    bench.plane.gpus.append({"id": 5, "node_id": 100, "gpu_index": 1, "uuid": None})
    await bench.pusher.deliver()
    assert bench.identity.gpu_ids == {"GPU-1": 5}


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        pytest.param("/api/clusters/nodes", problem(409, "node_retired"), id="retired"),
        pytest.param("/api/whoami", problem(401, "unauthorized"), id="key revoked"),
        pytest.param("/api/clusters", web.json_response([{"id": 1}, {"id": 2}]), id="not a cluster's key"),
        pytest.param("/api/whoami", web.Response(text="<html>"), id="not a control plane"),
    ],
)
async def test_what_a_person_must_mend_is_said_once_and_asked_rarely(
    bench: Bench, caplog: pytest.LogCaptureFixture, path: str, answer: web.Response
) -> None:
    caplog.set_level(logging.INFO)
    bench.plane.knows_whose_key_it_is = path != "/api/clusters"
    for _ in range(3):
        bench.plane.faults.append(lambda request, _: _copy(answer) if request.path == path else None)
    bench.sample(1)
    await bench.pusher.deliver()
    assert bench.waits.seconds == [REFUSED_FLOOR_S] * 3
    warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "1 samples wait and are kept" in warnings[0].getMessage()
    assert "delivering again" in caplog.text
    assert bench.times() == bench.all_times()


def _copy(answer: web.Response) -> web.Response:
    return web.Response(body=answer.body, status=answer.status, content_type=answer.content_type)


async def test_gpus_that_are_to_be_registered_again_stop_no_heartbeat(bench: Bench) -> None:
    bench.identity.forget_gpus()  # before there was any registration: nothing
    await bench.pusher.deliver()
    bench.identity.forget_gpus()
    await bench.identity.heartbeat()
    assert bench.plane.nodes["gpu-01"]["beats"] == 2
    await bench.pusher.deliver()
    assert bench.plane.requests.count("POST /api/clusters/gpus") == 2


async def test_a_heartbeat_is_the_registration_said_again_and_finds_out_a_loss(bench: Bench) -> None:
    await bench.identity.heartbeat()
    assert bench.plane.requests == []  # nothing to say before delivery registered
    await bench.pusher.deliver()
    await bench.identity.heartbeat()
    assert bench.plane.nodes["gpu-01"]["beats"] == 2
    bench.plane.faults.append(refuse("/api/clusters/nodes", problem(409, "node_retired")))
    with pytest.raises(Exception, match="node_retired"):
        await bench.identity.heartbeat()
    assert not bench.identity.is_current(bench.inventory)


@pytest.mark.parametrize(("ahead_s", "is_told"), [(0, False), (-29, False), (31, True), (-3600, True)])
async def test_the_clocks_are_compared_and_the_difference_is_sent(
    bench: Bench, caplog: pytest.LogCaptureFixture, ahead_s: int, is_told: bool
) -> None:
    bench.plane.clock = lambda: START - timedelta(seconds=ahead_s)
    await bench.pusher.deliver()
    assert "clock_offset_s" not in bench.plane.nodes["gpu-01"]
    for _ in range(3):
        await bench.identity.heartbeat()
    assert bench.plane.nodes["gpu-01"]["clock_offset_s"] == pytest.approx(ahead_s, abs=1.0)
    told = [each for each in caplog.records if "clock is" in each.message]
    assert len(told) == (1 if is_told else 0)


async def test_a_control_plane_that_does_not_tell_its_time_hears_of_no_offset(bench: Bench) -> None:
    await bench.pusher.deliver()
    await bench.identity.heartbeat()
    assert "clock_offset_s" not in bench.plane.nodes["gpu-01"]


async def test_the_last_delivery_does_not_insist(bench: Bench) -> None:
    bench.plane.key = assemble("6" * 56)
    bench.sample(1)
    with pytest.raises(Unauthorized):
        await bench.pusher.deliver_once()
    assert bench.waits.seconds == []


async def test_a_full_queue_is_reported_with_the_number_that_is_lost(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.sample(10_003)
    await bench.pusher.deliver()
    lost = [each for each in caplog.records if "oldest samples are lost" in each.message]
    assert [vars(each)["lost"] for each in lost] == [3]
    await bench.identity.heartbeat()
    node = bench.plane.nodes["gpu-01"]
    assert (node["queued_samples"], node["dropped_samples"]) == (0, 3)
    assert (node["gap_since"], node["gap_until"]) == ("2026-05-09T00:00:00Z", "2026-05-09T00:00:03Z")
    assert bench.times() == bench.all_times(but={0, 1, 2})


async def test_after_a_long_outage_a_refusal_is_a_first_refusal(bench: Bench) -> None:
    away = [refuse("/api/whoami", problem(503, "starting")) for _ in range(12)]
    bench.plane.faults.extend([*away, refuse("/api/whoami", problem(401, "unauthorized"))])
    bench.waits.draw = 1.0
    await bench.pusher.deliver()
    assert bench.waits.seconds[10:] == [AWAY.cap_s, AWAY.cap_s, REFUSED_FLOOR_S + REFUSED.base_s]


async def test_a_gpu_that_moved_to_another_host_is_said_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.pusher.deliver()
    bench.plane.gpus[1]["node_id"] = 4711
    bench.inventory = Inventory(gpus=(gpu(0),), absent=(gpu(1),))
    bench.identity.forget_gpus()
    for _ in range(3):
        bench.sample(1, "GPU-0")
        bench.sample(1, "GPU-1")
        await bench.pusher.deliver()
    assert "GPU-1" not in bench.identity.gpu_ids
    assert len([each for each in caplog.records if "does not take" in each.message]) == 1
    assert len(bench.times("GPU-0")) == 3
