"""What Stripe's webhooks report, believed only when signed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec

from gpuforge_controlplane.gateways.stripe import INVOICE_ID, StripeId

TOLERANCE_S: Final = 300
_MAX_HEADER: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentNotice:
    """Stripe's word, signed, that an invoice's checkout was paid. To be compared with the invoice."""

    event_id: str
    invoice_id: int
    link_id: str
    amount_cents: int
    currency: str  # lower case
    paid_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A genuine event that says nothing of a payment of ours."""

    event_id: str
    event_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRefused:
    """Not from Stripe, too old, or no event."""

    code: Literal[
        "signature_missing", "signature_malformed", "signature_mismatch", "signature_stale", "body_malformed"
    ]
    reason: str


def read_webhook(
    payload: bytes, signature_header: str | None, secret: str, now: datetime
) -> PaymentNotice | Ignored | WebhookRefused:
    """What a webhook's raw body says, once its signature has been verified with the endpoint's secret.

    Old and future timestamps are refused alike, 300 s from `now` (timezone-aware). Stripe signs with the old
    and the new secret while one is being rolled: one matching signature of several is enough.
    """
    signed_at = _signed_at(signature_header)
    if isinstance(signed_at, WebhookRefused):
        return signed_at
    import stripe

    try:
        text = payload.decode()
        # Without a tolerance: the SDK's own reads the wall clock, and takes any time in the future.
        stripe.WebhookSignature.verify_header(text, signature_header, secret.strip(), tolerance=None)
    except UnicodeError:
        return WebhookRefused(code="body_malformed", reason="The body is not UTF-8")
    except stripe.SignatureVerificationError:
        reason = "No signature in Stripe-Signature belongs to this body and GPUFORGE_STRIPE_WEBHOOK_SECRET"
        return WebhookRefused(code="signature_mismatch", reason=reason)
    age_s = now.timestamp() - signed_at
    if abs(age_s) > TOLERANCE_S:
        when = f"{age_s:.0f} s ago" if age_s > 0 else f"{-age_s:.0f} s from now"
        reason = f"Signed {when}; more than {TOLERANCE_S} s either way is refused"
        return WebhookRefused(code="signature_stale", reason=reason)
    return _read_event(text)


_Seconds = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
_Cents = Annotated[int, msgspec.Meta(ge=0, le=10**12)]


class _Data(msgspec.Struct, frozen=True):
    object: msgspec.Raw


class _Event(msgspec.Struct, frozen=True):
    object: Literal["event"]
    id: StripeId
    type: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_.]{1,100}\Z")]
    created: _Seconds
    data: _Data


class _Session(msgspec.Struct, frozen=True):
    object: Literal["checkout.session"]
    payment_status: str
    payment_link: StripeId | None = None
    amount_total: _Cents | None = None
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z]{3}\Z")] | None = None
    metadata: dict[str, str] | None = None


def _read_event(text: str) -> PaymentNotice | Ignored | WebhookRefused:
    try:
        event = msgspec.json.decode(text, type=_Event)
        if event.type not in {"checkout.session.completed", "checkout.session.async_payment_succeeded"}:
            return Ignored(event_id=event.id, event_type=event.type)
        session = msgspec.json.decode(event.data.object, type=_Session)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return WebhookRefused(code="body_malformed", reason="The body is no event of a kind known here")
    return _notice(event, session) or Ignored(event_id=event.id, event_type=event.type)


def _notice(event: _Event, session: _Session) -> PaymentNotice | None:
    """The payment of a link of ours. `completed` alone is none: a bank debit stays unpaid for days."""
    ours = (session.metadata or {}).get(INVOICE_ID, "")
    if session.payment_status != "paid" or re.fullmatch(r"[0-9]{1,18}", ours) is None:
        return None
    if session.payment_link is None or session.amount_total is None or session.currency is None:
        return None
    return PaymentNotice(
        event_id=event.id,
        invoice_id=int(ours),
        link_id=session.payment_link,
        amount_cents=session.amount_total,
        currency=session.currency.lower(),
        paid_at=datetime.fromtimestamp(event.created, UTC),
    )


def _signed_at(header: str | None) -> int | WebhookRefused:
    """The one timestamp of a header.

    Stricter than the SDK: its int() reads digits of any script, and it raises TypeError for a signature that
    is not ASCII.
    """
    if not header:
        return WebhookRefused(code="signature_missing", reason="The Stripe-Signature header is missing")
    items = header.split(",") if len(header) <= _MAX_HEADER and header.isascii() else []
    stamps = [item[2:] for item in items if item.startswith("t=")]
    if len(stamps) != 1 or re.fullmatch(r"[0-9]{1,12}", stamps[0]) is None:
        reason = "The Stripe-Signature header is not of the form t=…,v1=…"
        return WebhookRefused(code="signature_malformed", reason=reason)
    if not any(item.startswith("v1=") for item in items):
        return WebhookRefused(
            code="signature_malformed", reason="No signature of scheme v1 in Stripe-Signature"
        )
    return int(stamps[0])
