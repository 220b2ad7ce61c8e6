"""What `gpuforge-agent check` shows: plain in a pipe, coloured on a terminal, and its exit status."""

import io
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest
from rich.console import Console

from gpuforge_agent.asking import ControlPlaneFinding
from gpuforge_agent.check import GpuFinding, Report
from gpuforge_agent.config import Service
from gpuforge_agent.doctor import Finding
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
        "power_draw_w": 410.468,  # NVML counts milliwatts
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
FINE = (
    Finding(subject="driver", level="ok", words="version 560.35"),
    Finding(subject="gpus", level="ok", words="1 can be read"),
    Finding(subject="clock", level="skipped", words="the control plane does not tell its time"),
    Finding(subject="state", level="warning", words="no folder", next_step="set GPUFORGE_STATE_DIR"),
)
REPORT = Report(
    hostname="gpu-01",
    settings_file=None,
    agent_pid=None,
    ip_address="10.0.1.10",
    clock=datetime(2026, 5, 9, 0, 30, tzinfo=UTC),
    agent_version="0.1.0",
    source="nvml",
    driver_version="560.35",
    fault=None,
    gpus=[WELL],
    unidentified={},
    control_plane=ACCEPTED,
    findings=(*FINE, *ACCEPTED.findings()),
)
DEAD_CARD = Finding(
    subject="gpus", level="failure", words="GPU 1 (GPU-1): lost", next_step="look for its Xid in dmesg"
)


def shown(report: Report, *, terminal: bool = False) -> str:
    """The text that is printed, trailing blanks cut."""
    out = io.StringIO()
    show(report, Console(file=out, force_terminal=terminal, width=110, highlight=False, markup=False))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def test_plain_text_is_for_a_pipe() -> None:
    assert (
        shown(replace(REPORT, gpus=[WELL, LOST], findings=[*REPORT.findings, DEAD_CARD]))
        == """\
host          gpu-01
settings      no file
address       10.0.1.10
clock         2026-05-09 00:30:00 UTC
agent         0.1.0
source        nvml, driver 560.35


 GPU   model                   util         used      memory    temp     power
 ─────────────────────────────────────────────────────────────────────────────
   0   NVIDIA H100 80GB HBM3   87 %   71680 MiB*   81559 MiB   72 °C   410.5 W
   1   NVIDIA H100 80GB HBM3   lost         lost        lost    lost      lost

* memory_used_mb: includes_reserved
ok    driver        version 560.35
ok    gpus          1 can be read
skip  clock         the control plane does not tell its time
warn  state         no folder
                    -> set GPUFORGE_STATE_DIR
ok    control plane http://c:8080 answers
ok    key           taken, for east (id 1)
FAIL  gpus          GPU 1 (GPU-1): lost
                    -> look for its Xid in dmesg
Not yet: see above (exit status 1)"""
    )


def test_colours_mean_something() -> None:
    text = shown(replace(REPORT, gpus=[WELL, LOST], findings=[*REPORT.findings, DEAD_CARD]), terminal=True)
    assert "\x1b[1;31mFAIL" in text
    assert "\x1b[32mok" in text
    assert "\x1b[32m87 %" in text
    assert "\x1b[1;33mlost" in text or "\x1b[33mlost" in text


@pytest.mark.parametrize(
    ("report", "verdict"),
    [
        (REPORT, "All well: gpuforge-agent run"),
        (replace(REPORT, settings_file=str(Service().file)), "All well: systemctl start gpuforge-agent"),
        (replace(REPORT, agent_pid="7"), "All well, and an agent runs (process 7)"),
    ],
    ids=["by hand", "service", "running"],
)
def test_the_verdict_names_the_next_step(report: Report, verdict: str) -> None:
    assert shown(report).splitlines()[-1] == verdict


def failing(*subjects: str) -> Report:
    failures = [
        Finding(subject=each, level="failure", words="broken", next_step="mend it") for each in subjects
    ]
    return replace(REPORT, findings=[*REPORT.findings, *failures])


@pytest.mark.parametrize(
    ("report", "status"),
    [
        pytest.param(REPORT, 0, id="all well, a warning aside"),
        pytest.param(failing("gpus"), 1, id="a GPU lost"),
        pytest.param(failing("driver"), 1, id="no driver"),
        pytest.param(failing("permissions", "state"), 1, id="permissions"),
        pytest.param(failing("control plane", "gpus"), 3, id="away"),
        pytest.param(failing("control plane", "key", "clock"), 4, id="the key before all else"),
        pytest.param(failing("clock"), 5, id="clock"),
        pytest.param(failing("state"), 5, id="state"),
    ],
)
def test_exit_status_is_the_gravest_finding_and_in_the_json(report: Report, status: int) -> None:
    assert report.exit_status == status
    assert msgspec.json.decode(report.to_json())["exit_status"] == status
    assert ("All well" in shown(report)) == (status == 0)
