"""Log lines: one an event, no secret in any of them, no line that a client forged."""

import asyncio
import io
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from gpuforge_shared import logs
from gpuforge_shared.apikey import assemble
from gpuforge_shared.logs import HumanFormatter, JsonFormatter

KEY = assemble("ab" * 28)


def record(
    message: str, *, level: int = logging.INFO, exc_info: Any = None, **fields: Any
) -> logging.LogRecord:
    made = logging.LogRecord("gpuforge.x", level, __file__, 1, message, None, exc_info)
    vars(made).update(fields)
    return made


def failure() -> Any:
    try:
        int(f"with {KEY}")
    except ValueError:
        return sys.exc_info()
    return None


def test_json_has_one_object_a_line() -> None:
    line = JsonFormatter().format(record("served", status=200, path="/a\nb", ratio=0.5, odd=object))
    assert "\n" not in line
    told = json.loads(line)
    assert (told["event"], told["level"], told["logger"]) == ("served", "info", "gpuforge.x")
    assert (told["status"], told["path"], told["ratio"]) == (200, "/a\nb", 0.5)
    assert told["at"].endswith("Z")


def test_people_get_one_line_an_event() -> None:
    line = HumanFormatter(colour=False).format(record("a\nb", path="/x\x1b[31m\r\n\u2028", status=404))
    assert line.isprintable()
    assert r"a\nb" in line
    assert r"path=/x\x1b[31m\r\n\u2028 status=404" in line


@pytest.mark.parametrize("formatter", [JsonFormatter(), HumanFormatter(colour=False)], ids=["json", "human"])
def test_no_key_gets_into_a_line(formatter: logging.Formatter) -> None:
    line = formatter.format(record(f"key {KEY}", header=f"Bearer {KEY}", exc_info=failure()))
    assert KEY not in line
    assert KEY[12:] not in line
    assert line.count(KEY[:12]) >= 3
    assert "ValueError" in line


def test_a_terminal_gets_colour_by_level() -> None:
    formatter = HumanFormatter(colour=True)
    assert formatter.format(record("x", level=logging.ERROR)).startswith("\x1b[31m")
    assert "\x1b" not in formatter.format(record("x"))


@pytest.mark.parametrize(("form", "is_json"), [("json", True), ("human", False), ("auto", True)])
def test_the_form_is_as_told_and_json_where_nobody_reads(form: Any, is_json: bool) -> None:
    out = io.StringIO()
    logs.configure(level="info", form=form, stream=out)
    logging.getLogger("gpuforge.x").info("event", extra={"n": 1})
    logging.getLogger("gpuforge.x").debug("not this one")
    (line,) = out.getvalue().splitlines()
    assert line.startswith("{") == is_json


@pytest.mark.parametrize("leads_there", [True, False])
def test_a_journal_is_told_the_priority_and_nobody_else(tmp_path: Path, leads_there: bool) -> None:
    with (tmp_path / "stderr").open("w+") as out:
        found = os.fstat(out.fileno())
        journal = f"{found.st_dev}:{found.st_ino + (not leads_there)}"
        logs.configure(level="debug", form="json", stream=out, journal=journal)
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            logging.getLogger("gpuforge.x").log(level, "event")
        out.seek(0)
        starts = [line.partition("{")[0] for line in out]
    assert starts == (["<7>", "<6>", "<4>", "<3>", "<2>"] if leads_there else [""] * 5)


@pytest.mark.parametrize(("leads_there", "begins"), [(True, "<3>a: no"), (False, "a: no")])
def test_a_last_word_is_one_line_and_an_error_in_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leads_there: bool, begins: str
) -> None:
    with (tmp_path / "stderr").open("w+") as out:
        found = os.fstat(out.fileno())
        monkeypatch.setattr("sys.stderr", out)
        logs.say_last("a: no\nb", journal=f"{found.st_dev}:{found.st_ino}" if leads_there else None)
        out.seek(0)
        assert out.read() == begins + "\\nb\n"


def test_the_request_id_is_in_every_line_of_its_request() -> None:
    out = io.StringIO()
    logs.configure(level="info", form="json", stream=out)
    log = logging.getLogger("gpuforge.x")
    token = logs.request_id.set("abc")
    log.info("inside")
    logs.request_id.reset(token)
    log.info("outside")
    inside, outside = map(json.loads, out.getvalue().splitlines())
    assert inside["request_id"] == "abc"
    assert "request_id" not in outside


async def test_what_happens_thousands_of_times_is_a_few_lines() -> None:
    out = io.StringIO()
    logs.configure(level="info", form="json", stream=out)
    troubles = logs.Seldom(logging.getLogger("gpuforge.x"), "can't serve", every_s=0)
    token = logs.request_id.set("the-first")
    for _ in range(1000):
        troubles.say("busy", "too many")
    troubles.say("locked", "a lock")  # another kind, at once as well
    logs.request_id.reset(token)
    seen = []
    for _ in range(5):  # turns of the loop: the last three find nothing to add
        await asyncio.sleep(0)
        seen.append(len(out.getvalue().splitlines()))
    assert seen[-1] == 3
    troubles.say("busy", "too many")  # a later stretch begins anew
    first, other, summed, anew = map(json.loads, out.getvalue().splitlines())
    assert [each["why"] for each in (first, other, summed, anew)] == [
        "too many",
        "a lock",
        "too many",
        "too many",
    ]
    assert first["request_id"] == "the-first"
    assert (summed["times"], summed["within_s"]) == (999, 0)
    assert "request_id" not in summed  # it is about many
    assert "times" not in anew
