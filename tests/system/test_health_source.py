"""How well the GPUs are, who works on them and which Xids came up, through the reader process."""

from dataclasses import replace
from pathlib import Path

import pytest

from gpuforge_agent.collector import ChildCollector, Deadlines, NvmlSettings
from gpuforge_agent.health import Checkup, Periods
from gpuforge_agent.sampler import Sampler
from gpuforge_agent.sources.base import MEASURES, Figure, MigInstance, Process, Reason, Xid
from gpuforge_agent.sources.condition import CONDITION
from gpuforge_agent.spool import Spool
from gpuforge_agent.timetable import Timetable
from gpuforge_shared.clock import utc_now
from tests.fakenvml import library
from tests.fakenvml.expected import readings_of
from tests.fakenvml.library import (
    MIB,
    NO_PERMISSION,
    NOT_SUPPORTED,
    FakeNvml,
    Gpu,
    Host,
    Mig,
    eight_gpus,
)
from tests.hand_clock import HandClock

WELL: dict[str, Figure] = {
    "clock_graphics_mhz": 1755,
    "clock_sm_mhz": 1755,
    "clock_memory_mhz": 2619,
    "clock_sm_max_mhz": 1980,
    "throttle_reasons": (),
    "power_limit_w": 700.0,
    "ecc_volatile_corrected": 0,
    "ecc_volatile_uncorrected": 0,
    "ecc_aggregate_corrected": 0,
    "ecc_aggregate_uncorrected": 0,
    "rows_remapped_corrected": 0,
    "rows_remapped_uncorrected": 0,
    "remap_pending": False,
    "remap_failed": False,
    "pcie_generation": 5,
    "pcie_generation_max": 5,
    "pcie_width": 16,
    "pcie_width_max": 16,
    "pcie_replays": 0,
    "nvlink_links": 18,
    "nvlink_links_active": 18,
    "nvlink_replay_errors": 0,
    "nvlink_recovery_errors": 0,
    "nvlink_crc_flit_errors": 0,
    "nvlink_crc_data_errors": 0,
    "recovery_action": "none",
    "mig_mode": False,
}
ONE = Gpu(uuid="GPU-1")


async def test_a_host_in_perfect_health(collector: ChildCollector) -> None:
    host = eight_gpus()
    healths = await collector.health()
    assert [health.uuid for health in healths] == [gpu.uuid for gpu in host.gpus]
    for health in healths:
        assert (health.figures, health.mig_instances, health.missing) == (WELL, (), {})
    assert WELL.keys() == CONDITION.keys()


@pytest.mark.parametrize(
    ("gpu", "figures"),
    [
        pytest.param(
            ONE.with_figures(
                ecc_volatile_uncorrected=2, ecc_aggregate_uncorrected=5, ecc_volatile_corrected=7
            ),
            {"ecc_volatile_uncorrected": 2, "ecc_aggregate_uncorrected": 5, "ecc_volatile_corrected": 7},
            id="ECC",
        ),
        pytest.param(
            ONE.with_figures(rows_corrected=1, rows_uncorrected=2, rows_pending=1, rows_failed=1),
            {
                "rows_remapped_corrected": 1,
                "rows_remapped_uncorrected": 2,
                "remap_pending": True,
                "remap_failed": True,
            },
            id="row remaps",
        ),
        pytest.param(
            ONE.with_figures(pcie_generation=3, pcie_width=8, pcie_replays=41),
            {"pcie_generation": 3, "pcie_width": 8, "pcie_replays": 41},
            id="PCIe below its maximum",
        ),
        pytest.param(
            ONE.with_figures(nvlink_active=17, nvlink_replay=3, nvlink_recovery=1, nvlink_crc_flit=9),
            {
                "nvlink_links_active": 17,
                "nvlink_replay_errors": 3,
                "nvlink_recovery_errors": 1,
                "nvlink_crc_flit_errors": 9,
            },
            id="NVLink",
        ),
        pytest.param(
            ONE.with_figures(throttle=0x08, clock_sm=345, recovery_action=1),
            {"throttle_reasons": ("hw_slowdown",), "clock_sm_mhz": 345, "recovery_action": "gpu_reset"},
            id="throttled, to be reset",
        ),
    ],
)
async def test_what_the_driver_says_is_read(
    fakenvml: FakeNvml, collector: ChildCollector, gpu: Gpu, figures: dict[str, Figure]
) -> None:
    fakenvml.show(Host(gpus=[gpu]))
    (health,) = await collector.health()
    assert (health.figures, health.missing) == ({**WELL, **figures}, {})


