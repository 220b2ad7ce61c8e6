"""Following a table whose rows become visible in any order: every row once, and a mark that loses none."""

from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.services.tail import PATIENCE_S, Tail
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.feed import Happened, Source

NOWHERE = cast(Connection, None)


class Table:
    """Rows that become visible when a test says so."""

    def __init__(self, *ids: int) -> None:
        self.visible = set(ids)

    async def newest(self, _: Connection) -> int:
        return max(self.visible, default=0)

    async def ids_from(self, _: Connection, first: int) -> set[int]:
        return {row for row in self.visible if row >= first}

    async def beyond(
        self, _: Connection, after: int, *, missed: Sequence[int] = (), limit: int
    ) -> list[Happened]:
        found = sorted(row for row in self.visible if row > after or row in missed)
        return [Happened(row, "job", None, {}) for row in found[:limit]]


async def following(table: Table, *, gaps: bool = True) -> Tail:
    tail = Tail(cast(Source, table), gaps=gaps)
    await tail.begin(NOWHERE, 0.0)
    return tail


async def told(tail: Tail, now: float = 0.0) -> list[tuple[int, int]]:
    """Ids and marks of what a look tells."""
    return [(each.happened.id, each.mark) for each in tail.settle(await tail.look(NOWHERE), now)]


async def test_rows_in_order_are_told_at_once() -> None:
    table = Table(1, 2, 3)
    tail = await following(table)
    assert await told(tail) == []
    table.visible |= {4, 5}
    assert await told(tail) == [(4, 4), (5, 5)]
    assert await told(tail) == []


async def test_a_row_that_shows_late_is_told_late_and_the_mark_waits_for_it() -> None:
    table = Table(1)
    tail = await following(table)
    table.visible |= {2, 4, 5}
    assert await told(tail) == [(2, 2), (4, 2), (5, 2)]
    table.visible |= {3, 6}
    assert await told(tail) == [(3, 5), (6, 6)]


async def test_what_was_rolled_back_is_given_up_in_time() -> None:
    table = Table(1)
    tail = await following(table)
    table.visible |= {3}
    assert await told(tail, 0.0) == [(3, 1)]
    assert await told(tail, PATIENCE_S + 0.1) == []
    assert tail.mark == 3
    table.visible |= {2, 4}  # too late
    assert await told(tail) == [(4, 4)]


async def test_what_was_on_its_way_when_following_began_is_told() -> None:
    table = Table(1, 2, 5)
    tail = await following(table)
    assert tail.mark == 2
    table.visible |= {3, 4}
    assert await told(tail) == [(3, 5), (4, 5)]


async def test_one_writer_leaves_no_gaps_to_wait_for() -> None:
    table = Table(1, 5)
    tail = await following(table, gaps=False)
    table.visible |= {9}
    assert await told(tail) == [(9, 9)]


@pytest.mark.parametrize("row", [3, 4, 6])
async def test_who_comes_knows_what_was_told_before(row: int) -> None:
    table = Table(1, 2, 5)
    tail = await following(table)
    before = tail.told()
    table.visible |= {3, 4, 6}
    await told(tail)
    assert before(5)
    assert not before(row)


@given(st.permutations(list(range(1, 13))), st.lists(st.integers(1, 4), min_size=12, max_size=12))
async def test_whatever_the_order_each_row_is_told_once_and_no_mark_passes_an_untold_one(
    order: list[int], cuts: list[int]
) -> None:
    table = Table()
    tail = await following(table)
    seen: list[int] = []
    waiting = list(order)
    for count in cuts:
        table.visible |= set(waiting[:count])
        waiting = waiting[count:]
        found = await told(tail)
        seen += [row for row, _ in found]
        for mark in (tail.mark, *(mark for _, mark in found)):
            assert set(range(1, mark + 1)) <= set(seen)
    assert sorted(seen) == sorted(order)
