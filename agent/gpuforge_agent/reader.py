"""The child process in which NVML may hang: reads on request and says at each step what it is about to touch.

One JSON object a line. In: first `{"library", "known", "avoid_slots", "pci_devices"}`, then any of
`{"call": "inventory"}`, `{"call": "xids"}` and `{"call": "read" | "health" | "occupancy", "uuids"}`. Out: at
each step an `{"entering"}`; what was asked for, as `{"inventory"}`, as `{"xids"}`, or a GPU a line as
`{"reading"}`, `{"health"}` or `{"occupancy"}`; at last `{"done": true, "fault"}`. It imports as little as it
can: it exists beside every agent.
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpuforge_agent.sources.base import GpuIdentity, Source
from gpuforge_agent.sources.session import NvmlSource

PR_SET_PDEATHSIG = 1


def main(parent: int) -> None:
    """Serve one parent until it closes the pipe or ends. `parent`: its process id."""
    _die_with(parent)
    # systemd sends these to all of a unit; the parent closes the pipe then, and NVML is given back in order
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    say = _speaker()
    opening = json.loads(sys.stdin.buffer.readline() or b"null")
    if opening is None:
        return
    source = NvmlSource(
        opening["library"],
        known=[GpuIdentity(**gpu) for gpu in opening["known"]],
        avoid_slots=frozenset(opening["avoid_slots"]),
        entering=lambda subject: say({"entering": subject}),
        pci_devices=Path(opening["pci_devices"]),
    )
    for line in sys.stdin.buffer:
        serve(json.loads(line), source, say)
    source.close()


def serve(request: dict[str, Any], source: Source, say: Callable[[dict[str, Any]], None]) -> None:
    """Answer one request."""
    for name, answer in _answers(request, source):
        say({name: answer})
    fault = source.fault
    say({"done": True, "fault": None if fault is None else asdict(fault)})


def _answers(request: dict[str, Any], source: Source) -> Iterator[tuple[str, Any]]:
    match request["call"]:
        case "inventory":
            yield "inventory", asdict(source.inventory())
        case "xids":
            yield "xids", [asdict(xid) for xid in source.xids()]
        case "read":
            yield from (("reading", asdict(each)) for each in source.read(request["uuids"]))
        case "health":
            yield from (("health", asdict(each)) for each in source.health(request["uuids"]))
        case "occupancy":
            yield from (("occupancy", asdict(each)) for each in source.occupancy(request["uuids"]))


def _speaker() -> Callable[[dict[str, Any]], None]:
    # whatever the driver's library prints must not end up between our lines
    stdout = os.dup(1)
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        try:
            os.write(stdout, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:
            os._exit(0)

    return say


def _die_with(parent: int) -> None:
    """End with the parent even inside a call that hangs, where the closed pipe goes unnoticed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(0)
