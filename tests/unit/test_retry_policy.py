"""When a request is tried again, and after how long: the rules as tables, the arithmetic as properties."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_client.failures import (
    CertificateRefused,
    ControlPlaneUnreachable,
    GatewayFailed,
    UnexpectedAnswer,
)
from gpuforge_client.retry import (
    Fault,
    RetryPolicy,
    World,
    backoff_s,
    fault_of,
    next_wait_s,
    parse_retry_after,
    retrying,
)
from gpuforge_shared.errors import BY_STATUS, Conflict, GPUForgeError, TooManyRequests, Unavailable

NOW = datetime(2026, 5, 9, 0, 30, tzinfo=UTC)
POLICY = RetryPolicy(attempts=4, base_s=1.0, cap_s=30.0, longest_retry_after_s=60.0)
FOREVER = RetryPolicy(attempts=None, base_s=1.0, cap_s=30.0, longest_retry_after_s=60.0)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        pytest.param(ControlPlaneUnreachable("refused", sent=False), Fault.NOT_DONE, id="never connected"),
        pytest.param(ControlPlaneUnreachable("reset", sent=True), Fault.UNKNOWN, id="lost half way"),
        pytest.param(CertificateRefused("expired", sent=False), Fault.FINAL, id="certificate"),
        pytest.param(GatewayFailed("504"), Fault.UNKNOWN, id="502 and 504"),
        pytest.param(TooManyRequests("slow down"), Fault.NOT_DONE, id="429"),
        pytest.param(Unavailable("busy"), Fault.NOT_DONE, id="503"),
        pytest.param(Conflict("still running", retry_after=1), Fault.NOT_DONE, id="409 that says when"),
        pytest.param(Conflict("name taken"), Fault.FINAL, id="409"),
        pytest.param(UnexpectedAnswer("<html>"), Fault.FINAL, id="not JSON"),
        pytest.param(ValueError("ours"), Fault.FINAL, id="a defect of ours"),
        *(
            pytest.param(kind("no"), Fault.FINAL, id=str(status))
            for status, kind in BY_STATUS.items()
            if status not in (409, 429, 503)
        ),
    ],
)
def test_a_failure_says_whether_the_request_was_carried_out(error: Exception, fault: Fault) -> None:
    assert fault_of(error) is fault


LOST = ControlPlaneUnreachable("reset", sent=True)
AWAY = ControlPlaneUnreachable("refused", sent=False)


@pytest.mark.parametrize(
    ("policy", "attempt", "error", "repeatable", "wait"),
    [
        pytest.param(POLICY, 1, AWAY, False, 0.5, id="not sent: any request"),
        pytest.param(POLICY, 1, LOST, True, 0.5, id="perhaps done: a safe one"),
        pytest.param(POLICY, 1, LOST, False, None, id="perhaps done: no other"),
        pytest.param(POLICY, 3, AWAY, True, 2.0, id="the ceiling doubles"),
        pytest.param(POLICY, 4, AWAY, True, None, id="attempts used up"),
        pytest.param(FOREVER, 400, AWAY, True, 15.0, id="for ever, at the cap"),
        pytest.param(POLICY, 1, Unavailable("", retry_after=7), False, 7.5, id="Retry-After is a floor"),
        pytest.param(POLICY, 1, Unavailable("", retry_after=61), True, None, id="too long for who gives up"),
        pytest.param(FOREVER, 1, Unavailable("", retry_after=9e9), True, 60.5, id="bounded for who does not"),
        pytest.param(FOREVER, 1, UnexpectedAnswer("x"), True, None, id="final"),
    ],
)
def test_the_next_wait(
    policy: RetryPolicy, attempt: int, error: Exception, *, repeatable: bool, wait: float | None
) -> None:
    assert next_wait_s(policy, attempt, error, repeatable=repeatable, draw=0.5) == wait


@given(
    attempt=st.integers(1, 10**6),
    draw=st.floats(0, 1, exclude_max=True),
    retry_after=st.none() | st.floats(0, 1e9),
)
def test_a_wait_is_never_below_retry_after_nor_above_both_bounds(
    attempt: int, draw: float, retry_after: float | None
) -> None:
    wait = backoff_s(FOREVER, attempt, retry_after, draw)
    floor = min(retry_after or 0.0, FOREVER.longest_retry_after_s)
    assert floor <= wait <= floor + FOREVER.cap_s


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param(None, None, id="absent"),
        pytest.param("120", 120.0, id="seconds"),
        pytest.param(" 0 ", 0.0, id="blanks"),
        pytest.param("Sat, 09 May 2026 00:31:30 GMT", 90.0, id="HTTP date"),
        pytest.param("Sat, 09 May 2026 00:00:00 GMT", 0.0, id="a date gone by"),
        pytest.param("Saturday, 09-May-26 00:30:10 GMT", 10.0, id="obsolete date"),
        pytest.param("soon", None, id="neither"),
        pytest.param("-5", None, id="negative"),
        pytest.param("1.5", None, id="fraction"),
        pytest.param("", None, id="empty"),
        pytest.param("²", None, id="a digit that is no number"),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, NOW) == seconds


@given(st.integers(0, 10**7))
def test_retry_after_as_a_date_means_the_same_as_in_seconds(seconds: int) -> None:
    date = (NOW + timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert parse_retry_after(date, NOW) == parse_retry_after(str(seconds), NOW)


async def test_the_loop_waits_as_told_and_tells_before_it_waits() -> None:
    happened: list[object] = []
    answers: list[GPUForgeError | str] = [Unavailable("a"), Unavailable("b"), "done"]

    async def act() -> str:
        answer = answers.pop(0)
        if isinstance(answer, GPUForgeError):
            raise answer
        return answer

    async def sleep(seconds: float) -> None:
        happened.append(("slept", seconds))

    loop = retrying(
        lambda _, attempt: attempt * 10.0,
        World(sleep=sleep),
        lambda error, seconds: happened.append((str(error), seconds)),
    )
    assert await loop(act) == "done"
    assert happened == [("a", 10.0), ("slept", 10.0), ("b", 20.0), ("slept", 20.0)]


async def test_the_loop_lets_through_what_is_not_to_be_repeated() -> None:
    async def act() -> None:
        raise Conflict("name taken")

    with pytest.raises(Conflict, match="name taken"):
        await retrying(lambda *_: None, World())(act)
