"""Nodes that register or tell that they live in one transaction: each gets what it would have got alone."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from gpuforge_controlplane.domain.access import Principal
from gpuforge_controlplane.services import together
from gpuforge_controlplane.services.context import Context, Upserted
from gpuforge_controlplane.services.inventory import register_inventories
from gpuforge_controlplane.services.registration import register_nodes
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.schema import clusters, nodes
from gpuforge_shared.errors import GPUForgeError
from gpuforge_shared.wire.fleet import GpuRegister, NodeRecord, NodeRegister
from tests.storage.rows import OPERATOR, Shelf, agents_of

Outcome = Upserted[NodeRecord] | GPUForgeError


async def register(shelf: Shelf, *asked: tuple[Principal, dict[str, Any]]) -> Sequence[Outcome]:
    """What becomes of these requests, made in one transaction."""
    bodies = [(who, NodeRegister(**{"cluster_id": 1, **told})) for who, told in asked]
    return await shelf.together(register_nodes, *bodies)


def words(outcomes: Sequence[Outcome]) -> list[object]:
    """`(id, whether it is new)` of each, or the code of its refusal."""
    return [
        one.code if isinstance(one, GPUForgeError) else (one.answer["id"], one.created) for one in outcomes
    ]


async def audited(shelf: Shelf) -> list[tuple[object, ...]]:
    rows = await shelf.all("SELECT action, object_id, principal, request_id FROM audit_log ORDER BY id")
    return [tuple(row) for row in rows]


async def test_each_of_a_group_gets_its_own_answer(shelf: Shelf) -> None:
    await shelf.insert(clusters, {"name": "west", "created_at": shelf.now})
    known = await shelf.node(0, hostname="known", cpu_cores=64)
    retired = await shelf.node(0, hostname="retired", retired_at=shelf.now)
    shelf.now += timedelta(seconds=30)
    outcomes = await register(
        shelf,
        (OPERATOR, {"hostname": "new", "cpu_cores": 8, "ip_address": "10.0.0.1"}),
        (OPERATOR, {"hostname": "known"}),
        (OPERATOR, {"hostname": "retired"}),
        (OPERATOR, {"hostname": "new", "cluster_id": 99}),
        (agents_of(2), {"hostname": "known"}),
        (agents_of(2), {"hostname": "new"}),
        (agents_of(2), {"hostname": "known", "cluster_id": 2}),
        (OPERATOR, {"hostname": "new", "ram_gb": 16}),
    )
    assert words(outcomes) == [
        (3, True),
        (known, False),
        "node_retired",
        "cluster_not_found",
        "cluster_not_found",
        "cluster_not_found",
        (4, True),
        (3, False),
    ]
    assert isinstance(last := outcomes[-1], Upserted)
    assert (last.answer["cpu_cores"], last.answer["ram_gb"], last.answer["ip_address"]) == (8, 16, "10.0.0.1")
    found = await shelf.all("SELECT id, hostname, cluster_id, cpu_cores, ram_gb FROM nodes ORDER BY id")
    assert [tuple(row) for row in found] == [
        (known, "known", 1, 64, None),
        (retired, "retired", 1, None, None),
        (3, "new", 1, 8, 16),
        (4, "known", 2, None, None),
    ]
    assert await audited(shelf) == [
        ("node.create", 3, "operator", "r0"),
        ("node.create", 4, "agents of 2", "r6"),
        ("node.update", 3, "operator", "r7"),
    ]


async def test_what_is_answered_is_what_is_stored(shelf: Shelf) -> None:
    told = {"clock_offset_s": -0.25, "queued_samples": 3, "dropped_samples": 4, "agent_version": "1.2"}
    gap = {"gap_since": shelf.now - timedelta(microseconds=1), "gap_until": shelf.now}
    names = [{"hostname": f"gpu-{number:02}", **told} for number in (3, 1, 2)]
    first = await register(shelf, *((OPERATOR, name) for name in names))
    shelf.now += timedelta(seconds=30)
    again = await register(shelf, *((OPERATOR, {**name, **gap}) for name in names))
    for outcomes, created in ((first, True), (again, False)):
        assert [one.created for one in outcomes if isinstance(one, Upserted)] == 3 * [created]
    stored = {row.id: row._asdict() for row in await shelf.all(select(nodes))}
    answered = [one.answer for one in again if isinstance(one, Upserted)]
    assert len(stored) == len(answered) == 3
    for answer in map(dict, answered):
        row = stored[answer["id"]]
        assert {name: answer[name] for name in row if name in answer} == {
            name: value for name, value in row.items() if name in answer
        }


async def test_silence_is_audited_when_it_ends(shelf: Shelf) -> None:
    away, here = await shelf.node(0, hostname="away"), await shelf.node(0, hostname="here")
    shelf.now += timedelta(seconds=89)
    await register(shelf, (OPERATOR, {"hostname": "here"}))
    shelf.now += timedelta(seconds=2)
    beats = ((OPERATOR, {"hostname": "here"}), (OPERATOR, {"hostname": "away"}))
    assert words(await register(shelf, *beats)) == [(here, False), (away, False)]
    assert await audited(shelf) == [("node.return", away, "operator", "r1")]


async def test_replicas_that_register_the_same_nodes_at_once_make_each_once(shelf: Shelf) -> None:
    names = [f"gpu-{number:02}" for number in range(20)]
    orders = (names, names[::-1], names[10:] + names[:10])
    outcomes = await asyncio.gather(
        *(register(shelf, *((OPERATOR, {"hostname": name}) for name in order)) for order in orders)
    )
    created = [
        one.answer["hostname"] for of in outcomes for one in of if isinstance(one, Upserted) and one.created
    ]
    assert sorted(created) == names
    assert [len(of) for of in outcomes] == [20, 20, 20]
    assert len(await shelf.all(select(nodes))) == 20


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)  # SQLite's one writer holds no row
async def test_a_row_that_somebody_holds_holds_up_nobody_but_who_needs_it(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "LOCK_WAIT_S", 0.3)
    for number in range(4):
        await shelf.node(0, hostname=f"gpu-{number}")
    beats = together.Together(shelf.database, register_nodes)

    def asked(number: int) -> together.Asked:
        def context(tx: Connection) -> Context:
            about = timedelta(days=1)
            return Context(tx=tx, principal=OPERATOR, now=shelf.now, request_id="r", retention=about)

        return together.Asked(inputs=(NodeRegister(cluster_id=1, hostname=f"gpu-{number}"),), context=context)

    async with shelf.database.write() as tx:
        await tx.execute(select(nodes).where(nodes.c.hostname == "gpu-0").with_for_update())
        outcomes = await asyncio.gather(
            *(beats.submit(asked(number)) for number in (1, 0, 2, 3)), return_exceptions=True
        )
    assert [one.code if isinstance(one, GPUForgeError) else "heard" for one in outcomes] == [
        "heard",
        "row_held",
        "heard",
        "heard",
    ]
    assert isinstance(await beats.submit(asked(0)), Upserted)


# GPUs


async def register_cards(
    shelf: Shelf, *asked: tuple[Principal, int, Sequence[str | int | None]]
) -> list[object]:
    """What registrations of these UUIDs (or slots, without one) answer: the ids of new GPUs, or a code."""
    bodies = [
        (
            who,
            GpuRegister.model_validate(
                {
                    "node_id": node,
                    "gpus": [
                        {"gpu_index": card} if isinstance(card, int) else {"uuid": card} for card in cards
                    ],
                }
            ),
        )
        for who, node, cards in asked
    ]
    outcomes = await shelf.together(register_inventories, *bodies)
    return [
        one.code if isinstance(one, GPUForgeError) else [gpu["id"] for gpu in one.answer] for one in outcomes
    ]


async def seats(shelf: Shelf) -> dict[int, dict[int | None, str | None]]:
    """By node: the UUID in each slot."""
    found: dict[int, dict[int | None, str | None]] = {}
    for node_id, slot, uuid in await shelf.all("SELECT node_id, gpu_index, uuid FROM gpus ORDER BY id"):
        found.setdefault(node_id, {})[slot] = uuid
    return found


async def test_each_inventory_of_a_group_gets_its_own_answer(shelf: Shelf) -> None:
    await shelf.insert(clusters, {"name": "west", "created_at": shelf.now})
    one, two = await shelf.node(0), await shelf.node(0)
    west, retired = await shelf.node(0, cluster_id=2), await shelf.node(0, retired_at=shelf.now)
    outcomes = await register_cards(
        shelf,
        (OPERATOR, one, ["A", "B"]),
        (agents_of(2), one, ["C"]),
        (OPERATOR, 99, ["D"]),
        (OPERATOR, retired, ["E"]),
        (OPERATOR, two, [0, 0]),
        (agents_of(2), west, ["F", "G", "H"]),
        (OPERATOR, two, [3, 1]),
    )
    assert outcomes == [
        [1, 2], "node_not_found", "node_not_found", "node_retired", "invalid", [3, 4, 5], [6, 7]
    ]  # fmt: skip
    assert await seats(shelf) == {
        one: {0: "A", 1: "B"},
        west: {0: "F", 1: "G", 2: "H"},
        two: {3: None, 1: None},
    }
    made = [row for row in await audited(shelf) if row[0] == "gpu.create"]
    assert [(row[1], row[3]) for row in made] == [
        (1, "r0"), (2, "r0"), (3, "r5"), (4, "r5"), (5, "r5"), (6, "r6"), (7, "r6")
    ]  # fmt: skip


async def test_inventories_that_have_to_do_with_one_another_are_taken_one_by_one(shelf: Shelf) -> None:
    one, two, three = [await shelf.node(0) for _ in range(3)]
    assert await register_cards(shelf, (OPERATOR, one, ["A", "B"]), (OPERATOR, two, ["C"])) == [[1, 2], [3]]
    outcomes = await register_cards(
        shelf,
        (OPERATOR, three, ["C", "new"]),  # takes a card from another
        (OPERATOR, two, [1]),
        (OPERATOR, one, ["B", "A"]),  # twice the same node
        (OPERATOR, one, ["B", "A", "D"]),
    )
    assert outcomes == [[5], [4], [], [6]]
    assert await seats(shelf) == {
        one: {0: "B", 1: "A", 2: "D"},
        two: {1: None},
        three: {0: "C", 1: "new"},
    }
    assert await register_cards(shelf, (OPERATOR, one, ["E"]), (OPERATOR, two, ["E"])) == [[7], []]
    assert (await seats(shelf))[two] == {0: "E", 1: None}  # what both name at once the later one has


async def test_a_whole_fleet_that_registers_again_changes_nothing(shelf: Shelf) -> None:
    nodes_ids = [await shelf.node(0) for _ in range(4)]
    fleet = [(OPERATOR, node, [f"{node}-{at}" for at in range(8)]) for node in nodes_ids]
    assert sum(len(made) for made in await register_cards(shelf, *fleet) if isinstance(made, list)) == 32
    before, rows = await seats(shelf), await audited(shelf)
    assert await register_cards(shelf, *reversed(fleet)) == [[], [], [], []]
    assert (await seats(shelf), await audited(shelf)) == (before, rows)
