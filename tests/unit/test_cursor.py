"""Cursors: what comes back is what went out, and nothing else is taken for one."""

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.services.context import decode_cursor, encode_cursor, page_of
from gpuforge_shared.errors import Invalid


@given(last=st.integers(0, 10**18 - 1))
def test_a_cursor_comes_back(last: int) -> None:
    assert decode_cursor(encode_cursor(last)) == last


def test_without_a_cursor_a_list_begins_at_its_start() -> None:
    assert decode_cursor(None) == 0
    assert decode_cursor(None, start=7) == 7


def of(word: str) -> str:
    return base64.urlsafe_b64encode(word.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    ["", "7", of("7"), of("after"), of("after:"), of("after:-1"), of("after:1e3"), of("after: 1"),
     of("after:1:2"), of("before:1"), of("after:" + "9" * 19), "💩", "/w", "====", "a" * 5, "YWZ0ZXI6/w"],
)  # fmt: skip
def test_a_made_up_cursor(cursor: str) -> None:
    with pytest.raises(Invalid) as refused:
        decode_cursor(cursor)
    assert [error.path for error in refused.value.errors] == ["query.cursor"]


@given(word=st.text(max_size=40))
def test_any_word_is_a_cursor_or_refused(word: str) -> None:
    with contextlib.suppress(Invalid):
        assert 0 <= decode_cursor(word) < 10**18


@given(ids=st.lists(st.integers(1, 10**6), unique=True).map(sorted), limit=st.integers(1, 10))
def test_pages_neither_lose_nor_repeat(ids: list[int], limit: int) -> None:
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        batch = [each for each in ids if each > after][: limit + 1]
        page = page_of(batch, limit, batch)
        assert len(page.answer) <= limit
        seen += page.answer
        after = page.last_id
    assert seen == ids
