"""The meter's arithmetic: whole seconds, cut at midnight and at rate changes, whoever cuts them."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.domain.metering import (
    DAY_S,
    RateBook,
    RateVersion,
    from_second,
    metered_to,
    owed_since,
    segments,
    whole_second,
)

DAY = 20_000 * DAY_S


def version(
    number: int, effective_s: int, price: int | None = 1_000_000, tenant: int | None = None
) -> RateVersion:
    return RateVersion(
        id=number, family="H100", tenant_id=tenant, price_micros=price, effective_s=effective_s
    )


LIST = version(1, 0)
RAISED = version(2, DAY + 100, 2_000_000)
OWN = version(3, DAY + 50, 500_000, tenant=7)
OWN_ENDS = version(4, DAY + 200, None, tenant=7)

CASES: dict[str, tuple[list[RateVersion], int | None, int, int, list[tuple[int, int, int | None]]]] = {
    "one rate, one day": ([LIST], None, 10, 20, [(10, 20, 1)]),
    "nothing": ([LIST], None, 10, 10, []),
    "backwards is nothing": ([LIST], None, 20, 10, []),
    "unrated": ([], None, 10, 20, [(10, 20, None)]),
    "unrated until a rate comes": ([RAISED], None, 90, 110, [(90, 100, None), (100, 110, 2)]),
    "a change splits": ([LIST, RAISED], None, 90, 110, [(90, 100, 1), (100, 110, 2)]),
    "a change at the start does not": ([LIST, RAISED], None, 100, 110, [(100, 110, 2)]),
    "a change at the end does not": ([LIST, RAISED], None, 90, 100, [(90, 100, 1)]),
    "midnight splits": ([LIST], None, -5, 5, [(-5, 0, 1), (0, 5, 1)]),
    "a change at midnight splits once": (
        [LIST, version(9, DAY, 3)], None, -5, 5, [(-5, 0, 1), (0, 5, 9)],
    ),
    "a tenant's own rate goes first": ([LIST, OWN], 7, 40, 60, [(40, 50, 1), (50, 60, 3)]),
    "and is nobody else's": ([LIST, OWN], 8, 40, 60, [(40, 60, 1)]),
    "a list price that changes under it changes nothing": ([LIST, OWN, RAISED], 7, 60, 150, [(60, 150, 3)]),
    "its end brings the list price back": (
        [LIST, OWN, RAISED, OWN_ENDS], 7, 150, 250, [(150, 200, 3), (200, 250, 2)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("versions", "tenant", "start", "end", "expected"), CASES.values(), ids=CASES)
def test_segments(
    versions: list[RateVersion],
    tenant: int | None,
    start: int,
    end: int,
    expected: list[tuple[int, int, int | None]],
) -> None:
    found = segments(DAY + start, DAY + end, "H100", tenant, RateBook(versions))
    assert [(piece.start_s - DAY, piece.end_s - DAY, piece.rate_id) for piece in found] == expected


@st.composite
def books(draw: st.DrawFn) -> RateBook:
    moments = draw(st.lists(st.integers(0, 4 * DAY_S), unique=True, max_size=8))
    return RateBook(
        RateVersion(
            id=number,
            family="H100",
            tenant_id=draw(st.sampled_from([None, 7])),
            price_micros=draw(st.sampled_from([0, 1, 2_210_000])),
            effective_s=moment,
        )
        for number, moment in enumerate(moments, 1)
    )


@given(books(), st.integers(0, 4 * DAY_S), st.integers(0, 4 * DAY_S), st.integers(0, 4 * DAY_S))
def test_pieces_add_up_wherever_they_are_cut(book: RateBook, first: int, second: int, third: int) -> None:
    """No second is lost or metered twice, and each goes by the rate of its own moment."""
    start, cut, end = sorted((first, second, third))
    whole = segments(start, end, "H100", 7, book)
    in_two = [*segments(start, cut, "H100", 7, book), *segments(cut, end, "H100", 7, book)]
    assert sum(piece.seconds for piece in whole) == sum(piece.seconds for piece in in_two) == end - start
    for pieces in (whole, in_two):
        assert all(before.end_s == after.start_s for before, after in pairwise(pieces))
        for piece in pieces:
            for moment in (piece.start_s, piece.end_s - 1):
                rate = book.at("H100", 7, moment)
                assert piece.rate_id == (None if rate is None else rate.id)
            assert piece.start_s // DAY_S == (piece.end_s - 1) // DAY_S


@given(st.datetimes(timezones=st.just(UTC)))
def test_whole_seconds_round_down(moment: datetime) -> None:
    second = whole_second(moment)
    assert from_second(second) <= moment < from_second(second + 1)


def test_two_jobs_that_follow_each_other_share_no_second() -> None:
    start = datetime(2026, 5, 9, 12, 0, 0, 900_000, tzinfo=UTC)
    middle, end = start + timedelta(seconds=1.3), start + timedelta(seconds=9)
    together = whole_second(end) - whole_second(start)
    assert (whole_second(middle) - whole_second(start)) + (
        whole_second(end) - whole_second(middle)
    ) == together


NOON = datetime(2026, 5, 9, 12, tzinfo=UTC)
EARLIER = NOON - timedelta(minutes=1)
MIDNIGHT = datetime(2026, 5, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("heard", "ends_by", "expected"),
    [
        pytest.param(None, None, NOON, id="nothing holds it back"),
        pytest.param(EARLIER, None, EARLIER, id="not past the last heartbeat"),
        pytest.param(None, EARLIER, EARLIER, id="not past the time limit"),
        pytest.param(NOON + timedelta(hours=1), None, NOON, id="a heartbeat of the future changes nothing"),
    ],
)
def test_what_may_be_taken_back_is_not_metered(
    heard: datetime | None, ends_by: datetime | None, expected: datetime
) -> None:
    assert metered_to(NOON, heard, ends_by) == expected


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        pytest.param(NOON, MIDNIGHT, id="what runs at noon is owed from midnight on"),
        pytest.param(EARLIER + timedelta(seconds=1), MIDNIGHT, id="a second is"),
        pytest.param(EARLIER, None, id="nothing has run"),
        pytest.param(EARLIER - timedelta(hours=1), None, id="its node was lost before"),
        pytest.param(EARLIER + timedelta(milliseconds=900), None, id="part of a second is none"),
    ],
)
def test_the_meter_owes_at_the_end_of_the_day(until: datetime, expected: datetime | None) -> None:
    assert owed_since(EARLIER, until) == expected


def test_days_end_at_utc_midnight() -> None:
    begins, ends = datetime(2028, 2, 28, 23, tzinfo=UTC), datetime(2028, 3, 1, 1, tzinfo=UTC)
    found = segments(whole_second(begins), whole_second(ends), "H100", None, RateBook([LIST]))
    assert [from_second(piece.start_s) for piece in found] == [
        begins, datetime(2028, 2, 29, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC),
    ]  # fmt: skip
