"""The meter: whole GPU-seconds of what was allocated, cut at midnight and where a rate changes.

Times are whole seconds since 1970 UTC, intervals half-open. An allocation of [a, b) holds floor(b) - floor(a)
seconds: fractions fall away at both ends alike, so two jobs that follow each other on a GPU share no second,
and pieces add up to the whole wherever it is cut.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

DAY_S = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def whole_second(moment: datetime) -> int:
    """Seconds since 1970 UTC, rounded down; integer arithmetic, no float."""
    return (moment - _EPOCH) // _SECOND


def from_second(second: int) -> datetime:
    """The inverse of `whole_second`, for whole seconds."""
    return _EPOCH + timedelta(seconds=second)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateVersion:
    """A price from a second on. `tenant_id` None: the list price. `price_micros`: millionths of a dollar per
    GPU-hour; None, of a tenant's: from here on the list price holds again."""

    id: int
    family: str
    tenant_id: int | None
    price_micros: int | None
    effective_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """[start_s, end_s) at one rate; `rate_id` None where nobody set one."""

    start_s: int
    end_s: int
    rate_id: int | None

    @property
    def seconds(self) -> int:
        return self.end_s - self.start_s


class RateBook:
    """Every version of every rate, to be asked what held when."""

    def __init__(self, versions: Iterable[RateVersion]) -> None:
        self._by_owner: dict[tuple[str, int | None], list[RateVersion]] = {}
        self._by_id: dict[int, RateVersion] = {}
        self._changes: dict[tuple[str, int | None], list[int]] = {}  # as they are asked for
        for version in sorted(versions, key=lambda each: (each.effective_s, each.id)):
            self._by_owner.setdefault((version.family, version.tenant_id), []).append(version)
            self._by_id[version.id] = version

    def at(self, family: str, tenant_id: int | None, second: int) -> RateVersion | None:
        """The version in force: the tenant's own where it has a price, else the list's; None: unrated."""
        if tenant_id is not None:
            own = _in_force(self._by_owner.get((family, tenant_id), ()), second)
            if own is not None and own.price_micros is not None:
                return own
        return _in_force(self._by_owner.get((family, None), ()), second)

    def changes(self, family: str, tenant_id: int | None) -> list[int]:
        """The seconds at which a version of theirs begins, in order."""
        known = self._changes.get((family, tenant_id))
        if known is None:
            owners = {(family, None), (family, tenant_id)}
            known = sorted(each.effective_s for owner in owners for each in self._by_owner.get(owner, ()))
            self._changes[family, tenant_id] = known
        return known

    def latest(self, family: str, tenant_id: int | None) -> RateVersion | None:
        """The last version set for exactly this owner, whether it holds yet or not."""
        versions = self._by_owner.get((family, tenant_id))
        return versions[-1] if versions else None

    def price_micros(self, rate_id: int | None) -> int | None:
        """The price of a version; None for no rate."""
        return None if rate_id is None else self._by_id[rate_id].price_micros

    def owners(self) -> Mapping[tuple[str, int | None], Sequence[RateVersion]]:
        """Versions by `(family, tenant)`, each list in order of time."""
        return self._by_owner


def segments(start_s: int, end_s: int, family: str, tenant_id: int | None, book: RateBook) -> list[Segment]:
    """[start_s, end_s) in pieces of one rate and one UTC day each, in order; [] for an empty interval."""
    found: list[Segment] = []
    for start, end in _pieces(start_s, end_s, book.changes(family, tenant_id)):
        rate = book.at(family, tenant_id, start)
        rate_id = None if rate is None else rate.id
        last = found[-1] if found else None
        if last is not None and last.rate_id == rate_id and start % DAY_S:  # a change that changed nothing
            found[-1] = Segment(start_s=last.start_s, end_s=end, rate_id=rate_id)
        else:
            found.append(Segment(start_s=start, end_s=end, rate_id=rate_id))
    return found


def metered_to(cut: datetime, heard: datetime | None, ends_by: datetime | None) -> datetime:
    """How far an allocation that is still open may be metered, by a meter that has come to `cut`.

    Not past the last heartbeat of its job's nodes nor the job's time limit: if the node turns out to be lost,
    or the job overdue, its allocation ends there, and a metered second can't be taken back.
    """
    return min(moment for moment in (cut, heard, ends_by) if moment is not None)


def owed_since(cursor: datetime, until: datetime) -> datetime | None:
    """When the meter should have written what runs since `cursor` and may be metered up to `until`: at the
    end of the cursor's day. None where that is not a second."""
    if whole_second(cursor) >= whole_second(until):
        return None
    return cursor.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def _pieces(start_s: int, end_s: int, changes: Sequence[int]) -> Iterator[tuple[int, int]]:
    if start_s >= end_s:
        return
    midnights = range((start_s // DAY_S + 1) * DAY_S, end_s, DAY_S)
    within = changes[bisect_right(changes, start_s) : bisect_left(changes, end_s)]
    if not within and not midnights:  # nearly always, and it is asked of every job
        yield start_s, end_s
        return
    yield from pairwise([start_s, *sorted({*midnights, *within}), end_s])


def _in_force(versions: Sequence[RateVersion], second: int) -> RateVersion | None:
    before = bisect_right(versions, second, key=lambda version: version.effective_s)
    return versions[before - 1] if before else None
