"""From an event to whoever is to hear of it: a real webhook on loopback, down, slow, hostile or well."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import AsyncMock

import pytest

from gpuforge_controlplane.gateways import notify
from gpuforge_controlplane.loops.leader import Leadership
from gpuforge_controlplane.loops.notify import Notifier
from gpuforge_controlplane.services.outbound import Outbound
from gpuforge_controlplane.storage import notices
from tests.api.conftest import Serve
from tests.api.harness import ON_SQLITE, Json, Plane, Site, build_site
from tests.webhook_receiver import Receiver, receiving


@dataclass(slots=True, kw_only=True)
class Desk:
    """A plane with a notifier that a test moves by hand, and a receiver."""

    plane: Plane
    site: Site
    receiver: Receiver
    notifier: Notifier

    async def channel(self, **fields: Any) -> Json:
        body = {"name": "pager", "type": "webhook", "url": f"{self.receiver.url}/hook", **fields}
        return await self.plane.admin.write("/api/alerts/channels", body)

    async def channels(self) -> list[Json]:
        found: list[Json] = await self.plane.admin.read("/api/alerts/channels")
        return found

    async def fault(self, count: int = 1) -> None:
        """So many of the site's GPUs have a fault from now on; the others have none."""
        for number, gpu_id in enumerate(self.site.gpu_ids):
            status = "unhealthy" if number < count else "idle"
            async with self.plane.database.write() as tx:
                await tx.exec_driver_sql(f"UPDATE gpus SET status = '{status}' WHERE id = {gpu_id}")

    async def pass_by(self, seconds: float, step: float = 30) -> None:
        """Time goes on: heartbeats, an evaluation and a look of the notifier each step."""
        while seconds > 0:
            self.plane.clock.forward(seconds=min(step, seconds))
            seconds -= step
            beat = {"cluster_id": self.site.cluster_id, "hostname": "east-01"}
            await self.site.agent.write("/api/clusters/nodes", beat)
            samples = [{"gpu_id": gpu_id, "temperature_c": 40} for gpu_id in self.site.gpu_ids]
            await self.site.agent.write("/api/clusters/metrics", {"metrics": samples})
            await self.plane.evaluate()
            await self.look()

    async def look(self) -> None:
        await self.notifier()
        await self.notifier.settled()

    def told(self) -> list[tuple[str, str, str]]:
        """All notices that were taken, in order."""
        return [notice for received in self.receiver.got for notice in received.told]


def notifier_of(plane: Plane, outbound: Outbound | None = None) -> Notifier:
    leadership = Leadership(plane.database, "the test")
    leadership.token = plane.token
    return Notifier(plane.database, leadership, plane.clock, outbound or plane.api.outbound)


@pytest.fixture
async def desk(plane: Plane, site: Site) -> AsyncIterator[Desk]:
    # health_degraded would tell of each fault a second time
    await plane.admin.patch("/api/alerts/rules/3", {"enabled": False})
    async with receiving() as receiver:
        yield Desk(plane=plane, site=site, receiver=receiver, notifier=notifier_of(plane))


FIRST = ("firing", "gpu_fault", "east-01/0")
SECOND = ("firing", "gpu_fault", "east-01/1")


async def test_from_firing_to_resolved_signed_all_the_way(desk: Desk) -> None:
    made = await desk.channel()
    await desk.fault()
    await desk.pass_by(30)
    assert desk.receiver.got == []  # others may follow within 30 s
    await desk.fault(2)
    await desk.pass_by(30)
    assert [received.told for received in desk.receiver.got] == [[FIRST, SECOND]]
    await desk.fault(0)
    await desk.pass_by(60)
    assert [received.told for received in desk.receiver.got[1:]] == [
        [("resolved", "gpu_fault", "east-01/0"), ("resolved", "gpu_fault", "east-01/1")]
    ]
    for received in desk.receiver.got:
        assert received.path == "/hook"
        assert received.is_signed_with(made["signing_secret"])
        assert not received.is_signed_with(made["signing_secret"] + "x")
        assert received.json["delivery"] == received.headers["X-GPUForge-Delivery"]
    (channel,) = await desk.channels()
    assert (channel["waiting"], channel["last_error"]) == (0, None)
    assert channel["last_success_at"] == "2026-05-09T12:02:00Z"


