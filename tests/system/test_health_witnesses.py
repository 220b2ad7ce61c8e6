"""Independent witnesses of health, processes and MIG devices: nvitop and gpustat, unmodified."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gpuforge_agent.collector import ChildCollector
from tests.fakenvml.library import MIB, FakeNvml, Host, Mig, Process, eight_gpus

NVITOP = """
import json
from nvitop import Device

print(json.dumps({
    device.uuid(): {
        "power_limit_w": device.power_limit() / 1000,
        "clock_graphics_mhz": device.graphics_clock(),
        "clock_sm_mhz": device.sm_clock(),
        "clock_memory_mhz": device.memory_clock(),
        "clock_sm_max_mhz": device.max_sm_clock(),
        "ecc_volatile_uncorrected": device.total_volatile_uncorrected_ecc_errors(),
        "mig_mode": device.mig_mode() == "Enabled",
        "mig_instances": [[each.uuid(), each.gpu_instance_id()] for each in device.mig_devices()],
        "processes": [[pid, each.gpu_memory()] for pid, each in device.processes().items()],
    }
    for device in Device.all()
}))
"""


def varied() -> Host:
    """Eight cards, with figures of health that all differ."""
    host = eight_gpus()
    gpus = [
        replace(
            gpu.with_figures(
                clock_graphics=1_000 + index,
                clock_sm=1_100 + index,
                clock_memory=2_000 + index,
                clock_sm_max=1_900 + index,
                ecc_volatile_uncorrected=index,
            ),
            power_limit_mw=600_000 + 1_000 * index,
        )
        for index, gpu in enumerate(host.gpus)
    ]
    busy = replace(gpus[1], processes=[Process(pid=os.getpid(), used=700 * MIB)])
    cut = replace(gpus[2], mig=[Mig(uuid="MIG-a", gpu_instance=3), Mig(uuid="MIG-b", gpu_instance=5)])
    return replace(host, gpus=[gpus[0], busy, cut, *gpus[3:]])


def answer(command: list[str], environment: Mapping[str, str]) -> Any:
    """What another tool prints, with our library found from outside."""
    run = subprocess.run(command, env=dict(environment), check=True, capture_output=True, text=True)
    return json.loads(run.stdout)


async def test_nvitop_reads_the_same_health(fakenvml: FakeNvml, collector: ChildCollector) -> None:
    fakenvml.show(varied())
    healths, occupancies = await collector.health(), await collector.occupancy()
    theirs = answer([sys.executable, "-c", NVITOP], fakenvml.environment())
    assert len(theirs) == 8
    for health, occupancy in zip(healths, occupancies, strict=True):
        told = theirs[health.uuid]
        processes = [[each.pid, each.memory_mb] for each in occupancy.processes or ()]
        assert [[pid, used >> 20] for pid, used in told.pop("processes")] == processes
        ours = [[each.uuid, each.gpu_instance] for each in health.mig_instances]
        assert told.pop("mig_instances") == ours
        assert {name: health.figures[name] for name in told} == told


async def test_gpustat_sees_the_same_processes_and_limits(
    fakenvml: FakeNvml, collector: ChildCollector
) -> None:
    fakenvml.show(varied())
    healths, occupancies = await collector.health(), await collector.occupancy()
    theirs = answer([sys.executable, "-m", "gpustat", "--json"], fakenvml.environment())["gpus"]
    for told, health, occupancy in zip(theirs, healths, occupancies, strict=True):
        assert told["enforced.power.limit"] == health.figures["power_limit_w"]
        processes = [(each.pid, each.memory_mb) for each in occupancy.processes or ()]
        assert [(each["pid"], each["gpu_memory_usage"]) for each in told["processes"] or ()] == processes
