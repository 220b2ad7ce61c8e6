"""Who leads: the lease, the fence that it is for writes, and the loop that depends on both."""

import asyncio
from datetime import timedelta
from select import select as select_readable
from typing import Any
from unittest.mock import AsyncMock

import pytest
from sqlalchemy import select, text

from gpuforge_controlplane.loops.leader import Leadership
from gpuforge_controlplane.loops.schedule import DEAF_AFTER, Schedule
from gpuforge_controlplane.services.scheduling import run_cycle
from gpuforge_controlplane.storage import audit, leases, schema
from gpuforge_controlplane.storage.database import Connection, Database
from gpuforge_controlplane.storage.leases import LeaseLostError
from gpuforge_shared.errors import Unavailable
from tests.storage.rows import Shelf

LONG, GONE = timedelta(hours=1), timedelta(0)


async def take(shelf: Shelf, holder: str, ttl: timedelta = LONG) -> int | None:
    async with shelf.database.write() as tx:
        return await leases.take(tx, holder, ttl)


async def guarded(shelf: Shelf, token: int) -> None:
    async with shelf.database.write() as tx:
        await leases.guard(tx, token)


async def write_down(tx: Connection, shelf: Shelf, action: str) -> None:
    """What any write of a person or an agent leaves."""
    row = {"at": shelf.now, "principal": "test", "action": action, "object_type": "job", "object_id": 1}
    await audit.append(tx, {**row, "before": None, "after": None, "request_id": "test"})


async def test_the_token_stays_with_a_holder_and_grows_with_a_change(shelf: Shelf) -> None:
    assert await take(shelf, "a") == 1
    assert await take(shelf, "a") == 1
    assert await take(shelf, "b") is None
    assert await take(shelf, "a", GONE) == 1  # it expires at once
    assert await take(shelf, "b") == 2
    assert await take(shelf, "a") is None
    assert len(await shelf.all("SELECT name FROM leases")) == 1


async def test_who_comes_back_to_an_expired_lease_that_nobody_took_goes_on(shelf: Shelf) -> None:
    assert await take(shelf, "a", GONE) == 1
    await guarded(shelf, 1)  # nobody else has led meanwhile: what it writes can hurt nobody
    assert await take(shelf, "a") == 1


async def test_letting_go_lets_another_lead_at_once(shelf: Shelf) -> None:
    await take(shelf, "a")
    async with shelf.database.write() as tx:
        await leases.release(tx, "somebody else")
    assert await take(shelf, "b") is None
    async with shelf.database.write() as tx:
        await leases.release(tx, "a")
    assert await take(shelf, "b") == 2


async def test_of_many_at_once_one_leads(shelf: Shelf) -> None:
    tokens = await asyncio.gather(*(take(shelf, f"plane {number}") for number in range(8)))
    assert sorted(token or 0 for token in tokens) == [0] * 7 + [1]


async def test_expiry_is_told_by_the_databases_clock(shelf: Shelf) -> None:
    await take(shelf, "a", timedelta(seconds=60))
    async with shelf.database.write() as tx:
        now = await leases.database_time(tx)
    (row,) = await shelf.all(select(schema.leases))
    assert timedelta(seconds=50) < row.expires_at - now <= timedelta(seconds=60)


async def test_a_token_of_the_past_writes_nothing(shelf: Shelf) -> None:
    """A leader that was stopped past its lease, and goes on: its whole cycle bounces."""
    await shelf.node(8)
    await shelf.queue(3, 2)
    old = await take(shelf, "stopped", GONE)
    new = await take(shelf, "other")
    assert old is not None
    assert new is not None
    with pytest.raises(LeaseLostError):
        await run_cycle(shelf.database, shelf.clock, old)
    assert set((await shelf.statuses()).values()) == {"queued"}
    assert await shelf.all("SELECT id FROM scheduler_cycles") == []
    await run_cycle(shelf.database, shelf.clock, new)
    assert set((await shelf.statuses()).values()) == {"running"}


