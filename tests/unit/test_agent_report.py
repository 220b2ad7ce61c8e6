"""What `gpuforge-agent check` shows: plain in a pipe, coloured on a terminal, and its exit status."""

import io
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest
from rich.console import Console

from gpuforge_agent.check import ControlPlaneFinding, GpuFinding, Report
from gpuforge_agent.report import show

WELL = GpuFinding(
    index=0,
    uuid="GPU-0",
    model="NVIDIA H100 80GB HBM3",
    figures={
        "utilization_pct": 87.0,
        "memory_used_mb": 71680,
        "memory_total_mb": 81559,
        "temperature_c": 72.0,
        "power_draw_w": 410.5,
    },
    missing={},
    caveats={"memory_used_mb": "includes_reserved"},
)
LOST = replace(
    WELL,
    index=1,
    uuid="GPU-1",
    caveats={},
    figures=dict.fromkeys(WELL.figures),
    missing=dict.fromkeys(WELL.figures, "lost"),
)
ACCEPTED = ControlPlaneFinding(url="http://c:8080", reachable=True, key="accepted", cluster="east (id 1)")
REPORT = Report(
    hostname="gpu-01",
    ip_address="10.0.1.10",
    clock=datetime(2026, 5, 9, 0, 30, tzinfo=UTC),
    agent_version="0.1.0",
    source="nvml",
    driver_version="560.35",
    fault=None,
    gpus=[WELL],
    unidentified={},
    control_plane=ACCEPTED,
)


def shown(report: Report, *, terminal: bool = False) -> str:
    """The text that is printed, trailing blanks cut."""
    out = io.StringIO()
    show(report, Console(file=out, force_terminal=terminal, width=110, highlight=False, markup=False))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def test_plain_text_is_for_a_pipe() -> None:
    assert (
        shown(replace(REPORT, gpus=[WELL, LOST]))
        == """\
host          gpu-01
address       10.0.1.10
clock         2026-05-09 00:30:00 UTC
agent         0.1.0
source        nvml, driver 560.35


 GPU   model                   util         used      memory    temp     power
 ─────────────────────────────────────────────────────────────────────────────
   0   NVIDIA H100 80GB HBM3   87 %   71680 MiB*   81559 MiB   72 °C   410.5 W
   1   NVIDIA H100 80GB HBM3   lost         lost        lost    lost      lost

* memory_used_mb: includes_reserved
control plane http://c:8080 answers
key           accepted
cluster       east (id 1)
Not yet: see above (exit status 1)"""
    )


def test_colours_mean_something() -> None:
    text = shown(replace(REPORT, gpus=[WELL, LOST]), terminal=True)
    assert "\x1b[32m87 %" in text
    assert "\x1b[1;33mlost" in text or "\x1b[33mlost" in text


@pytest.mark.parametrize(
    ("report", "status"),
    [
        pytest.param(REPORT, 0, id="all well"),
        pytest.param(replace(REPORT, gpus=[WELL, LOST]), 1, id="a GPU lost"),
        pytest.param(replace(REPORT, gpus=[]), 1, id="no GPU"),
        pytest.param(replace(REPORT, fault="the driver is not loaded", gpus=[]), 1, id="no driver"),
        pytest.param(replace(REPORT, unidentified={3: "lost"}), 1, id="a GPU without a name"),
        pytest.param(
            replace(
                REPORT, control_plane=replace(ACCEPTED, reachable=False, key="untested", problems=["away"])
            ),
            3,
            id="away",
        ),
        pytest.param(
            replace(REPORT, gpus=[], control_plane=replace(ACCEPTED, key="refused", problems=["401"])),
            4,
            id="the key before all else",
        ),
    ],
)
def test_exit_status_is_the_gravest_finding_and_in_the_json(report: Report, status: int) -> None:
    assert report.exit_status == status
    assert msgspec.json.decode(report.to_json())["exit_status"] == status
    assert ("All well" in shown(report)) == (status == 0)
