"""The live stream over HTTP: what it tells, to whom, from which replica, and when it ends."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from typing import Any

import pytest

from gpuforge_controlplane.api import events
from gpuforge_controlplane.services import live, tail
from gpuforge_controlplane.storage import live as live_storage
from gpuforge_controlplane.storage.database import HANG_S, Connection
from tests.api.conftest import Serve
from tests.api.harness import ON_SQLITE, START, Plane, build_site
from tests.api.work import Work
from tests.stream_reader import Message, Stream, streaming

RECHECK_S, SLOW_S = events.RECHECK_S, events.SLOW_S  # before the tests change them


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty looks a second, and keys checked as often; a busy machine is waited for."""
    monkeypatch.setattr(live, "EVERY_S", 0.02)
    monkeypatch.setattr(events, "RECHECK_S", 0.02)
    monkeypatch.setattr(live, "READY_S", 60.0)
    monkeypatch.setattr(events, "SLOW_S", 60.0)


@pytest.fixture
async def stream(plane: Plane) -> AsyncIterator[Stream]:
    """An operator's, who has been greeted."""
    async with streaming(plane.url, plane.admin_key) as stream:
        await stream.until("hello")
        yield stream


async def frame_that(stream: Stream, **wanted: Any) -> dict[str, Any]:
    """The first GPU of the first frame in which it is as wanted."""
    while True:
        await stream.until("frame")
        gpus = stream.shown().gpus()
        if gpus and wanted.items() <= gpus[0].items():
            return gpus[0]


async def sample(plane: Plane, gpu_id: int, **figures: Any) -> None:
    await plane.admin.write("/api/clusters/metrics", {"metrics": [{"gpu_id": gpu_id, **figures}]})


# The fleet


async def test_the_fleet_is_shown_as_it_is(plane: Plane, work: Work) -> None:
    cluster = await work.cluster(2, 1)
    tenant = await work.tenant(name="NovAI")
    await work.running(cluster, 2, tenant_id=tenant, name="train")
    await work.node_state(work.hosts[1], "draining")
    first, second, third = (gpu for host in work.hosts for gpu in host.gpu_ids)
    await sample(
        plane, first, utilization_pct=87.5, memory_used_mb=71680, memory_total_mb=81920,
        temperature_c=71.4, power_draw_w=412.0,
    )  # fmt: skip
    await sample(plane, second, utilization_pct=0.0)
    async with streaming(plane.url, plane.admin_key) as stream:
        await stream.until("frame")
    assert [message.event for message in stream.read] == ["hello", "snapshot", "allocation", "frame"]
    common = {"cluster": "east", "model": "NVIDIA H100 80GB HBM3"}
    nothing = {"memory_pct": None, "temperature_c": None, "power_draw_w": None}
    assert stream.shown().gpus() == [
        {
            **common, "id": first, "hostname": "east-01", "gpu_index": 0, "memory_total_mb": 81920,
            "utilization_pct": 88, "memory_pct": 88, "temperature_c": 71, "power_draw_w": 416,
            "status": "active", "flags": ["allocated"], "job": "train", "tenant": "NovAI",
        },
        {
            **common, **nothing, "id": second, "hostname": "east-01", "gpu_index": 1,
            "memory_total_mb": None, "utilization_pct": 0,
            "status": "idle", "flags": ["allocated"], "job": "train", "tenant": "NovAI",
        },
        {
            **common, **nothing, "id": third, "hostname": "east-02", "gpu_index": 0,
            "memory_total_mb": None, "utilization_pct": None,
            "status": "idle", "flags": ["draining", "stale"], "job": None, "tenant": None,
        },
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        pytest.param({"utilization_pct": 0.4}, {"utilization_pct": 0}, id="rounded down"),
        pytest.param({"utilization_pct": 10.5}, {"utilization_pct": 11}, id="a half goes up"),
        pytest.param({"utilization_pct": 100}, {"utilization_pct": 100}, id="full"),
        pytest.param({"power_draw_w": 2032.0}, {"power_draw_w": 2032}, id="the most a byte can say"),
        pytest.param({"power_draw_w": 99999.0}, {"power_draw_w": 2032}, id="more than that"),
        pytest.param({"power_draw_w": 3.9}, {"power_draw_w": 0}, id="less than half a step"),
        pytest.param({"temperature_c": 254.7}, {"temperature_c": 254}, id="as hot as can be told"),
        pytest.param({"memory_used_mb": 1}, {"memory_pct": None}, id="of a total that nobody knows"),
        pytest.param({"memory_used_mb": 3, "memory_total_mb": 8}, {"memory_pct": 38}, id="a share"),
        pytest.param({"memory_used_mb": 5, "memory_total_mb": 0}, {"memory_pct": None}, id="of nothing"),
        pytest.param({"temperature_c": None}, {"temperature_c": None}, id="unknown"),
    ],
)
async def test_a_figure_becomes_a_byte(plane: Plane, told: dict[str, Any], shown: dict[str, Any]) -> None:
    site = await build_site(plane, "east")
    await sample(plane, site.gpu_ids[0], **told)
    async with streaming(plane.url, plane.admin_key) as stream:
        await stream.until("frame")
    (gpu, _) = stream.shown().gpus()
    assert shown.items() <= gpu.items()


