"""Which card sits in which slot of a node: a registration against what is known, decided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A GPU that is known: on this node, or elsewhere under a UUID that the registration names."""

    id: int
    node_id: int
    gpu_index: int | None  # None: out of its slot
    uuid: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A GPU as the agent reports it."""

    gpu_index: int
    uuid: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seating:
    """`seats[i]` is the known card that `found[i]` is, None for a new one; `vacated` lose their slot."""

    seats: tuple[int | None, ...]
    vacated: tuple[int, ...]


def seat(node_id: int, known: Iterable[Card], found: Sequence[Found]) -> Seating:
    """Match reported GPUs with known cards: by UUID wherever the card was, else by slot on this node.

    A card that moved keeps its identity by UUID. A slot whose card has another UUID than reported holds a
    new card now, and the old one leaves it. A slot known without UUID adopts the one reported.
    `found` has neither an index nor a UUID twice.
    """
    by_uuid = {card.uuid: card for card in known if card.uuid is not None}
    by_slot = {card.gpu_index: card for card in known if card.node_id == node_id}
    told = {gpu.uuid for gpu in found}
    seats = tuple(_match(gpu, by_uuid, by_slot, told) for gpu in found)
    seated = {card.id for card in seats if card is not None}
    taken = {gpu.gpu_index for gpu in found}
    vacated = tuple(
        card.id
        for card in sorted(by_slot.values(), key=lambda card: card.id)
        if card.gpu_index in taken and card.id not in seated
    )
    return Seating(seats=tuple(None if card is None else card.id for card in seats), vacated=vacated)


def _match(
    gpu: Found, by_uuid: dict[str, Card], by_slot: dict[int | None, Card], told: set[str | None]
) -> Card | None:
    if gpu.uuid is not None and gpu.uuid in by_uuid:
        return by_uuid[gpu.uuid]
    in_slot = by_slot.get(gpu.gpu_index)
    if in_slot is None or in_slot.uuid is None:
        return in_slot
    # A card with a UUID that is told of itself: it is no other one, nor where another entry names it.
    return None if gpu.uuid is not None or in_slot.uuid in told else in_slot
