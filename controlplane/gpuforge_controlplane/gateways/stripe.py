"""Stripe: payment links, made and withdrawn."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

import aiohttp
import msgspec
from pydantic import SecretStr

if TYPE_CHECKING:
    from stripe import PaymentLink, PaymentLinkService, RequestOptions, StripeClient, StripeError
    from stripe.params import PaymentLinkCreateParams, PaymentLinkCreateParamsLineItemPriceDataProductData

TIMEOUT_S: Final = 10.0
# Ours alone: other software may keep an `invoice_id` of its own in the same Stripe account.
INVOICE_ID: Final = "gpuforge_invoice_id"
INVOICE_NUMBER: Final = "gpuforge_invoice_number"

# Smallest and largest amount of one payment, in the currency's smallest unit: docs.stripe.com/currencies
_LIMITS: Final = {"usd": (50, 99_999_999)}
_KEY_RETRY_S: Final = 900.0  # a key that is not accepted takes a person
_MAX_RETRY_AFTER_S: Final = 3600.0
_MAX_QUOTE: Final = 200
# The SDK stumbles over answers that are not Stripe's: a proxy's page, an `error` of another shape.
_NOT_STRIPES: Final = (AttributeError, KeyError, RecursionError, TypeError, ValueError, msgspec.MsgspecError)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOrder:
    """What a payment link is for. The same key with other content is refused by Stripe."""

    invoice_id: int
    number: str
    description: str
    amount_cents: int  # the invoice's total
    currency: str  # ISO 4217, any case
    idempotency_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkMade:
    """A link that takes one payment."""

    id: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRefused:
    """Stripe won't; `reason` is a sentence for people. `final`: nobody can change that."""

    reason: str
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Postponed:
    """Ask again. With `fresh_key`, under another key: under this one Stripe would repeat the failure."""

    reason: str
    fresh_key: bool = False
    retry_after_s: float | None = None  # None: as the caller sees fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Deactivated:
    """The link takes no new checkout. Completed ones are Stripe's count; None where it does not say."""

    completed_sessions: int | None


# Only what is read of an answer, by its shape in JSON: the SDK's own objects take anything, and what they are
# (dicts once, not since 16) changes with its versions. ASCII, for ids end up in a database and in logs.
StripeId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,255}\Z")]


class _Completed(msgspec.Struct, frozen=True):
    count: Annotated[int, msgspec.Meta(ge=0)]


class _Restrictions(msgspec.Struct, frozen=True):
    completed_sessions: _Completed | None = None


class _Link(msgspec.Struct, frozen=True):
    object: Literal["payment_link"]
    id: StripeId
    url: Annotated[str, msgspec.Meta(pattern=r"^https://[!-~]{1,2000}\Z")]
    active: bool
    restrictions: _Restrictions | None = None


class StripeGateway:
    """Payment links over the official SDK, which is imported at the first call."""

    def __init__(
        self, *, api_key: SecretStr, api_base: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._key = api_key.get_secret_value().strip()
        self._base = api_base.rstrip("/") if api_base else None
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._client: StripeClient | None = None

    async def create_link(self, order: LinkOrder) -> LinkMade | LinkRefused | Postponed:
        """A link for one payment of the order's amount; the same order again gives the same link."""
        if (reason := _outside_limits(order)) is not None:
            return LinkRefused(reason=reason, final=True)
        parameters = _link_parameters(order)
        options: RequestOptions = {"idempotency_key": order.idempotency_key}
        link = await self._ask(lambda links: links.create_async(parameters, options))
        return LinkMade(id=link.id, url=link.url) if isinstance(link, _Link) else link

    async def deactivate_link(
        self, link_id: str, idempotency_key: str
    ) -> Deactivated | LinkRefused | Postponed:
        """Let nobody start a checkout any more; one that is open already may still be completed.

        A link that is inactive already counts as deactivated.
        """
        options: RequestOptions = {"idempotency_key": idempotency_key}
        link = await self._ask(lambda links: links.update_async(link_id, {"active": False}, options))
        if not isinstance(link, _Link):
            return link
        if link.active:
            return _not_stripes_answer()
        completed = link.restrictions.completed_sessions if link.restrictions else None
        return Deactivated(completed_sessions=completed.count if completed else None)

    async def close(self) -> None:
        """Close the connections; the gateway may be used again."""
        session, self._session, self._client = self._session, None, None
        if session is not None:
            await session.close()

    async def _ask(
        self, call: Callable[[PaymentLinkService], Awaitable[PaymentLink]]
    ) -> _Link | LinkRefused | Postponed:
        links = (await self._connected()).v1.payment_links
        import stripe

        try:
            answer = (await call(links)).last_response
            return msgspec.json.decode(answer.body if answer else "", type=_Link)
        except (aiohttp.ClientError, OSError) as error:  # raised as they are while a body is read
            return _unreachable(error, self._timeout_s)
        except stripe.APIConnectionError as error:
            return _unreachable(error.__cause__ or error, self._timeout_s)
        except stripe.StripeError as error:
            return self._setback(error)
        except _NOT_STRIPES:
            return _not_stripes_answer()

    async def _connected(self) -> StripeClient:
        if self._client is None:
            await asyncio.to_thread(_load_sdk)  # long enough to be felt by every other request
        if self._client is None:  # no await from here on: two first calls at once share one client
            import stripe

            # aiohttp rounds long timeouts up to whole seconds unless told at which length to begin
            limit = aiohttp.ClientTimeout(total=self._timeout_s, ceil_threshold=2 * self._timeout_s)
            tls = ssl.create_default_context(cafile=stripe.ca_bundle_path)
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls))
            self._client = stripe.StripeClient(
                self._key,
                http_client=stripe.AIOHTTPClient(timeout=limit, session=self._session),
                base_addresses={"api": self._base} if self._base else None,
                max_network_retries=0,  # the outbox retries, and survives a restart
            )
        return self._client

    def _setback(self, error: StripeError) -> LinkRefused | Postponed:
        """What an error answer means for the next call."""
        import stripe

        if (status := error.http_status or 0) in {401, 403}:
            return _key_trouble(status)
        said = self._quote(error)
        if isinstance(error, stripe.RateLimitError):
            return Postponed(reason=f"Stripe asks to slow down{said}", retry_after_s=_retry_after_s(error))
        if isinstance(error, stripe.IdempotencyError):
            return Postponed(reason=f"Stripe knows this key from another order{said}", fresh_key=True)
        if status >= 500:
            return Postponed(reason=f"Stripe failed (HTTP {status}){said}", fresh_key=_stored(error))
        if error.error is None or status < 400:
            return _not_stripes_answer()
        if status in {408, 409, 425}:
            return Postponed(reason=f"Stripe is busy with the same request (HTTP {status}){said}")
        return LinkRefused(reason=f"Stripe refused (HTTP {status}){said}")

    def _quote(self, error: StripeError) -> str:
        """Stripe's own words and its id of the request, as the tail of a sentence."""
        words = " ".join((error.user_message or "").split())
        printable = "".join(char for char in words if char.isprintable()).replace(self._key or "\0", "…")
        clipped = printable if len(printable) <= _MAX_QUOTE else printable[:_MAX_QUOTE] + "…"
        request = f" [{error.request_id}]" if error.request_id else ""
        return (f": {clipped}" if clipped and error.error is not None else "") + request