async def test_frames_follow_and_what_stands_still_is_not_repeated(plane: Plane, stream: Stream) -> None:
    site = await build_site(plane, "east")
    await sample(plane, site.gpu_ids[0], utilization_pct=20)
    await frame_that(stream, utilization_pct=20)
    snapshots = [message for message in stream.read if message.event == "snapshot"]
    plane.clock.forward(seconds=1)
    await sample(plane, site.gpu_ids[0], utilization_pct=80)
    await frame_that(stream, utilization_pct=80)
    assert [message for message in stream.read if message.event == "snapshot"] == snapshots


async def test_silence_is_unknown_and_told_of_the_node(plane: Plane, stream: Stream) -> None:
    site = await build_site(plane, "east")
    await sample(plane, site.gpu_ids[0], utilization_pct=20)
    await frame_that(stream, utilization_pct=20, status="active")
    plane.clock.forward(seconds=91)
    gone = await frame_that(stream, status="offline")
    assert (gone["utilization_pct"], gone["flags"]) == (None, ["stale"])
    silent = [message for message in stream.read if message.event == "node"][-1]
    assert (silent.data["action"], silent.data["hostname"], silent.id) == ("node.silent", "east-01", None)


async def test_a_renamed_tenant_is_shown_by_its_new_name(plane: Plane, work: Work, stream: Stream) -> None:
    tenant = await work.tenant(name="before")
    await work.running(await work.cluster(1), tenant_id=tenant)
    await frame_that(stream, tenant="before")
    await work.change(f"/api/tenants/{tenant}", name="after")
    await frame_that(stream, tenant="after")


# What happens


async def test_jobs_and_nodes_are_told_as_they_happen(plane: Plane, work: Work, stream: Stream) -> None:
    cluster = await work.cluster(1)
    job = await work.running(cluster, name="train")
    await work.move(job, "completed")
    await work.node_state(work.hosts[0], "cordoned")
    told = [await stream.until("job", "node", "change") for _ in range(6)]
    assert [_brief(message) for message in told if message.event != "job"] == [
        ("change", "cluster.create"),
        ("node", "node.create"),
        ("node", "node.state"),
    ]
    history = (await work.job(job))["history"]
    moves = [message.data for message in told if message.event == "job"]
    assert [(move["from_status"], move["status"]) for move in moves] == [
        (each["from_status"], each["to_status"]) for each in history
    ]
    assert {(move["job_id"], move["name"], move["cluster_id"]) for move in moves} == {(job, "train", cluster)}
    assert [message.data["state"] for message in told if message.event == "node"][-1] == "cordoned"


def _brief(message: Message) -> tuple[str, str]:
    return message.event, message.data.get("action") or message.data["status"]


async def test_what_keys_are_made_is_nobodys_affair(plane: Plane, stream: Stream) -> None:
    await plane.admin.write("/api/api-keys", {"label": "secret"})
    await plane.tenant("told")
    await plane.admin.write("/api/clusters", {"name": "last"})
    await stream.until("change")
    assert "secret" not in str(stream.read)


async def test_without_frames_only_events_come(plane: Plane) -> None:
    async with streaming(plane.url, plane.admin_key, frames=False) as stream:
        await stream.until("hello")
        await plane.admin.write("/api/clusters", {"name": "east"})
        await stream.until("change")
    assert [message.event for message in stream.read] == ["hello", "change"]


