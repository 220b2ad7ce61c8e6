"""Shows a check to a person: coloured on a terminal, plain in a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpuforge_agent.check import FIGURES, OK, GpuFinding, Report
from gpuforge_agent.config import Service
from gpuforge_agent.doctor import Finding, Level

GOOD, DOUBTFUL, BAD = "green", "yellow", "bold red"
# the words say it as well: not everybody sees colours
MARKS: Mapping[Level, tuple[str, str]] = {
    "ok": ("ok", GOOD),
    "warning": ("warn", DOUBTFUL),
    "failure": ("FAIL", BAD),
    "skipped": ("skip", "dim"),
}
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
    for caveat in sorted({f"* {name}: {why}" for gpu in report.gpus for name, why in gpu.caveats.items()}):
        console.print(Text(caveat, style=DOUBTFUL), soft_wrap=True)
    for finding in report.findings:
        for line in _lines(finding):
            console.print(line, soft_wrap=True)
    console.print(_verdict(report), soft_wrap=True)


def _host(report: Report) -> Iterator[tuple[str, Text]]:
    yield "host", Text(report.hostname)
    yield "settings", Text(report.settings_file or "no file")
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
    return Text(f"{round(figure, 1):g} {FIGURES[name]}{mark}", style=GOOD)


def _lines(finding: Finding) -> Iterator[Text]:
    word, style = MARKS[finding.level]
    yield Text(f"{word:<6}", style=style) + Text(f"{finding.subject:<14}{finding.words}")
    if finding.next_step is not None and finding.level != "ok":
        yield Text(f"{'':20}-> {finding.next_step}", style=style)


def _verdict(report: Report) -> Text:
    if report.exit_status != OK:
        return Text(f"Not yet: see above (exit status {report.exit_status})", style=BAD)
    if report.agent_pid is not None:
        return Text(f"All well, and an agent runs (process {report.agent_pid})", style=GOOD)
    is_service = report.settings_file == str(Service().file)
    return Text(
        f"All well: {'systemctl start gpuforge-agent' if is_service else 'gpuforge-agent run'}", style=GOOD
    )
