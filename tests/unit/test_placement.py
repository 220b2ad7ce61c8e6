"""Where a job's GPUs come from: named cases on a handful of nodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.domain.placement import ONE_NODE_GPUS, IdleNodes


def nodes(*sizes: tuple[int, int], keep: tuple[int, ...] = ()) -> IdleNodes:
    """Nodes 1, 2, … as (idle, owned); GPU ids tell the node: 100, 101, … are on node 1."""
    idle = IdleNodes(
        (node, owned, tuple(range(100 * node, 100 * node + free)))
        for node, (free, owned) in enumerate(sizes, start=1)
    )
    idle.keep(keep)
    return idle


def taken(idle: IdleNodes, count: int, *, kept: bool = False) -> dict[int, int]:
    return {share.node_id: len(share.gpu_ids) for share in idle.take(count, kept=kept)}


@pytest.mark.parametrize(
    ("sizes", "count", "where"),
    [
        ([(8, 8), (3, 8), (5, 8)], 3, {2: 3}),
        ([(8, 8), (3, 8), (5, 8)], 4, {3: 4}),
        ([(8, 8), (3, 8), (5, 8)], 6, {1: 6}),
        ([(5, 8), (5, 8)], 2, {1: 2}),
        ([(4, 4), (4, 8)], 4, {2: 4}),
        ([(7, 8), (7, 8)], 8, {}),
        ([(4, 8), (4, 8)], 8, {}),
        ([(4, 4), (4, 4), (0, 16)], 8, {}),
        ([], 1, {}),
        ([(0, 8)], 1, {}),
    ],
    ids=[
        "the fullest that holds it",
        "the next fullest",
        "a whole node last",
        "ties by id",
        "a whole small node is spared",
        "8 stay on one node",
        "8 are never halved",
        "nor where a larger node is busy",
        "no nodes",
        "nothing idle",
    ],
)
def test_a_job_that_fits_a_node_stays_on_one(
    sizes: list[tuple[int, int]], count: int, where: dict[int, int]
) -> None:
    assert taken(nodes(*sizes), count) == where


@pytest.mark.parametrize(
    ("sizes", "count", "where"),
    [
        ([(8, 8), (8, 8), (8, 8)], 16, {1: 8, 2: 8}),
        ([(8, 8), (8, 8), (4, 8), (6, 8)], 20, {1: 8, 2: 8, 3: 4}),
        ([(8, 8), (8, 8), (3, 8)], 12, {1: 8, 2: 4}),
        ([(8, 8), (7, 8), (7, 8)], 16, {}),
        ([(8, 8), (7, 8)], 15, {1: 8, 2: 7}),
        ([(4, 4), (4, 4), (4, 4)], 8, {1: 4, 2: 4}),
        ([(4, 4), (8, 8), (4, 4)], 12, {2: 8, 1: 4}),
        ([(4, 4), (4, 4), (8, 8)], 16, {3: 8, 1: 4, 2: 4}),
        ([(16, 16), (8, 8)], 12, {1: 12}),
        ([(8, 16), (8, 8), (8, 8)], 12, {2: 8, 1: 4}),
        ([(4, 4), (4, 4), (1, 16)], 9, {1: 4, 2: 4, 3: 1}),
        ([(2, 2), (2, 2)], 3, {1: 2, 2: 1}),
        ([(8, 8)] * 3, 25, {}),
    ],
    ids=[
        "whole nodes",
        "whole nodes, then the best-fit rest",
        "the rest on a whole node",
        "partly used nodes do not add up",
        "the rest on a degraded node",
        "8 on nodes of 4",
        "mixed sizes, largest first",
        "mixed sizes, all of them",
        "12 on one node of 16",
        "12 beside half a node of 16",
        "9 are a gang where nodes of 16 are busy",
        "3 on nodes of 2",
        "more than there is",
    ],
)
def test_a_gang_takes_whole_nodes_first(
    sizes: list[tuple[int, int]], count: int, where: dict[int, int]
) -> None:
    idle = nodes(*sizes)
    before = idle.total
    assert taken(idle, count) == where
    assert idle.total == before - sum(where.values())


def test_gpus_are_named_and_given_once() -> None:
    idle = nodes((4, 8))
    first, second = idle.take(3, kept=False), idle.take(1, kept=False)
    assert [*first[0].gpu_ids, *second[0].gpu_ids] == [100, 101, 102, 103]
    assert idle.take(1, kept=False) == ()


def test_kept_nodes_are_only_for_who_may_borrow() -> None:
    idle = nodes((8, 8), (8, 8), keep=(1,))
    assert not idle.fits(16, kept=False)
    assert idle.fits(16, kept=True)
    assert taken(idle, 8) == {2: 8}
    assert taken(idle, 8) == {}
    assert taken(idle, 8, kept=True) == {1: 8}


@pytest.mark.parametrize(
    ("sizes", "where"),
    [([(4, 8), (3, 8)], {1: 3}), ([(8, 8), (5, 8)], {2: 3}), ([(8, 8), (8, 8)], {1: 3})],
    ids=["the kept place, which others may not use", "but no whole node is broken for it", "unless it must"],
)
def test_who_may_borrow_leaves_the_rest_to_others(
    sizes: list[tuple[int, int]], where: dict[int, int]
) -> None:
    assert taken(nodes(*sizes, keep=(1,)), 3, kept=True) == where


def test_what_is_left_of_a_kept_node_stays_kept() -> None:
    idle = nodes((8, 8), keep=(1,))
    assert taken(idle, 3, kept=True) == {1: 3}
    assert taken(idle, 3) == {}
    assert idle.counts() == {1: 5}


def test_numbers_for_explanations() -> None:
    idle = nodes((8, 8), (5, 8), (3, 8), keep=(1,))
    assert (idle.total, idle.largest(), nodes((5, 8), (0, 8)).largest(), nodes().largest()) == (16, 8, 5, 0)
    assert idle.whole_nodes() == 1


sizes_of_nodes = st.lists(
    st.sampled_from([2, 4, 8, 16]).flatmap(
        lambda owned: st.tuples(st.integers(min_value=0, max_value=owned), st.just(owned))
    ),
    max_size=8,
)


@given(
    sizes_of_nodes,
    st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=8),
    st.sets(st.integers(1, 8)),
)
def test_all_or_nothing_and_never_twice(
    sizes: list[tuple[int, int]], asked: list[tuple[int, bool]], keep: set[int]
) -> None:
    idle = nodes(*sizes, keep=tuple(keep))
    largest = max((owned for _, owned in sizes), default=0)
    given_out: list[int] = []
    for count, kept in asked:
        fits = idle.fits(count, kept=kept)
        shares = idle.take(count, kept=kept)
        assert sum(len(share.gpu_ids) for share in shares) == (count if fits else 0)
        assert kept or not keep & {share.node_id for share in shares}
        assert count > min(ONE_NODE_GPUS, largest) or len(shares) <= 1
        given_out.extend(gpu for share in shares for gpu in share.gpu_ids)
        assert all(gpu // 100 == share.node_id for share in shares for gpu in share.gpu_ids)
    assert len(set(given_out)) == len(given_out)
    assert idle.total == sum(free for free, _ in sizes) - len(given_out)
