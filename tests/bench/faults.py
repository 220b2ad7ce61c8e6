"""Each fault of the driver, live: what the API showed and after how many seconds; what other tools showed.

A control plane, an agent and a fake driver with three GPUs, the fault on the first, and with `--pairs` one on
the second as well: the agent samples each second here and looks at health every five (by default it is 5 and
30). `--nvitop-exporter PATH` adds that one, which is no dependency of ours. A card is taken off the bus where
this user may mount (root): the agent then lives with a made-up PCI bus.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.faulty import Api, agent_on, fake_driver, tool
from tests.bench.server import serving
from tests.fakenvml.faults import BY_NAME, FAULTS, IN_PAIRS, Fault, Shown, afflicted, expected, plug_in
from tests.fakenvml.library import FakeNvml, Host, eight_gpus
from tests.loopback import free_loopback_port

GPUS = 3
LONGEST_S = 150.0
ON_A_BUS_OF_ITS_OWN = (
    "unshare", "--mount", "--propagation", "private", "sh", "-euc",
    'mount --bind "$0" /sys/bus/pci/devices; exec "$@"',
)  # fmt: skip
TOOL_S = 10.0  # a tool takes two seconds on a busy machine
NVITOP = """
from nvitop import Device
devices = Device.all()
figures = [(each.gpu_utilization(), each.temperature(), each.power_usage()) for each in devices]
print(len(devices), [[str(one) for one in each] for each in figures])
"""


@dataclass
class Bench:
    """One host, one control plane."""

    fake: FakeNvml
    bus: Path
    api: Api
    node_id: int
    host: Host
    exporter: int | None = None

    def shown(self) -> list[Shown]:
        """Open faults of each GPU."""
        node = self.api.ask("GET", f"/api/clusters/nodes/{self.node_id}")
        return [frozenset((fault["kind"], fault["code"]) for fault in gpu["faults"]) for gpu in node["gpus"]]

    def shows(self, wanted: list[Shown]) -> bool:
        """Whether that is what it shows."""
        return self.shown() == wanted

    def clear(self) -> None:
        """An operator's word on every GPU."""
        for gpu in self.api.ask("GET", f"/api/clusters/nodes/{self.node_id}")["gpus"]:
            self.api.ask("POST", f"/api/gpus/{gpu['id']}/clear-fault", {})

    def until(self, holds: Callable[[], bool]) -> float | None:
        """Seconds until that holds, None if it never did."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > LONGEST_S:
                return None
            time.sleep(0.1)
        return time.monotonic() - began

    def suffer(self, faults: Sequence[Fault]) -> None:
        """From now on, the first on GPU 0 and the second on GPU 1, or on all."""
        plug_in(self.bus, self.host, faults)
        ill, self.host = afflicted(self.host, faults)
        if any(fault.unloads for fault in faults):
            self.fake.unload()
        else:
            self.fake.show(ill)

    def heal(self) -> float | None:
        """Be well again, by an operator's word too; seconds until the API says so."""
        plug_in(self.bus, self.host, ())
        self.fake.show(self.host)

        def well() -> bool:
            if all(kind in ("xid", "ecc") for faults in self.shown() for kind, _ in faults):
                self.clear()
            return self.shown() == [frozenset()] * GPUS

        return self.until(well)

    def others(self) -> list[str]:
        """What other tools show now, each in a few words."""
        environment = self.fake.environment()
        gpustat = tool([sys.executable, "-m", "gpustat", "--json"], environment, TOOL_S)
        nvitop = tool([sys.executable, "-c", NVITOP], environment, TOOL_S)
        said = [_gpustat(gpustat[0]), _nvitop(nvitop[0])]
        return said if self.exporter is None else [*said, self._exported(self.exporter)]

    def _exported(self, port: int) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=TOOL_S) as answer:
                lines = answer.read().decode().splitlines()
        except OSError as error:
            return f"no answer ({type(error).__name__})"
        used = [line.split()[-1] for line in lines if line.startswith("gpu_utilization_Percentage{")]
        return " ".join("nan" if value == "NaN" else value for value in used) or "no GPU"


def _gpustat(said: str | None) -> str:
    if said is None:
        return f"hangs (> {TOOL_S:.0f} s)"
    if said.startswith("exit"):
        return said[:40]
    gpus = json.loads(said)["gpus"]
    figures = (gpu.get("utilization.gpu") for gpu in gpus)
    return " ".join("-" if figure is None else str(figure) for figure in figures)


