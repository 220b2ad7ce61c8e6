"""What other services tell us: signed, over the raw body."""

from __future__ import annotations

from aiohttp import web

from gpuforge_controlplane.api.endpoint import Api, read_body
from gpuforge_controlplane.gateways.stripe_webhooks import Ignored, WebhookRefused, read_webhook
from gpuforge_controlplane.services import payments
from gpuforge_shared.errors import MalformedBody, Unavailable
from gpuforge_shared.wire.billing import WebhookReceived


async def stripe(api: Api, request: web.Request) -> web.StreamResponse:
    """A payment that Stripe tells of. Believed only with a valid signature of the raw body, heeded once."""
    if api.webhook_secret is None:
        raise Unavailable(
            "no webhook secret is set: set GPUFORGE_STRIPE_WEBHOOK_SECRET",
            code="webhook_not_configured",
            retry_after=300.0,
        )
    payload = await read_body(request)
    secret = api.webhook_secret.get_secret_value()
    event = read_webhook(payload, request.headers.get("Stripe-Signature"), secret, api.clock())
    if isinstance(event, WebhookRefused):
        raise MalformedBody(event.reason, code=event.code)
    if isinstance(event, Ignored):
        return _told("ignored")
    received = await api.database.transact(lambda tx: payments.receive(tx, event, api.clock()))
    return _told(received.outcome)


def _told(outcome: str) -> web.Response:
    return web.json_response(WebhookReceived(received=True, outcome=outcome))