async def test_alerts_are_told_as_they_change(plane: Plane, work: Work, stream: Stream) -> None:
    tenant = await _over_quota(work)
    await plane.evaluate()
    await plane.evaluate()  # nothing changes, nothing is told
    (event,) = await plane.admin.read("/api/alerts/events")
    await plane.admin.write(f"/api/alerts/events/{event['id']}/acknowledge", {"note": "on it"})
    plane.clock.forward(seconds=30)
    await work.change("/api/alerts/rules/2", enabled=False)
    told = [(await stream.until("alert")).data for _ in range(3)]
    assert told[0] == {
        "event_id": event["id"], "rule_type": "quota_breach", "severity": "warning",
        "subject_type": "tenant", "subject_id": tenant, "subject": "Acme ML", "tenant_id": tenant,
        "cluster_id": None, "from_state": None, "state": "firing", "acknowledged": False, "value": 100,
        "message": "tenant Acme ML uses 4 of its quota of 4 GPUs (100 %)", "reason": None,
        "at": "2026-05-09T12:00:00Z",
    }  # fmt: skip
    assert [(each["from_state"], each["state"], each["acknowledged"]) for each in told[1:]] == [
        ("firing", "firing", True),
        ("firing", "resolved", True),
    ]
    assert (told[2]["reason"], told[2]["at"]) == ("rule_disabled", "2026-05-09T12:00:30Z")


async def _over_quota(work: Work, name: str = "Acme ML") -> int:
    """A tenant with an alert about itself as soon as rules are evaluated."""
    tenant = await work.tenant(quota=4, name=name)
    await work.running(await work.cluster(4, name=f"of {name}"), 4, tenant_id=tenant)
    return tenant


async def test_a_tenant_is_told_of_its_own_alerts_alone(plane: Plane, work: Work) -> None:
    mine, theirs = await _over_quota(work, "mine"), await _over_quota(work, "theirs")
    await plane.evaluate()
    for tenant in (mine, theirs):
        key = await plane.key(tenant_id=tenant)
        async with streaming(plane.url, key, frames=False, last_id="0.0.0") as stream:
            told = await stream.until("alert")
            await work.change(f"/api/tenants/{tenant}", gpu_quota=8)
            while (await stream.until("alert", "change")).event != "change":
                pass
        alerts = [message.data["tenant_id"] for message in stream.read if message.event == "alert"]
        assert (told.data["subject_id"], alerts) == (tenant, [tenant])


# Resuming, on this replica or another


async def test_alerts_missed_are_told_again_and_ids_from_before_there_were_alerts_hold(
    plane: Plane, work: Work
) -> None:
    async with streaming(plane.url, plane.admin_key, frames=False) as stream:
        await stream.until("hello")
        seen = stream.last_id
    await _over_quota(work)
    await plane.evaluate()
    jobs, writes, _ = seen.split(".")
    for last_id, told in ((seen, [1]), (f"{jobs}.{writes}", [])):
        async with streaming(plane.url, plane.admin_key, frames=False, last_id=last_id) as stream:
            assert (await stream.until("hello")).data == {"resumed": True}
            for turn in ("first", "second"):  # what one look finds has no order: the second is another's
                await plane.admin.write("/api/clusters", {"name": f"{turn} after {last_id}"})
                while (await stream.until("change")).data["object_id"] != await _newest_cluster(plane):
                    pass
        assert [message.data["event_id"] for message in stream.read if message.event == "alert"] == told
        assert {message.id.count(".") for message in stream.read if message.id} == {2}


async def _newest_cluster(plane: Plane) -> int:
    newest: int = max(cluster["id"] for cluster in await plane.admin.read("/api/clusters"))
    return newest


async def test_a_reader_resumes_where_it_was_on_another_replica(serve: Serve) -> None:
    here, there = await serve(), await serve()
    work = Work(plane=here)
    cluster = await work.cluster(1)
    job = (await work.submit(cluster))["id"]
    async with streaming(there.url, there.admin_key, frames=False) as stream:
        assert (await stream.until("hello")).data == {"resumed": False}
        await work.move(job, "cancelled")
        await stream.until("job")
        seen = stream.last_id
    second, third = (await work.submit(cluster))["id"], (await work.submit(cluster))["id"]
    for replica in (here, there):
        async with streaming(replica.url, replica.admin_key, frames=False, last_id=seen) as stream:
            assert (await stream.until("hello")).data == {"resumed": True}
            await work.submit(cluster)
            told = [(await stream.until("job")).data["job_id"] for _ in range(3)]
            assert told[:2] == [second, third]
        fourth = told[2]
        assert fourth > third
        second, third = third, fourth
        seen = next(message.id for message in stream.read if message.event == "job") or ""


