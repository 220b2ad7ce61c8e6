"""Independent witnesses: third-party tools, unmodified, must read what the agent reads."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from gpuforge_agent.collector import ChildCollector
from gpuforge_agent.sources.base import Reading
from tests.fakenvml.library import NO_PERMISSION, FakeNvml, Host, eight_gpus

Figures = tuple[float | None, ...]

NVITOP = """
import json
from nvitop import Device

def known(value):
    return value if isinstance(value, (int, float)) else None

print(json.dumps({
    device.uuid(): [
        device.index,
        known(device.gpu_utilization()),
        known(device.memory_used()),
        known(device.memory_total()),
        known(device.temperature()),
        known(device.power_usage()),
    ]
    for device in Device.all()
}))
"""


def with_gaps(host: Host) -> Host:
    """The same host with a figure missing here and there."""
    first, second, third, *others = host.gpus
    gaps = [
        replace(first, utilization=None),
        replace(second, temperature=None),
        replace(third, errors={"nvmlDeviceGetPowerUsage": NO_PERMISSION}),
    ]
    return replace(host, gpus=[*gaps, *others])


HOSTS = {
    "busy": eight_gpus(),
    "idle": replace(eight_gpus(), gpus=[replace(gpu, utilization=0) for gpu in eight_gpus().gpus]),
    "with gaps": with_gaps(eight_gpus()),
}


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS.keys())
async def test_gpustat_reads_the_same(fakenvml: FakeNvml, collector: ChildCollector, host: Host) -> None:
    fakenvml.show(host)
    ours = {reading.uuid: whole_watts(reading) for reading in await collector.read()}
    assert ours == gpustat(fakenvml.environment())


async def test_gpustat_too_has_no_figure_for_unified_memory(
    fakenvml: FakeNvml, collector: ChildCollector
) -> None:
    # nvitop is no witness here: it answers the machine's own memory instead
    host = eight_gpus()
    fakenvml.show(host.with_gpu(4, replace(host.gpus[4], memory_total=None)))
    ours = {reading.uuid: whole_watts(reading) for reading in await collector.read()}
    assert ours == gpustat(fakenvml.environment())
    assert ours[host.gpus[4].uuid][2:4] == (None, None)


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS.keys())
async def test_nvitop_reads_the_same(fakenvml: FakeNvml, collector: ChildCollector, host: Host) -> None:
    fakenvml.show(host)
    readings = await collector.read()
    theirs = nvitop(fakenvml.environment())
    assert {reading.uuid: figures(reading) for reading in readings} == theirs


async def test_they_read_the_same_after_a_change(fakenvml: FakeNvml, collector: ChildCollector) -> None:
    before = await collector.read()
    host = eight_gpus()
    fakenvml.show(host.with_gpu(0, replace(host.gpus[0], utilization=99, power_mw=123_999, temperature=91)))
    readings = await collector.read()
    assert before != readings
    assert {reading.uuid: whole_watts(reading) for reading in readings} == gpustat(fakenvml.environment())
    assert {reading.uuid: figures(reading) for reading in readings} == nvitop(fakenvml.environment())


def test_the_full_screen_of_nvitop_finds_every_call_it_needs(fakenvml: FakeNvml) -> None:
    command = [sys.executable, "-m", "nvitop", "--once", "--ascii"]
    screen = run(command, fakenvml.environment())
    assert screen.stdout.count("H100 80GB HBM3") == 8
    assert "FunctionNotFound" not in screen.stderr


def gpustat(environment: Mapping[str, str]) -> dict[str, Figures]:
    """What `gpustat --json` says of each GPU, its power in whole watts."""
    command = [sys.executable, "-m", "gpustat", "--json"]
    keys = ("index", "utilization.gpu", "memory.used", "memory.total", "temperature.gpu", "power.draw")
    answer = json.loads(run(command, environment).stdout)
    return {gpu["uuid"]: tuple(gpu[key] for key in keys) for gpu in answer["gpus"]}


def nvitop(environment: Mapping[str, str]) -> dict[str, Figures]:
    """What nvitop's Python interface says of each GPU, in our units."""
    answer = json.loads(run([sys.executable, "-c", NVITOP], environment).stdout)
    return {uuid: in_our_units(*native) for uuid, native in answer.items()}


def in_our_units(
    index: int,
    utilization: int | None,
    used: int | None,
    total: int | None,
    temperature: int | None,
    power: int | None,
) -> Figures:
    """From bytes and milliwatts."""
    return (
        index,
        utilization,
        None if used is None else used >> 20,
        None if total is None else total >> 20,
        temperature,
        None if power is None else power / 1000,
    )


def figures(reading: Reading) -> Figures:
    return (
        reading.index,
        reading.utilization_pct,
        reading.memory_used_mb,
        reading.memory_total_mb,
        reading.temperature_c,
        reading.power_draw_w,
    )


def whole_watts(reading: Reading) -> Figures:
    *others, power = figures(reading)
    return (*others, None if power is None else int(power))


def run(command: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run another tool as a user would, with our library found from outside."""
    folder = Path(environment["FAKENVML_STATE"]).parent
    return subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True, text=True)
