"""Every fault injected into a driver, one by one and in pairs, up to what the API shows, and the recovery."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gpuforge_agent import host as this_host
from gpuforge_agent.collector import ChildCollector, Deadlines, NvmlSettings
from gpuforge_agent.health import Checkup, Periods
from gpuforge_agent.identity import Identity
from gpuforge_agent.push import Pusher
from gpuforge_agent.reporting import Reporter
from gpuforge_agent.sampler import Sampler
from gpuforge_agent.spool import Spool
from gpuforge_agent.timetable import Timetable
from gpuforge_client.rest import RestClient
from gpuforge_client.retry import ONCE, World
from tests.api.harness import Plane, serving
from tests.fakenvml.faults import (
    BY_NAME,
    FAULTS,
    HEALTH_EVERY,
    IN_PAIRS,
    Fault,
    Shown,
    afflicted,
    expected,
    plug_in,
)
from tests.fakenvml.library import FakeNvml, eight_gpus
from tests.hand_clock import HandClock

GPUS = 3  # one for each fault of a pair, and one that must stay well
INTERVAL_S = 5.0
LONGEST_RECOVERY = 40  # samples: a hang that was met several times is tried again ever more rarely


class Patient:
    """A host with a driver, an agent on it that samples when told, and the control plane it reports to."""

    def __init__(self, fakenvml: FakeNvml, bus: Path, plane: Plane, client: RestClient) -> None:
        self.fakenvml = fakenvml
        self.bus = bus
        self.plane = plane
        self.host = replace(eight_gpus(), gpus=eight_gpus().gpus[:GPUS])
        self.clock = HandClock()
        # its samples bear the times at which the control plane lives
        world = World(clock=plane.clock, draw=lambda: 0.5, monotonic=self.clock)
        self.collector = ChildCollector(
            NvmlSettings(library=str(fakenvml.library), pci_devices=str(bus)),
            deadlines=Deadlines(open_s=1.0, step_s=1.0),
            clock=self.clock,
        )
        spool, timetable = Spool(1000), Timetable(world)
        sampler = Sampler(self.collector, spool, world.clock, list_every=HEALTH_EVERY, timetable=timetable)
        self.checkup = Checkup(
            self.collector,
            sampler,
            timetable,
            world.clock,
            Periods(xids_s=INTERVAL_S, health_s=HEALTH_EVERY * INTERVAL_S, deadline_s=1.0),
        )
        self.identity = Identity(
            client,
            this_host.Host(hostname="gpu-01", cpu_cores=1, ram_gb=1, agent_version="0.1.0"),
        )
        self.pusher = Pusher(client, self.identity, spool, lambda: sampler.inventory, world)
        self.reporter = Reporter(client, self.identity, self.checkup)

    def suffer(self, *faults: Fault) -> None:
        """From now on, have these faults and no others: the first on GPU 0, the second on GPU 1."""
        plug_in(self.bus, self.host, faults)
        ill, self.host = afflicted(self.host, faults)
        if any(fault.unloads for fault in faults):
            self.fakenvml.unload()
        else:
            self.fakenvml.show(ill)

    async def sweep(self) -> None:
        """Sample, deliver, and report if a report is due or urgent; five seconds pass."""
        await self.checkup.sample()
        self.clock.now += INTERVAL_S
        self.plane.clock.forward(seconds=INTERVAL_S)
        await self.identity.heartbeat()
        await self.pusher.deliver_once()
        assert await self.reporter.deliver()

    async def shown(self) -> list[Shown]:
        """The open faults of each GPU, as the API has them; and its status agrees."""
        node = await self.plane.admin.read(f"/api/clusters/nodes/{self.identity.node_id}")
        found = [frozenset((fault["kind"], fault["code"]) for fault in gpu["faults"]) for gpu in node["gpus"]]
        assert [gpu["status"] == "unhealthy" for gpu in node["gpus"]] == [bool(faults) for faults in found]
        return found

    async def until(self, wanted: list[Shown], most: int) -> int:
        """Sweep until that is shown; after how many sweeps it was."""
        for sweeps in range(1, most + 1):
            await self.sweep()
            if await self.shown() == wanted:
                return sweeps
        pytest.fail(f"after {most} sweeps the API shows {await self.shown()}, and not {wanted}")

    async def recover(self) -> int:
        """Be well again, an operator's word included; after how many sweeps the API says so."""
        self.suffer()
        for sweeps in range(1, LONGEST_RECOVERY + 1):
            await self.sweep()
            node = await self.plane.admin.read(f"/api/clusters/nodes/{self.identity.node_id}")
            faults = [fault for gpu in node["gpus"] for fault in gpu["faults"]]
            if all(fault["needs_operator"] for fault in faults):
                for gpu in node["gpus"]:
                    await self.plane.admin.write(f"/api/gpus/{gpu['id']}/clear-fault", {})
                assert await self.shown() == [frozenset()] * GPUS
                return sweeps
        pytest.fail(f"after {LONGEST_RECOVERY} sweeps the API still shows {await self.shown()}")

    async def is_well(self) -> None:
        """Every GPU is read, and no fault comes back."""
        for _ in range(HEALTH_EVERY + 1):
            await self.sweep()
            assert await self.shown() == [frozenset()] * GPUS
        node = await self.plane.admin.read(f"/api/clusters/nodes/{self.identity.node_id}")
        assert [gpu["missing"] for gpu in node["gpus"]] == [{}] * GPUS
        assert [gpu["health"]["missing"] for gpu in node["gpus"]] == [{}] * GPUS


