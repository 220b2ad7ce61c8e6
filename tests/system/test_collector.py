"""The reader process: what hangs is named, killed and replaced, and nothing is left behind."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import psutil
import pytest

from gpuforge_agent.collector import ChildCollector, Deadlines, NvmlSettings
from gpuforge_agent.sources.base import MEASURES, Reading, Reason
from tests.fakenvml.expected import readings_of
from tests.fakenvml.library import FakeNvml, Host, eight_gpus
from tests.hand_clock import HandClock

HANGING_CALL = "nvmlDeviceGetPowerUsage"


def hanging(host: Host, *indexes: int) -> Host:
    for index in indexes:
        host = host.with_gpu(index, host.gpus[index].hanging(HANGING_CALL))
    return host


def assert_only_missing(readings: Sequence[Reading], missing: dict[int, Reason]) -> None:
    """Those GPUs are wholly missing, for that reason, and the others read as they are."""
    for reading, well in zip(readings, readings_of(eight_gpus()), strict=True):
        if reading.index in missing:
            assert reading.missing == dict.fromkeys(MEASURES, missing[reading.index])
            assert [getattr(reading, measure) for measure in MEASURES] == [None] * len(MEASURES)
        else:
            assert reading == well


def assert_gone(pid: int) -> None:
    """Not there any more, not even as a zombie."""
    assert not psutil.pid_exists(pid)


async def test_one_of_eight_hangs_and_the_other_seven_are_read(
    fakenvml: FakeNvml, collector: ChildCollector
) -> None:
    await collector.inventory()
    hung_reader = collector.pid
    fakenvml.show(hanging(eight_gpus(), 3))
    assert_only_missing(await collector.read(), {3: Reason.HUNG})
    assert hung_reader is not None
    assert collector.pid not in (None, hung_reader)
    assert_gone(hung_reader)


async def test_a_hung_gpu_is_left_alone_until_its_time_then_tried_last_then_heals(
    fakenvml: FakeNvml, collector: ChildCollector, clock: HandClock
) -> None:
    fakenvml.show(hanging(eight_gpus(), 0))
    assert_only_missing(await collector.read(), {0: Reason.HUNG})
    reader = collector.pid
    assert_only_missing(await collector.read(), {0: Reason.HUNG})
    assert collector.pid == reader, "touched before its time"

    clock.now += 15
    assert_only_missing(await collector.read(), {0: Reason.HUNG})
    assert collector.pid is None, "not tried again, or not as the last"

    fakenvml.show(eight_gpus())
    clock.now += 15
    assert_only_missing(await collector.read(), {0: Reason.HUNG})
    clock.now += 15
    assert_only_missing(await collector.read(), {})

    fakenvml.show(hanging(eight_gpus(), 0))
    await collector.read()
    fakenvml.show(eight_gpus())
    clock.now += 15
    assert_only_missing(await collector.read(), {})


async def test_two_hang_and_both_are_named(fakenvml: FakeNvml, collector: ChildCollector) -> None:
    fakenvml.show(hanging(eight_gpus(), 2, 6))
    assert_only_missing(await collector.read(), {2: Reason.HUNG, 6: Reason.HUNG})
    assert collector.missed_deadlines == {"metrics": 2}


async def test_what_there_was_no_time_for_is_not_called_hung(
    fakenvml: FakeNvml, collector: ChildCollector
) -> None:
    await collector.inventory()
    collector._deadlines = replace(collector._deadlines, call_s=0.9)  # less than one hang, which is 1 s
    fakenvml.show(hanging(eight_gpus(), 5))
    readings = await collector.read()
    assert_only_missing(readings, {5: Reason.HUNG, 6: Reason.NOT_REACHED, 7: Reason.NOT_REACHED})


async def test_a_slot_that_hangs_while_listing_costs_only_itself(
    fakenvml: FakeNvml, collector: ChildCollector, clock: HandClock
) -> None:
    host = eight_gpus()
    await collector.inventory()
    await collector.close()
    fakenvml.show(host.with_gpu(4, host.gpus[4].hanging()))
    inventory = await collector.inventory()
    assert inventory.unidentified == {4: Reason.HUNG}
    assert collector.missed_deadlines == {"inventory": 1}
    assert [gpu.index for gpu in inventory.absent] == [4]
    assert_only_missing(await collector.read(), {4: Reason.HUNG})
    for _ in ("heals", "and once more, after no longer a wait"):
        fakenvml.show(host)
        clock.now += 15
        assert len((await collector.inventory()).gpus) == 8
        assert_only_missing(await collector.read(), {})
        fakenvml.show(host.with_gpu(4, host.gpus[4].hanging()))
        await collector.close()
        assert (await collector.inventory()).unidentified == {4: Reason.HUNG}


@pytest.mark.parametrize("first", ["inventory", "read"])
async def test_gpus_that_take_long_to_be_found_are_found(
    fakenvml: FakeNvml, collector: ChildCollector, first: str
) -> None:
    """Without persistence mode each takes seconds: eight of them more than a call may take."""
    collector._deadlines = replace(collector._deadlines, call_s=0.3)
    fakenvml.show(replace(eight_gpus(), slow_slot_ms=100))
    if first == "inventory":
        assert len((await collector.inventory()).gpus) == 8
    assert_only_missing(await collector.read(), {})
    assert collector.missed_deadlines == {}


async def test_a_driver_that_takes_long_to_open_is_called_hung_until_it_does(
    fakenvml: FakeNvml, collector: ChildCollector, clock: HandClock
) -> None:
    """It attaches every GPU there is: sixteen without persistence mode may outlast the first patience."""
    collector._deadlines = replace(collector._deadlines, open_s=0.2, call_s=0.3)
    fakenvml.show(replace(eight_gpus(), slow_init_ms=500))
    assert (await collector.inventory()).fault is not None
    clock.now += 5
    assert (await collector.inventory()).fault is not None
    clock.now += 10
    assert len((await collector.inventory()).gpus) == 8
    assert_only_missing(await collector.read(), {})


async def test_an_nvml_that_hangs_as_a_whole_is_a_fault_and_heals(
    fakenvml: FakeNvml, collector: ChildCollector, clock: HandClock
) -> None:
    await collector.read()
    await collector.close()
    fakenvml.show(replace(eight_gpus(), hang=True))
    assert_only_missing(await collector.read(), dict.fromkeys(range(8), Reason.HUNG))
    fault = (await collector.inventory()).fault
    assert fault is not None
    assert fault.reason is Reason.HUNG
    fakenvml.show(eight_gpus())
    clock.now += 5
    assert_only_missing(await collector.read(), {})


async def test_a_library_that_crashes_on_a_gpu_costs_only_that_gpu(
    fakenvml: FakeNvml, collector: ChildCollector, clock: HandClock
) -> None:
    host = eight_gpus()
    fakenvml.show(host.with_gpu(1, replace(host.gpus[1], crashes=[HANGING_CALL])))
    assert_only_missing(await collector.read(), {1: Reason.READER_DIED})
    assert collector.missed_deadlines == {}
    fakenvml.show(host)
    clock.now += 15
    assert_only_missing(await collector.read(), {})


async def test_a_host_without_a_process_left_is_a_fault(
    fakenvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(fakenvml.state))  # not executable: the launch fails
    collector = ChildCollector(NvmlSettings(library=str(fakenvml.library)))
    fault = (await collector.inventory()).fault
    assert fault is not None
    assert fault.reason is Reason.READER_DIED
    assert await collector.read() == ()


async def test_a_reader_killed_between_two_calls_costs_nothing(collector: ChildCollector) -> None:
    await collector.read()
    assert collector.pid is not None
    os.kill(collector.pid, signal.SIGKILL)
    assert_only_missing(await collector.read(), {})


async def test_what_systemd_sends_to_the_whole_unit_ends_no_reader(collector: ChildCollector) -> None:
    await collector.read()
    reader = collector.pid
    assert reader is not None
    for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGTERM):
        os.kill(reader, number)
        assert_only_missing(await collector.read(), {})
        assert collector.pid == reader


async def test_a_read_that_is_cancelled_leaves_no_answer_for_the_next(
    fakenvml: FakeNvml, collector: ChildCollector
) -> None:
    await collector.inventory()
    fakenvml.show(hanging(eight_gpus(), 3))
    reading = asyncio.create_task(collector.read())
    await until_inside(collector, eight_gpus().gpus[3].uuid)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    fakenvml.show(eight_gpus())
    assert_only_missing(await collector.read(), {})


async def test_two_calls_at_once_do_not_mix(collector: ChildCollector) -> None:
    reads = asyncio.gather(*(collector.read() for _ in range(5)))
    inventory = await collector.inventory()
    for readings in await reads:
        assert_only_missing(readings, {})
    assert len(inventory.gpus) == 8


async def test_closing_leaves_no_process_and_a_later_call_starts_anew(collector: ChildCollector) -> None:
    await collector.read()
    reader = collector.pid
    await collector.close()
    await collector.close()
    assert reader is not None
    assert collector.pid is None
    assert_gone(reader)
    assert_only_missing(await collector.read(), {})


async def test_closing_in_the_middle_of_a_hang_leaves_no_process(
    fakenvml: FakeNvml, collector: ChildCollector
) -> None:
    await collector.inventory()
    fakenvml.show(hanging(eight_gpus(), 3))
    reading = asyncio.create_task(collector.read())
    await until_inside(collector, eight_gpus().gpus[3].uuid)
    reader = collector.pid
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await collector.close()
    assert reader is not None
    assert_gone(reader)


async def test_a_reader_that_outlasts_the_kill_is_abandoned_and_only_one(
    fakenvml: FakeNvml, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a process in state D can't be made to order: here the kill is what does not happen
    monkeypatch.setattr(asyncio.subprocess.Process, "kill", lambda self: None)
    deadlines = Deadlines(step_s=1.0, kill_s=0.05)
    collector = ChildCollector(NvmlSettings(library=str(fakenvml.library)), deadlines=deadlines, clock=clock)
    await collector.inventory()
    first = collector.pid
    fakenvml.show(hanging(eight_gpus(), 3))
    assert_only_missing(await collector.read(), {3: Reason.HUNG})
    assert first is not None
    assert psutil.pid_exists(first)

    second = collector.pid
    clock.now += 15
    assert_only_missing(await collector.read(), {3: Reason.HUNG})
    assert collector.pid == second, "the hung GPU was tried again with a reader still in it"

    fakenvml.show(hanging(eight_gpus(), 3, 5))
    assert_only_missing(await collector.read(), dict.fromkeys((3, 5, 6, 7), Reason.HUNG))
    clock.now += 60
    assert_only_missing(await collector.read(), dict.fromkeys(range(8), Reason.HUNG))
    assert collector.pid is None, "a third reader was started"
    assert readers_of_this_process() == {first, second}

    fakenvml.show(eight_gpus())
    for abandoned in collector._unkillable:
        await abandoned._process.wait()
    clock.now += 60
    assert_only_missing(await collector.read(), {})
    monkeypatch.undo()
    last = collector._child
    await collector.close()
    assert last is not None
    await last._process.wait()  # it is killed, which on a busy machine takes longer than this `kill_s`
    assert readers_of_this_process() == set()


PARENT = """
import asyncio, sys
from gpuforge_agent.collector import ChildCollector, Deadlines, NvmlSettings

