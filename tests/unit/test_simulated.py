"""The simulated GPUs: the same from the same seed, plausible, alive."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_agent.collector import InlineCollector
from gpuforge_agent.sources.base import MEASURES, Reading, Reason
from gpuforge_agent.sources.simulated import MODELS, SimulatedSource


def at(seconds: float, hostname: str = "node-1", seed: int = 0, model: str = "H100") -> SimulatedSource:
    return SimulatedSource(hostname, seed=seed, model=model, clock=lambda: seconds)


def test_the_same_host_and_seed_are_the_same_gpus_with_the_same_figures() -> None:
    assert at(77.0).inventory() == at(77.0).inventory()
    assert list(at(77.0).read()) == list(at(77.0).read())


@pytest.mark.parametrize("other", [at(0.0, hostname="node-2"), at(0.0, seed=1)], ids=["host", "seed"])
def test_another_host_or_seed_is_other_gpus(other: SimulatedSource) -> None:
    mine = {gpu.uuid for gpu in at(0.0).inventory().gpus}
    assert mine.isdisjoint(gpu.uuid for gpu in other.inventory().gpus)


@given(
    seconds=st.floats(min_value=0, max_value=1e8),
    seed=st.integers(0, 1000),
    model=st.sampled_from(sorted(MODELS)),
)
def test_every_figure_is_one_that_a_real_card_could_show(seconds: float, seed: int, model: str) -> None:
    source = at(seconds, seed=seed, model=model)
    for gpu, reading in zip(source.inventory().gpus, source.read(), strict=True):
        used, total = reading.memory_used_mb, reading.memory_total_mb
        assert reading.uuid == gpu.uuid
        assert total == gpu.vram_mb == MODELS[model].vram_mb
        assert 0 <= (reading.utilization_pct or 0) <= 100
        assert used is not None
        assert 0 < used <= MODELS[model].vram_mb
        assert 25 <= (reading.temperature_c or 0) <= 90
        assert MODELS[model].idle_w <= (reading.power_draw_w or 0) <= MODELS[model].limit_w
        assert not reading.missing


def test_figures_change_from_one_call_to_the_next() -> None:
    ticks: Iterator[float] = iter([0.0, 5.0])
    source = SimulatedSource("node-1", clock=lambda: next(ticks))
    earlier, later = list(source.read()), list(source.read())
    assert all(
        before.power_draw_w != after.power_draw_w for before, after in zip(earlier, later, strict=True)
    )


def test_a_gpu_follows_its_allocation() -> None:
    source = at(30.0)
    busiest = max(source.read(), key=lambda reading: reading.utilization_pct or 0)
    source.allocate({busiest.uuid: True})
    load = {reading.uuid: reading.utilization_pct for reading in source.read()}
    assert load.pop(busiest.uuid) == busiest.utilization_pct
    assert set(load.values()) == {0.0}


def test_power_and_warmth_follow_the_load() -> None:
    source = at(30.0)
    busiest = max(source.read(), key=lambda reading: reading.utilization_pct or 0)
    source.allocate({})
    idle = {reading.uuid: reading for reading in source.read()}[busiest.uuid]
    assert (idle.power_draw_w or 0) < (busiest.power_draw_w or 0)
    assert (idle.temperature_c or 0) < (busiest.temperature_c or 0)
    assert (idle.memory_used_mb or 0) < (busiest.memory_used_mb or 0)


def test_an_unknown_gpu_is_lost() -> None:
    (reading,) = at(0.0).read(["GPU-gone"])
    assert reading.missing == dict.fromkeys(MEASURES, Reason.LOST)


async def test_inline_a_reading_that_comes_twice_counts_as_the_later() -> None:
    class Twice(SimulatedSource):
        def read(self, uuids: object = None) -> Iterator[Reading]:
            yield Reading(uuid="GPU-1", index=0, power_draw_w=1.0)
            yield Reading(uuid="GPU-1", index=0, power_draw_w=2.0)

    collector = InlineCollector(Twice("node-1"))
    assert [reading.power_draw_w for reading in await collector.read()] == [2.0]
    assert len((await collector.inventory()).gpus) == 8
    await collector.close()
