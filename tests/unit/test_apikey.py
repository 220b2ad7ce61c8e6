"""The form of a key: every typo is caught, and nothing longer than the prefix survives a log."""

import hashlib
import string
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_shared.apikey import assemble, digest, display_prefix, is_well_formed
from gpuforge_shared.logs import redact

HEX = "0123456789abcdef"
RANDOM = st.text(HEX, min_size=56, max_size=56)
KEY = assemble("0123456789abcdef" * 3 + "01234567")


def test_the_form() -> None:
    """56 digits and the CRC-32 of what precedes them: fixed here, since keys out there have it."""
    assert KEY.startswith("gfk_" + "0123456789abcdef" * 3 + "01234567")
    assert KEY[60:] == f"{zlib.crc32(KEY[:60].encode()):08x}"
    assert len(KEY) == 68
    assert display_prefix(KEY) == "gfk_01234567"
    assert digest(KEY) == hashlib.sha256(KEY.encode()).digest()


@given(random=RANDOM)
def test_what_is_assembled_is_well_formed(random: str) -> None:
    assert is_well_formed(assemble(random))


@given(random=RANDOM, place=st.integers(4, 67), digit=st.sampled_from(HEX))
def test_one_wrong_digit_is_caught(random: str, place: int, digit: str) -> None:
    key = assemble(random)
    wrong = key[:place] + digit + key[place + 1 :]
    assert is_well_formed(wrong) == (wrong == key)


@given(random=RANDOM, place=st.integers(4, 66))
def test_two_digits_the_wrong_way_round_are_caught(random: str, place: int) -> None:
    key = assemble(random)
    wrong = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
    assert is_well_formed(wrong) == (wrong == key)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "gfk_",
        KEY[:-1],
        KEY + "0",
        KEY.upper(),
        KEY.replace("gfk_", "gfx_"),
        " " + KEY,
        KEY + "\n",
        KEY[4:],
    ],
    ids=["nothing", "prefix", "cut", "long", "upper", "other prefix", "space", "line end", "bare"],
)
def test_another_form(raw: str) -> None:
    assert not is_well_formed(raw)


@pytest.mark.parametrize("length", [0, 55, 57])
def test_only_56_digits_make_a_key(length: int) -> None:
    with pytest.raises(ValueError, match=f"56 random hex digits, not {length}"):
        assemble("0" * length)


@given(random=RANDOM, around=st.text(string.printable, max_size=20))
def test_redaction_leaves_the_prefix_alone(random: str, around: str) -> None:
    key = assemble(random)
    text = redact(f"{around} {key} {around}")
    assert key not in text
    assert key[12:] not in text
    assert display_prefix(key) in text


def test_a_prefix_is_not_redacted() -> None:
    text = "API key gfk_01234567… has been revoked"
    assert redact(text) == text