@pytest.mark.parametrize(
    "last_id", ["", "1", "a.b", "1.2.3.4.5.6.7", "-1.-1", "99999999999999999999.1", "٣.٣"]
)
@ON_SQLITE
async def test_a_made_up_id_starts_anew(plane: Plane, last_id: str) -> None:
    async with streaming(plane.url, plane.admin_key, last_id=last_id) as stream:
        assert (await stream.until("hello")).data == {"resumed": False}


@pytest.mark.parametrize("last_id", ["999999.0.0", "0.999999.0", "0.0.999999", "0.999999"])
@ON_SQLITE
async def test_another_databases_id_starts_anew_and_hides_nothing(
    plane: Plane, work: Work, last_id: str
) -> None:
    """One from before a backup was restored, say: what happens now has smaller ids, and is new."""
    cluster = await work.cluster(1)
    async with streaming(plane.url, plane.admin_key, frames=False, last_id=last_id) as stream:
        assert (await stream.until("hello")).data == {"resumed": False}
        job = await work.submit(cluster)
        assert (await stream.until("job")).data["job_id"] == job["id"]


@ON_SQLITE
async def test_too_much_to_tell_again_is_not_told(
    plane: Plane, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "BATCH", 3)
    cluster = await work.cluster(1)
    for _ in range(4):
        await work.submit(cluster)
    async with streaming(plane.url, plane.admin_key, last_id="0.0") as stream:
        assert (await stream.until("hello")).data == {"resumed": False}


