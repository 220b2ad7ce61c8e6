"""Fixtures of the system tier: the fake NVML library, and the agent's collector on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gpuforge_agent.collector import ChildCollector, Deadlines, NvmlSettings
from tests.booted import built_packages
from tests.conftest import require
from tests.fakenvml.library import FakeNvml, fakenvml, fakenvml_libraries
from tests.hand_clock import HandClock
from tests.tiers import DPKG

__all__ = ["clock", "collector", "fakenvml", "fakenvml_libraries"]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(scope="session")
def debs() -> Path:
    """The folder with both Debian packages."""
    require(DPKG)
    return built_packages()


@pytest.fixture
async def collector(fakenvml: FakeNvml, clock: HandClock) -> AsyncIterator[ChildCollector]:
    """On eight GPUs; what hangs is given a second."""
    deadlines = Deadlines(open_s=1.0, step_s=1.0)
    collector = ChildCollector(NvmlSettings(library=str(fakenvml.library)), deadlines=deadlines, clock=clock)
    yield collector
    await collector.close()