async def test_a_leader_that_is_overtaken_in_mid_cycle_starts_nothing_more(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shelf.node(8)
    await shelf.queue(3, 2)
    old = await take(shelf, "slow")
    assert old is not None
    guard, calls = leases.guard, 0

    async def overtaken(tx: Connection, token: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:  # between two chunks of starts
            await leases.release(tx, "slow")
            assert await leases.take(tx, "other", LONG) == old + 1
        await guard(tx, token)

    monkeypatch.setattr("gpuforge_controlplane.services.scheduling.CHUNK", 1)
    monkeypatch.setattr(leases, "guard", overtaken)
    with pytest.raises(LeaseLostError):
        await run_cycle(shelf.database, shelf.clock, old)
    assert sorted((await shelf.statuses()).values()) == ["queued", "queued", "running"]


async def test_without_a_lease_no_token_passes(shelf: Shelf) -> None:
    with pytest.raises(LeaseLostError):
        await guarded(shelf, 1)


@pytest.mark.parametrize("dialect", ["postgresql"])
async def test_a_leader_that_hangs_in_a_transaction_is_thrown_out(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped, or its machine lost, with the lease's row locked: nobody could take over for hours."""
    monkeypatch.setattr("gpuforge_controlplane.storage.database.HANG_S", 0.2)
    hanging = Database(shelf.database.url.render_as_string(hide_password=False))
    token = await take(shelf, "hanging", GONE)
    assert token is not None

    async def hang() -> None:
        async with hanging.write() as tx:
            await leases.guard(tx, token)
            async with asyncio.timeout(20):
                assert await take(shelf, "other") == token + 1
            await leases.guard(tx, token)

    with pytest.raises(Unavailable):
        await hang()
    await hanging.close()


@pytest.mark.parametrize("dialect", ["postgresql"])
async def test_who_was_stopped_in_a_transaction_does_it_again(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that stood still for a while must not cost its clients an error each."""
    monkeypatch.setattr("gpuforge_controlplane.storage.database.HANG_S", 0.2)
    stopped = Database(shelf.database.url.render_as_string(hide_password=False))
    looks = 0

    async def work(tx: Connection) -> int:
        nonlocal looks
        looks += 1
        await tx.execute(text("SELECT 1"))
        if looks == 1:  # nothing of this process goes on until the server has had enough
            wire = (await tx.get_raw_connection()).driver_connection
            assert wire is not None
            assert select_readable([wire._transport.get_extra_info("socket")], [], [], 20)[0]
        return int((await tx.execute(text("SELECT 42"))).scalar_one())

    assert await stopped.transact(work) == 42
    assert looks == 2
    await stopped.close()


async def test_leadership_follows_the_lease(shelf: Shelf) -> None:
    first, second = Leadership(shelf.database, "first"), Leadership(shelf.database, "second")
    await first.renew()
    await second.renew()
    assert (first.token, second.token) == (1, None)
    async with shelf.database.write() as tx:
        await leases.release(tx, "first")
    await second.renew()
    await first.renew()
    assert (first.token, second.token) == (None, 2)
    second.lost()
    assert second.token is None
    await second.renew()
    assert second.token == 2


async def test_without_the_database_nobody_leads(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    leadership = Leadership(shelf.database, "first")
    await leadership.renew()

    async def away(*_: object) -> int:
        raise ConnectionError

    monkeypatch.setattr(leases, "take", away)
    with pytest.raises(Unavailable):
        await leadership.renew()
    assert leadership.token is None


async def test_a_stop_lets_go_of_the_lease(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    leadership = Leadership(shelf.database, "first")
    taken = asyncio.Event()
    take_it = leases.take

    async def told(*arguments: Any) -> int | None:
        token = await take_it(*arguments)
        taken.set()
        return token

    monkeypatch.setattr(leases, "take", told)
    async with leadership.held(), asyncio.timeout(20):
        await taken.wait()
        assert await take(shelf, "second") is None
    assert await take(shelf, "second") == 2


async def test_a_stop_without_the_database_is_a_stop(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    leadership = Leadership(shelf.database, "first")
    monkeypatch.setattr(leadership, "renew", AsyncMock())
    async with leadership.held():
        leadership.token = 1
        monkeypatch.setattr(leases, "release", AsyncMock(side_effect=ConnectionError))


@pytest.fixture
async def schedule(shelf: Shelf) -> Schedule:
    """Of a replica that leads; nothing is due for an hour but what somebody wrote."""
    leadership = Leadership(shelf.database, "the leader")
    leadership.token = await shelf.lease("the leader")
    return Schedule(shelf.database, leadership, shelf.clock, every_s=3_600)


async def cycles(shelf: Shelf) -> int:
    return int((await shelf.all("SELECT count(*) FROM scheduler_cycles"))[0][0])


async def look(schedule: Schedule) -> None:
    """Look, however short ago the last cycle ended."""
    schedule._rest_until = 0
    await schedule()


async def test_a_cycle_runs_at_first_and_then_when_somebody_wrote(shelf: Shelf, schedule: Schedule) -> None:
    for wrote, expected in ((False, 1), (False, 1), (True, 2), (False, 2), (True, 3)):
        if wrote:
            async with shelf.database.write() as tx:
                await write_down(tx, shelf, "job.create")
        await look(schedule)
        assert await cycles(shelf) == expected
    schedule._due = 0
    await look(schedule)
    assert await cycles(shelf) == 4


async def test_who_does_not_lead_runs_nothing(shelf: Shelf, schedule: Schedule) -> None:
    schedule._leadership.token = None
    await look(schedule)
    assert await cycles(shelf) == 0


async def test_who_was_overtaken_stops_to_lead(shelf: Shelf, schedule: Schedule) -> None:
    async with shelf.database.write() as tx:
        await leases.release(tx, "the leader")
    await take(shelf, "other")
    await look(schedule)
    assert (await cycles(shelf), schedule._leadership.token) == (0, None)


@pytest.mark.parametrize("dialect", ["postgresql"])
async def test_a_write_that_commits_after_a_later_one_is_seen(shelf: Shelf, schedule: Schedule) -> None:
    """Numbers are drawn at the write and seen at the commit: the last one is not always the newest."""
    async with shelf.database.write() as slow:
        await write_down(slow, shelf, "job.create")
        async with shelf.database.write() as fast:
            await write_down(fast, shelf, "job.create")
        await look(schedule)
        assert await cycles(shelf) == 1
    await look(schedule)
    assert await cycles(shelf) == 2


async def test_after_an_outage_nodes_have_time_to_be_heard_again(shelf: Shelf, schedule: Schedule) -> None:
    await shelf.node(8)
    (job,) = await shelf.queue(1, 8)
    await look(schedule)
    assert await shelf.statuses() == {job: "running"}

    async def later(seconds: float) -> str:
        shelf.now += timedelta(seconds=seconds)
        schedule._due = 0
        await look(schedule)
        return (await shelf.statuses())[job]

    assert await later(3_600) == "running"  # away for an hour, and so could nobody be heard
    assert [await later(DEAF_AFTER.seconds) for _ in range(2)] == ["running"] * 2
    await shelf.run("UPDATE nodes SET last_heartbeat_at = last_heartbeat_at")
    assert await later(DEAF_AFTER.seconds) == "queued"  # 90 s of listening, and not a word
    schedule._leadership.token, token = None, schedule._leadership.token
    await look(schedule)
    schedule._leadership.token = token
    assert await later(1) == "queued"


async def test_a_retired_nodes_jobs_need_no_time(shelf: Shelf, schedule: Schedule) -> None:
    node = await shelf.node(8)
    (job,) = await shelf.queue(1, 8)
    await look(schedule)
    await shelf.run("UPDATE nodes SET retired_at = created_at WHERE id = :node", node=node)
    schedule._due = 0
    await look(schedule)
    assert await shelf.statuses() == {job: "blocked"}  # the cluster owns no GPU any more
