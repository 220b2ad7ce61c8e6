"""Answers too long for memory: read from one snapshot while they are sent."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from aiohttp import web

from gpuforge_controlplane.api.endpoint import Api, Caller
from gpuforge_controlplane.services.usage_export import csv_pages, extent_of
from gpuforge_shared.errors import Unavailable
from gpuforge_shared.wire.billing import ExportQuery

MEDIA = "text/csv"
AT_ONCE = 2  # each holds a connection for as long as its reader takes: others need the rest
SLOW_S = 3.0  # a page: PostgreSQL ends a transaction that idles for four


async def export_usage(
    api: Api, request: web.Request, caller: Caller, query: ExportQuery
) -> web.StreamResponse:
    """Export the usage ledger as CSV with the columns of FOCUS 1.x.

    A row is a GPU's whole seconds at one rate within one UTC day, in order of time; all are of one moment,
    however long the answer takes. Text that a spreadsheet would run as a formula follows an apostrophe.
    A tenant's key exports its own. Whoever takes less than 100 KB in three seconds is cut off.
    """
    if api.exports.locked():
        raise Unavailable(
            f"{AT_ONCE} exports are under way; try again when one is done",
            code="too_many_exports",
            retry_after=10.0,
        )
    async with api.exports, caller.database.read() as tx:
        extent = await extent_of(tx, query, caller.principal, api.clock())
        headers = {
            "Content-Type": f"{MEDIA}; charset=utf-8; header=present",
            "Content-Disposition": f'attachment; filename="{extent.filename}"',
        }
        if request.method == "HEAD":
            return web.Response(headers=headers)
        response = web.StreamResponse(headers=headers)
        # Caught here: the database would take a reader's lost connection for one of its own.
        try:
            await response.prepare(request)
            async with aclosing(csv_pages(tx, extent)) as pages:
                async for page in pages:
                    async with asyncio.timeout(SLOW_S):
                        await response.write(page)
            await response.write_eof()
        except (ConnectionError, TimeoutError):
            _cut_off(request)
    return response


def _cut_off(request: web.Request) -> None:
    """So that nobody takes a part for the whole: the answer has no proper end."""
    if request.transport is not None:
        request.transport.abort()
