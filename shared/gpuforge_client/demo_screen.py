"""What a demo tells: a moving line on a terminal, plain lines elsewhere, and the address at the end."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from rich.live import Live
    from rich.spinner import Spinner

PLAIN_LINE_S = 5.0  # between two lines of one step, where lines stay


class Screen:
    """One step at a time. Whatever happens to the terminal is no reason to fail: children must be stopped."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stdout if out is None else out
        self._live: Live | None = None
        self._spinner: Spinner | None = None
        self._step = ""
        self._shown = ("", 0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_step()

    def step(self, title: str, detail: str = "") -> None:
        """What is being done, and how far it is."""
        self._step = f"{title} {detail}".rstrip()
        if self._out.isatty():
            self.tick()
        elif title != self._shown[0] or time.monotonic() - self._shown[1] > PLAIN_LINE_S:
            self._shown = (title, time.monotonic())
            self.say(f"{self._step} …")

    def tick(self) -> None:
        """Move the line on. No thread does it: a process of one thread forks without surprises."""
        if not self._step or not self._out.isatty():
            return
        try:
            if self._live is None:
                self._live, self._spinner = _moving_line(self._out)
                self._live.start()
            if self._spinner is not None:
                self._spinner.update(text=f"{self._step} …")
            self._live.refresh()
        except OSError:
            self._abandon()

    def end_step(self) -> None:
        """Wipe the moving line."""
        self._step = ""
        live, self._live = self._live, None
        if live is not None:
            try:
                live.stop()
            except OSError:
                self._abandon()

    def say(self, text: str) -> None:
        """Lines that stay."""
        step = self._step
        self.end_step()
        try:
            self._out.write(text + "\n")
            self._out.flush()
        except OSError:
            self._abandon()
        self._step = step

    def _abandon(self) -> None:
        """The terminal or the reader of the pipe is gone: go on in silence, the signal is on its way."""
        self._live = None
        self._out = open(os.devnull, "w")  # noqa: PTH123, SIM115  # it stands in for a stream of the process
        sys.stdout = self._out


def _moving_line(out: TextIO) -> tuple[Live, Spinner]:
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner

    spinner = Spinner("dots")
    return Live(spinner, console=Console(file=out), auto_refresh=False, transient=True), spinner


def counted(number: int, noun: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def welcome(*, url: str, key: str, count: str, cluster_id: int, folder: str) -> str:
    """What a person needs when the fleet is live. The lines are meant to be copied, so nothing wraps them."""
    header = f"-H 'Authorization: Bearer {key}'"
    post = f"-X POST {header} -H 'Content-Type: application/json'"
    body = '{"name": "my-cluster", "region": "us-west-2"}'
    return f"""
GPUForge is live: {count}

  URL        {url}
  admin key  {key}

Try these; ask the first one twice, and the figures have moved:

  curl {header} {url}/api/clusters/{cluster_id}
  curl {header} {url}/api/dashboard/gpu-allocation
  curl {post} -d '{body}' {url}/api/clusters

Ctrl-C stops it all. {folder} keeps the database, the keys and the logs: the next start goes on from there,
and `rm -r {folder}` begins anew.
"""
