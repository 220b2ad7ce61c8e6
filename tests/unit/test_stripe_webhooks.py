"""Which webhooks are believed, and what they are taken to say."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.gateways.stripe_webhooks import (
    Ignored,
    PaymentNotice,
    WebhookRefused,
    read_webhook,
)

SECRET = "whsec_of_this_test"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SIGNED_AT = int(NOW.timestamp())
PAID_AT = SIGNED_AT - 7

SESSION: dict[str, Any] = {
    "id": "cs_test_1",
    "object": "checkout.session",
    "amount_total": 123_456,
    "currency": "usd",
    "metadata": {"gpuforge_invoice_id": "7", "gpuforge_invoice_number": "INV-2026-0007"},
    "mode": "payment",
    "payment_link": "plink_1",
    "payment_status": "paid",
    "status": "complete",
}
NOTICE = PaymentNotice(
    event_id="evt_1",
    invoice_id=7,
    link_id="plink_1",
    amount_cents=123_456,
    currency="usd",
    paid_at=datetime.fromtimestamp(PAID_AT, UTC),
)


def event(kind: str = "checkout.session.completed", /, **changed: Any) -> dict[str, Any]:
    """An event about the session with some of its fields changed."""
    return {
        "id": "evt_1",
        "object": "event",
        "created": PAID_AT,
        "type": kind,
        "data": {"object": SESSION | changed},
        "livemode": False,
    }


def signature(payload: bytes, at: int = SIGNED_AT, secret: str = SECRET) -> str:
    """As docs.stripe.com/webhooks describes it, without the SDK: HMAC-SHA256 of timestamp, dot and body."""
    return hmac.new(secret.encode(), b"%d.%s" % (at, payload), hashlib.sha256).hexdigest()


def header(payload: bytes, at: int = SIGNED_AT, secret: str = SECRET) -> str:
    return f"t={at},v1={signature(payload, at, secret)}"


def read(payload: bytes, signed: str | None = None) -> PaymentNotice | Ignored | WebhookRefused:
    return read_webhook(payload, header(payload) if signed is None else signed, SECRET, NOW)


BODY = json.dumps(event()).encode()


def test_the_sdk_signs_as_documented() -> None:
    theirs = stripe.WebhookSignature.generate_signature_header(BODY.decode(), SECRET, SIGNED_AT)
    assert theirs == header(BODY)


@pytest.mark.parametrize("kind", ["checkout.session.completed", "checkout.session.async_payment_succeeded"])
def test_a_payment(kind: str) -> None:
    assert read(json.dumps(event(kind), indent=2).encode()) == NOTICE


@pytest.mark.parametrize(
    "unremarkable",
    [
        event(payment_status="unpaid"),
        event(payment_status="no_payment_required"),
        event("checkout.session.async_payment_failed", payment_status="unpaid"),
        event("checkout.session.expired"),
        event("payment_link.updated", object="payment_link"),
        event(metadata={}),
        event(metadata=None),
        event(metadata={"invoice_id": "7"}),
        event(metadata={"gpuforge_invoice_id": "seven"}),
        event(metadata={"gpuforge_invoice_id": "7\n"}),
        event(metadata={"gpuforge_invoice_id": "\u0667"}),
        event(metadata={"gpuforge_invoice_id": "9" * 40}),
        event(payment_link=None),
        event(amount_total=None),
        event(currency=None),
        {**event(), "type": "invoice.paid", "data": {"object": {"anything": [1, None]}}},
    ],
    ids=[
        "bank debit on its way",
        "nothing to pay",
        "bank debit failed",
        "expired",
        "a link",
        "of another seller",
        "no metadata",
        "another's invoice",
        "an id in words",
        "an id with a line end",
        "an id in other digits",
        "an id without end",
        "not by a link",
        "no amount",
        "no currency",
        "another object",
    ],
)
def test_what_is_genuine_and_no_payment_of_ours_is_ignored(unremarkable: dict[str, Any]) -> None:
    answer = read(json.dumps(unremarkable).encode())
    assert answer == Ignored(event_id="evt_1", event_type=unremarkable["type"])


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"paid",
        BODY[:-1],
        b"\xef\xbb\xbf" + BODY,
        b"\xff" + BODY,
        BODY[:-1] + b', "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        json.dumps({**event(), "object": "v2.core.event"}).encode(),
        json.dumps({**event(), "id": None}).encode(),
        json.dumps({**event(), "id": "evt_1\n"}).encode(),
        json.dumps({**event(), "id": "evt_\0"}).encode(),
        json.dumps({**event(), "id": "e" * 256}).encode(),
        json.dumps({**event(), "created": "today"}).encode(),
        json.dumps({**event(), "created": 10**18}).encode(),
        json.dumps({**event(), "created": -1}).encode(),
        json.dumps({**event(), "data": None}).encode(),
        json.dumps({**event(), "data": {"object": []}}).encode(),
        json.dumps({**event(), "data": {"object": SESSION | {"object": "charge"}}}).encode(),
        json.dumps(event(amount_total="123456")).encode(),
        json.dumps(event(amount_total=1234.56)).encode(),
        json.dumps(event(amount_total=-1)).encode(),
        json.dumps(event(amount_total=10**30)).encode(),
        json.dumps(event(amount_total=True)).encode(),
        json.dumps(event(currency="dollars")).encode(),
        json.dumps(event(payment_link="plink 1")).encode(),
        BODY.replace(b"plink_1", b"\\ud800"),
    ],
    ids=[
        "empty",
        "an empty object",
        "a list",
        "null",
        "no JSON",
        "cut",
        "byte order mark",
        "not UTF-8",
        "deep",
        "a thin event",
        "no id",
        "an id with a line end",
        "an id with a NUL",
        "a long id",
        "created in words",
        "created in the year 3e10",
        "created before 1970",
        "no data",
        "a list for a session",
        "a charge for a session",
        "an amount in quotes",
        "an amount with cents",
        "a negative amount",
        "a monstrous amount",
        "a true amount",
        "no currency",
        "no link",
        "half a character",
    ],
)
def test_a_genuine_signature_makes_no_event_of_it(payload: bytes) -> None:
    answer = read(payload)
    assert isinstance(answer, WebhookRefused)
    assert answer.code == "body_malformed"


RIGHT = signature(BODY)


@pytest.mark.parametrize(
    ("signed", "code"),
    [
        ("", "signature_missing"),
        ("nonsense", "signature_malformed"),
        (f"v1={RIGHT}", "signature_malformed"),
        (f"t={SIGNED_AT}", "signature_malformed"),
        (f"t={SIGNED_AT},v0={RIGHT}", "signature_malformed"),
        (f"t={SIGNED_AT},t={SIGNED_AT},v1={RIGHT}", "signature_malformed"),
        (f"t=,v1={RIGHT}", "signature_malformed"),
        (f"t=now,v1={RIGHT}", "signature_malformed"),
        (f"t=-1,v1={RIGHT}", "signature_malformed"),
        (f"t={SIGNED_AT}.0,v1={RIGHT}", "signature_malformed"),
        (f"t={SIGNED_AT}=1,v1={RIGHT}", "signature_malformed"),
        (f"t={'1' * 5000},v1={RIGHT}", "signature_malformed"),
        (
            f"t={str(SIGNED_AT).translate({48 + n: 0x660 + n for n in range(10)})},v1={RIGHT}",
            "signature_malformed",
        ),
        (f"t={SIGNED_AT},v1=é", "signature_malformed"),
        (f"t={SIGNED_AT},v1=\udcff", "signature_malformed"),
        (f"t={SIGNED_AT}" + f",v1={RIGHT}" * 100, "signature_malformed"),
        (f"t={SIGNED_AT},v1=", "signature_mismatch"),
        (f"t={SIGNED_AT},v1={RIGHT.upper()}", "signature_mismatch"),
        (f"t={SIGNED_AT},v1={RIGHT[:-1]}", "signature_mismatch"),
        (f"t={SIGNED_AT + 1},v1={RIGHT}", "signature_mismatch"),
        (f"t={SIGNED_AT}, v1={RIGHT}", "signature_malformed"),
        (header(BODY, secret="whsec_of_another"), "signature_mismatch"),
        (header(BODY + b" "), "signature_mismatch"),
    ],
    ids=lambda value: value[:40].encode("ascii", "backslashreplace").decode() if value else "none",
)
def test_what_is_not_signed_is_refused(signed: str, code: str) -> None:
    answer = read(BODY, signed)
    assert isinstance(answer, WebhookRefused)
    assert answer.code == code


def test_no_header_at_all_is_refused() -> None:
    answer = read_webhook(BODY, None, SECRET, NOW)
    assert isinstance(answer, WebhookRefused)
    assert answer.code == "signature_missing"


@pytest.mark.parametrize("secret", ["", " \n", "\udcff"], ids=["empty", "blank", "no text"])
def test_without_a_secret_nothing_is_believed(secret: str) -> None:
    answer = read_webhook(BODY, header(BODY, secret=""), secret, NOW)
    assert isinstance(answer, WebhookRefused)


def test_a_secret_with_a_line_end_from_its_file_is_taken() -> None:
    assert read_webhook(BODY, header(BODY), f"{SECRET}\n", NOW) == NOTICE


def test_while_a_secret_is_rolled_one_signature_of_several_is_enough() -> None:
    """Stripe then signs with the old and the new one; v0 is of another scheme and counts for nothing."""
    other = signature(BODY, secret="whsec_the_next")
    for signed in (f"v1={other},v1={RIGHT}", f"v1={RIGHT},v1={other}", f"v0={other},v1={RIGHT}"):
        assert read(BODY, f"t={SIGNED_AT},{signed}") == NOTICE
    answer = read(BODY, f"t={SIGNED_AT},v1={other},v1={'0' * 64}")
    assert isinstance(answer, WebhookRefused)


@pytest.mark.parametrize(
    ("seconds", "believed"),
    [(-301, False), (-300, True), (0, True), (300, True), (301, False), (10**9, False)],
)
def test_five_minutes_either_way(seconds: int, believed: bool) -> None:
    answer = read(BODY, header(BODY, at=SIGNED_AT + seconds))
    assert (answer == NOTICE) is believed
    if isinstance(answer, WebhookRefused):
        assert answer.code == "signature_stale"
        assert str(abs(seconds)) in answer.reason


def test_the_wall_clock_has_no_say() -> None:
    """A webhook of 2001 is believed in 2001: nothing but `now` decides."""
    then = datetime(2001, 9, 9, tzinfo=UTC)
    signed = header(BODY, at=int(then.timestamp()))
    assert read_webhook(BODY, signed, SECRET, then + timedelta(seconds=5)) == NOTICE


def test_no_refusal_tells_the_secret() -> None:
    answers = [read(BODY, signed) for signed in ("", "x", f"t={SIGNED_AT},v1={'0' * 64}", header(BODY, at=1))]
    assert SECRET not in repr(answers)
    assert RIGHT not in repr(answers)


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_no_byte_of_a_payment_may_be_changed(position: int, change: int) -> None:
    tampered = BODY[:position] + bytes([BODY[position] ^ change]) + BODY[position + 1 :]
    assert isinstance(read(tampered, header(BODY)), WebhookRefused)


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_nothing_may_be_added_to_a_payment(before: bytes, after: bytes) -> None:
    if before or after:
        assert isinstance(read(before + BODY + after, header(BODY)), WebhookRefused)


PIECES = st.sampled_from(["t", "v1", "v0", "=", ",", str(SIGNED_AT), "0", "f" * 64, "é", " "])


@given(st.text(max_size=50) | st.lists(PIECES, max_size=12).map("".join))
def test_no_header_made_up_is_believed_and_none_raises(signed: str) -> None:
    assert isinstance(read(BODY, signed), WebhookRefused)


@given(st.data())
def test_a_changed_header_is_refused_or_says_the_same(data: st.DataObject) -> None:
    """The body is genuine still: what remains of its signature may vouch for it, and for nothing else."""
    right = header(BODY)
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(right)), st.integers(0, len(right)))))
    answer = read(BODY, right[:start] + data.draw(st.text(max_size=5)) + right[end:])
    assert answer == NOTICE or isinstance(answer, WebhookRefused)


@given(st.binary(max_size=300))
def test_whatever_is_signed_nothing_raises(payload: bytes) -> None:
    assert isinstance(read(payload), WebhookRefused)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([*event(), *SESSION]), JSON)
def test_whatever_a_field_holds_nothing_raises(name: str, value: object) -> None:
    holder = event() if name in event() else event(**{name: value})
    answer = read(json.dumps(holder | ({name: value} if name in holder else {})).encode())
    assert isinstance(answer, PaymentNotice | Ignored | WebhookRefused)
