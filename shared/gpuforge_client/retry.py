"""When a failed request is worth another try, and after how long: a pure policy and its tenacity adapter."""

from __future__ import annotations

import asyncio
import enum
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tenacity import AsyncRetrying, RetryCallState

from gpuforge_client.failures import CertificateRefused, ControlPlaneUnreachable, GatewayFailed
from gpuforge_shared.clock import Clock, utc_now
from gpuforge_shared.errors import Conflict, GPUForgeError, TooManyRequests, Unavailable


class Fault(enum.Enum):
    """What a failure says about the request that met it."""

    NOT_DONE = "it did not reach the service, or was refused for now: any request may be repeated"
    UNKNOWN = "it may have been carried out: only a request that is safe to repeat may be"
    FINAL = "the answer would be the same again"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How patient a caller is. Waits are jittered: uniformly drawn below a doubling ceiling."""

    attempts: int | None = 5  # the first try included; None = for ever
    base_s: float = 0.5  # ceiling of the first wait
    cap_s: float = 30.0  # ceiling of every later one
    longest_retry_after_s: float = 300.0  # a Retry-After above this is answered by giving up, or by this wait


PATIENT = RetryPolicy()
ONCE = RetryPolicy(attempts=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What retrying needs from outside, so that a test can stand in for it."""

    clock: Clock = utc_now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    draw: Callable[[], float] = random.random  # uniform in [0, 1)
    monotonic: Callable[[], float] = time.monotonic


REAL = World()


def fault_of(error: BaseException) -> Fault:
    """Sort a failure. 429 and 503 mean not done; 409 only where the answer says when to come back."""
    if isinstance(error, CertificateRefused):
        return Fault.FINAL
    if isinstance(error, ControlPlaneUnreachable):
        return Fault.UNKNOWN if error.sent else Fault.NOT_DONE
    if isinstance(error, TooManyRequests | Unavailable):
        return Fault.NOT_DONE
    if isinstance(error, GatewayFailed):
        return Fault.UNKNOWN
    if isinstance(error, Conflict) and error.retry_after is not None:
        return Fault.NOT_DONE  # the first request with this Idempotency-Key is still running
    return Fault.FINAL


def backoff_s(policy: RetryPolicy, attempt: int, retry_after_s: float | None, draw: float) -> float:
    """Seconds to wait after failed try number `attempt` (1-based); `draw` is uniform in [0, 1).

    Full jitter (Brooker, "Exponential Backoff And Jitter", 2015). A Retry-After is a floor with the same
    jitter on top: thousands of agents that were told the same number must not come back at the same instant.
    """
    ceiling = min(policy.cap_s, policy.base_s * 2.0 ** min(attempt - 1, 60))
    floor = min(retry_after_s or 0.0, policy.longest_retry_after_s)
    return floor + draw * ceiling


def next_wait_s(
    policy: RetryPolicy, attempt: int, error: BaseException, *, repeatable: bool, draw: float
) -> float | None:
    """Seconds until the next try, or None to give up."""
    fault = fault_of(error)
    if fault is Fault.FINAL or (fault is Fault.UNKNOWN and not repeatable):
        return None
    if policy.attempts is not None and attempt >= policy.attempts:
        return None
    retry_after_s = error.retry_after if isinstance(error, GPUForgeError) else None
    if policy.attempts is not None and (retry_after_s or 0.0) > policy.longest_retry_after_s:
        return None  # a caller that gives up some day tells its user now rather than hang
    return backoff_s(policy, attempt, retry_after_s, draw)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds of a Retry-After header, a count or an HTTP date (RFC 9110, 10.2.3); None if neither."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())


Wait = Callable[[BaseException, int], float | None]


def retrying(
    wait: Wait, world: World, before_wait: Callable[[BaseException, float], None] | None = None
) -> AsyncRetrying:
    """A tenacity loop driven by `wait(error, attempt)`: seconds, or None to let the error through.

    `before_wait(error, seconds)` is told of every wait before it begins.
    """
    chosen: list[float] = [0.0]

    def again(state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        seconds = None if error is None else wait(error, state.attempt_number)
        chosen[0] = seconds or 0.0
        return seconds is not None

    def tell(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if before_wait is not None and error is not None:
            before_wait(error, chosen[0])

    return AsyncRetrying(
        retry=again, wait=lambda _: chosen[0], sleep=world.sleep, before_sleep=tell, reraise=True
    )