async def test_what_stays_as_it_is_is_told_once_and_again_after_four_hours(desk: Desk) -> None:
    await desk.channel()
    await desk.fault()
    await desk.pass_by(3600, step=60)
    assert desk.told() == [FIRST]
    await desk.pass_by(3 * 3600 + 300, step=300)
    assert desk.told() == [FIRST, ("repeated", "gpu_fault", "east-01/0")]


@ON_SQLITE
async def test_a_thousand_looks_at_the_same_tell_it_once(desk: Desk) -> None:
    await desk.channel()
    await desk.fault()
    await desk.pass_by(60)
    for _ in range(1000):
        desk.plane.clock.forward(seconds=2)
        await desk.look()
    assert desk.told() == [FIRST]
    assert await desk.plane.count("notifications") == 1


async def test_down_for_ten_minutes_nothing_is_lost_and_nothing_comes_twice(desk: Desk) -> None:
    await desk.channel()
    desk.receiver.status = 503
    await desk.fault()
    await desk.pass_by(300, step=10)
    await desk.fault(2)
    await desk.pass_by(300, step=10)
    (channel,) = await desk.channels()
    assert (channel["waiting"], channel["last_error"]) == (2, "it answered 503")
    assert len(desk.receiver.tried) < 10  # with patience
    desk.receiver.status = 200
    await desk.pass_by(330, step=10)
    assert [received.told for received in desk.receiver.got] == [[FIRST], [SECOND]]
    (channel,) = await desk.channels()
    assert (channel["waiting"], channel["last_error"], channel["last_error_at"]) == (0, None, None)
    first = {received.headers["X-GPUForge-Delivery"] for received in desk.receiver.tried[:-1]}
    assert len(first) == 1  # each attempt under the same id
    bodies = {received.body for received in desk.receiver.tried[:-1]}
    assert len(bodies) == 1