@pytest.mark.parametrize("dialect", ["postgresql"])
async def test_a_transaction_that_is_committed_late_is_told_and_not_lost(
    plane: Plane, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows have lower numbers than rows that were told before."""
    monkeypatch.setattr(tail, "PATIENCE_S", 60.0)  # the machine may be slow: nothing is given up here
    cluster = await work.cluster(1)
    async with streaming(plane.url, plane.admin_key, frames=False) as stream:
        await stream.until("hello")
        async with plane.database.write() as tx:
            await tx.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            await tx.exec_driver_sql(
                "INSERT INTO audit_log (at, principal, action, object_type, object_id, request_id)"
                " VALUES (now(), 'late', 'rate.late', 'rate', 1, 'late')"
            )
            await plane.admin.write("/api/clusters", {"name": "west"})
            told = await stream.until("change")
            assert told.data["action"] == "cluster.create"
            before = stream.last_id
        assert (await stream.until("change")).data["action"] == "rate.late"
    assert cluster
    # Whoever left between the two is told both again rather than neither.
    async with streaming(plane.url, plane.admin_key, frames=False, last_id=before) as stream:
        again = [(await stream.until("change")).data["action"] for _ in range(2)]
    assert again == ["rate.late", "cluster.create"]


# Who sees what


async def test_tenants_never_see_each_others(plane: Plane, work: Work) -> None:
    cluster = await work.cluster(4)
    mine, theirs = await work.tenant(name="mine"), await work.tenant(name="theirs")
    key = await plane.key(tenant_id=mine)
    other = await plane.key(tenant_id=theirs)
    await work.submit(cluster, 1, tenant_id=mine, name="my job")
    await work.submit(cluster, 2, tenant_id=theirs, name="their job")
    async with streaming(plane.url, key) as stream, streaming(plane.url, other) as their_stream:
        for each in (stream, their_stream):
            await each.until("frame")
            assert each.shown().gpus() == []
        await work.cycle()
        assert (await frame_that(stream, job="my job"))["tenant"] == "mine"
        assert (await frame_that(their_stream, job="their job"))["tenant"] == "theirs"
        await work.node_state(work.hosts[0], "cordoned")
        await work.change(f"/api/tenants/{theirs}", gpu_quota=5)
        await work.change(f"/api/tenants/{mine}", gpu_quota=5)
        assert (await stream.until("change")).data["object_id"] == mine
        assert (await their_stream.until("change")).data["object_id"] == theirs
        resume = stream.read[0].id
    assert (len(stream.shown().gpus()), len(their_stream.shown().gpus())) == (1, 2)
    async with streaming(plane.url, key, last_id=resume) as again:
        await again.until("change")
    for words, read in (("their", stream.read), ("their", again.read), ("my", their_stream.read)):
        assert read
        assert words not in str(read)
        assert "node" not in {message.event for message in read}


@ON_SQLITE
async def test_an_anonymous_reader_sees_the_sample(serve: Serve) -> None:
    plane = await serve(demo="sample")
    await build_site(plane, "real")
    async with streaming(plane.url, None) as stream:
        await stream.until("frame")
        assert stream.response.headers["X-GPUForge-Demo"] == "sample"
    shown = stream.shown().gpus()
    assert {gpu["cluster"] for gpu in shown} == {"us-east-prod", "eu-west-infer", "lab"}
    assert len(shown) == 32


# The end


async def test_a_revoked_keys_stream_is_closed(serve: Serve) -> None:
    here, there = await serve(), await serve()
    key = await here.key(permissions=["read"])
    async with streaming(there.url, key) as stream:
        await stream.until("frame")
        (made,) = [each for each in await here.admin.read("/api/api-keys") if each["label"] == "a test's"]
        await here.admin.delete(f"/api/api-keys/{made['id']}")
        rest = await asyncio.wait_for(stream.to_its_end(), 20)
    assert (rest[-1].event, rest[-1].data["code"]) == ("closed", "key_revoked")
    assert stream.ended


async def test_an_expired_keys_stream_is_closed(plane: Plane) -> None:
    key = await plane.key(expires_at=START + timedelta(hours=1))
    async with streaming(plane.url, key, frames=False) as stream:
        await stream.until("hello")
        plane.clock.forward(hours=1)
        rest = await asyncio.wait_for(stream.to_its_end(), 20)
    assert (rest[-1].event, rest[-1].data["code"]) == ("closed", "key_expired")


def test_by_its_own_figures_a_revoked_keys_stream_ends_within_15_s() -> None:
    """It is written to for so long at most, and then looked at: also where the database does not answer."""
    assert RECHECK_S + SLOW_S < 15
    assert events.TRUST_S < 15
    assert tail.PATIENCE_S > HANG_S


@ON_SQLITE
async def test_who_takes_nothing_is_cut_off_and_holds_up_nobody(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the snapshot alone is more than the kernel takes for one who does not read
    rows = [(gpu, 1, 50, 50, 50, 50, 1, 0, 0) for gpu in range(1, 100_001)]

    async def many(_tx: Connection, _since: object) -> Iterable[tuple[int, ...]]:
        return rows

    async def named(_tx: Connection) -> live_storage.Still:
        node = live_storage.PlacedNode(id=1, cluster_id=1, hostname="x")
        group = live_storage.ShownCluster(id=1, name="x", region=None)
        cards = [
            live_storage.PlacedGpu(id=row[0], gpu_index=0, model=None, memory_total_mb=None) for row in rows
        ]
        return live_storage.Still([group], [node], cards)

    monkeypatch.setattr(live_storage, "fleet", many)
    monkeypatch.setattr(live_storage, "still", named)
    # The first two have 60 s, as the fixture has it: on the slowest machine only the last is cut off.
    with await _deaf(plane):
        async with streaming(plane.url, plane.admin_key) as stream:
            for _ in range(3):
                await stream.until("frame")
        monkeypatch.setattr(events, "SLOW_S", 0.2)
        with await _deaf(plane):
            async with asyncio.timeout(60):
                while _open_streams(plane) != 1:
                    await plane.admin.read("/api/clusters")


async def _deaf(plane: Plane) -> socket.socket:
    """A reader who has been let in, and takes nothing any more."""
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # or the kernel takes megabytes for it
    deaf.connect(("127.0.0.1", plane.port))
    deaf.setblocking(False)
    loop = asyncio.get_running_loop()
    asks = f"GET /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {plane.admin_key}\r\n\r\n"
    await loop.sock_sendall(deaf, asks.encode())
    heard = b""
    while b"retry" not in heard:
        heard += await loop.sock_recv(deaf, 4096)
    return deaf


def _open_streams(plane: Plane) -> int:
    lines = plane.api.observations.exposition().decode().splitlines()
    return int(float(next(line for line in lines if line.startswith("gpuforge_streams ")).split()[1]))


async def test_streams_end_when_the_server_stops(plane: Plane) -> None:
    async with streaming(plane.url, plane.admin_key) as stream:
        await stream.until("frame")
        plane.api.end_streams()
        await asyncio.wait_for(stream.to_its_end(), 20)
        assert stream.ended
    answer = await plane.admin.get("/api/events")
    assert (answer.status, answer.code) == (503, "unavailable")
