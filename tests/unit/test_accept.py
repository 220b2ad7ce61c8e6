"""Which form of an answer is wanted: RFC 9110, 12.5.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.api.accept import preferred

JSON, CSV, HTML = "application/json", "text/csv", "text/html"
OFFERED = (JSON, CSV, HTML)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        pytest.param("", JSON, id="no header"),
        pytest.param("  ", JSON, id="an empty header"),
        pytest.param("*/*", JSON, id="anything: the first"),
        pytest.param("text/csv", CSV, id="by name"),
        pytest.param("TEXT/CSV", CSV, id="in capitals"),
        pytest.param("text/*", CSV, id="a family: its first"),
        pytest.param("text/csv;q=0.5, text/html", HTML, id="by weight"),
        pytest.param("text/html;q=0.5, */*;q=0.4", HTML, id="a range for the others"),
        pytest.param("text/*;q=0.9, text/csv;q=0.1, */*;q=0.5", HTML, id="the most specific range decides"),
        pytest.param("*/*, application/json;q=0", CSV, id="anything but one"),
        pytest.param("text/csv;q=0", None, id="not that, and nothing else"),
        pytest.param("image/png", None, id="nothing that there is"),
        pytest.param("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML, id="a browser"),
        pytest.param("text/csv; header=present; q=0.3, text/html;q=0.2", CSV, id="other parameters"),
        pytest.param("text/csv;q=2, text/html", HTML, id="a weight that is none is no range"),
        pytest.param("text/csv;q=0.1234, text/html;q=0.2", HTML, id="a weight of four digits, too"),
        pytest.param("text/csv;q=, text/html;q=0.2", HTML, id="and one without digits"),
        pytest.param(",,;q=1,text/csv", CSV, id="what is no range is ignored"),
    ],
)
def test_what_is_wanted(accept: str, wanted: str | None) -> None:
    assert preferred(accept, OFFERED) == wanted


@given(st.text(max_size=200))
def test_whatever_is_sent_is_answered(accept: str) -> None:
    assert preferred(accept, OFFERED) in (*OFFERED, None)


@given(st.permutations(OFFERED), st.lists(st.integers(0, 1000), min_size=3, max_size=3))
def test_the_heaviest_wins_in_whatever_order(offered: list[str], weights: list[int]) -> None:
    given_ = dict(zip(OFFERED, weights, strict=True))
    accept = ", ".join(f"{media};q={weight / 1000:.3f}" for media, weight in given_.items())
    best = max(weights)
    found = preferred(accept, offered)
    assert found == (next(media for media in offered if given_[media] == best) if best else None)