@pytest.fixture
async def patient(fakenvml: FakeNvml, migrated_sqlite: Path, tmp_path: Path) -> AsyncIterator[Patient]:
    """Well, registered, and known to the control plane with three GPUs."""
    database = tmp_path / "gpuforge.db"
    shutil.copyfile(migrated_sqlite, database)
    bus = tmp_path / "devices"
    bus.mkdir()
    async with contextlib.AsyncExitStack() as stack:
        plane = await stack.enter_async_context(serving(f"sqlite+aiosqlite:///{database}"))
        key = (await plane.admin.write("/api/clusters", {"name": "east"}))["api_key"]
        client = await stack.enter_async_context(RestClient(plane.url, key, retry=ONCE))
        patient = Patient(fakenvml, bus, plane, client)
        stack.push_async_callback(patient.collector.close)
        patient.suffer()
        await patient.sweep()
        yield patient


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.name))
async def test_a_fault_is_shown_while_it_lasts_and_heals(patient: Patient, fault: Fault) -> None:
    wanted = expected(fault, None, GPUS)
    patient.suffer(fault)
    await patient.until(wanted, fault.sweeps)
    for _ in range(3):
        await patient.sweep()
        assert await patient.shown() == wanted, "it still lasts"
    await patient.recover()
    await patient.is_well()


@pytest.mark.parametrize("first", IN_PAIRS)
async def test_two_faults_at_once_are_both_shown_and_heal(patient: Patient, first: str) -> None:
    for second in IN_PAIRS[IN_PAIRS.index(first) + 1 :]:
        one, other = BY_NAME[first], BY_NAME[second]
        patient.suffer(one)
        await patient.until(expected(one, None, GPUS), one.sweeps)
        patient.suffer(one, other)
        await patient.until(expected(one, other, GPUS), max(other.sweeps, LONGEST_RECOVERY))
        await patient.recover()


async def test_what_the_driver_says_in_passing_is_shown_without_a_fault(patient: Patient) -> None:
    patient.suffer(BY_NAME["Xid 13, a job's own"])
    await patient.sweep()
    patient.suffer(BY_NAME["driver reloaded"])
    for _ in range(HEALTH_EVERY):
        await patient.sweep()
    node = await patient.plane.admin.read(f"/api/clusters/nodes/{patient.identity.node_id}")
    assert [[xid["code"] for xid in gpu["xids"]] for gpu in node["gpus"]] == [[13], [], []]
    assert node["host"]["nvml_reopened"] == 1


async def test_a_driver_let_go_of_is_absent_for_a_minute_and_then_read_again(
    patient: Patient,
) -> None:
    reader = patient.collector.pid
    assert reader is not None
    await patient.collector.release()
    assert patient.collector.pid is None
    absent = [frozenset({("unreadable", "driver_absent")})] * GPUS
    for _ in range(12):
        await patient.sweep()
        assert await patient.shown() == absent
    await patient.until([frozenset()] * GPUS, 2)


def test_every_fault_has_a_name_of_its_own() -> None:
    assert len(BY_NAME) == len(FAULTS)
