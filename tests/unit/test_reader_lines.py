"""The lines between agent and reader: what each sequence means to the agent, and what the reader writes."""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from gpuforge_agent import child as child_module
from gpuforge_agent.child import Answer, Child, Deadlines, Done, NvmlSettings, Request, Stopped
from gpuforge_agent.reader import serve
from gpuforge_agent.sources.base import SESSION, Fault, Inventory, Reading, Reason, slot
from gpuforge_agent.sources.simulated import SimulatedSource

ENTER_SESSION = '{"entering": "session"}'
ENTER_SLOT = '{"entering": "slot 3"}'
ENTER_GPU = '{"entering": "GPU-1"}'
READ = '{"reading": {"uuid": "GPU-1", "index": 0, "power_draw_w": 70.5}}'
READ_WITH_A_FIELD_OF_TOMORROW = '{"reading": {"uuid": "GPU-1", "index": 0, "power_draw_w": 70.5, "clock": 1}}'
DONE = '{"done": true, "fault": null}'
FAULT = '{"done": true, "fault": {"reason": "driver_absent", "detail": "gone"}}'
READING = Reading(uuid="GPU-1", index=0, power_draw_w=70.5)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers that write the lines they were given as `library`, and end."""
    script = (
        "import sys, json; read = sys.stdin.readline; sys.stdout.write(json.loads(read())['library']); read()"
    )
    monkeypatch.setattr(child_module, "_BOOT", script)


async def ask(*lines: str) -> tuple[Done | Stopped, list[Answer]]:
    settings = NvmlSettings(library="\n".join(lines))
    child = await Child.launch(settings, [], [], Deadlines(), first_open_s=15.0)
    taken: list[Answer] = []
    answer = await child.ask(Request(call="read"), taken.append, time.monotonic() + 60.0)
    assert await child.end()
    return answer, taken


@pytest.mark.usefixtures("scripted")
@pytest.mark.parametrize(
    ("lines", "answer", "taken"),
    [
        pytest.param([READ, DONE, ""], Done(inventory=None, fault=None), [READING], id="read"),
        pytest.param(
            [READ_WITH_A_FIELD_OF_TOMORROW, DONE, ""],
            Done(inventory=None, fault=None),
            [READING],
            id="read by a newer reader",
        ),
        pytest.param(
            [FAULT, ""],
            Done(inventory=None, fault=Fault(reason=Reason.DRIVER_ABSENT, detail="gone")),
            [],
            id="fault",
        ),
        pytest.param([], Stopped(subject=SESSION, reason=Reason.READER_DIED), [], id="died at the start"),
        pytest.param(
            [ENTER_SLOT, ""], Stopped(subject=slot(3), reason=Reason.READER_DIED), [], id="died listing"
        ),
        pytest.param(
            [ENTER_GPU, ""], Stopped(subject="GPU-1", reason=Reason.READER_DIED), [], id="died on a GPU"
        ),
        pytest.param(
            [ENTER_GPU, READ, ""],
            Stopped(subject=None, reason=Reason.READER_DIED),
            [READING],
            id="died after a GPU: not that one's fault",
        ),
        pytest.param(
            [ENTER_GPU, DONE[:9]],
            Stopped(subject="GPU-1", reason=Reason.READER_DIED),
            [],
            id="died in the middle of a line",
        ),
        pytest.param(
            [ENTER_GPU, "NVRM: hello", ""],
            Stopped(subject="GPU-1", reason=Reason.READER_DIED),
            [],
            id="no message of ours",
        ),
        pytest.param(
            [ENTER_GPU, '{"reading": {"uuid": 7, "index": 0}}', ""],
            Stopped(subject="GPU-1", reason=Reason.READER_DIED),
            [],
            id="a reading of another shape",
        ),
        pytest.param(
            [ENTER_GPU, "9" * (2 << 20), ""],
            Stopped(subject="GPU-1", reason=Reason.READER_DIED),
            [],
            id="a line without an end",
        ),
    ],
)
async def test_what_the_lines_mean(lines: list[str], answer: Done | Stopped, taken: list[Reading]) -> None:
    assert await ask(*lines) == (answer, taken)


@pytest.mark.usefixtures("scripted")
async def test_past_its_end_a_call_keeps_what_it_has_and_goes_no_further_but_a_readers_first() -> None:
    lines = [ENTER_SLOT, READ, DONE, READ, READ, DONE, ""]
    settings = NvmlSettings(library="\n".join(lines))
    child = await Child.launch(settings, [], [], Deadlines(), first_open_s=15.0)
    taken: list[Answer] = []
    past = time.monotonic() - 1.0
    assert await child.ask(Request(call="read"), taken.append, past) == Done(inventory=None, fault=None)
    stopped = Stopped(subject=None, reason=Reason.NOT_REACHED)
    assert await child.ask(Request(call="read"), taken.append, past) == stopped
    assert taken == [READING] * 2
    assert await child.end()


async def test_a_slot_that_hangs_in_a_reader_that_was_given_long_to_open_is_not_given_as_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stays = (
        "import sys, json; opening = json.loads(sys.stdin.readline()); print(opening['library'], flush=True);"
        "sys.stdin.read()"
    )
    monkeypatch.setattr(child_module, "_BOOT", stays)
    settings = NvmlSettings(library=f"{ENTER_SESSION}\n{DONE}\n{ENTER_SLOT}")
    child = await Child.launch(settings, [], [], Deadlines(open_s=0.05), first_open_s=3600.0)
    taken: list[Answer] = []
    ends_at = time.monotonic() + 60.0
    assert await child.ask(Request(call="read"), taken.append, ends_at) == Done(inventory=None, fault=None)
    async with asyncio.timeout(20):
        stopped = await child.ask(Request(call="read"), taken.append, ends_at)
    assert stopped == Stopped(subject=slot(3), reason=Reason.HUNG)
    assert await child.end()


def test_the_reader_answers_in_messages_that_the_agent_understands() -> None:
    source = SimulatedSource("node-1", clock=lambda: 60.0)
    said: list[dict[str, object]] = []
    serve({"call": "inventory"}, source, said.append)
    serve({"call": "read", "uuids": None}, source, said.append)
    messages = [child_module._decoder.decode(json.dumps(message)) for message in said]
    assert messages[0].inventory == source.inventory()
    assert [message.reading for message in messages if message.reading] == list(source.read())
    assert [message.done for message in messages] == [False, True, *[False] * 8, True]


def test_an_inventory_with_gaps_survives_the_lines() -> None:
    class Gaps(SimulatedSource):
        def inventory(self) -> Inventory:
            return replace(
                super().inventory(), unidentified={3: Reason.LOST}, absent=super().inventory().gpus[:1]
            )

    source = Gaps("node-1")
    said: list[dict[str, object]] = []
    serve({"call": "inventory"}, source, said.append)
    assert child_module._decoder.decode(json.dumps(said[0])).inventory == source.inventory()


NOISY = """
import os
from gpuforge_agent.reader import _speaker
say = _speaker()
os.write(1, b"NVRM: a library that prints\\n")
say({"done": True})
"""


def test_what_a_library_prints_stays_out_of_the_lines() -> None:
    answer = subprocess.run([sys.executable, "-c", NOISY], check=True, capture_output=True, text=True)
    assert json.loads(answer.stdout) == {"done": True}
    assert answer.stderr == "NVRM: a library that prints\n"