@pytest.mark.parametrize(
    ("gpu", "missing"),
    [
        pytest.param(
            ONE.with_figures(nvlink_links=None, nvlink_replay=None),
            dict.fromkeys(
                ("nvlink_links", "nvlink_links_active", "nvlink_replay_errors"), Reason.NOT_SUPPORTED
            ),
            id="no NVLink",
        ),
        pytest.param(
            replace(ONE, errors={"nvmlDeviceGetTotalEccErrors": NOT_SUPPORTED}),
            {name: Reason.NOT_SUPPORTED for name in CONDITION if name.startswith("ecc_")},
            id="no ECC",
        ),
        pytest.param(
            replace(ONE, errors={"nvmlDeviceGetRemappedRows": NO_PERMISSION}),
            {name: Reason.NO_PERMISSION for name in CONDITION if name.startswith(("rows_", "remap_"))},
            id="no permission",
        ),
        pytest.param(
            ONE.with_figures(pcie_replays=2**32 - 1), {"pcie_replays": Reason.OUT_OF_RANGE}, id="all ones"
        ),
        pytest.param(
            replace(ONE, errors={"nvmlDeviceRegisterEvents": NOT_SUPPORTED}),
            {"xids": Reason.NOT_SUPPORTED},
            id="no events",
        ),
    ],
)
async def test_what_nvml_cannot_say_is_missing_with_its_reason(
    fakenvml: FakeNvml, collector: ChildCollector, gpu: Gpu, missing: dict[str, Reason]
) -> None:
    fakenvml.show(Host(gpus=[gpu]))
    (health,) = await collector.health()
    assert health.missing == missing
    known = {name: WELL[name] for name in WELL if name not in missing}
    assert health.figures == known


async def test_an_old_driver_has_no_recovery_action_and_all_else(fakenvml: FakeNvml) -> None:
    collector = ChildCollector(NvmlSettings(library=str(fakenvml.old_library)))
    healths, occupancies = await collector.health(), await collector.occupancy()
    await collector.close()
    assert {health.missing.get("recovery_action") for health in healths} == {Reason.DRIVER_TOO_OLD}
    assert {len(health.figures) for health in healths} == {len(WELL) - 1}
    assert {occupancy.processes for occupancy in occupancies} == {()}


# Who works on it


async def test_processes_are_told_with_their_kind_and_memory(
    fakenvml: FakeNvml, collector: ChildCollector
) -> None:
    processes = [
        library.Process(pid=4711, used=1024 * MIB),
        library.Process(pid=4712, used=2**64 - 1, gpu_instance=3),
        library.Process(pid=17, kind="graphics", used=5 * MIB),
        library.Process(pid=18, kind="graphics", used=2**64 - 2**20),
    ]
    broken = replace(ONE, uuid="GPU-2", errors={"nvmlDeviceGetComputeRunningProcesses": NO_PERMISSION})
    fakenvml.show(Host(gpus=[replace(ONE, processes=processes), broken]))
    first, second = await collector.occupancy()
    assert first.processes == (
        Process(pid=4711, kind="compute", memory_mb=1024),
        Process(pid=4712, kind="compute", memory_mb=None, gpu_instance=3),
        Process(pid=17, kind="graphics", memory_mb=5),
        Process(pid=18, kind="graphics", memory_mb=None),
    )
    assert (second.processes, second.reason) == (None, Reason.NO_PERMISSION)