def _outside_limits(order: LinkOrder) -> str | None:
    limits = _LIMITS.get(order.currency.lower())
    if limits is None:
        return f"Payment links are made in {', '.join(_LIMITS).upper()}, not in {order.currency}"
    lowest, highest = limits
    if lowest <= order.amount_cents <= highest:
        return None
    amount, low, high = (
        f"${cents // 100:,}.{cents % 100:02d}" for cents in (order.amount_cents, lowest, highest)
    )
    return f"Stripe takes {low} to {high} in one payment; this is {amount}"


def _link_parameters(order: LinkOrder) -> PaymentLinkCreateParams:
    metadata = {INVOICE_ID: str(order.invoice_id), INVOICE_NUMBER: order.number}
    title = f"GPUForge invoice {order.number}"
    product: PaymentLinkCreateParamsLineItemPriceDataProductData = {"name": title}
    if order.description.strip():  # an empty one is an error at Stripe, an absent one is not
        product["description"] = order.description
    return {
        "line_items": [
            {
                "price_data": {
                    "currency": order.currency.lower(),
                    "product_data": product,
                    "unit_amount": order.amount_cents,
                },
                "quantity": 1,
            }
        ],
        "metadata": metadata,  # Stripe copies it to the checkout session, where read_webhook finds it
        "payment_intent_data": {"description": title, "metadata": metadata},
        "restrictions": {"completed_sessions": {"limit": 1}},
    }


def _key_trouble(status: int) -> Postponed:
    """Stripe's own words are left out: they quote parts of the key."""
    failing = "is not accepted by" if status == 401 else "may not manage payment links at"
    reason = f"The key in GPUFORGE_STRIPE_API_KEY {failing} Stripe (HTTP {status})"
    return Postponed(reason=reason, retry_after_s=_KEY_RETRY_S)


def _stored(error: StripeError) -> bool:
    """Whether Stripe will repeat this 5xx to the same key. If it will not, the same key is the safer one."""
    headers = error.headers or {}
    if headers.get("Idempotent-Replayed") == "true":
        return True
    # 502 to 504 without Stripe's error object come from before the API: whether that did its work is unknown.
    from_the_edge = error.http_status in {502, 503, 504} and error.error is None
    return not from_the_edge and headers.get("Stripe-Should-Retry") != "true"


def _retry_after_s(error: StripeError) -> float | None:
    value = (error.headers or {}).get("Retry-After", "")
    return min(float(value), _MAX_RETRY_AFTER_S) if re.fullmatch(r"[0-9]{1,9}", value) else None


def _unreachable(cause: BaseException, timeout_s: float) -> Postponed:
    """The link may exist all the same, so the key is kept: under it Stripe answers with that link."""
    if isinstance(cause, TimeoutError):
        return Postponed(reason=f"Stripe did not answer within {timeout_s:g} s")
    return Postponed(reason=f"Stripe could not be reached ({type(cause).__name__})")


def _not_stripes_answer() -> Postponed:
    return Postponed(reason="What answered is not Stripe's API: see GPUFORGE_STRIPE_API_BASE and proxies")


def _load_sdk() -> None:
    import stripe

    # Or it writes an id of this installation into the home directory, and fails where there is none.
    stripe.enable_telemetry = False
