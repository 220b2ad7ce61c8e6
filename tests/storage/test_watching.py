"""An evaluation against a database: what it reads, what it writes, and what it leaves when it dies."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import AsyncMock

import pytest

from gpuforge_controlplane.domain.alerts import Transition
from gpuforge_controlplane.domain.buckets import Kept
from gpuforge_controlplane.domain.rules import BY_ID
from gpuforge_controlplane.domain.watched import Cluster, Gpu, Holding, Node, Tenant
from gpuforge_controlplane.loops import alerts as loop
from gpuforge_controlplane.loops.leader import Leadership
from gpuforge_controlplane.services import metering, retention, watching
from gpuforge_controlplane.storage import alerts, billing_schema, budgets, watch
from gpuforge_controlplane.storage.health_schema import gpu_faults
from gpuforge_controlplane.storage.leases import LeaseLostError
from gpuforge_controlplane.storage.means import Lately
from gpuforge_controlplane.storage.schema import allocations
from tests.hand_clock import HandClock
from tests.storage.rows import NOW, Shelf

LONG_AGO = NOW - timedelta(days=1)


async def look(shelf: Shelf, token: int, *, since: datetime = LONG_AGO) -> list[tuple[str, str]]:
    changes = await watching.run_evaluation(shelf.database, shelf.clock, token, hearing_since=since)
    return [(change.kind, change.rule.rule_type) for change in changes]


async def states(shelf: Shelf) -> list[Any]:
    rows = await shelf.all("SELECT rule_type, subject_id, state FROM alert_events ORDER BY id")
    return [tuple(row) for row in rows]


async def test_the_picture(shelf: Shelf) -> None:
    seconds = NOW.timestamp()
    fault = {"kind": "xid", "code": "79", "message": "Xid 79: fell off the bus", "seen_at": NOW}
    tenant, inactive = await shelf.tenant(16), await shelf.tenant(8, "inactive")
    node = await shelf.node(3, last_heartbeat_at=NOW - timedelta(seconds=30))
    await shelf.node(2, retired_at=NOW)
    await shelf.run("UPDATE gpus SET gpu_index = NULL WHERE id = 3")
    await shelf.run("UPDATE gpus SET status = 'unhealthy', temperature_c = 71.5 WHERE id = 2")
    await shelf.insert(gpu_faults, {**fault, "gpu_id": 2, "needs_operator": True, "cleared_at": None})
    await shelf.insert(gpu_faults, {**fault, "gpu_id": 1, "needs_operator": True, "cleared_at": NOW})
    (job,) = await shelf.queue(gpu_count=2, tenant_id=tenant, status="running", started_at=NOW)
    await shelf.queue(tenant_id=inactive, submitted_at=NOW - timedelta(minutes=9))
    await shelf.queue(submitted_at=NOW - timedelta(minutes=5))
    await shelf.queue(status="blocked", submitted_at=NOW - timedelta(hours=5))
    held = {"job_id": job, "node_id": node, "family": "H100", "tenant_id": tenant, "started_at": NOW}
    await shelf.insert(
        allocations, {**held, "gpu_id": 1, "ended_at": None}, {**held, "gpu_id": 2, "ended_at": NOW}
    )
    async with shelf.database.read() as tx:
        seen = await watch.load(tx, NOW, LONG_AGO)
    assert seen.hearing_since == LONG_AGO.timestamp()
    assert seen.clusters == [Cluster(1, "east", None, seconds - 540)]
    assert seen.nodes == [Node(node, 1, "node-0", seconds - 30)]
    assert seen.gpus == [
        Gpu(1, node, 0, seconds),
        Gpu(2, node, 1, seconds, 71.5, ("Xid 79: fell off the bus",)),
    ]
    assert seen.holdings == [Holding(1, job, tenant, seconds, "H100")]
    assert seen.tenants == [Tenant(tenant, "tenant 0", 16, 2)]
    assert (seen.invoices, seen.usage_owed_since) == ([], seconds)  # GPU 2's, which ended


async def test_money_in_the_picture(shelf: Shelf) -> None:
    tenant, free = await shelf.tenant(16), await shelf.tenant(8)
    budget = {"monthly_cents": 10_000, "updated_at": NOW}
    invoice = {
        "tenant_id": tenant, "tenant_name": "x", "period_start": NOW, "period_end": NOW, "currency": "USD",
        "total_cents": 1, "gpu_seconds": 1, "issued_at": NOW,
    }  # fmt: skip
    late, soon = NOW - timedelta(days=1), NOW + timedelta(days=1)
    async with shelf.database.write() as tx:
        await tx.execute(billing_schema.budgets.insert(), {"tenant_id": tenant, **budget})
        await tx.execute(
            billing_schema.invoices.insert(),
            [
                {**invoice, "sequence": number, "status": status, "due_at": due}
                for number, (status, due) in enumerate(
                    [("pending", late), ("overdue", soon), ("pending", soon), ("paid", late), ("void", late)],
                    1,
                )
            ],
        )
        seen = await watch.load(tx, NOW, LONG_AGO)
    assert seen.tenants == [Tenant(tenant, "tenant 0", 16, 0, 0), Tenant(free, "tenant 1", 8, 0)]
    assert [(one.number, one.due_at - NOW.timestamp()) for one in seen.invoices] == [
        ("GF-000001", -86_400),
        ("GF-000002", 0),
        ("GF-000003", 86_400),
    ]
    assert seen.usage_owed_since is None


async def test_what_of_a_budget_is_crossed_and_what_of_it_was_told(shelf: Shelf) -> None:
    """Of this month, which lasts an hour longer: its last crossings are noted in the next."""
    token, tenant = await shelf.lease(), await shelf.tenant(16)
    may, june = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)

    async def cross(month: datetime, percent: int) -> None:
        async with shelf.database.write() as tx:
            amounts = {"budget": 100, "spent": percent}
            await budgets.note_crossing(
                tx, tenant_id=tenant, month=month, percent=percent, **amounts, now=shelf.now
            )

    async def parts() -> tuple[int | None, int]:
        async with shelf.database.read() as tx:
            (told,) = (await watch.load(tx, shelf.now, LONG_AGO)).tenants
        return told.budget_pct, told.budget_told_pct

    await cross(may, 50)
    await cross(datetime(2026, 4, 1, tzinfo=UTC), 100)
    assert await parts() == (None, 0)
    async with shelf.database.write() as tx:
        await budgets.put(tx, tenant, 100, NOW)
    assert await parts() == (50, 0)
    assert ("firing", "budget") in await look(shelf, token)
    assert await parts() == (50, 50)
    shelf.now = june + timedelta(minutes=59)
    await cross(may, 80)
    assert await parts() == (80, 50)
    assert await look(shelf, token) == [("resolved", "budget"), ("firing", "budget")]
    shelf.now += timedelta(minutes=1)
    await cross(june, 50)
    assert await parts() == (50, 0)
    assert await look(shelf, token) == [("resolved", "budget")]
    assert await look(shelf, token) == [("firing", "budget")]
    rows = await shelf.all("SELECT severity, threshold, reason FROM alert_events ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("info", 50, "superseded"), ("warning", 80, "recovered"), ("info", 50, None),
    ]  # fmt: skip


MIDNIGHT = datetime(2026, 5, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("started", "heard", "limit_min", "now", "owed"),
    [
        (MIDNIGHT + timedelta(hours=1), NOW, None, NOW, None),
        (MIDNIGHT - timedelta(hours=1), NOW, None, NOW, MIDNIGHT),
        (MIDNIGHT - timedelta(hours=30), NOW, None, NOW, MIDNIGHT - timedelta(days=1)),
        (MIDNIGHT - timedelta(hours=1), NOW, None, MIDNIGHT + timedelta(minutes=4), None),
        (MIDNIGHT - timedelta(hours=1), MIDNIGHT - timedelta(hours=1), None, NOW, None),
        (MIDNIGHT - timedelta(hours=1), NOW, 0, NOW, None),
    ],
    ids=[
        "runs since today", "ran over midnight", "two days", "just past midnight", "its node was lost",
        "past its time limit",
    ],
)  # fmt: skip
async def test_usage_is_owed_once_its_day_is_over(
    shelf: Shelf,
    started: datetime,
    heard: datetime,
    limit_min: int | None,
    now: datetime,
    owed: datetime | None,
) -> None:
    """And none is any more after a round of the meter."""
    token, node = await shelf.lease(), await shelf.node(1, last_heartbeat_at=heard)
    (job,) = await shelf.queue(status="running", started_at=started, time_limit_min=limit_min)
    await shelf.insert(
        allocations, {"job_id": job, "node_id": node, "gpu_id": 1, "family": "H100", "started_at": started}
    )
    for expected in (None if owed is None else owed.timestamp(), None):
        async with shelf.database.read() as tx:
            assert (await watch.load(tx, now, LONG_AGO)).usage_owed_since == expected
        await metering.run_meter(shelf.database, lambda: now, token)


async def test_one_event_whoever_evaluates_and_how_often(shelf: Shelf) -> None:
    token = await shelf.lease()
    await shelf.node(2, last_heartbeat_at=NOW - timedelta(minutes=5))
    await asyncio.gather(*(look(shelf, token) for _ in range(5)))
    assert sorted(await states(shelf)) == [("health_degraded", 1, "pending"), ("node_offline", 1, "firing")]
    assert await look(shelf, token) == []


async def test_evaluations_of_the_same_write_once(shelf: Shelf) -> None:
    token = await shelf.lease()
    await shelf.node(2, last_heartbeat_at=NOW - timedelta(minutes=5))
    changes = [change for _ in range(50) for change in await look(shelf, token)]
    assert sorted(changes) == [("firing", "node_offline"), ("pending", "health_degraded")]


async def test_a_token_of_the_past_changes_nothing(shelf: Shelf) -> None:
    await shelf.lease("somebody else")
    await shelf.node(2, last_heartbeat_at=NOW - timedelta(minutes=5))
    with pytest.raises(LeaseLostError):
        await look(shelf, 99)
    assert await states(shelf) == []


async def test_an_evaluation_that_dies_half_way_has_changed_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It resolves one event, opens another, and dies before it commits; the next one does it all."""
    token = await shelf.lease()
    node = await shelf.node(2, last_heartbeat_at=NOW - timedelta(minutes=5))
    await look(shelf, token)
    await shelf.run("UPDATE nodes SET last_heartbeat_at = (SELECT max(created_at) FROM nodes)")
    await shelf.run("UPDATE gpus SET status = 'unhealthy'")
    before = await states(shelf)
    with monkeypatch.context() as patch:
        patch.setattr(alerts, "_move", AsyncMock(side_effect=RuntimeError("half way")))
        with pytest.raises(RuntimeError, match="half way"):
            await look(shelf, token)
    assert await states(shelf) == before
    await look(shelf, token)
    assert sorted(await states(shelf)) == [
        ("gpu_fault", 1, "firing"),
        ("gpu_fault", 2, "firing"),
        ("health_degraded", node, "pending"),
        ("node_offline", node, "resolved"),
    ]


