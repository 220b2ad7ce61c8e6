"""Payment links against a fake Stripe: one link whatever happens on the way, and every refusal in words."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from gpuforge_controlplane.gateways.stripe import (
    Deactivated,
    LinkMade,
    LinkOrder,
    LinkRefused,
    Postponed,
    StripeGateway,
)
from gpuforge_controlplane.gateways.stripe_webhooks import (
    Ignored,
    PaymentNotice,
    WebhookRefused,
    read_webhook,
)
from gpuforge_shared.clock import utc_now
from tests.fake_stripe import (
    BAD_GATEWAY,
    INTERNAL_ERROR,
    KEY,
    CheckoutRefused,
    DropAfter,
    DropBefore,
    FakeStripe,
    Fault,
    Hang,
    rate_limited,
    running_fake_stripe,
)

ORDER = LinkOrder(
    invoice_id=7,
    number="INV-2026-0007",
    description="GPU time from 2026-10-01 to 2026-11-01",
    amount_cents=123_456,
    currency="USD",
    idempotency_key="invoice-7-link-1",
)


@pytest.fixture
async def server() -> AsyncIterator[FakeStripe]:
    async with running_fake_stripe() as running:
        yield running


@pytest.fixture
async def gateway(server: FakeStripe) -> AsyncIterator[StripeGateway]:
    gateway = StripeGateway(api_key=SecretStr(server.key), api_base=server.url)
    yield gateway
    await gateway.close()


async def made(gateway: StripeGateway, order: LinkOrder = ORDER) -> LinkMade:
    link = await gateway.create_link(order)
    assert isinstance(link, LinkMade), link
    return link


async def test_a_link_says_what_it_is_for_and_takes_one_payment(
    server: FakeStripe, gateway: StripeGateway
) -> None:
    link = await made(gateway)
    stored = server.links[link.id]
    invoice = {"gpuforge_invoice_id": "7", "gpuforge_invoice_number": "INV-2026-0007"}
    assert link.url == stored["url"]
    assert stored["metadata"] == invoice
    assert stored["payment_intent_data"]["metadata"] == invoice
    assert stored["restrictions"]["completed_sessions"] == {"count": 0, "limit": 1}
    (request,) = server.requests
    assert request.idempotency_key == ORDER.idempotency_key
    (line,) = request.parameters["line_items"].values()
    assert line == {
        "price_data": {
            "currency": "usd",
            "product_data": {"name": "GPUForge invoice INV-2026-0007", "description": ORDER.description},
            "unit_amount": "123456",
        },
        "quantity": "1",
    }


async def test_an_order_without_a_description_is_taken(server: FakeStripe, gateway: StripeGateway) -> None:
    await made(gateway, replace(ORDER, description=" "))
    assert len(server.links) == 1


@pytest.mark.parametrize("amount", [50, 99_999_999], ids=["lowest", "highest"])
async def test_stripe_takes_the_limits_themselves(
    server: FakeStripe, gateway: StripeGateway, amount: int
) -> None:
    link = await made(gateway, replace(ORDER, amount_cents=amount))
    assert server.links[link.id]["amount_total"] == amount


@pytest.mark.parametrize(
    ("amount", "currency", "words"),
    [
        (49, "usd", "$0.50 to $999,999.99 in one payment; this is $0.49"),
        (100_000_000, "usd", "this is $1,000,000.00"),
        (0, "usd", "this is $0.00"),
        (1_000, "eur", "in USD, not in eur"),
    ],
    ids=["too little", "too much", "nothing", "another currency"],
)
async def test_outside_stripes_limits_nobody_is_asked(
    server: FakeStripe, gateway: StripeGateway, amount: int, currency: str, words: str
) -> None:
    answer = await gateway.create_link(replace(ORDER, amount_cents=amount, currency=currency))
    assert isinstance(answer, LinkRefused)
    assert words in answer.reason
    assert not server.requests


async def test_a_500_then_a_lost_answer_then_success_is_one_link(
    server: FakeStripe, gateway: StripeGateway
) -> None:
    """As an outbox does it: the key stays, unless the answer says that it is used up."""
    server.faults.extend([INTERNAL_ERROR, DropAfter()])
    first = await gateway.create_link(ORDER)
    assert isinstance(first, Postponed)
    assert first.fresh_key
    fresh = replace(ORDER, idempotency_key="invoice-7-link-2")
    second = await gateway.create_link(fresh)
    assert isinstance(second, Postponed)
    assert not second.fresh_key
    link = await made(gateway, fresh)
    assert list(server.links) == [link.id]


async def test_the_key_of_a_500_gets_the_500_again(server: FakeStripe, gateway: StripeGateway) -> None:
    """Why `fresh_key` is there at all."""
    server.faults.append(INTERNAL_ERROR)
    answers = [await gateway.create_link(ORDER) for _ in range(3)]
    assert all(isinstance(answer, Postponed) and answer.fresh_key for answer in answers)
    assert not server.links


@pytest.mark.parametrize("fault", [DropBefore(), DropAfter()], ids=["before", "after"])
async def test_after_a_lost_connection_the_same_key_gives_the_one_link(
    server: FakeStripe, gateway: StripeGateway, fault: DropBefore | DropAfter
) -> None:
    server.faults.append(fault)
    answer = await gateway.create_link(ORDER)
    assert isinstance(answer, Postponed)
    assert not answer.fresh_key
    assert "could not be reached" in answer.reason
    link = await made(gateway)
    assert list(server.links) == [link.id]


async def test_no_answer_is_waited_for_no_longer_than_told(server: FakeStripe) -> None:
    gateway = StripeGateway(api_key=SecretStr(server.key), api_base=server.url, timeout_s=0.05)
    server.faults.append(Hang())
    answer = await gateway.create_link(ORDER)
    assert answer == Postponed(reason="Stripe did not answer within 0.05 s")
    await gateway.close()


async def test_an_answer_that_stops_in_the_middle(gateway_on_half_an_answer: StripeGateway) -> None:
    """The SDK lets what goes wrong while a body is read through as it is."""
    answer = await gateway_on_half_an_answer.create_link(ORDER)
    assert isinstance(answer, Postponed)
    assert not answer.fresh_key


@pytest.fixture
async def gateway_on_half_an_answer() -> AsyncIterator[StripeGateway]:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b'{"object": "payment_link"')
        writer.close()

    listener = await asyncio.start_server(half, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    gateway = StripeGateway(api_key=SecretStr(KEY), api_base=f"http://127.0.0.1:{port}")
    async with listener:
        yield gateway
        await gateway.close()


@pytest.mark.parametrize(
    ("fault", "postponed"),
    [
        (rate_limited(17), Postponed(reason="", retry_after_s=17)),
        (rate_limited(10**8), Postponed(reason="", retry_after_s=3600)),
        (INTERNAL_ERROR, Postponed(reason="", fresh_key=True)),
        (Fault(status=503), Postponed(reason="", fresh_key=True)),
        (Fault(status=500, headers={"Stripe-Should-Retry": "true"}), Postponed(reason="")),
        (Fault(status=500, body="boom"), Postponed(reason="", fresh_key=True)),
        (BAD_GATEWAY, Postponed(reason="")),
        (Fault(status=409), Postponed(reason="")),
        (Fault(status=403), Postponed(reason="", retry_after_s=900)),
        (Fault(status=404, body="<html>"), Postponed(reason="")),
        (Fault(status=400, body="{}"), Postponed(reason="")),
        (Fault(status=400, body='{"error": "text"}'), Postponed(reason="")),
        (Fault(status=400, body='{"error": null}'), Postponed(reason="")),
        (Fault(status=400, body="[]"), Postponed(reason="")),
        (Fault(status=200, body="<html>"), Postponed(reason="")),
        (Fault(status=200, body="[]"), Postponed(reason="")),
        (Fault(status=200, body="null"), Postponed(reason="")),
        (Fault(status=200, body='{"object": "customer", "id": "cus_1"}'), Postponed(reason="")),
        (Fault(status=200, body='{"object": "payment_link", "id": "plink_1"}'), Postponed(reason="")),
        (
            Fault(
                status=200,
                body='{"object": "payment_link", "id": "p", "active": true, "url": "javascript:1"}',
            ),
            Postponed(reason=""),
        ),
    ],
    ids=[
        "429",
        "429 for years",
        "500",
        "503",
        "500 worth retrying",
        "500 in plain text",
        "502 from the edge",
        "409",
        "403",
        "404 of another",
        "no error object",
        "error is text",
        "error is null",
        "error is a list",
        "200 a page",
        "200 a list",
        "200 null",
        "200 a customer",
        "200 half a link",
        "200 a script",
    ],
)
async def test_what_is_asked_again(
    server: FakeStripe, gateway: StripeGateway, fault: Fault, postponed: Postponed
) -> None:
    server.faults.append(fault)
    answer = await gateway.create_link(ORDER)
    assert isinstance(answer, Postponed), answer
    assert answer.reason
    assert replace(answer, reason="") == postponed
    assert not server.links


async def test_a_key_used_for_another_order_is_given_up(server: FakeStripe, gateway: StripeGateway) -> None:
    await made(gateway)
    answer = await gateway.create_link(replace(ORDER, amount_cents=1))
    assert isinstance(answer, LinkRefused)
    answer = await gateway.create_link(replace(ORDER, amount_cents=100))
    assert isinstance(answer, Postponed)
    assert answer.fresh_key


async def test_what_stripe_refuses_is_told_in_its_words(server: FakeStripe, gateway: StripeGateway) -> None:
    answer = await gateway.create_link(replace(ORDER, number="9" * 501))
    assert answer == LinkRefused(
        reason="Stripe refused (HTTP 400): 50 keys of 40 characters, values of 500 [req_fake]"
    )


async def test_words_from_outside_are_cut_and_carry_no_key(
    server: FakeStripe, gateway: StripeGateway
) -> None:
    server.faults.append(
        Fault(status=400, body=f'{{"error": {{"message": "{server.key}\\n\\u001b[31m{"x" * 999}"}}}}')
    )
    answer = await gateway.create_link(ORDER)
    assert isinstance(answer, LinkRefused)
    assert server.key not in answer.reason
    assert answer.reason.isprintable()
    assert len(answer.reason) < 300


async def test_a_wrong_key_names_the_setting_and_is_nowhere_told(
    server: FakeStripe, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = "sk_test_wrong_and_secret"
    gateway = StripeGateway(api_key=SecretStr(wrong), api_base=server.url)
    answer = await gateway.create_link(ORDER)
    await gateway.close()
    assert isinstance(answer, Postponed)
    assert "GPUFORGE_STRIPE_API_KEY" in answer.reason
    assert answer.retry_after_s == 900
    assert not answer.fresh_key
    assert "payment_links" in caplog.text
    assert wrong not in caplog.text + repr(answer) + repr(gateway)


async def test_a_key_with_a_line_end_from_its_file_is_taken(server: FakeStripe) -> None:
    gateway = StripeGateway(api_key=SecretStr(f"{server.key}\n"), api_base=f"{server.url}/")
    await made(gateway)
    await gateway.close()


async def test_deactivated_nobody_starts_a_checkout(server: FakeStripe, gateway: StripeGateway) -> None:
    link = await made(gateway)
    assert await gateway.deactivate_link(link.id, "deactivate-7") == Deactivated(completed_sessions=0)
    assert not server.links[link.id]["active"]
    assert await gateway.deactivate_link(link.id, "deactivate-7-again") == Deactivated(completed_sessions=0)


async def test_deactivating_tells_of_a_payment_meanwhile(server: FakeStripe, gateway: StripeGateway) -> None:
    link = await made(gateway)
    server.complete_checkout(link.id)
    assert await gateway.deactivate_link(link.id, "deactivate-7") == Deactivated(completed_sessions=1)


async def test_deactivating_after_a_lost_answer(server: FakeStripe, gateway: StripeGateway) -> None:
    link = await made(gateway)
    server.faults.append(DropAfter())
    assert isinstance(await gateway.deactivate_link(link.id, "deactivate-7"), Postponed)
    assert await gateway.deactivate_link(link.id, "deactivate-7") == Deactivated(completed_sessions=0)


async def test_a_link_that_stripe_does_not_know_is_refused(gateway: StripeGateway) -> None:
    answer = await gateway.deactivate_link("plink_of_another_account", "deactivate-7")
    assert isinstance(answer, LinkRefused)


async def test_a_link_that_stays_active_is_not_called_deactivated(
    server: FakeStripe, gateway: StripeGateway
) -> None:
    body = '{"object": "payment_link", "id": "plink_1", "active": true, "url": "https://buy.stripe.test/1"}'
    server.faults.append(Fault(status=200, body=body))
    assert isinstance(await gateway.deactivate_link("plink_1", "deactivate-7"), Postponed)


async def test_calls_at_once_share_their_connections(server: FakeStripe, gateway: StripeGateway) -> None:
    orders = [replace(ORDER, invoice_id=number, idempotency_key=f"key-{number}") for number in range(20)]
    links = await asyncio.gather(*(made(gateway, order) for order in orders))
    assert {link.id for link in links} == set(server.links)
    assert len(server.links) == 20


async def test_nothing_is_told_of_the_machine(server: FakeStripe, gateway: StripeGateway) -> None:
    """The SDK's telemetry has the kernel's name and an id that it keeps in the home directory."""
    await made(gateway)
    told_of_itself = json.loads(server.requests[0].client)
    assert told_of_itself["lang"] == "python"
    assert not {"platform", "telemetry_id"} & told_of_itself.keys()


async def test_closed_it_may_be_used_again(server: FakeStripe, gateway: StripeGateway) -> None:
    link = await made(gateway)
    await gateway.close()
    assert await made(gateway) == link


def test_the_sdk_is_not_imported_before_it_is_needed() -> None:
    modules = "gpuforge_controlplane.gateways.stripe", "gpuforge_controlplane.gateways.stripe_webhooks"
    script = f"import sys, {', '.join(modules)}; print('stripe' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"


async def test_a_payment_comes_back_as_a_notice_of_its_invoice(
    server: FakeStripe, gateway: StripeGateway
) -> None:
    link = await made(gateway)
    event = server.complete_checkout(link.id)
    notice = told(server, event)
    assert notice == PaymentNotice(
        event_id=event["id"],
        invoice_id=ORDER.invoice_id,
        link_id=link.id,
        amount_cents=ORDER.amount_cents,
        currency="usd",
        paid_at=datetime.fromtimestamp(event["created"], UTC),
    )


async def test_a_bank_debit_is_a_payment_once_it_went_through(
    server: FakeStripe, gateway: StripeGateway
) -> None:
    link = await made(gateway)
    event = server.complete_checkout(link.id, paid=False)
    assert isinstance(told(server, event), Ignored)
    session_id = event["data"]["object"]["id"]
    assert isinstance(told(server, server.settle(session_id, succeeded=False)), Ignored)
    assert isinstance(told(server, server.settle(session_id)), PaymentNotice)


async def test_nobody_pays_a_link_twice_though_both_had_it_open(
    server: FakeStripe, gateway: StripeGateway
) -> None:
    link = await made(gateway)
    first, second = (server.open_checkout(link.id)["id"] for _ in range(2))
    server.complete_session(first)
    with pytest.raises(CheckoutRefused):
        server.complete_session(second)
    with pytest.raises(CheckoutRefused):
        server.open_checkout(link.id)


async def test_a_checkout_open_before_its_link_was_deactivated_may_still_be_paid(
    server: FakeStripe, gateway: StripeGateway
) -> None:
    """So the count of deactivation is no last word: a payment of a void invoice can arrive."""
    link = await made(gateway)
    session_id = server.open_checkout(link.id)["id"]
    assert await gateway.deactivate_link(link.id, "deactivate-7") == Deactivated(completed_sessions=0)
    with pytest.raises(CheckoutRefused):
        server.open_checkout(link.id)
    assert isinstance(told(server, server.complete_session(session_id)), PaymentNotice)


def told(server: FakeStripe, event: dict[str, Any]) -> PaymentNotice | Ignored | WebhookRefused:
    body, headers = server.webhook(event)
    return read_webhook(body, headers["Stripe-Signature"], server.webhook_secret, utc_now())
