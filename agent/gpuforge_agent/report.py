"""Shows a check to a person: coloured on a terminal, plain in a pipe."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpuforge_agent.check import FIGURES, OK, ControlPlaneFinding, GpuFinding, Report

GOOD, DOUBTFUL, BAD = "green", "yellow", "bold red"
HEADS = {
    "utilization_pct": "util",
    "memory_used_mb": "used",
    "memory_total_mb": "memory",
    "temperature_c": "temp",
    "power_draw_w": "power",
}


def show(report: Report, console: Console) -> None:
    """Print the report, the verdict last: that is what stays on the screen."""
    for name, value in _host(report):
        console.print(Text(f"{name:<14}"), value, sep="", soft_wrap=True)
    console.print()
    if report.gpus:
        console.print(_table(report.gpus))
    for remark in _remarks(report):
        console.print(remark, soft_wrap=True)
    for line in _control_plane(report.control_plane):
        console.print(line, soft_wrap=True)
    console.print(_verdict(report), soft_wrap=True)


def _host(report: Report) -> Iterator[tuple[str, Text]]:
    yield "host", Text(report.hostname)
    yield "address", Text(report.ip_address or "no route to the control plane")
    yield "clock", Text(report.clock.strftime("%Y-%m-%d %H:%M:%S UTC"))
    yield "agent", Text(report.agent_version)
    yield "source", Text(f"{report.source}, driver {report.driver_version or 'unknown'}")


def _table(gpus: list[GpuFinding]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("GPU", justify="right")
    table.add_column("model")
    for name in FIGURES:
        table.add_column(HEADS[name], justify="right")
    for gpu in gpus:
        cells = [_figure(gpu, name) for name in FIGURES]
        table.add_row(
            str(gpu.index), gpu.model or "unknown", *cells, style=BAD if gpu.is_unreadable else None
        )
    return table


def _figure(gpu: GpuFinding, name: str) -> Text:
    figure = gpu.figures[name]
    if figure is None:
        return Text(gpu.missing.get(name, "unknown"), style=DOUBTFUL)
    mark = "*" if name in gpu.caveats else ""
    return Text(f"{figure:g} {FIGURES[name]}{mark}", style=GOOD)


def _remarks(report: Report) -> Iterator[Text]:
    if report.fault is not None:
        yield Text(f"GPUs: {report.fault}", style=BAD)
    elif not report.gpus:
        yield Text("GPUs: none on this host", style=BAD)
    for index, reason in sorted(report.unidentified.items()):
        yield Text(f"GPU {index}: does not say who it is: {reason}", style=BAD)
    for caveat in sorted({f"* {name}: {why}" for gpu in report.gpus for name, why in gpu.caveats.items()}):
        yield Text(caveat, style=DOUBTFUL)


def _control_plane(found: ControlPlaneFinding) -> Iterator[Text]:
    reached = Text("answers", style=GOOD) if found.reachable else Text("does not answer", style=BAD)
    yield Text("control plane ") + Text(f"{found.url} ") + reached
    colour = {"accepted": GOOD, "untested": DOUBTFUL}.get(found.key, BAD)
    yield Text("key           ") + Text(found.key, style=colour)
    if found.cluster is not None:
        yield Text(f"cluster       {found.cluster}")
    yield from (Text(problem, style=BAD) for problem in found.problems)


def _verdict(report: Report) -> Text:
    if report.exit_status == OK:
        return Text("All well: gpuforge-agent run", style=GOOD)
    return Text(f"Not yet: see above (exit status {report.exit_status})", style=BAD)