async def test_an_event_that_moved_on_meanwhile_is_left_alone(shelf: Shelf) -> None:
    token = await shelf.lease()
    await shelf.node(2, last_heartbeat_at=NOW - timedelta(minutes=5))
    await look(shelf, token)
    changes = await watching.run_evaluation(
        shelf.database, lambda: NOW + timedelta(minutes=1), token, hearing_since=LONG_AGO
    )
    async with shelf.database.write() as tx:
        await alerts.resolve_rule(tx, 3, NOW + timedelta(minutes=2))
        await alerts.apply(tx, changes, NOW + timedelta(minutes=3))
    assert sorted(await states(shelf)) == [("health_degraded", 1, "resolved"), ("node_offline", 1, "firing")]


async def test_each_change_is_logged_once_and_kept_for_a_time(shelf: Shelf) -> None:
    token = await shelf.lease()
    node = await shelf.node(2, last_heartbeat_at=NOW - timedelta(minutes=5))
    await look(shelf, token)
    later = NOW + timedelta(minutes=1)
    changes = await watching.run_evaluation(shelf.database, lambda: later, token, hearing_since=LONG_AGO)
    async with shelf.database.write() as tx:
        await alerts.apply(tx, changes, later)  # moved on already
        await alerts.resolve_rule(tx, 6, later)
        await alerts.resolve_rule(tx, 6, later)
        changed = await alerts.open_events(tx)
        dropped = Transition(kind="dropped", rule=BY_ID[3].rule, subject_id=node, event_id=changed[0].id)
        await alerts.apply(tx, [dropped], later)  # it fires, and is not dropped
    log = await shelf.all("SELECT rule_type, from_state, to_state, reason FROM alert_transitions ORDER BY id")
    assert sorted(map(tuple, log), key=str) == sorted(
        [
            ("health_degraded", None, "pending", None),
            ("health_degraded", "pending", "firing", None),
            ("node_offline", None, "firing", None),
            ("node_offline", "firing", "resolved", "rule_disabled"),
        ],
        key=str,
    )
    for age, left in ((timedelta(0), 4), (timedelta(seconds=1), 2), (timedelta(minutes=2), 0)):
        await retention.enforce(shelf.database, NOW + retention.TRANSITIONS_KEPT_FOR + age, Kept())
        assert len(await shelf.all("SELECT id FROM alert_transitions")) == left


