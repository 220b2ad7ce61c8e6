"""When collectors are due, and what is kept of how they did."""

from datetime import UTC, datetime

from gpuforge_agent.timetable import Collecting, Run, Timetable
from gpuforge_client.retry import REAL, World
from tests.hand_clock import HandClock

NOW = datetime(2026, 5, 9, tzinfo=UTC)
HEALTH = Collecting(name="health", period_s=30.0, deadline_s=2.0)


async def test_the_latest_run_is_kept_with_how_often_it_ran_and_failed() -> None:
    clock = HandClock()
    timetable = Timetable(World(clock=lambda: NOW, draw=REAL.draw, monotonic=clock))

    async def look(missing: int) -> int:
        clock.now += 0.5
        return missing

    for missing in (0, 2, 0):
        assert await timetable.run(HEALTH, look(missing), lambda answer: answer) == missing
    assert timetable.runs == (Run(what=HEALTH, ran_at=NOW, duration_s=0.5, failed=0, runs=3, failures=1),)


async def test_one_is_due_a_period_after_it_began() -> None:
    clock = HandClock()
    timetable = Timetable(World(clock=lambda: NOW, draw=REAL.draw, monotonic=clock))

    async def look() -> None:
        clock.now += 10

    assert timetable.is_due(HEALTH), "it never ran"
    await timetable.run(HEALTH, look(), lambda _: 0)
    clock.now = 29.9
    assert not timetable.is_due(HEALTH)
    clock.now = 30.0
    assert timetable.is_due(HEALTH)