async def test_a_crash_after_sending_repeats_it_under_the_same_id(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await desk.channel()
    await desk.fault()
    with monkeypatch.context() as patch:
        patch.setattr(notices, "delivered", AsyncMock(side_effect=RuntimeError("killed")))
        await desk.pass_by(60)
    caplog.clear()
    assert desk.told() == [FIRST]
    desk.notifier = notifier_of(desk.plane)
    await desk.look()
    first, again = desk.receiver.got
    assert (first.headers["X-GPUForge-Delivery"], first.body) == (
        again.headers["X-GPUForge-Delivery"],
        again.body,
    )
    await desk.look()
    assert len(desk.receiver.got) == 2


async def test_what_was_taken_between_two_looks_is_not_sent_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look reads what is due while it is still being sent, and goes on when it has been taken."""
    await desk.channel()
    desk.receiver.hangs = True
    await desk.fault()
    await desk.pass_by(30)
    desk.plane.clock.forward(seconds=30)
    await desk.notifier()
    await desk.receiver.arrived.wait()
    next_due = notices.next_due

    async def taken_meanwhile(*arguments: Any) -> list[notices.Notification]:
        found = await next_due(*arguments)
        desk.receiver.released.set()
        await desk.notifier.settled()
        return found

    monkeypatch.setattr(notices, "next_due", taken_meanwhile)
    await desk.look()
    assert [received.told for received in desk.receiver.tried] == [[FIRST]]


async def test_a_channel_that_hangs_holds_up_nobody(desk: Desk) -> None:
    async with receiving() as stuck:
        stuck.hangs = True
        await desk.channel(name="stuck", url=stuck.url)
        await desk.channel()
        await desk.fault()
        await desk.pass_by(30)
        desk.plane.clock.forward(seconds=30)
        await desk.notifier()
        async with asyncio.timeout(5):
            await stuck.arrived.wait()
            await desk.receiver.arrived.wait()
        await desk.notifier()  # the hanging one has its turn still, and gets no second
        assert desk.told() == [FIRST]
        stuck.released.set()
        await desk.notifier.settled()
        assert len(stuck.tried) == 1


async def test_a_channel_that_hangs_is_shown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "DEADLINE_S", 0.5)
    desk.receiver.hangs = True
    await desk.channel()
    await desk.fault()
    await desk.pass_by(60)
    (channel,) = await desk.channels()
    assert (channel["waiting"], channel["last_success_at"]) == (1, None)
    assert channel["last_error"].startswith("it did not answer within")


async def test_a_silence_holds_back_until_it_ends(desk: Desk) -> None:
    await desk.channel()
    body = {"subject": "gpu/east-01/*", "until": "2026-05-09T18:00:00Z", "reason": "burn-in"}
    silence = await desk.plane.admin.write("/api/alerts/silences", body)
    await desk.fault()
    await desk.pass_by(600)
    assert desk.receiver.got == []
    (event,) = await desk.plane.admin.read("/api/alerts/events")
    assert (event["state"], event["silenced"]) == ("firing", True)
    ended = await desk.plane.admin.delete(f"/api/alerts/silences/{silence['id']}")
    assert (ended.body["active"], ended.body["ended_at"]) == (False, "2026-05-09T12:10:00Z")
    await desk.pass_by(30)
    assert desk.told() == [FIRST]


async def test_a_silence_ends_by_itself_and_what_is_over_by_then_is_never_told(desk: Desk) -> None:
    await desk.channel()
    body = {"subject": "*", "rule_type": "gpu_fault", "until": "2026-05-09T12:10:00Z", "reason": "burn-in"}
    await desk.plane.admin.write("/api/alerts/silences", body)
    await desk.fault(2)
    await desk.pass_by(300)
    await desk.fault(1)
    await desk.pass_by(270)
    assert desk.receiver.got == []
    await desk.pass_by(60)
    assert desk.told() == [FIRST]


async def test_an_acknowledged_event_is_not_repeated_and_its_end_is_told(desk: Desk) -> None:
    await desk.channel()
    await desk.fault()
    await desk.pass_by(60)
    (event,) = await desk.plane.admin.read("/api/alerts/events")
    await desk.plane.admin.write(f"/api/alerts/events/{event['id']}/acknowledge", {})
    await desk.pass_by(9 * 3600, step=900)
    assert desk.told() == [FIRST]
    await desk.fault(0)
    await desk.pass_by(60)
    assert desk.told()[1:] == [("resolved", "gpu_fault", "east-01/0")]


async def test_disabling_a_rule_tells_the_end_of_what_was_told(desk: Desk) -> None:
    await desk.channel()
    await desk.fault()
    await desk.pass_by(60)
    await desk.plane.admin.patch("/api/alerts/rules/4", {"enabled": False})
    await desk.pass_by(60)
    assert desk.told() == [FIRST, ("resolved", "gpu_fault", "east-01/0")]
    assert desk.receiver.got[1].json["notices"][0]["reason"] == "rule_disabled"


@ON_SQLITE
async def test_each_channel_hears_what_is_severe_enough(desk: Desk) -> None:
    await desk.channel(min_severity="critical")
    await desk.channel(name="all", url=f"{desk.receiver.url}/all")
    await desk.plane.admin.patch("/api/alerts/rules/5", {"threshold": 40, "for_seconds": 0})
    await desk.fault()
    await desk.pass_by(60)
    by_path = {received.path: {rule for _, rule, _ in received.told} for received in desk.receiver.got}
    assert by_path == {"/hook": {"gpu_fault"}, "/all": {"gpu_fault", "gpu_thermal"}}


@ON_SQLITE
async def test_alertmanager_gets_its_own_words(desk: Desk) -> None:
    await desk.channel(type="alertmanager", url=desk.receiver.url + "/")
    await desk.fault()
    await desk.pass_by(60)
    (received,) = desk.receiver.got
    assert received.path == "/api/v2/alerts"
    (alert,) = received.json
    assert alert["labels"]["alertname"] == "gpu_fault"
    assert alert["startsAt"] == "2026-05-09T12:00:30Z"


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
@ON_SQLITE
async def test_apprise_speaks_to_the_rest(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its plain JSON service, which only this test may use: the others need the internet."""
    monkeypatch.setattr(notify, "APPRISE_SCHEMES", frozenset({"json"}))
    await desk.channel(type="apprise", url=desk.receiver.url.replace("http", "json"))
    await desk.fault()
    await desk.pass_by(60)
    (received,) = desk.receiver.got
    assert received.json["title"] == "GPUForge: 1 firing"
    assert received.json["message"].startswith("FIRING [critical] GPU east-01/0 has a fault")
    desk.receiver.status = 500
    await desk.fault(2)
    await desk.pass_by(60)
    assert (await desk.channels())[0]["last_error"] == "the service did not take it"


@ON_SQLITE
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"url": "http://169.254.169.254/latest"}, "169.254.169.254 is no public address"),
        ({"url": "http://10.1.2.3/"}, "10.1.2.3 is no public address"),
        ({"url": "http://[::1]:9/"}, "::1 is no public address"),
        ({"url": "http://[::ffff:169.254.169.254]/"}, "is no public address"),
        ({"url": "http://[fe80::1%25eth0]/"}, "is no public address"),
        ({"url": "http://224.0.0.1/"}, "is no public address"),
        ({"url": "http://\uff11\uff16\uff19.254.169.254/"}, "169.254.169.254 is no public address"),
        ({"url": "http://10。1。2。3/"}, "10.1.2.3 is no public address"),
        ({"url": "http://[64:ff9b::a9fe:a9fe]/"}, "is no public address"),  # by a NAT64 gateway
        ({"url": "http://[2002:a01:203::]/"}, "is no public address"),  # by 6to4
        ({"url": "http://hooks..example/"}, "is no URL"),
        ({"url": f"http://{'a' * 64}.example/"}, "is no URL"),
        ({"url": "ftp://hooks.example/"}, "must begin with one of http://, https://"),
        ({"url": "hooks.example"}, "must begin with one of"),
        ({"url": "https:///path"}, "names no host"),
        ({"url": "https://hooks.example:99999/"}, "is no URL"),
        ({"url": "file:///etc/passwd", "type": "apprise"}, "must begin with one of"),
        ({"url": "json://hooks.example", "type": "apprise"}, "must begin with one of"),
        ({"url": "mailto://10.1.2.3?to=me", "type": "apprise"}, "is no public address"),
        ({"url": "mailto://me:word@mail.example:no", "type": "apprise"}, "is no URL"),
        ({"url": "discord://id/token?template=/etc/passwd", "type": "apprise"}, "must not set template"),
        ({"url": "slack://a/b/c;%54EMPLATE=x&rto=9", "type": "apprise"}, "must not set rto, template"),
    ],
)
async def test_a_url_that_leads_where_it_must_not_is_refused(
    plane: Plane, fields: dict[str, str], words: str
) -> None:
    answer = await plane.admin.post("/api/alerts/channels", {"name": "x", "type": "webhook", **fields})
    assert (answer.status, answer.code, answer.paths) == (422, "channel_url_refused", ["url"])
    assert words in answer.body["detail"]