async def test_mig_instances_are_listed(fakenvml: FakeNvml, collector: ChildCollector) -> None:
    mig = [Mig(uuid="MIG-a", gpu_instance=3), Mig(uuid="MIG-b", gpu_instance=9, memory_mb=20_096, slices=2)]
    fakenvml.show(Host(gpus=[replace(ONE, mig=mig), replace(ONE, uuid="GPU-2")]))
    first, second = await collector.health()
    assert first.figures["mig_mode"] is True
    assert first.mig_instances == (
        MigInstance(uuid="MIG-a", gpu_instance=3, compute_instance=0, memory_mb=9_856, slices=1),
        MigInstance(uuid="MIG-b", gpu_instance=9, compute_instance=0, memory_mb=20_096, slices=2),
    )
    assert (second.figures["mig_mode"], second.mig_instances) == (False, ())


# Xids


def with_xids(host: Host, index: int, *xids: tuple[int, int]) -> Host:
    return host.with_gpu(index, replace(host.gpus[index], xids=xids))


async def test_xids_come_once_with_their_gpu_and_those_of_the_past_do_not_come(
    fakenvml: FakeNvml, collector: ChildCollector
) -> None:
    host = with_xids(eight_gpus(), 2, (1, 31))
    fakenvml.show(host)
    await collector.read()
    assert await collector.xids() == ()
    fakenvml.show(with_xids(with_xids(host, 2, (1, 31), (2, 48), (3, 63)), 5, (4, 13)))
    second, fifth = host.gpus[2].uuid, host.gpus[5].uuid
    assert await collector.xids() == (
        Xid(uuid=second, code=48),
        Xid(uuid=second, code=63),
        Xid(uuid=fifth, code=13),
    )
    assert await collector.xids() == ()


async def test_listing_the_gpus_again_loses_no_xid(fakenvml: FakeNvml, collector: ChildCollector) -> None:
    host = eight_gpus()
    await collector.read()
    fakenvml.show(with_xids(host, 4, (1, 48)))
    await collector.inventory()
    assert await collector.xids() == (Xid(uuid=host.gpus[4].uuid, code=48),)


@pytest.mark.parametrize("listed", [False, True], ids=["at once", "listed as lost already"])
async def test_the_xid_of_a_card_that_fell_off_the_bus_still_names_it(
    fakenvml: FakeNvml, collector: ChildCollector, listed: bool
) -> None:
    host = eight_gpus()
    await collector.read()
    fakenvml.show(host.with_gpu(6, replace(host.gpus[6].lost(), xids=[(1, 79)])))
    if listed:
        assert host.gpus[6].uuid in [gpu.uuid for gpu in (await collector.inventory()).absent]
    assert await collector.xids() == (Xid(uuid=host.gpus[6].uuid, code=79),)


async def test_the_xid_of_the_only_card_is_heard_before_nvml_is_opened_anew_for_it(
    fakenvml: FakeNvml, collector: ChildCollector
) -> None:
    (gpu, *_) = eight_gpus().gpus
    host = replace(eight_gpus(), gpus=(gpu,))
    fakenvml.show(host)
    sampler = Sampler(collector, Spool(10), utc_now, list_every=1)
    periods = Periods(xids_s=5.0, health_s=60.0, deadline_s=2.0)
    checkup = Checkup(collector, sampler, Timetable(), utc_now, periods)
    await checkup.sample()
    fakenvml.show(host.with_gpu(0, replace(gpu.lost(), xids=[(1, 79)])))
    await checkup.sample()
    assert checkup.witnesses.counts == {Xid(uuid=gpu.uuid, code=79): 1}


async def test_xids_are_heard_again_after_a_reload_of_the_driver(
    fakenvml: FakeNvml, collector: ChildCollector
) -> None:
    host = eight_gpus()
    await collector.read()
    fakenvml.show(replace(host, session=2))
    assert await collector.xids() == ()
    assert await collector.read() == readings_of(host)
    fakenvml.show(replace(with_xids(host, 1, (1, 74)), session=2))
    assert await collector.xids() == (Xid(uuid=host.gpus[1].uuid, code=74),)


