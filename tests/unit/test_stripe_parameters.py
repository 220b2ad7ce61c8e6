"""The fake Stripe's judge: it refuses what Stripe's own types do not know."""

from typing import Any
from urllib.parse import parse_qsl

import pytest
from stripe.params import PaymentLinkCreateParams, PaymentLinkUpdateParams

from tests.stripe_parameters import ParameterRefused, check, nested

PRICE = "line_items[0][quantity]=1&line_items[0][price_data][currency]=usd&line_items[0][price_data]"
LINE = "line_items[0][price]=price_1&line_items[0][quantity]=2"


def judged(form: str, kind: type = PaymentLinkCreateParams) -> dict[str, Any]:
    return check(nested(parse_qsl(form, keep_blank_values=True)), kind)


def test_numbers_booleans_and_lists_are_read() -> None:
    form = f"{LINE}&metadata[a]=1&restrictions[completed_sessions][limit]=1&allow_promotion_codes=false"
    assert judged(form) == {
        "line_items": [{"price": "price_1", "quantity": 2}],
        "metadata": {"a": "1"},
        "restrictions": {"completed_sessions": {"limit": 1}},
        "allow_promotion_codes": False,
    }


@pytest.mark.parametrize(
    ("form", "code", "parameter"),
    [
        (f"{LINE}&limit=1", "parameter_unknown", "limit"),
        (f"{LINE}&restrictions[limit]=1", "parameter_unknown", "restrictions[limit]"),
        (f"{LINE}&idempotency_key=k", "parameter_unknown", "idempotency_key"),
        ("currency=usd", "parameter_missing", "line_items"),
        (f"{LINE}&restrictions[completed_sessions][limit]=", "parameter_invalid_integer", None),
        (f"{LINE}&restrictions[completed_sessions][limit]=1.0", "parameter_invalid_integer", None),
        (f"{LINE}&restrictions=1", "parameter_invalid", "restrictions"),
        (f"{LINE}&allow_promotion_codes=True", "parameter_invalid", "allow_promotion_codes"),
        (f"{LINE}&submit_type=give", "parameter_invalid", "submit_type"),
        (f"{LINE}&inactive_message=", "parameter_invalid_empty", "inactive_message"),
        ("line_items[price]=price_1", "parameter_invalid", "line_items"),
        ("line_items[1][price]=price_1", "parameter_invalid", "line_items"),
        (f"{LINE}&currency[a]=usd", "parameter_invalid", "currency"),
        (f"{LINE}&metadata[a][b]=1", "parameter_invalid", "metadata[a]"),
        (
            f"{PRICE}[product_data][title]=x",
            "parameter_unknown",
            "line_items[0][price_data][product_data][title]",
        ),
        (
            f"{PRICE}[product_data][description]=x",
            "parameter_missing",
            "line_items[0][price_data][product_data][name]",
        ),
    ],
    ids=lambda value: value,
)
def test_what_is_wrong_is_named(form: str, code: str, parameter: str | None) -> None:
    with pytest.raises(ParameterRefused) as refused:
        judged(form)
    assert refused.value.code == code
    assert refused.value.parameter == (parameter or "restrictions[completed_sessions][limit]")


def test_empty_is_taken_where_it_unsets() -> None:
    assert judged("restrictions=", PaymentLinkUpdateParams) == {"restrictions": ""}


def test_an_enum_takes_its_words() -> None:
    assert judged(f"{LINE}&submit_type=pay")["submit_type"] == "pay"
