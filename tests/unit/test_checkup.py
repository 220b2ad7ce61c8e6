"""What a node reports of its health, and when that can't wait."""

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gpuforge_agent.collector import InlineCollector
from gpuforge_agent.health import Checkup, Periods, unreadable
from gpuforge_agent.journal import KernelLog, LoggedXid
from gpuforge_agent.processes import Owners
from gpuforge_agent.sampler import Sampler
from gpuforge_agent.sources.base import (
    MEASURES,
    Fault,
    Health,
    Inventory,
    Occupancy,
    Process,
    Reading,
    Reason,
    Xid,
    unread,
)
from gpuforge_agent.sources.condition import unknown_health
from gpuforge_agent.sources.simulated import SimulatedSource
from gpuforge_agent.spool import Spool
from gpuforge_agent.timetable import Timetable
from gpuforge_client.retry import REAL, World
from gpuforge_shared.wire.health import MAX_XIDS, NodeReport
from tests.hand_clock import HandClock

NOW = datetime(2026, 5, 9, tzinfo=UTC)


class Ward(InlineCollector):
    """A simulated host whose GPUs fall ill at will."""

    def __init__(self) -> None:
        source = SimulatedSource("ward", gpu_count=2)
        super().__init__(source)
        self.uuids = [gpu.uuid for gpu in source.inventory().gpus]
        self.readings: dict[str, Reading] = {}
        self.healths: dict[str, Health] = {}
        self.new_xids: tuple[Xid, ...] = ()
        self.fault: Fault | None = None
        self.looks = 0
        self.processes: tuple[Process, ...] | None = ()

    async def inventory(self) -> Inventory:
        return replace(await super().inventory(), fault=self.fault)

    async def read(self) -> tuple[Reading, ...]:
        return tuple(self.readings.get(each.uuid, each) for each in await super().read())

    async def health(self) -> tuple[Health, ...]:
        self.looks += 1
        return tuple(self.healths.get(each.uuid, each) for each in await super().health())

    async def occupancy(self) -> tuple[Occupancy, ...]:
        found = await super().occupancy()
        return tuple(replace(each, processes=self.processes, reason=Reason.NO_PERMISSION) for each in found)

    async def xids(self) -> tuple[Xid, ...]:
        told, self.new_xids = self.new_xids, ()
        return told


class Nurse:
    """A checkup of a ward, and what a control plane would be told."""

    def __init__(self, tmp_path: Path, kernel_log: KernelLog | None = None) -> None:
        self.ward = Ward()
        self.clock = HandClock()
        world = World(clock=lambda: NOW, draw=REAL.draw, monotonic=self.clock)
        timetable = Timetable(world)
        sampler = Sampler(
            self.ward, Spool(100), world.clock, list_every=1, timetable=timetable, interval_s=5.0
        )
        periods = Periods(xids_s=5.0, health_s=30.0, deadline_s=2.0)
        self.checkup = Checkup(
            self.ward, sampler, timetable, world.clock, periods,
            owners=Owners(tmp_path, tmp_path / "passwd"), kernel_log=kernel_log,
        )  # fmt: skip
        self.gpu_ids = {uuid: number for number, uuid in enumerate(self.ward.uuids, 1)}

    async def round(self, seconds: float = 5.0) -> bool:
        """One sample; whether a report is urgent."""
        await self.checkup.sample()
        self.clock.now += seconds
        return self.checkup.news.is_set()

    def tell(self, *, taken: bool = True) -> dict[str, Any]:
        """The report as the wire has it, which a control plane understands."""
        body, mark = self.checkup.report(self.gpu_ids)
        encoded = msgspec.json.encode(body)
        NodeReport.model_validate_json(encoded)
        if taken:
            self.checkup.delivered(mark)
        return dict(msgspec.json.decode(encoded))


@pytest.fixture
def nurse(tmp_path: Path) -> Nurse:
    return Nurse(tmp_path)


async def test_a_report_of_a_ward_that_is_well(nurse: Nurse) -> None:
    assert not await nurse.round()
    report = nurse.tell()
    assert report["driver_fault"] is None
    assert report["host"]["driver_version"] == "simulated"
    assert (report["host"]["nvml_gpus"], report["host"]["pci_gpus"]) == (2, None)
    assert [gpu["gpu_id"] for gpu in report["gpus"]] == [1, 2]
    for gpu in report["gpus"]:
        assert (gpu["unreadable"], gpu["xids"], gpu["processes"]) == (None, [], [])
        assert gpu["health"]["recovery_action"] == "none"
        assert gpu["health"]["missing"]["nvlink_links"] == "not_supported"
    names = [(run["name"], run["period_s"], run["deadline_s"]) for run in report["collectors"]]
    assert names == [
        ("xids", 5.0, 2.0), ("inventory", 5.0, None), ("metrics", 5.0, None), ("health", 30.0, 2.0),
        ("processes", 30.0, 2.0), ("host", 30.0, None),
    ]  # fmt: skip
    assert all(run["succeeded"] for run in report["collectors"] if run["name"] != "host")