async def test_a_wait_for_xids_that_hangs_stops_no_reading(
    fakenvml: FakeNvml, collector: ChildCollector, clock: HandClock
) -> None:
    host = eight_gpus()
    await collector.read()
    fakenvml.show(replace(host, hang_events=True))
    assert await collector.xids() == ()
    assert await collector.read() == readings_of(host)
    reader = collector.pid
    assert await collector.xids() == ()
    assert collector.pid == reader, "asked again before its time"
    fakenvml.show(host)
    clock.now += 15
    await collector.xids()
    fakenvml.show(with_xids(host, 0, (1, 48)))
    assert await collector.xids() == (Xid(uuid=host.gpus[0].uuid, code=48),)


# Faults of one call, and of the bus


async def test_a_gpu_whose_health_hangs_is_read_all_the_same(
    fakenvml: FakeNvml, collector: ChildCollector, clock: HandClock
) -> None:
    host = eight_gpus()
    sick = host.with_gpu(3, host.gpus[3].hanging("nvmlDeviceGetRemappedRows"))
    await collector.read()
    fakenvml.show(sick)
    for _ in range(2):
        healths = await collector.health()
        assert set(healths[3].missing.values()) == {Reason.HUNG}
        assert [len(health.missing) for health in healths if health.index != 3] == [0] * 7
        assert await collector.read() == readings_of(host)
    fakenvml.show(host)
    clock.now += 15
    assert (await collector.health())[3].missing == {}


async def test_a_gpu_that_hangs_is_not_touched_by_any_other_sweep(
    fakenvml: FakeNvml, collector: ChildCollector
) -> None:
    host = eight_gpus()
    fakenvml.show(host.with_gpu(3, host.gpus[3].hanging("nvmlDeviceGetPowerUsage")))
    await collector.read()
    reader = collector.pid
    healths, occupancies = await collector.health(), await collector.occupancy()
    assert set(healths[3].missing.values()) == {Reason.HUNG}
    assert (occupancies[3].processes, occupancies[3].reason) == (None, Reason.HUNG)
    assert collector.pid == reader


def plug_in(bus: Path, *places: str) -> None:
    for place in places:
        (bus / place / "power").mkdir(parents=True)
        (bus / place / "vendor").write_text("0x10de\n")
        (bus / place / "class").write_text("0x030200\n")


async def test_a_lost_card_that_pci_does_not_list_is_off_the_bus(fakenvml: FakeNvml, tmp_path: Path) -> None:
    host = eight_gpus()
    bus = tmp_path / "devices"
    plug_in(bus, *(f"0000:{gpu.pci[9:].lower()}" for gpu in host.gpus if gpu is not host.gpus[3]))
    settings = NvmlSettings(library=str(fakenvml.library), pci_devices=str(bus))
    collector = ChildCollector(settings, deadlines=Deadlines(step_s=1.0))
    await collector.read()
    fakenvml.show(host.with_gpu(3, host.gpus[3].lost()).with_gpu(5, host.gpus[5].lost()))
    for _ in range(2):
        readings = await collector.read()
        assert readings[3].missing == dict.fromkeys(MEASURES, Reason.OFF_BUS)
        assert readings[5].missing == dict.fromkeys(MEASURES, Reason.LOST)
        inventory = await collector.inventory()
        assert (inventory.pci_gpus, len(inventory.gpus)) == (7, 6)
    await collector.close()


async def test_listing_again_leaves_a_sleeping_card_asleep(fakenvml: FakeNvml, tmp_path: Path) -> None:
    host = eight_gpus()
    plug_in(tmp_path, "0000:4b:00.0")
    settings = NvmlSettings(library=str(fakenvml.library), pci_devices=str(tmp_path))
    collector = ChildCollector(settings, deadlines=Deadlines(open_s=1.0, step_s=1.0))
    await collector.inventory()
    (tmp_path / "0000:4b:00.0" / "power" / "runtime_status").write_text("suspended\n")
    fakenvml.show(host.with_gpu(3, host.gpus[3].hanging()))  # whatever touches it now does not return
    assert len((await collector.inventory()).gpus) == 8
    assert set((await collector.read())[3].missing.values()) == {Reason.ASLEEP}
    assert set((await collector.health())[3].missing.values()) == {Reason.ASLEEP}
    assert (await collector.occupancy())[3].reason is Reason.ASLEEP
    await collector.close()
