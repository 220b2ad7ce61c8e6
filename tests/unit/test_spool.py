"""The queue against a list that does the same: order, bound, numbers, and a count that adds up."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_agent.spool import Losses, MemorySpool, Sample

START = datetime(2026, 5, 9, tzinfo=UTC)


def sample(number: int) -> Sample:
    return Sample(uuid="GPU-1", recorded_at=START + timedelta(seconds=number))


APPEND = st.just(("append", 0))
ACK = st.tuples(st.just("ack"), st.integers(-2, 60))


@given(capacity=st.integers(1, 8), steps=st.lists(APPEND | ACK, max_size=60), limit=st.integers(1, 10))
def test_it_keeps_the_newest_in_order_and_its_counts_add_up(
    capacity: int, steps: list[tuple[str, int]], limit: int
) -> None:
    spool = MemorySpool(capacity)
    held: list[int] = []  # numbers
    appended = acknowledged = dropped = 0
    for step, through in steps:
        if step == "append":
            spool.append(sample(appended))
            held.append(appended)
            appended += 1
            dropped += max(0, len(held) - capacity)
            del held[:-capacity]
        else:
            spool.ack(through)
            acknowledged += sum(number <= through for number in held)
            held = [number for number in held if number > through]
        batch = spool.peek(limit)
        assert list(batch.samples) == [sample(number) for number in held[:limit]]
        assert list(batch.numbers) == held[:limit]
        assert len(spool) == len(held) <= capacity
        assert spool.losses.dropped == dropped
        assert appended == acknowledged + dropped + len(spool)


def test_peeking_takes_nothing_away() -> None:
    spool = MemorySpool(3)
    spool.append(sample(0))
    assert spool.peek(5) == spool.peek(5)
    assert len(spool) == 1


def test_acknowledging_what_was_dropped_meanwhile_keeps_what_came_after() -> None:
    spool = MemorySpool(2)
    spool.append(sample(0))
    spool.append(sample(1))
    in_flight = spool.peek(1)
    spool.append(sample(2))  # 0 makes room while it is under way
    spool.ack(in_flight.numbers[-1])
    assert spool.peek(5).samples == (sample(1), sample(2))


def test_a_gap_is_told_with_the_times_that_it_spans() -> None:
    spool = MemorySpool(2)
    for number in range(5):
        spool.append(sample(number))
    assert spool.losses == Losses(dropped=3, since=START, until=START + timedelta(seconds=3))


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_a_batch_is_no_longer_than_asked(limit: int) -> None:
    spool = MemorySpool(10)
    for number in range(3):
        spool.append(sample(number))
    assert len(spool.peek(limit).samples) == min(limit, 3)