async def test_what_was_only_pending_is_logged_as_dropped(shelf: Shelf) -> None:
    token = await shelf.lease()
    await shelf.node(2, last_heartbeat_at=NOW - timedelta(minutes=5))
    await look(shelf, token)
    async with shelf.database.write() as tx:
        await alerts.resolve_rule(tx, 3, NOW)
    log = await shelf.all(
        "SELECT from_state, to_state FROM alert_transitions WHERE rule_type = 'health_degraded' ORDER BY id"
    )
    assert [tuple(row) for row in log] == [(None, "pending"), ("pending", "dropped")]


async def test_resolved_events_are_kept_for_a_time(shelf: Shelf) -> None:
    token = await shelf.lease()
    await shelf.node(2, last_heartbeat_at=NOW - timedelta(minutes=5))
    await look(shelf, token)
    async with shelf.database.write() as tx:
        await alerts.resolve_rule(tx, 6, NOW)
    for age, left in ((retention.EVENTS_KEPT_FOR, 2), (retention.EVENTS_KEPT_FOR + timedelta(seconds=1), 1)):
        await retention.enforce(shelf.database, NOW + age, Kept())
        assert len(await states(shelf)) == left  # what is not resolved stays


class Ear:
    """The loop, with both clocks in a test's hand; evaluations are noted, not run."""

    def __init__(self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shelf, self.ticks = shelf, HandClock()
        self.leadership = Leadership(shelf.database, "the test")
        self.leadership.token = 1
        self.heard_for: list[float] = []
        self.counted: list[int] = []  # seconds that an evaluation stands for
        self.watch = loop.Watch(shelf.database, self.leadership, shelf.clock, self.ticks)
        monkeypatch.setattr(watching, "run_evaluation", self._note)

    async def _note(self, *_: object, hearing_since: datetime, seconds: int, lately: Lately) -> None:
        assert lately.until is None  # nothing was read yet
        self.heard_for.append((self.shelf.now - hearing_since).total_seconds())
        self.counted.append(seconds)

    async def pass_by(self, seconds: int) -> None:
        """A look each second."""
        for _ in range(seconds):
            self.shelf.now += timedelta(seconds=1)
            self.ticks.now += 1
            await self.watch()


async def test_the_leader_alone_evaluates_every_half_minute(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear = Ear(shelf, monkeypatch)
    await ear.pass_by(91)
    assert ear.heard_for == [0, 30, 60, 90]
    ear.leadership.token = None
    await ear.pass_by(60)
    assert len(ear.heard_for) == 4
    ear.leadership.token = 2
    await ear.pass_by(1)
    assert ear.counted == [0, 30, 30, 30, 0]
    assert ear.heard_for[4:] == [0]  # whoever led meanwhile, this one begins to listen anew


@pytest.mark.parametrize("step_s", [3600, -3600, 6, -6])
async def test_a_step_of_the_clock_is_a_new_beginning(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, step_s: int
) -> None:
    ear = Ear(shelf, monkeypatch)
    await ear.pass_by(45)
    shelf.now += timedelta(seconds=step_s)
    await ear.pass_by(20)
    assert ear.heard_for == [0, 30, 15]
    assert ear.counted == [0, 30, 0]


async def test_a_long_sleep_is_a_new_beginning(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both clocks went on while the process was stopped: nobody listened."""
    ear = Ear(shelf, monkeypatch)
    await ear.pass_by(45)
    shelf.now += timedelta(seconds=31)
    ear.ticks.now += 31
    await ear.pass_by(1)
    assert ear.heard_for == [0, 30, 0]


async def test_a_leader_of_the_past_steps_down(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Ear(shelf, monkeypatch)
    monkeypatch.setattr(watching, "run_evaluation", AsyncMock(side_effect=LeaseLostError))
    await ear.pass_by(1)
    assert ear.leadership.token is None
