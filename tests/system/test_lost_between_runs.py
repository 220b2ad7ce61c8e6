"""A card that dies while no agent runs: the next one reports it lost, by name."""

from pathlib import Path

import pytest

from tests.fake_control_plane import KEY, FakeControlPlane
from tests.fakenvml.library import FakeNvml, eight_gpus
from tests.running_agent import RunningAgent


async def test_a_gpu_that_died_between_two_runs_is_reported_lost_by_name(
    fakenvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = eight_gpus()
    dead = host.gpus[3].uuid
    state, library = str(tmp_path / "state"), str(fakenvml.library)

    def agent() -> RunningAgent:
        return RunningAgent(plane.url, KEY, source="nvml", nvml_library=library, state_dir=state)

    async with FakeControlPlane().serving() as plane:
        async with agent().running():
            await plane.until(lambda now: len(now.metrics) >= 8)
        fakenvml.show(type(host)(gpus=[gpu for gpu in host.gpus if gpu.uuid != dead]))
        before = len(plane.metrics)
        async with agent().running():
            await plane.until(lambda now: len(now.metrics) >= before + 16)
    (record,) = [gpu for gpu in plane.gpus if gpu["uuid"] == dead]
    told = [each for each in plane.metrics[before:] if each["gpu_id"] == record["id"]]
    assert told
    assert all(each["missing"]["utilization_pct"] in ("lost", "off_bus") for each in told)
    assert f"GPU {dead}" in caplog.text
    assert plane.nodes["gpu"]["total_gpus"] == 8
