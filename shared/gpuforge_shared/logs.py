"""Structured logs: one line an event, for people on a terminal and as JSON in a service."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextvars import Context, ContextVar
from datetime import UTC, datetime
from typing import Literal, TextIO

import msgspec

from gpuforge_shared import apikey

LogFormat = Literal["auto", "human", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}  # syslog(3)'s
_COLOURS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31;1m", "DEBUG": "\x1b[2m"}


def configure(
    *,
    level: LogLevel = "info",
    form: LogFormat = "auto",
    stream: TextIO | None = None,
    journal: str | None = None,
) -> None:
    """Send the root logger to `stream` (stderr): human lines on a terminal, JSON elsewhere unless told.

    `journal`: systemd's JOURNAL_STREAM. Where `stream` leads there, JSON lines say their priority as well.
    """
    out = stream or sys.stderr
    human = form == "human" or (form == "auto" and out.isatty())
    handler = logging.StreamHandler(out)
    as_json = JsonFormatter(priorities=_is_journal(out, journal))
    handler.setFormatter(HumanFormatter(colour=out.isatty()) if human else as_json)
    handler.addFilter(_carry_request_id)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)


def say_last(words: str, *, journal: str | None) -> None:
    """Why a program ends, on stderr: one line, an error in systemd's journal (`journal`: as above)."""
    priority = "<3>" if _is_journal(sys.stderr, journal) else ""
    sys.stderr.write(f"{priority}{_on_one_line(words)}\n")


class Seldom:
    """A warning of what may happen thousands of times: the first at once, then, for as long as it goes on,
    one every `every_s` seconds that tells the newest and how often it was."""

    def __init__(self, log: logging.Logger, event: str, *, every_s: float = 10.0) -> None:
        self._log = log
        self._event = event
        self._every_s = every_s
        self._since: dict[str, tuple[int, str]] = {}  # by kind: how often since its last line, and the newest

    def say(self, kind: str, why: str) -> None:
        """From within a running loop. Each `kind` has lines of its own; there are few."""
        if kind in self._since:
            self._since[kind] = (self._since[kind][0] + 1, why)
        else:
            self._log.warning(self._event, extra={"why": why})
            self._wait(kind)

    def _wait(self, kind: str) -> None:
        self._since[kind] = (0, "")
        # in no request's context: the line is about many
        asyncio.get_running_loop().call_later(self._every_s, self._sum_up, kind, context=Context())

    def _sum_up(self, kind: str) -> None:
        times, why = self._since.pop(kind)
        if times:
            extra = {"why": why, "times": times, "within_s": self._every_s}
            self._log.warning(self._event, extra=extra)
            self._wait(kind)


def _is_journal(stream: TextIO, journal: str | None) -> bool:
    """`journal`: device and inode, as systemd.exec(5) writes them in JOURNAL_STREAM."""
    try:
        found = os.fstat(stream.fileno())
    except OSError:  # no file
        return False
    return journal == f"{found.st_dev}:{found.st_ino}"


def redact(text: str) -> str:
    """`text` with every API key cut back to its display prefix: the last guard, not the first."""
    return apikey.ANYWHERE.sub(lambda found: apikey.display_prefix(found[0]) + "…", text)


def _carry_request_id(record: logging.LogRecord) -> bool:
    if (current := request_id.get()) is not None and not hasattr(record, "request_id"):
        record.request_id = current
    return True


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _on_one_line(value: object) -> str:
    """Control characters escaped: a path that a client made up must not forge a line, or colour one."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(value))


class JsonFormatter(logging.Formatter):
    """`{"at": …, "level": …, "logger": …, "event": …, …fields}` on one line."""

    def __init__(self, *, priorities: bool = False) -> None:
        """`priorities`: each line begins with sd-daemon(3)'s, which journald takes away and keeps."""
        super().__init__()
        self._priorities = priorities

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        priority = f"<{_PRIORITIES.get(record.levelname, 6)}>" if self._priorities else ""
        return priority + redact(msgspec.json.encode(line, enc_hook=str).decode())


class HumanFormatter(logging.Formatter):
    """`12:00:01 warning  event  key=value …`, coloured by level on a terminal."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        fields = " ".join(f"{name}={_on_one_line(value)}" for name, value in _fields(record).items())
        line = f"{at} {record.levelname.lower():<8} {_on_one_line(record.getMessage())}  {fields}".rstrip()
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        tint = _COLOURS.get(record.levelname, "") if self._colour else ""
        return redact(f"{tint}{line}\x1b[0m" if tint else line)