def _nvitop(said: str | None) -> str:
    if said is None:
        return f"hangs (> {TOOL_S:.0f} s)"
    if said.startswith("exit"):
        return said[:40]
    count, _, rest = said.strip().partition(" ")
    figures: list[list[str]] = json.loads(rest.replace("'", '"'))
    return " ".join(each[0] for each in figures) if int(count) else "no GPU"


@contextlib.contextmanager
def _exporting(path: str | None, fake: FakeNvml) -> Iterator[int | None]:
    if path is None:
        yield None
        return
    port = free_loopback_port()
    command = [path, "--bind-address", "127.0.0.1", "--port", str(port), "--interval", "1"]
    process = subprocess.Popen(
        command, env=fake.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def _registered(api: Api) -> int:
    while True:
        clusters: Any = api.ask("GET", "/api/clusters/1")
        for node in clusters["nodes"]:
            if len(node["gpus"]) == GPUS:
                return int(node["id"])
        time.sleep(0.1)


def _seconds(took: float | None) -> str:
    return "never" if took is None else f"{took:.1f} s"


def _cases(word: str, *, pairs: bool, may_unplug: bool) -> list[tuple[Fault, ...]]:
    """Each fault, and then every two of those that are tried in pairs."""
    possible = [fault for fault in FAULTS if may_unplug or not fault.unplugs]
    cases: list[tuple[Fault, ...]] = [(fault,) for fault in possible if word in fault.name]
    if pairs:
        named = [BY_NAME[name] for name in IN_PAIRS if BY_NAME[name] in possible]
        cases += [
            pair for pair in itertools.combinations(named, 2) if any(word in each.name for each in pair)
        ]
    return cases


def _row(bench: Bench, faults: Sequence[Fault]) -> str:
    """Have the faults, one after the other, and recover: a line of the table."""
    took = None
    for number in range(1, len(faults) + 1):
        bench.suffer(faults[:number])
        second = faults[1] if number == 2 else None
        took = bench.until(partial(bench.shows, expected(faults[0], second, GPUS)))
    shown = " · ".join(
        " ".join(sorted(f"{kind} {code}" for kind, code in of_one)) for of_one in bench.shown()
    )
    others = bench.others()
    recovered = bench.heal()
    name = " + ".join(fault.name for fault in faults)
    cells = [
        name,
        shown.strip(" ·") or "nothing: it is no fault",
        _seconds(took),
        _seconds(recovered),
        *others,
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table. In pairs, `after` is that of the second fault."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--nvitop-exporter", metavar="PATH")
    options.add_argument("--only", metavar="WORD", default="", help="faults whose name has this in it")
    options.add_argument("--pairs", action="store_true", help="two at a time as well, which takes a while")
    given = options.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fake = fake_driver(folder)
        host = replace(eight_gpus(), gpus=eight_gpus().gpus[:GPUS])
        fake.show(host)
        (bus := folder / "devices").mkdir()
        plug_in(bus, host, ())
        may_unplug = os.geteuid() == 0
        server = stack.enter_context(serving(f"sqlite+aiosqlite:///{folder / 'bench.db'}", folder / "log"))
        api = Api(server)
        key = api.ask("POST", "/api/clusters", {"name": "bench"})["api_key"]
        pace = ("--interval", "1", "--push-interval-s", "1", "--heartbeat-interval-s", "5")
        within = (*ON_A_BUS_OF_ITS_OWN, str(bus)) if may_unplug else ()
        stack.enter_context(agent_on(fake, server, key, *pace, within=within))
        bench = Bench(fake, bus, api, _registered(api), host)
        heads = ["fault", "the API showed, GPU by GPU", "after", "recovered", "gpustat", "nvitop"]
        print("| " + " | ".join([*heads, *(["nvitop-exporter"] if given.nvitop_exporter else [])]) + " |")
        print("|---" * (len(heads) + bool(given.nvitop_exporter)) + "|")
        for faults in _cases(given.only, pairs=given.pairs, may_unplug=may_unplug):
            with _exporting(given.nvitop_exporter, fake) as bench.exporter:
                time.sleep(2.0 if bench.exporter else 0.0)
                print(_row(bench, faults), flush=True)


if __name__ == "__main__":
    main()