@ON_SQLITE
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1.2.3", "localhost.", "ⓛocalhost"]
)
async def test_loopback_is_refused_unless_it_is_allowed(serve: Serve, host: str) -> None:
    body = {"name": "x", "type": "webhook", "url": f"http://{host}/"}
    closed = await serve(notify_allow_networks="10.0.0.0/8")
    answer = await closed.admin.post("/api/alerts/channels", body)
    assert (answer.status, answer.code) == (422, "channel_url_refused")


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1"])
async def test_a_name_is_looked_up_when_something_is_sent_and_its_address_checked_then(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """A name passes the first look: only the resolver knows what it stands for, and that may change."""

    async def stands_for(*_: object, **__: object) -> list[Any]:
        public = (2, 1, 6, "", ("8.8.8.8", 9))
        return [public, (10 if ":" in address else 2, 1, 6, "", (address, 9))]

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(type(loop), "getaddrinfo", stands_for)
    with pytest.raises(notify.DeliveryError, match="is no public address"):
        await notify.post("http://innocent.example:9/", b"{}", {}, ())


@pytest.mark.parametrize("host", ["\uff11\uff12\uff17.0.0.1", "127。0。0。1"])
async def test_an_address_in_other_digits_is_no_way_in(host: str) -> None:
    """The HTTP client reads these as 127.0.0.1, and asks no resolver for it."""
    async with receiving() as receiver:
        with pytest.raises(notify.DeliveryError, match="is no public address"):
            await notify.post(receiver.url.replace("127.0.0.1", host), b"{}", {}, ())
    assert receiver.tried == []


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    "url",
    [
        "mailto://u:p@8.8.8.8:{port}?smtp=127.0.0.1&mode=insecure&from=a@b.example",
        "mailto://u:p@8.8.8.8:{port}?smtp=127.0.0.%2531&mode=insecure&from=a@b.example",
    ],
)
async def test_apprise_connects_to_no_private_address_whatever_its_url_says(url: str) -> None:
    came = []
    server = await asyncio.start_server(lambda *_: came.append(1), "127.0.0.1", 0)
    async with server:
        with pytest.raises(notify.DeliveryError, match=r"127\.0\.0\.1 is no public address"):
            await notify.by_apprise(url.format(port=server.sockets[0].getsockname()[1]), "t", "x", ())
    assert came == []


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
@pytest.mark.parametrize("between", [", ", " ", ","])
async def test_a_channel_is_one_url_of_apprise(monkeypatch: pytest.MonkeyPatch, between: str) -> None:
    """apprise itself takes a list of them, of any service, and sends to each in a thread of its own."""
    monkeypatch.setattr(notify, "APPRISE_SCHEMES", frozenset({"json"}))
    came = []
    server = await asyncio.start_server(lambda *_: came.append(1), "127.0.0.1", 0)
    url = f"json://127.0.0.1:9{between}xml://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(notify.DeliveryError):
        await notify.by_apprise(url, "t", "x", (ipaddress.ip_network("127.0.0.1/32"),))
    server.close()
    await server.wait_closed()
    assert came == []


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
async def test_apprise_follows_no_redirect_to_a_private_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "APPRISE_SCHEMES", frozenset({"json"}))
    async with receiving() as receiver:
        receiver.status, allowed = 307, (ipaddress.ip_network("127.0.0.1/32"),)
        receiver.url = receiver.url.replace("127.0.0.1", "127.0.0.2")
        url = receiver.url.replace("127.0.0.2", "127.0.0.1").replace("http", "json")
        with pytest.raises(notify.DeliveryError, match=r"127\.0\.0\.2 is no public address"):
            await notify.by_apprise(url, "t", "x", allowed)
    assert len(receiver.tried) == 1


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_apprise_has_every_service_that_may_be_named() -> None:
    import apprise

    known = {
        scheme
        for service in apprise.Apprise().details()["schemas"]
        for scheme in (*(service["protocols"] or ()), *(service["secure_protocols"] or ()))
    }
    assert known >= notify.APPRISE_SCHEMES