async def test_health_is_looked_after_at_its_own_period(nurse: Nurse) -> None:
    looks = []
    for _ in range(8):
        await nurse.round()
        looks.append(nurse.ward.looks)
    assert looks == [1] * 6 + [2] * 2


@pytest.mark.parametrize(
    ("sick", "told"),
    [
        pytest.param(lambda uuid: {"reading": unread(uuid, 0, Reason.LOST)}, "lost", id="lost"),
        pytest.param(
            lambda uuid: {"health": unknown_health(uuid, 0, Reason.HUNG)}, "hung", id="hangs in health"
        ),
        pytest.param(
            lambda uuid: {"health": unknown_health(uuid, 0, Reason.DRIVER_TOO_OLD)}, None, id="has no health"
        ),
    ],
)
async def test_what_can_be_read_of_no_gpu_is_told_as_its_reason(
    nurse: Nurse, sick: Any, told: str | None
) -> None:
    uuid = nurse.ward.uuids[0]
    ill = sick(uuid)
    if "reading" in ill:
        nurse.ward.readings[uuid] = ill["reading"]
    else:
        nurse.ward.healths[uuid] = ill["health"]
    assert await nurse.round() == (told is not None)
    assert [gpu["unreadable"] for gpu in nurse.tell()["gpus"]] == [told, None]
    assert not await nurse.round(), "told already"
    nurse.ward.readings.clear()
    nurse.ward.healths.clear()
    nurse.clock.now += 30
    assert await nurse.round() == (told is not None), "that it is well again is news, too"


@pytest.mark.parametrize(
    "figures", [{"ecc_volatile_uncorrected": 1}, {"remap_pending": True}, {"recovery_action": "gpu_reset"}]
)
async def test_a_grave_figure_is_urgent(nurse: Nurse, figures: Mapping[str, int]) -> None:
    await nurse.round()
    uuid = nurse.ward.uuids[1]
    nurse.ward.healths[uuid] = Health(uuid=uuid, index=1, figures=figures)
    nurse.clock.now += 30
    assert await nurse.round()


async def test_an_xid_is_urgent_and_waits_until_it_is_told(nurse: Nurse) -> None:
    uuid = nurse.ward.uuids[0]
    nurse.ward.new_xids = (Xid(uuid=uuid, code=48), Xid(uuid=uuid, code=63))
    assert await nurse.round()
    for taken in (False, True):
        xids = nurse.tell(taken=taken)["gpus"][0]["xids"]
        assert xids == [{"code": code, "seen_at": "2026-05-09T00:00:00Z"} for code in (48, 63)]
    assert nurse.tell()["gpus"][0]["xids"] == []
    assert not await nurse.round()


async def test_xids_that_nobody_takes_are_bounded(nurse: Nurse) -> None:
    for _ in range(10):
        nurse.ward.new_xids = tuple(Xid(uuid=nurse.ward.uuids[0], code=code) for code in range(13, 33))
        await nurse.round()
    assert len(nurse.tell()["gpus"][0]["xids"]) == MAX_XIDS


async def test_an_xid_that_comes_while_a_report_is_under_way_is_not_taken_for_told(nurse: Nurse) -> None:
    await nurse.round()
    _, mark = nurse.checkup.report(nurse.gpu_ids)
    nurse.ward.new_xids = (Xid(uuid=nurse.ward.uuids[0], code=79),)
    await nurse.round()
    nurse.checkup.delivered(mark)
    assert nurse.checkup.news.is_set()
    assert [xid["code"] for xid in nurse.tell()["gpus"][0]["xids"]] == [79]


class Log(KernelLog):
    """A kernel's log that says what a test lets it say."""

    def __init__(self) -> None:
        super().__init__()
        self.problem = None
        self.settled = 0

    def told(self) -> None:
        self.settled += 1

    def say(self, place: tuple[int, int, int], code: int) -> None:
        self._waiting.append(LoggedXid(place=place, code=code, at=NOW))


FIRST = (0, 0x18, 0)  # where a simulated host has its first GPU


