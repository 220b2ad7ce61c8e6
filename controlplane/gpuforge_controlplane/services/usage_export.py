"""The usage ledger for somebody else's books: FOCUS rows as CSV, page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from gpuforge_controlplane.domain.access import Principal
from gpuforge_controlplane.domain.focus import HEADER, focus_row
from gpuforge_controlplane.storage import rates, tenants, usage_export
from gpuforge_controlplane.storage.database import Connection
from gpuforge_shared.errors import invalid, not_found
from gpuforge_shared.wire.billing import ExportQuery

PAGE = 200  # rows: some 100 KB, which even a slow line takes in a moment
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Which rows: those that began in [since, until), of one tenant or of all."""

    since: datetime
    until: datetime
    tenant_id: int | None

    @property
    def filename(self) -> str:
        whose = "" if self.tenant_id is None else f"-tenant-{self.tenant_id}"
        return f"gpuforge-usage{whose}-{self.since:%Y%m%d}-{self.until:%Y%m%d}.csv"


async def extent_of(tx: Connection, query: ExportQuery, principal: Principal, now: datetime) -> Extent:
    """What is asked for, by somebody who may. Raises NotFound, and Invalid for a period that is none.

    Without `from`: from the first row; without `to`: up to now. What still runs is in the ledger up to the
    last midnight.
    """
    since, until = query.since or _BEGINNING, query.until or now
    if since >= until:
        raise invalid("query.from", "must be before `to`, which is now unless it is given")
    own = principal.tenant_id
    tenant_id = own if query.tenant_id is None else query.tenant_id
    if tenant_id is not None and (own not in (None, tenant_id) or not await tenants.names(tx, [tenant_id])):
        raise not_found("tenant", tenant_id)
    return Extent(since=since, until=until, tenant_id=tenant_id)


async def csv_pages(tx: Connection, extent: Extent) -> AsyncGenerator[bytes]:
    """The header, then a chunk a page of rows, all out of the transaction's one snapshot."""
    yield HEADER.encode()
    book = await rates.book(tx)
    names: dict[int, str] = {}
    found = usage_export.used(
        tx, since=extent.since, until=extent.until, tenant_id=extent.tenant_id, page=PAGE
    )
    async with aclosing(found) as pages:
        async for rows in pages:
            new = {row.tenant_id for row in rows if row.tenant_id is not None} - names.keys()
            if new:
                names |= await tenants.names(tx, sorted(new))
            yield "".join(focus_row(row, book, names) for row in rows).encode()
