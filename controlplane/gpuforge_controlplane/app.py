"""The only wiring: routes, database, loops, shutdown."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from aiohttp import web

from gpuforge_controlplane import migrations
from gpuforge_controlplane.api.application import application, runner
from gpuforge_controlplane.api.endpoint import Api
from gpuforge_controlplane.api.exports import AT_ONCE as EXPORTS_AT_ONCE
from gpuforge_controlplane.api.observations import Observations
from gpuforge_controlplane.api.routes import ROUTES
from gpuforge_controlplane.api.traffic import Traffic
from gpuforge_controlplane.config import ControlPlaneSettings
from gpuforge_controlplane.domain.buckets import Kept
from gpuforge_controlplane.gateways.stripe import StripeGateway
from gpuforge_controlplane.loops import alerts, meter, payments
from gpuforge_controlplane.loops.leader import Leadership
from gpuforge_controlplane.loops.notify import Notifier
from gpuforge_controlplane.loops.rollup import LOOK_S as ROLLUP_LOOK_S
from gpuforge_controlplane.loops.rollup import Rollup
from gpuforge_controlplane.loops.runner import running
from gpuforge_controlplane.loops.schedule import LOOK_S, Schedule
from gpuforge_controlplane.services import retention, sample
from gpuforge_controlplane.services.ingest import Ingest
from gpuforge_controlplane.services.keys import KeyRing
from gpuforge_controlplane.services.live import Live
from gpuforge_controlplane.services.outbound import Outbound
from gpuforge_controlplane.services.owned import OwnedGpus
from gpuforge_controlplane.services.payments import PaymentDesk
from gpuforge_controlplane.services.sample import SampleFleet
from gpuforge_controlplane.services.together import Together
from gpuforge_controlplane.storage.database import Database, schema_revision
from gpuforge_controlplane.storage.throwaway import throwaway
from gpuforge_shared.clock import Clock, utc_now
from gpuforge_shared.signals import on_stop

_log = logging.getLogger(__name__)

STOP_S = 4.0  # how long requests in flight may take once the server was told to stop
WRITE_S = 1.0  # and the writing of their answers


class SchemaError(Exception):
    """The database's schema is not what this code needs; the text says what to run."""


@asynccontextmanager
async def control_plane(settings: ControlPlaneSettings, clock: Clock = utc_now) -> AsyncIterator[Api]:
    """Everything behind HTTP, started; stopped at the end of the block. Raises SchemaError."""
    kept = Kept(
        raw=timedelta(hours=settings.metrics_retention_hours),
        five_minutes=timedelta(days=settings.rollup_5m_retention_days),
        hours=timedelta(days=settings.rollup_1h_retention_days),
    )
    async with AsyncExitStack() as stack:
        await _see_to_schema(settings)
        database = Database(settings.database_url)
        stack.push_async_callback(database.close)
        await retention.prepare(database, clock(), kept)
        shown: Database | None = None
        if settings.demo == "sample":
            shown = await stack.enter_async_context(throwaway("gpuforge-sample-"))
            fleet = SampleFleet(shown, kept.raw)
            await fleet.build(clock())
            await stack.enter_async_context(running("sample", sample.EVERY_S, lambda: fleet.refresh(clock())))
        await stack.enter_async_context(
            running("retention", retention.EVERY_S, lambda: retention.enforce(database, clock(), kept))
        )
        live = await stack.enter_async_context(Live(database, clock).looking())
        sample_live = None
        if shown is not None:
            sample_live = await stack.enter_async_context(Live(shown, clock).looking())
        leadership = Leadership(database, holder=f"{socket.gethostname()}:{secrets.token_hex(4)}")
        await stack.enter_async_context(leadership.held())
        schedule = Schedule(database, leadership, clock, settings.schedule_interval_s)
        await stack.enter_async_context(running("schedule", LOOK_S, schedule))
        watch = alerts.Watch(database, leadership, clock)
        await stack.enter_async_context(running("alerts", alerts.LOOK_S, watch))
        ledger = meter.Meter(database, leadership, clock)
        await stack.enter_async_context(running("meter", meter.LOOK_S, ledger))
        desk = PaymentDesk(database, clock, await stack.enter_async_context(_stripe(settings)))
        stack.push_async_callback(desk.close)
        await stack.enter_async_context(
            running("payments", payments.LOOK_S, payments.Payments(desk, leadership))
        )
        outbound = _outbound(settings)
        await stack.enter_async_context(Notifier(database, leadership, clock, outbound).at_work())
        rollup = Rollup(database, leadership, clock, kept)
        await stack.enter_async_context(running("rollup", ROLLUP_LOOK_S, rollup))
        yield Api(
            desk=desk,
            webhook_secret=settings.stripe_webhook_secret,
            database=database,
            sample=shown,
            keyring=KeyRing(database, clock),
            ingest=Ingest(database, kept.raw, clock),
            together={route.many: Together(database, route.many) for route in ROUTES if route.many},
            observations=Observations(),
            traffic=Traffic(),
            owned=OwnedGpus(),
            outbound=outbound,
            live=live,
            sample_live=sample_live,
            exports=asyncio.Semaphore(EXPORTS_AT_ONCE),
            clock=clock,
            demo=settings.demo,
            kept=kept,
            routes=ROUTES,
        )


@asynccontextmanager
async def _stripe(settings: ControlPlaneSettings) -> AsyncIterator[StripeGateway | None]:
    if settings.stripe_api_key is None:
        yield None
        return
    gateway = StripeGateway(api_key=settings.stripe_api_key, api_base=settings.stripe_api_base)
    try:
        yield gateway
    finally:
        await gateway.close()


async def serve(settings: ControlPlaneSettings, listening: socket.socket) -> None:
    """Serve on a socket that listens, until a signal says to stop; requests in flight end, within 5 s."""
    stop = asyncio.Event()
    on_stop(stop.set)
    async with control_plane(settings) as api:
        http = runner(application(api, max_body_mib=settings.max_body_mib), stop_s=WRITE_S)
        await http.setup()
        try:
            site = web.SockSite(http, listening, backlog=socket.SOMAXCONN)
            await site.start()
            host, port = listening.getsockname()[:2]
            _log.info("serving", extra={"url": f"http://{host}:{port}", "demo": settings.demo})
            await stop.wait()
            _log.info("stopping")
            await site.stop()
            api.end_streams()
            await api.traffic.ends(STOP_S)
        finally:
            await http.cleanup()
    _log.info("stopped")


def _outbound(settings: ControlPlaneSettings) -> Outbound:
    secret = settings.notify_secret
    networks = filter(None, settings.notify_allow_networks.split(","))
    return Outbound(
        secret=None if secret is None else secret.get_secret_value().encode(),
        networks=tuple(ipaddress.ip_network(network.strip()) for network in networks),
    )


async def _see_to_schema(settings: ControlPlaneSettings) -> None:
    """SQLite has one process, so it migrates by itself; on PostgreSQL replicas share a schema, and a person
    decides when it moves. A newer one is fine: migrations expand before they contract."""
    database = Database(settings.database_url)
    try:
        revision = "" if database.is_new() else await _revision(database)
    finally:
        await database.close()
    if revision >= migrations.head():
        return
    if database.dialect == "postgresql":
        raise SchemaError(
            f"the database is at schema {revision or 'none'}, this code needs {migrations.head()}; "
            "run gpuforge-controlplane migrate"
        )
    await migrations.migrate(settings.database_url)


async def _revision(database: Database) -> str:
    async with database.read() as tx:
        return await schema_revision(tx) or ""