async def test_what_nvml_does_not_tell_is_told_by_the_kernels_log_and_once_if_both_do(tmp_path: Path) -> None:
    log = Log()
    nurse = Nurse(tmp_path, log)
    uuid = nurse.ward.uuids[0]
    nurse.ward.new_xids = (Xid(uuid=uuid, code=48),)
    for code in (48, 79):
        log.say(FIRST, code)
    log.say((0, 0xEE, 0), 79)  # of a card that nobody ever listed
    assert await nurse.round()
    report = nurse.tell()
    assert [[xid["code"] for xid in gpu["xids"]] for gpu in report["gpus"]] == [[48, 79], []]
    assert nurse.checkup.witnesses.counts == {Xid(uuid=uuid, code=48): 1, Xid(uuid=uuid, code=79): 1}
    nurse.ward.new_xids = (Xid(uuid=uuid, code=79),)  # NVML tells it after all
    assert not await nurse.round()


async def test_the_log_is_settled_once_all_that_it_had_is_delivered(tmp_path: Path) -> None:
    log = Log()
    nurse = Nurse(tmp_path, log)
    log.say(FIRST, 79)
    await nurse.round()
    nurse.tell(taken=False)
    assert log.settled == 0
    _, mark = nurse.checkup.report(nurse.gpu_ids)
    log.say(FIRST, 48)
    await nurse.round()
    nurse.checkup.delivered(mark)
    assert log.settled == 0, "the second came up after the report"
    nurse.tell()
    assert log.settled == 1
    nurse.ward.new_xids = (Xid(uuid=nurse.ward.uuids[0], code=48),)
    await nurse.round()
    assert log.settled == 2, "the other witness told it"


async def test_a_log_that_cannot_be_followed_is_a_collector_that_fails(tmp_path: Path) -> None:
    log = Log()
    nurse = Nurse(tmp_path, log)
    deaf = Health(uuid=nurse.ward.uuids[0], index=0, missing={"xids": Reason.NOT_SUPPORTED})
    nurse.ward.healths[deaf.uuid] = deaf
    for problem, missing in ((None, {}), ("no permission", {"xids": "not_supported"})):
        log.problem = problem
        await nurse.round()
        report = nurse.tell()
        (run,) = [each for each in report["collectors"] if each["name"] == "journal"]
        assert (run["succeeded"], run["failed"]) == (problem is None, int(problem is not None))
        assert report["gpus"][0]["health"]["missing"] == missing


async def test_a_driver_that_is_gone_is_told_of_the_node_and_of_every_gpu_ever_registered(
    nurse: Nurse,
) -> None:
    await nurse.round()
    nurse.ward.fault = Fault(reason=Reason.DRIVER_ABSENT, detail="no\ndriver" + "!" * 2000)
    for uuid in nurse.ward.uuids:
        nurse.ward.readings[uuid] = unread(uuid, 0, Reason.DRIVER_ABSENT)
    nurse.gpu_ids["GPU-registered-long-ago"] = 9
    assert await nurse.round()
    report = nurse.tell()
    assert report["driver_fault"]["reason"] == "driver_absent"
    assert report["driver_fault"]["detail"].startswith("nodriver!")
    assert [gpu["unreadable"] for gpu in report["gpus"]] == ["driver_absent"] * 3


async def test_processes_are_told_with_their_owner(nurse: Nurse, tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "comm").write_text("py\x07thon" + "n" * 99)
    (tmp_path / "7" / "cgroup").write_text("0::/x/job_12/step_0")
    nurse.ward.processes = (Process(pid=7, kind="compute", memory_mb=10, gpu_instance=2),)
    await nurse.round()
    (process,) = nurse.tell()["gpus"][0]["processes"]
    assert process.pop("user") == str(os.getuid())  # passwd is not there
    assert process == {
        "pid": 7, "kind": "compute", "memory_mb": 10, "gpu_instance": 2, "name": ("python" + "n" * 99)[:64],
        "job": "slurm:12",
    }  # fmt: skip
    nurse.ward.processes = None
    nurse.clock.now += 30
    await nurse.round()
    gpu = nurse.tell()["gpus"][0]
    assert (gpu["processes"], gpu["processes_missing"]) == (None, "no_permission")


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ({}, None),
        ({"power_draw_w": Reason.LOST}, None),
        (dict.fromkeys(MEASURES, Reason.LOST), Reason.LOST),
        (dict.fromkeys(MEASURES, Reason.NOT_SUPPORTED), None),
        ({**dict.fromkeys(MEASURES, Reason.NOT_SUPPORTED), "temperature_c": Reason.HUNG}, Reason.HUNG),
    ],
    ids=["well", "one figure", "all", "a kind of GPU that has none", "none but what failed"],
)
def test_when_a_gpu_counts_as_unreadable(missing: Mapping[str, Reason], reason: Reason | None) -> None:
    assert unreadable(Reading(uuid="GPU-1", index=0, missing=missing)) is reason
