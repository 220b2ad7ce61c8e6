"""What is wrong with a GPU: which readings and events are faults, which of them end by themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

FaultKind = Literal["unreadable", "xid", "ecc", "row_remap", "recovery"]

# Of NVIDIA's "XID Errors" those that leave memory or card in doubt, and no reading says when that is over.
GRAVE_XIDS = {
    48: "double-bit ECC error",
    79: "the GPU has fallen off the bus",
    95: "uncontained ECC error",
}
# The agent has nothing to say, and that is no sign of a fault.
NO_FAULT = frozenset({"asleep", "not_reached", "not_supported"})
MAX_CLOCK_OFFSET_S = 30.0


def clock_is_off(offset_s: float | None) -> bool | None:
    """Whether a node's clock is more than 30 s off ours, None where nobody measured it."""
    return None if offset_s is None else abs(offset_s) > MAX_CLOCK_OFFSET_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Uncorrectable memory errors: since the last reset, and ever. None: unknown."""

    volatile: int | None = None
    aggregate: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What faults are told from. None: unknown, and what is unknown neither begins a fault nor ends one."""

    unreadable: str | None = None
    """Why not one figure can be read; None: some can."""
    ecc: Counters = Counters()
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    recovery_action: str | None = None
    xids: Sequence[tuple[int, datetime]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong with a GPU; `seen_at` None: found only now."""

    kind: FaultKind
    code: str
    message: str
    needs_operator: bool = False
    seen_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFault:
    """A fault on record that has not ended."""

    id: int
    kind: FaultKind
    code: str
    needs_operator: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a report begins and ends."""

    opened: Sequence[Fault]
    cleared: Sequence[int]
    """Ids of faults on record."""


def changes(now: Condition, before: Counters, on_record: Collection[OpenFault]) -> Changes:
    """Hold a GPU's condition against the faults on record; `before`: its counters in the last report."""
    found = [*_lasting(now), *_events(now, before)]
    known = {(fault.kind, fault.code) for fault in on_record}
    there = {(fault.kind, fault.code) for fault in found}
    told = _told(now)
    ended = [
        fault.id
        for fault in on_record
        if (fault.kind, fault.code) not in there and not fault.needs_operator and fault.kind in told
    ]
    fresh = {(fault.kind, fault.code): fault for fault in reversed(found)}
    opened = [fault for key, fault in reversed(fresh.items()) if key not in known]
    return Changes(opened=opened, cleared=ended)


def _lasting(now: Condition) -> Iterator[Fault]:
    """Faults that are there while a reading says so."""
    if now.unreadable is not None and now.unreadable not in NO_FAULT:
        yield Fault(
            kind="unreadable", code=now.unreadable, message=f"the GPU can't be read: {now.unreadable}"
        )
    if now.remap_failed:
        message = "a memory row could not be remapped; the card needs to be replaced"
        yield Fault(kind="row_remap", code="failed", message=message)
    if now.remap_pending:
        message = "a memory row waits to be remapped; reset the GPU"
        yield Fault(kind="row_remap", code="pending", message=message)
    if now.recovery_action not in (None, "none"):
        message = f"the driver asks for {now.recovery_action}"
        yield Fault(kind="recovery", code=str(now.recovery_action), message=message)


def _events(now: Condition, before: Counters) -> Iterator[Fault]:
    """Faults that nothing but an operator's word ends."""
    for code, seen_at in now.xids:
        if code in GRAVE_XIDS:
            message = f"Xid {code}: {GRAVE_XIDS[code]}"
            yield Fault(kind="xid", code=str(code), message=message, needs_operator=True, seen_at=seen_at)
    errors = _fresh_errors(now.ecc, before)
    if errors:
        message = f"uncorrectable ECC errors: {errors} more than before"
        yield Fault(kind="ecc", code="uncorrectable", message=message, needs_operator=True)


def _fresh_errors(now: Counters, before: Counters) -> int:
    """Errors that no report before had: what an operator cleared does not come back by the same count.

    A volatile counter that fell was reset, so all it shows is new. At a first report an aggregate one is the
    card's past.
    """
    reset = before.volatile is None or now.volatile is None or now.volatile < before.volatile
    volatile = (now.volatile or 0) - (0 if reset else before.volatile or 0)
    aggregate = 0 if now.aggregate is None or before.aggregate is None else now.aggregate - before.aggregate
    return max(volatile, aggregate)


def latest(now: Counters, before: Counters) -> Counters:
    """What to hold the next report against: a counter that could not be read now is as it was."""
    return Counters(
        volatile=before.volatile if now.volatile is None else now.volatile,
        aggregate=before.aggregate if now.aggregate is None else now.aggregate,
    )


def _told(now: Condition) -> set[FaultKind]:
    """The kinds of fault that this report says something of."""
    told: set[FaultKind] = set()
    if now.unreadable != "not_reached":
        told.add("unreadable")
    if now.remap_pending is not None and now.remap_failed is not None:
        told.add("row_remap")
    if now.recovery_action is not None:
        told.add("recovery")
    return told
