"""Following a table that grows: every row once, also those that become visible late."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.feed import Happened, Source

BATCH = 5_000  # rows a look
PATIENCE_S = 5.0  # longer than a transaction may hang: an id that is missing then was rolled back
LOOKBACK = 2_000  # ids that may be missing when following begins
MOST_MISSING = 20_000


class Told(NamedTuple):
    """An event and the mark up to which, after it, everything has been told."""

    happened: Happened
    mark: int


class Tail:
    """One source, followed from its newest row on.

    PostgreSQL numbers a row when it is written and shows it when it is committed, which another with a
    higher number may be before it: ids that are missing are waited for. SQLite has one writer, so that a
    missing id is none.
    """

    def __init__(self, source: Source, *, gaps: bool) -> None:
        self.source = source
        self.position = 0  # the highest id seen
        self._gaps = gaps
        self._missing: dict[int, float] = {}  # id -> when to give it up, on the monotonic clock

    @property
    def mark(self) -> int:
        """The id up to which every row has been told or given up."""
        return min(self._missing, default=self.position + 1) - 1

    async def begin(self, tx: Connection, now: float) -> None:
        """Start behind the newest row; what is still missing before it is told once it is there."""
        self.position = await self.source.newest(tx)
        if self._gaps:
            first = max(1, self.position - LOOKBACK)
            there = await self.source.ids_from(tx, first)
            self._await(set(range(first, self.position + 1)) - there, now)

    def told(self) -> Callable[[int], bool]:
        """Whether a row of that id has been told, or given up, by now."""
        position, missing = self.position, frozenset(self._missing)
        return lambda row_id: row_id <= position and row_id not in missing

    async def look(self, tx: Connection) -> list[Happened]:
        """Rows that are new, in order of id. `settle` them."""
        return await self.source.beyond(tx, self.position, missed=sorted(self._missing), limit=BATCH)

    def settle(self, found: Sequence[Happened], now: float) -> list[Told]:
        """The events among the rows that `look` found, each with its mark."""
        before = self.position
        ids = {row.id for row in found}
        self.position = max(ids | {before})
        self._missing = {gap: until for gap, until in self._missing.items() if gap not in ids and until > now}
        if self._gaps:
            self._await(set(range(before + 1, self.position)) - ids, now)
        ceiling = self.mark if self._missing else self.position
        marks = ((row, min(max(before, row.id), ceiling)) for row in found)
        return [Told(row, mark) for row, mark in marks]

    def _await(self, ids: set[int], now: float) -> None:
        for gap in sorted(ids)[-MOST_MISSING:]:
            self._missing.setdefault(gap, now + PATIENCE_S)