@ON_SQLITE
async def test_a_telegram_token_is_no_port(plane: Plane) -> None:
    url = "tgram://123456789:AAHabc_defGHIjklmnoPQRSTUVWXYZ-1234567/12315544"
    made = await plane.admin.write("/api/alerts/channels", {"name": "x", "type": "apprise", "url": url})
    assert made["address"] == "tgram://…"


@ON_SQLITE
async def test_an_ipv6_address_is_shown_in_brackets(plane: Plane) -> None:
    body = {"name": "x", "type": "webhook", "url": "https://[2606:4700::1111]:9/secret"}
    assert (await plane.admin.write("/api/alerts/channels", body))["address"] == "https://[2606:4700::1111]:9"


async def test_a_redirect_is_not_followed(desk: Desk) -> None:
    await desk.channel()
    desk.receiver.status = 307
    await desk.fault()
    await desk.pass_by(60)
    assert [received.path for received in desk.receiver.tried] == ["/hook"]
    assert (await desk.channels())[0]["last_error"] == "it answered 307"


async def test_a_port_that_nobody_listens_on(desk: Desk, free_port: int) -> None:
    await desk.channel(url=f"http://127.0.0.1:{free_port}/secret-token")
    await desk.fault()
    await desk.pass_by(60)
    (channel,) = await desk.channels()
    assert "refused" in channel["last_error"].lower() or "connect" in channel["last_error"].lower()
    assert "secret-token" not in str(channel)


