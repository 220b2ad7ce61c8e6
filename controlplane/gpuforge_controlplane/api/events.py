"""The live stream: GET /api/events, server-sent events over a response that lasts.

What a reader gets, in order:

1. `hello` {"resumed": bool}, with an id. Not resumed: load whatever is shown (lists, KPIs) after it.
2. `snapshot`: clusters, nodes, models and GPUs, a list a field, and a `version`. GPUs are in order of id,
   which is their order in every message of that version; `gpus.node` is a place in the lists of `nodes`,
   and so on. Sent again, with another version, when any of it changed.
3. `allocation`: tenants, running jobs, and `holder`: base64 of a little-endian uint32 a GPU, 0 free, k held
   by the job at place k - 1 of `jobs`. Follows each snapshot, and is sent again when any of it changed.
4. `frame`, every second (less often for a fleet whose reading takes long): five columns, each base64 of one
   byte a GPU: `utilization_pct`, `memory_pct`, `temperature_c`, `power_draw_w`, `flags`.
   A figure is its byte times the snapshot's `units`; 254 is that or more, 255 unknown (no telemetry for
   90 s: never draw it as zero). Flags: bits 0-2 are the status (0 idle, 1 active, 2 unhealthy, 3 offline),
   then 8 allocated, 16 cordoned, 32 draining, 64 no telemetry for 90 s. Whoever is slow is sent the newest
   frame and none of those between.
5. `job`, `node`, `invoice`, `alert`, `change`: what happened, in order, each once. `change` is any other
   write: reload what shows that object. A `node` with the action `node.silent` has no id: no row tells of
   silence.
6. `closed` {"code", "reason"}: the key was revoked or has expired. The stream ends; it is of no use to come
   back with that key.

Ids are marks in the tables of what happened: send the last one back as `Last-Event-ID`, to any replica, and
`hello` says whether the stream goes on from there. An event comes twice only where the stream broke within
five seconds of its happening. Comments (`: alive`) keep proxies awake. `?frames=false`: without 2 to 4.
A tenant's key gets its own jobs, invoices and alerts, and the GPUs that its jobs hold, in another snapshot
whenever these change. Whoever leaves 1 MiB of events lying, or takes nothing for eight seconds, is cut off
and may resume. The fields are in gpuforge_shared/wire/events.py and in the OpenAPI document
(x-gpuforge-events).

tests/golden/stream.sse is such a stream, and tests/golden/stream.json what it says.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from aiohttp import web

from gpuforge_controlplane.api.endpoint import Api, Caller
from gpuforge_controlplane.services.reader import Reader, StreamEnded
from gpuforge_controlplane.services.views import message
from gpuforge_shared.errors import Unauthorized, Unavailable
from gpuforge_shared.wire.events import ClosedMessage, EventsQuery

MEDIA = "text/event-stream"
RECHECK_S = 5.0  # a revoked key's stream is closed after this and SLOW_S at most, and so is ...
TRUST_S = 14.0  # ... one whose key can't be looked up for so long
SLOW_S = 8.0
_ALIVE = b": alive\n\n"
_RETRY = b"retry: 2000\n\n"


async def stream_events(
    api: Api, request: web.Request, caller: Caller, query: EventsQuery
) -> web.StreamResponse:
    """Follow the fleet and what happens in it, as server-sent events.

    `hello`, then `snapshot`, `allocation` and a `frame` every second, and `job`, `node`, `invoice`,
    `alert` and `change` as they happen. `Last-Event-ID` resumes. A tenant's key sees its own jobs, invoices,
    alerts and GPUs.
    """
    # Proxies that know this header pass each message on at once.
    headers = {"Content-Type": MEDIA, "X-Accel-Buffering": "no"}
    if request.method == "HEAD":
        return web.Response(headers=headers)
    live = api.live if caller.database is api.database else api.sample_live
    assert live is not None  # there is a sample stream wherever there is a sample fleet
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the reader has gone already")
    last_id = request.headers.get("Last-Event-ID")
    reading = live.read(
        caller.principal.tenant_id, frames=query.frames, last_id=last_id, abort=transport.abort
    )
    response = web.StreamResponse(headers=headers)
    async with reading as reader:
        await response.prepare(request)
        with suppress(StreamEnded, ConnectionError), api.observations.streaming():
            try:
                await _send(response, _RETRY)
                await _pour(api, caller, reader, response)
            except TimeoutError:
                transport.abort()
    return response


async def _pour(api: Api, caller: Caller, reader: Reader, response: web.StreamResponse) -> None:
    """Send until the reader goes, the server stops or the key is no longer good."""
    known_good = time.monotonic()
    recheck = known_good + RECHECK_S
    while True:
        await _send(response, await reader.next(RECHECK_S) or _ALIVE)
        now = time.monotonic()
        if caller.bearer is None or now < recheck:
            continue
        recheck = now + RECHECK_S
        try:
            await api.keyring.principal(caller.bearer)
            known_good = now
        except Unauthorized as error:
            closed = ClosedMessage(code=error.code, reason=error.detail)
            await _send(response, message("closed", closed))
            return
        except Unavailable:
            if now - known_good > TRUST_S:
                return


async def _send(response: web.StreamResponse, chunk: bytes) -> None:
    async with asyncio.timeout(SLOW_S):
        await response.write(chunk)
