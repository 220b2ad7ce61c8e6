"""Which card sits in which slot: named cases, then what must hold for any registration."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.domain.slots import Card, Found, Seating, seat

HERE, ELSEWHERE = 1, 2


def card(id_: int, slot: int | None, uuid: str | None = None, *, node: int = HERE) -> Card:
    return Card(id=id_, node_id=node, gpu_index=slot, uuid=uuid)


def found(slot: int, uuid: str | None = None) -> Found:
    return Found(gpu_index=slot, uuid=uuid)


@pytest.mark.parametrize(
    ("known", "reported", "seats", "vacated"),
    [
        pytest.param([], [found(0), found(1)], (None, None), (), id="an empty node"),
        pytest.param([card(7, 0)], [found(0)], (7,), (), id="known by slot"),
        pytest.param([card(7, 0)], [found(1)], (None,), (), id="another slot"),
        pytest.param([card(7, 0, "A")], [found(0, "A")], (7,), (), id="known by UUID"),
        pytest.param([card(7, 0, "A")], [found(0)], (7,), (), id="an agent that tells no UUID"),
        pytest.param([card(7, 0)], [found(0, "A")], (7,), (), id="a slot learns its UUID"),
        pytest.param([card(7, 0, "A")], [found(0, "B")], (None,), (7,), id="the card was replaced"),
        pytest.param([card(7, 0, "A")], [found(3, "A")], (7,), (), id="the card moved to a free slot"),
        pytest.param(
            [card(7, 0, "A"), card(8, 1, "B")], [found(0, "B"), found(1, "A")], (8, 7), (), id="swapped"
        ),
        pytest.param(
            [card(7, 0, "A"), card(8, 1, "B")], [found(0, "B")], (8,), (7,), id="moved onto another's slot"
        ),
        pytest.param([card(7, 4, "A", node=ELSEWHERE)], [found(0, "A")], (7,), (), id="from another node"),
        pytest.param(
            [card(7, 4, "A", node=ELSEWHERE), card(8, 0, "B")],
            [found(0, "A")],
            (7,),
            (8,),
            id="from another node, in place of a card",
        ),
        pytest.param([card(7, None, "A")], [found(0, "A")], (7,), (), id="back from the drawer"),
        pytest.param(
            [card(7, None, "A"), card(8, 0, "B")], [found(0, "A")], (7,), (8,), id="back, in another's place"
        ),
        pytest.param([card(7, 0), card(8, 1)], [found(1)], (8,), (), id="the silent ones stay"),
        pytest.param(
            [card(7, 1, "A")],
            [found(0, "A"), found(1)],
            (7, None),
            (),
            id="its old slot holds a card without UUID, which it is not",
        ),
        pytest.param(
            [card(7, 1, "A")],
            [found(1), found(0, "A")],
            (None, 7),
            (),
            id="the same, told in the other order",
        ),
    ],
)
def test_seating(
    known: list[Card], reported: list[Found], seats: tuple[int | None, ...], vacated: tuple[int, ...]
) -> None:
    assert seat(HERE, known, reported) == Seating(seats=seats, vacated=vacated)


UUIDS = st.sampled_from(["A", "B", None])  # few of each, so that they meet


def _distinct(cards: list[Card]) -> list[Card]:
    """As the database's constraints leave them: one card a UUID, one a slot."""
    kept: list[Card] = []
    for each in cards:
        same = [
            other
            for other in kept
            if (each.uuid is not None and other.uuid == each.uuid)
            or (
                each.gpu_index is not None
                and (other.node_id, other.gpu_index) == (each.node_id, each.gpu_index)
            )
        ]
        if not same:
            kept.append(each)
    return kept


KNOWN = st.lists(
    st.builds(
        Card,
        id=st.integers(1, 99),
        node_id=st.sampled_from([HERE, ELSEWHERE]),
        gpu_index=st.one_of(st.none(), st.integers(0, 2)),
        uuid=UUIDS,
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda each: each.id,
).map(_distinct)
FOUND = st.lists(
    st.builds(Found, gpu_index=st.integers(0, 2), uuid=UUIDS),
    max_size=4,
    unique_by=(lambda each: each.gpu_index, lambda each: each.uuid or object()),
)


@given(known=KNOWN, reported=FOUND)
def test_whatever_is_reported(known: list[Card], reported: list[Found]) -> None:
    in_question = [each for each in known if each.node_id == HERE or each.uuid]
    seating = seat(HERE, in_question, reported)
    by_id = {each.id: each for each in in_question}
    seated = [id_ for id_ in seating.seats if id_ is not None]

    assert len(seating.seats) == len(reported)
    assert len(seated) == len(set(seated)), "one card in two slots"
    assert not set(seated) & set(seating.vacated), "a card seated and thrown out"
    for id_, told in zip(seating.seats, reported, strict=True):
        if id_ is not None and told.uuid and by_id[id_].uuid:
            assert by_id[id_].uuid == told.uuid, "a card took another card's history"
        if told.uuid in {each.uuid for each in in_question} - {None}:
            assert id_ is not None, "a known card was taken for a new one"
    after = {each.gpu_index: each.id for each in in_question if each.node_id == HERE}
    for id_ in (*seated, *seating.vacated):
        after = {slot: other for slot, other in after.items() if other != id_}
    for told in reported:
        assert told.gpu_index not in after, "two cards in one slot"


@given(known=KNOWN, reported=FOUND)
def test_saying_it_twice_changes_nothing(known: list[Card], reported: list[Found]) -> None:
    first = seat(HERE, known, reported)
    fresh = iter(range(1_000, 2_000))
    after = {each.id: each for each in known if each.id not in first.vacated}
    for id_, told in zip(first.seats, reported, strict=True):
        new = next(fresh) if id_ is None else id_
        uuid = told.uuid or (after[new].uuid if new in after else None)
        after[new] = Card(id=new, node_id=HERE, gpu_index=told.gpu_index, uuid=uuid)
    again = seat(HERE, after.values(), reported)
    assert None not in again.seats
    assert again.vacated == ()
    assert [after[id_].gpu_index for id_ in again.seats if id_] == [told.gpu_index for told in reported]