async def test_no_secret_is_in_the_database(desk: Desk) -> None:
    made = await desk.plane.admin.post(
        "/api/alerts/channels",
        {"name": "x", "type": "webhook", "url": f"{desk.receiver.url}/hook-token"},
        headers={"Idempotency-Key": "once"},
    )
    kept = str(await desk.plane.contents())
    assert "hook-token" not in kept
    assert made.body["signing_secret"] not in kept
    assert "the test's own secret" not in kept
    assert "hook-token" not in str(await desk.plane.admin.read("/api/audit"))
    again = await desk.plane.admin.post(
        "/api/alerts/channels",
        {"name": "x", "type": "webhook", "url": f"{desk.receiver.url}/hook-token"},
        headers={"Idempotency-Key": "once"},
    )
    assert again.body == made.body


async def test_another_secret_opens_nothing_and_says_so(desk: Desk) -> None:
    await desk.channel()
    await desk.fault()
    desk.notifier = notifier_of(
        desk.plane, Outbound(secret=b"another secret of 16", networks=desk.plane.api.outbound.networks)
    )
    await desk.pass_by(60)
    assert desk.receiver.tried == []
    assert "another GPUFORGE_NOTIFY_SECRET" in (await desk.channels())[0]["last_error"]


@ON_SQLITE
async def test_without_a_secret_no_channel_is_made(serve: Serve) -> None:
    plane = await serve(notify_secret=None)
    body = {"name": "x", "type": "webhook", "url": "https://hooks.example/"}
    answer = await plane.admin.post("/api/alerts/channels", body)
    assert (answer.status, answer.code) == (409, "notify_secret_missing")
    assert "GPUFORGE_NOTIFY_SECRET" in answer.body["detail"]


async def test_channels_come_and_go(desk: Desk) -> None:
    made = await desk.channel()
    taken = await desk.plane.admin.post(
        "/api/alerts/channels", {"name": "pager", "type": "webhook", "url": "https://hooks.example"}
    )
    assert (taken.status, taken.code) == (409, "name_taken")
    assert made["address"] == desk.receiver.url
    desk.receiver.status = 500
    await desk.fault()
    await desk.pass_by(60)
    gone = await desk.plane.admin.delete(f"/api/alerts/channels/{made['id']}")
    assert (gone.status, gone.body["waiting"]) == (200, 1)
    assert await desk.plane.count("notifications") == 0
    assert (
        await desk.plane.admin.delete(f"/api/alerts/channels/{made['id']}")
    ).code == "alert_channel_not_found"


@ON_SQLITE
async def test_what_is_not_taken_for_a_day_is_given_up(desk: Desk) -> None:
    await desk.channel()
    desk.receiver.status = 500
    await desk.fault()
    await desk.pass_by(60)
    desk.plane.clock.forward(hours=24)
    await desk.look()
    (row,) = await desk.plane.rows("SELECT given_up_at FROM notifications WHERE given_up_at IS NOT NULL")
    assert row[0]
    desk.plane.clock.forward(minutes=10)
    tries = len(desk.receiver.tried)
    await desk.look()
    assert len(desk.receiver.tried) == tries + 1  # the repeat after four hours, which is another one


