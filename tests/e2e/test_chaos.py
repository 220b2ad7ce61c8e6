"""Agent and control plane killed at random for some seconds; tests/bench/chaos.py does it for minutes."""

from pathlib import Path

import pytest

from tests.bench.chaos import chaos

pytestmark = pytest.mark.timeout(240)


async def test_whoever_is_killed_no_sample_is_lost_and_none_stored_twice(tmp_path: Path) -> None:
    found = await chaos(tmp_path, 8.0, seed=4)
    assert found.agent_kills
    assert found.plane_kills
    assert found.acknowledged
    assert found.waiting == 0
    assert (found.acknowledged_lost, found.written_lost, found.stored_twice) == (0, 0, 0)
    assert found.stored >= found.written  # what is delivered at once need not have been on disk