async def main():
    collector = ChildCollector(NvmlSettings(library=sys.argv[1]), deadlines=Deadlines(step_s=60.0))
    await collector.inventory()
    reading = asyncio.create_task(collector.read())
    while sys.argv[2] != "idle" and collector._child._subject != sys.argv[2]:
        await asyncio.sleep(0.001)
    if sys.argv[2] == "idle":
        await reading
    print(collector.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("reader", ["idle", "hung"])
def test_the_death_of_the_agent_leaves_no_reader(fakenvml: FakeNvml, reader: str) -> None:
    host = eight_gpus()
    if reader == "hung":
        fakenvml.show(hanging(host, 3))
    subject = host.gpus[3].uuid if reader == "hung" else "idle"
    command = [sys.executable, "-c", PARENT, str(fakenvml.library), subject]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        child = os.pidfd_open(pid)
        parent.kill()
        ready, _, _ = select.select([child], [], [], 20.0)
        os.close(child)
    assert ready, "the reader outlived the agent"


async def until_inside(collector: ChildCollector, subject: str) -> None:
    """Return once the reader has said that it is about to touch that GPU."""
    while collector._child is None or collector._child._subject != subject:  # noqa: ASYNC110 - no event of ours
        await asyncio.sleep(0.001)


def readers_of_this_process() -> set[int]:
    return {
        child.pid
        for child in psutil.Process().children()
        if "gpuforge_agent.reader" in " ".join(child.cmdline())
    }


async def test_a_host_without_a_driver_is_told_once_and_again_once_it_had_one(
    fakenvml: FakeNvml, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    library = fakenvml.library.with_name("later.so")
    collector = ChildCollector(NvmlSettings(library=str(library)), clock=clock)
    told = []
    try:
        for there in (False, False, False, True, False, False):
            if there:
                library.symlink_to(fakenvml.library)
            else:
                library.unlink(missing_ok=True)
                await collector.close()
            clock.now += 120
            assert (await collector.inventory()).fault is None or not there
            told.append(len([each for each in caplog.records if each.message == "reader stopped"]))
    finally:
        library.unlink(missing_ok=True)
        await collector.close()
    assert told == [1, 1, 1, 1, 2, 2]