@ON_SQLITE
async def test_many_events_come_in_several_notifications(desk: Desk) -> None:
    await desk.channel()
    west = await build_site(desk.plane, "west")
    cards = [{"gpu_index": number, "model": "H100"} for number in range(2, 452)]
    await desk.plane.admin.write("/api/clusters/gpus", {"node_id": west.node_id, "gpus": cards})
    async with desk.plane.database.write() as tx:
        await tx.exec_driver_sql(f"UPDATE gpus SET status = 'unhealthy' WHERE node_id = {west.node_id}")
    await desk.pass_by(60)
    for _ in range(5):
        await desk.look()
    assert [len(received.told) for received in desk.receiver.got] == [200, 200, 52]
    assert len(set(desk.told())) == 452


@ON_SQLITE
@pytest.mark.parametrize("until", ["2026-05-09T12:00:00Z", "2026-05-08T12:00:00Z", "2027-05-11T12:00:00Z"])
async def test_a_silence_has_an_end(plane: Plane, until: str) -> None:
    body = {"subject": "*", "until": until, "reason": "x"}
    answer = await plane.admin.post("/api/alerts/silences", body)
    assert (answer.status, answer.paths) == (422, ["until"])


@pytest.mark.parametrize("subject", ["east-01", "gpu-0*", "nodes/east-01", "node", "Node/*", "[", "foo*/x"])
@ON_SQLITE
async def test_a_silence_that_can_match_nothing_is_refused(plane: Plane, subject: str) -> None:
    """Whoever forgets the type would believe it holds, and be woken all the same."""
    body = {"subject": subject, "until": "2026-05-09T18:00:00Z", "reason": "x"}
    answer = await plane.admin.post("/api/alerts/silences", body)
    assert (answer.status, answer.paths) == (422, ["subject"])
    assert "write type/name, of cluster, tenant" in answer.body["detail"]


@pytest.mark.parametrize("subject", ["*", "*east*", "gpu/*/3", "[gn]*/east-0?", "n*", "control_plane/meter"])
@ON_SQLITE
async def test_a_silence_of_several_sorts(plane: Plane, subject: str) -> None:
    body = {"subject": subject, "until": "2026-05-09T18:00:00Z", "reason": "x"}
    assert (await plane.admin.post("/api/alerts/silences", body)).status == 201


async def test_silences_as_a_list(plane: Plane) -> None:
    for hour in (13, 14, 15):
        body = {"subject": "node/*", "until": f"2026-05-09T{hour}:00:00Z", "reason": f"until {hour}"}
        made = await plane.admin.write("/api/alerts/silences", body)
    assert made == {
        "id": made["id"], "subject": "node/*", "rule_type": None, "until": "2026-05-09T15:00:00Z",
        "reason": "until 15", "created_by": "key 1 (the admin)", "created_at": "2026-05-09T12:00:00Z",
        "ended_at": None, "active": True,
    }  # fmt: skip
    plane.clock.forward(hours=1)
    await plane.admin.delete(f"/api/alerts/silences/{made['id']}")
    again = await plane.admin.delete(f"/api/alerts/silences/{made['id']}")
    assert (again.status, again.body["ended_at"]) == (200, "2026-05-09T13:00:00Z")
    silences = await plane.admin.read("/api/alerts/silences")
    assert [(row["reason"], row["active"]) for row in silences] == [
        ("until 15", False),
        ("until 14", True),
        ("until 13", False),
    ]
    active = await plane.admin.read("/api/alerts/silences?active=true")
    assert [row["reason"] for row in active] == ["until 14"]
    assert (await plane.admin.delete("/api/alerts/silences/99")).code == "silence_not_found"


async def test_who_does_not_lead_tells_nobody(desk: Desk) -> None:
    await desk.channel()
    await desk.fault()
    leadership = desk.notifier._leadership
    leadership.token = None
    await desk.pass_by(60)
    assert desk.receiver.tried == []
    leadership.token = desk.plane.token + 1  # of another life
    await desk.look()
    assert not leadership.token
    assert desk.receiver.tried == []
