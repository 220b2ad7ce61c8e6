"""The agent's NVML readings, through its reader process, against a library that answers from a file."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from gpuforge_agent.collector import ChildCollector, NvmlSettings
from gpuforge_agent.sources.base import MEASURES, GpuIdentity, Reason
from tests.fakenvml.expected import reading_of, readings_of
from tests.fakenvml.library import (
    DRIVER_NOT_LOADED,
    GPU_IS_LOST,
    LIB_RM_VERSION_MISMATCH,
    MIB,
    NO_PERMISSION,
    NOT_SUPPORTED,
    UNKNOWN,
    FakeNvml,
    Gpu,
    Host,
    eight_gpus,
)
from tests.hand_clock import HandClock

RESERVED_MB = 611


async def test_a_normal_host_reads_as_its_driver_says(collector: ChildCollector) -> None:
    assert await collector.read() == readings_of(eight_gpus())


async def test_the_inventory_says_who_the_gpus_are(collector: ChildCollector) -> None:
    inventory = await collector.inventory()
    assert inventory.gpus[1] == GpuIdentity(
        uuid="GPU-00000001-1111-2222-3333-444444444441",
        index=1,
        model="NVIDIA H100 80GB HBM3",
        vram_mb=81_559,
        pci_bus_id="00000000:29:00.0",
    )
    assert [gpu.index for gpu in inventory.gpus] == list(range(8))
    assert (inventory.absent, inventory.unidentified, inventory.fault) == ((), {}, None)
    assert inventory.driver_version == "550.54.14"


async def test_utilisation_is_read_anew_each_time(fakenvml: FakeNvml, collector: ChildCollector) -> None:
    fakenvml.show(Host(gpus=[Gpu(uuid="GPU-1", utilization=[0, 55, 100])]))
    series = [(await collector.read())[0].utilization_pct for _ in range(4)]
    assert series == [0.0, 55.0, 100.0, 100.0]


async def test_a_change_of_the_state_is_seen_at_once(fakenvml: FakeNvml, collector: ChildCollector) -> None:
    host = eight_gpus()
    await collector.read()
    changed = host.with_gpu(2, replace(host.gpus[2], power_mw=699_999, temperature=88))
    fakenvml.show(changed)
    assert await collector.read() == readings_of(changed)


async def test_a_gpu_lost_while_running_is_named_and_the_others_are_read(
    fakenvml: FakeNvml, collector: ChildCollector
) -> None:
    host = eight_gpus()
    await collector.read()
    fakenvml.show(host.with_gpu(3, host.gpus[3].lost()))
    readings = await collector.read()
    assert readings[3].missing == dict.fromkeys(MEASURES, Reason.LOST)
    assert readings[:3] + readings[4:] == readings_of(host)[:3] + readings_of(host)[4:]
    inventory = await collector.inventory()
    assert [gpu.index for gpu in inventory.absent] == [3]
    assert inventory.unidentified == {3: Reason.LOST}
    assert (await collector.read())[3].missing == dict.fromkeys(MEASURES, Reason.LOST)


async def test_a_gpu_lost_before_the_start_is_named_from_earlier_runs(fakenvml: FakeNvml) -> None:
    host = eight_gpus()
    fakenvml.show(host.with_gpu(3, host.gpus[3].lost()))
    known = GpuIdentity(uuid=host.gpus[3].uuid, index=3, model="H100", vram_mb=81_559, pci_bus_id=None)
    collector = ChildCollector(NvmlSettings(library=str(fakenvml.library)), known=[known])
    assert (await collector.inventory()).absent == (known,)
    assert (await collector.read())[3].missing == dict.fromkeys(MEASURES, Reason.LOST)
    await collector.close()


async def test_a_gpu_that_is_no_longer_listed_is_lost_though_the_indexes_shift(
    fakenvml: FakeNvml, collector: ChildCollector
) -> None:
    host = eight_gpus()
    await collector.inventory()
    left = replace(host, gpus=[*host.gpus[:3], *host.gpus[4:]], session=2)
    fakenvml.show(left)
    readings = {reading.uuid: reading for reading in await collector.read()}
    assert readings.pop(host.gpus[3].uuid).missing == dict.fromkeys(MEASURES, Reason.LOST)
    assert tuple(readings.values()) == readings_of(left)
    assert [gpu.uuid for gpu in (await collector.inventory()).absent] == [host.gpus[3].uuid]


async def test_a_gpu_that_comes_back_is_read_again(fakenvml: FakeNvml, collector: ChildCollector) -> None:
    host = eight_gpus()
    fakenvml.show(host.with_gpu(3, host.gpus[3].lost()))
    assert (await collector.inventory()).unidentified == {3: Reason.LOST}
    fakenvml.show(host)
    assert len((await collector.inventory()).gpus) == 8
    assert await collector.read() == readings_of(host)


UUID = "GPU-1"
ONE = Gpu(uuid=UUID, utilization=50, memory_used=1000 * MIB, temperature=60, power_mw=300_000)


@pytest.mark.parametrize(
    ("gpu", "missing"),
    [
        pytest.param(
            replace(ONE, utilization=None, temperature=None),
            {"utilization_pct": Reason.NOT_SUPPORTED, "temperature_c": Reason.NOT_SUPPORTED},
            id="MIG or Jetson: no such figure",
        ),
        pytest.param(
            replace(ONE, memory_total=None),
            {"memory_used_mb": Reason.NOT_SUPPORTED, "memory_total_mb": Reason.NOT_SUPPORTED},
            id="unified memory: not supported",
        ),
        pytest.param(
            replace(ONE, memory_total=0, memory_used=0, memory_reserved=0),
            {"memory_used_mb": Reason.OUT_OF_RANGE, "memory_total_mb": Reason.OUT_OF_RANGE},
            id="unified memory: success with zeros",
        ),
        pytest.param(
            replace(ONE, memory_total=2**64 - 1),
            {"memory_used_mb": Reason.OUT_OF_RANGE, "memory_total_mb": Reason.OUT_OF_RANGE},
            id="unified memory: success with all ones",
        ),
        pytest.param(
            replace(ONE, memory_total=8_128 * MIB, memory_used=9_000 * MIB),
            {"memory_used_mb": Reason.OUT_OF_RANGE},
            id="unified memory: more used than there is",
        ),
        pytest.param(
            replace(ONE, power_mw=2**32 - 1), {"power_draw_w": Reason.OUT_OF_RANGE}, id="power of all ones"
        ),
        pytest.param(
            replace(ONE, utilization=101, temperature=2**31 - 1),
            {"utilization_pct": Reason.OUT_OF_RANGE, "temperature_c": Reason.OUT_OF_RANGE},
            id="more than all, hotter than can be",
        ),
        pytest.param(
            replace(ONE, errors={"nvmlDeviceGetPowerUsage": NO_PERMISSION}),
            {"power_draw_w": Reason.NO_PERMISSION},
            id="no permission",
        ),
        pytest.param(
            replace(ONE, errors={"nvmlDeviceGetTemperature": UNKNOWN}),
            {"temperature_c": Reason.UNKNOWN_ERROR},
            id="unknown error",
        ),
        pytest.param(
            replace(ONE, errors={"nvmlDeviceGetMemoryInfo": NOT_SUPPORTED}),
            {"memory_used_mb": Reason.NOT_SUPPORTED, "memory_total_mb": Reason.NOT_SUPPORTED},
            id="neither version of the memory call",
        ),
    ],
)
async def test_what_nvml_cannot_say_is_missing_with_its_reason_and_nothing_else_is(
    fakenvml: FakeNvml, collector: ChildCollector, gpu: Gpu, missing: Mapping[str, Reason]
) -> None:
    fakenvml.show(Host(gpus=[gpu]))
    (reading,) = await collector.read()
    assert reading.missing == missing
    for measure in MEASURES:
        value = None if measure in missing else getattr(reading_of(ONE, 0), measure)
        if measure == "memory_total_mb" and value is not None and gpu.memory_total is not None:
            value = gpu.memory_total // MIB
        assert getattr(reading, measure) == value


async def test_a_gpu_without_a_name_is_a_gpu_all_the_same(
    fakenvml: FakeNvml, collector: ChildCollector
) -> None:
    fakenvml.show(Host(gpus=[replace(ONE, name="", pci="", memory_total=None)]))
    (gpu,) = (await collector.inventory()).gpus
    assert gpu == GpuIdentity(uuid=UUID, index=0, model="unknown", vram_mb=None, pci_bus_id=None)


async def test_a_name_that_is_no_text_costs_nothing_but_the_name(
    fakenvml: FakeNvml, collector: ChildCollector
) -> None:
    host = eight_gpus()
    fakenvml.show(host.with_gpu(2, replace(host.gpus[2], name="H100 \udcff")))
    inventory = await collector.inventory()
    assert [gpu.model for gpu in inventory.gpus][1:4] == [host.gpus[1].name, "unknown", host.gpus[3].name]
    assert inventory.unidentified == {}


async def test_a_gpu_without_a_uuid_is_an_unidentified_slot(
    fakenvml: FakeNvml, collector: ChildCollector
) -> None:
    fakenvml.show(Host(gpus=[ONE, replace(ONE, uuid="GPU-2", errors={"nvmlDeviceGetUUID": UNKNOWN})]))
    inventory = await collector.inventory()
    assert [gpu.uuid for gpu in inventory.gpus] == [UUID]
    assert inventory.unidentified == {1: Reason.UNKNOWN_ERROR}


async def test_an_old_driver_is_read_through_the_older_calls_and_it_says_so(fakenvml: FakeNvml) -> None:
    collector = ChildCollector(NvmlSettings(library=str(fakenvml.old_library)))
    readings = await collector.read()
    await collector.close()
    for reading, today in zip(readings, readings_of(eight_gpus()), strict=True):
        assert today.memory_used_mb is not None
        assert reading == replace(
            today,
            memory_used_mb=today.memory_used_mb + RESERVED_MB,
            caveats={"memory_used_mb": "includes_reserved"},
        )


@pytest.mark.parametrize("stale", [UNKNOWN, 1, DRIVER_NOT_LOADED, GPU_IS_LOST])
async def test_a_reloaded_driver_is_opened_anew_within_the_very_read_that_notices(
    fakenvml: FakeNvml, collector: ChildCollector, stale: int
) -> None:
    await collector.read()
    reloaded = replace(eight_gpus(), session=2, stale=stale)
    fakenvml.show(reloaded)
    assert await collector.read() == readings_of(reloaded)


async def test_a_reloaded_driver_is_opened_anew_by_the_inventory_too(
    fakenvml: FakeNvml, collector: ChildCollector
) -> None:
    before = await collector.inventory()
    fakenvml.show(replace(eight_gpus(), session=2))
    assert await collector.inventory() == replace(before, reopened=1)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (DRIVER_NOT_LOADED, Reason.DRIVER_ABSENT),
        (LIB_RM_VERSION_MISMATCH, Reason.LIBRARY_MISMATCH),
        (NO_PERMISSION, Reason.NO_PERMISSION),
        (UNKNOWN, Reason.UNKNOWN_ERROR),
    ],
)
async def test_a_driver_that_does_not_open_is_a_stated_fault_and_comes_back_by_itself(
    fakenvml: FakeNvml, collector: ChildCollector, clock: HandClock, code: int, reason: Reason
) -> None:
    host = eight_gpus()
    fakenvml.show(replace(host, init=code))
    inventory = await collector.inventory()
    assert inventory.fault is not None
    assert (inventory.fault.reason, inventory.gpus) == (reason, ())
    assert await collector.read() == ()
    fakenvml.show(host)
    assert await collector.read() == (), "tried again before its time"
    clock.now += 5
    assert await collector.read() == readings_of(host)
    assert (await collector.inventory()).fault is None


async def test_a_driver_that_goes_away_leaves_every_gpu_named_and_comes_back_by_itself(
    fakenvml: FakeNvml, collector: ChildCollector, clock: HandClock
) -> None:
    await collector.read()
    fakenvml.unload()
    readings = await collector.read()
    assert [reading.missing for reading in readings] == [dict.fromkeys(MEASURES, Reason.DRIVER_ABSENT)] * 8
    assert await collector.read() == readings
    absent = await collector.inventory()
    assert (len(absent.absent), absent.gpus) == (8, ())
    for session in (2, 3):
        fakenvml.show(replace(eight_gpus(), session=session))
        clock.now += 5
        assert await collector.read() == readings_of(eight_gpus())
        fakenvml.unload()
        assert await collector.read() == readings


async def test_without_the_library_the_fault_names_it(tmp_path: Path) -> None:
    collector = ChildCollector(NvmlSettings(library=str(tmp_path / "libnvidia-ml.so.1")))
    fault = (await collector.inventory()).fault
    assert fault is not None
    assert fault.reason is Reason.LIBRARY_ABSENT
    assert str(tmp_path) in fault.detail


async def test_a_host_without_gpus_is_no_fault(fakenvml: FakeNvml, collector: ChildCollector) -> None:
    fakenvml.show(Host(gpus=[]))
    inventory = await collector.inventory()
    assert (inventory.gpus, inventory.fault) == ((), None)
    assert await collector.read() == ()


ASLEEP = """
import sys
from pathlib import Path
from gpuforge_agent.sources.session import NvmlSource
source = NvmlSource(sys.argv[1], pci_devices=Path(sys.argv[2]))
source.inventory()
for name in sys.argv[3:]:
    (Path(sys.argv[2]) / name / "power" / "runtime_status").write_text("suspended")
print(*(reading.missing.get("power_draw_w", "read") for reading in source.read()))
"""


def test_a_sleeping_gpu_is_left_asleep(fakenvml: FakeNvml, tmp_path: Path) -> None:
    (tmp_path / "0000:29:00.0" / "power").mkdir(parents=True)
    command = [sys.executable, "-c", ASLEEP, str(fakenvml.library), str(tmp_path), "0000:29:00.0"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    assert answer.stdout.split() == ["read", "asleep", *["read"] * 6]
