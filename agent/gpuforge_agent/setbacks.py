"""What hung or failed, and when it is tried again: pure, the time comes in."""

from dataclasses import dataclass

from gpuforge_agent.sources.base import SESSION, Reason, slot_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """When to try again: after `first`, then twice as long after each further failure, up to `longest`."""

    gpu_first_s: float = 15.0
    gpu_longest_s: float = 600.0
    session_first_s: float = 5.0
    """A driver that is absent, or an NVML that hangs as a whole."""
    session_longest_s: float = 60.0

    def delay_s(self, subject: str, failures: int) -> float:
        """Seconds to wait after that many failures (1 or more) of a subject in a row."""
        session = subject == SESSION
        first = self.session_first_s if session else self.gpu_first_s
        # the exponent is bounded: a card may be dead for years
        return min(
            first * 2.0 ** min(failures - 1, 30), self.session_longest_s if session else self.gpu_longest_s
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setback:
    reason: Reason
    failures: int
    retry_at: float


class Setbacks:
    """The open setbacks by subject: a UUID, a `slot` or SESSION. Times are seconds of any one clock."""

    def __init__(self, retries: Retries) -> None:
        """None to begin with."""
        self._retries = retries
        self._open: dict[str, _Setback] = {}

    def note(self, subject: str, reason: Reason, now: float) -> float:
        """Remember one more failure; answers the seconds until it may be tried again."""
        earlier = self._open.get(subject)
        failures = 1 if earlier is None else earlier.failures + 1
        delay = self._retries.delay_s(subject, failures)
        self._open[subject] = _Setback(reason=reason, failures=failures, retry_at=now + delay)
        return delay

    def hold(self, subject: str, reason: Reason, until: float) -> None:
        """Leave it alone until then, for a reason that is no failure."""
        self._open[subject] = _Setback(reason=reason, failures=0, retry_at=until)

    def clear(self, subject: str) -> None:
        """It works again, if ever it did not."""
        self._open.pop(subject, None)

    def clear_slots(self, except_for: frozenset[int]) -> None:
        """Every slot but those was listed without a hang."""
        for subject in tuple(self._open):
            index = slot_of(subject)
            if index is not None and index not in except_for:
                del self._open[subject]

    def reason(self, subject: str) -> Reason | None:
        """Why it failed last, None when it has no setback."""
        setback = self._open.get(subject)
        return None if setback is None else setback.reason

    def failures(self, subject: str) -> int:
        """How often in a row it failed."""
        setback = self._open.get(subject)
        return 0 if setback is None else setback.failures

    def waits(self, subject: str, now: float) -> bool:
        """Whether it must not be tried yet."""
        setback = self._open.get(subject)
        return setback is not None and now < setback.retry_at

    def waiting_slots(self, now: float) -> frozenset[int]:
        """The listing indexes not to touch yet."""
        slots = {slot_of(subject) for subject in self._open if self.waits(subject, now)}
        return frozenset(index for index in slots if index is not None)
