"""What the doctor concludes: a level for every state of a host, and for all that is not well a next step."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gpuforge_agent import doctor
from gpuforge_agent.asking import ControlPlaneFinding
from gpuforge_agent.clock_offset import ClockOffset
from gpuforge_agent.doctor import Devices, Finding, StateFolder
from gpuforge_agent.sources.base import (
    Fault,
    GpuIdentity,
    Health,
    Inventory,
    MigInstance,
    Reading,
    Reason,
    unread,
)
from gpuforge_agent.sources.condition import unknown_health

CARD = GpuIdentity(uuid="GPU-0", index=0, model="H100", vram_mb=1, pci_bus_id=None)
INSTANCE = MigInstance(uuid="MIG-1", gpu_instance=1, compute_instance=0, memory_mb=1, slices=1)
OPEN = Devices(nodes=("nvidia0", "nvidiactl"))
FOR_ROOT = Devices(nodes=("nvidia0", "nvidiactl"), for_some=("nvidia0",))
CLOSED = Devices(nodes=("nvidia0", "nvidiactl"), closed=("nvidia0",))


def blind(reason: Reason) -> Inventory:
    return Inventory(fault=Fault(reason=reason, detail="it is so"))


def levels(findings: Iterable[Finding]) -> dict[str, str]:
    """Level by subject; whatever is not well has a next step."""
    found = list(findings)
    for finding in found:
        assert finding.words
        assert finding.next_step or finding.level in ("ok", "skipped"), finding
    return {finding.subject: finding.level for finding in found}


@pytest.mark.parametrize(
    ("inventory", "devices", "expected"),
    [
        pytest.param(
            Inventory(gpus=(CARD,), driver_version="550"), OPEN,
            {"driver": "ok", "library": "ok", "permissions": "ok"}, id="well",
        ),
        pytest.param(
            Inventory(gpus=(CARD,)), Devices(), {"driver": "ok", "library": "ok", "permissions": "skipped"},
            id="no device nodes",
        ),
        pytest.param(
            Inventory(gpus=(CARD,)), FOR_ROOT, {"driver": "ok", "library": "ok", "permissions": "warning"},
            id="nodes for root alone",
        ),
        pytest.param(
            Inventory(gpus=(CARD,)), CLOSED, {"driver": "ok", "library": "ok", "permissions": "failure"},
            id="a node closed",
        ),
        pytest.param(
            blind(Reason.DRIVER_ABSENT), Devices(), {"driver": "failure", "permissions": "skipped"},
            id="no driver",
        ),
        pytest.param(
            blind(Reason.LIBRARY_ABSENT), OPEN, {"library": "failure", "permissions": "ok"}, id="no library"
        ),
        pytest.param(
            blind(Reason.LIBRARY_MISMATCH), OPEN, {"library": "failure", "permissions": "ok"}, id="mismatch"
        ),
        pytest.param(blind(Reason.NO_PERMISSION), CLOSED, {"permissions": "failure"}, id="no permission"),
        pytest.param(blind(Reason.HUNG), OPEN, {"driver": "failure", "permissions": "ok"}, id="hung"),
        pytest.param(blind(Reason.UNKNOWN_ERROR), OPEN, {"driver": "failure", "permissions": "ok"}, id="odd"),
    ],
)  # fmt: skip
def test_driver_library_and_permissions(
    inventory: Inventory, devices: Devices, expected: dict[str, str]
) -> None:
    assert levels(doctor.of_driver(inventory, devices)) == expected


@pytest.mark.parametrize(
    ("inventory", "unreadable", "expected"),
    [
        pytest.param(Inventory(gpus=(CARD,)), None, ["ok"], id="well"),
        pytest.param(Inventory(), None, ["failure"], id="none"),
        pytest.param(Inventory(unidentified={3: Reason.LOST}), None, ["failure"], id="nameless"),
        pytest.param(blind(Reason.DRIVER_ABSENT), None, ["skipped"], id="no driver"),
        *(
            pytest.param(Inventory(absent=(CARD,)), reason, [level], id=reason)
            for reason in Reason
            for level in ["warning" if reason is Reason.ASLEEP else "failure"]
        ),
    ],
)
def test_gpus(inventory: Inventory, unreadable: Reason | None, expected: list[str]) -> None:
    readings: list[Reading] = []
    if unreadable is not None:
        readings = [unread("GPU-0", 0, unreadable)]
    elif inventory.gpus:
        readings = [Reading(uuid="GPU-0", index=0, temperature_c=40.0)]
    bad = frozenset(reading.uuid for reading in readings if unreadable)
    findings = list(doctor.of_gpus(inventory, readings, bad))
    levels(findings)
    assert [finding.level for finding in findings] == expected


@pytest.mark.parametrize(
    ("health", "level"),
    [
        pytest.param([], "skipped", id="no GPU"),
        pytest.param([unknown_health("a", 0, Reason.DRIVER_ABSENT)], "skipped", id="unknown"),
        pytest.param([unknown_health("a", 0, Reason.NOT_SUPPORTED)], "ok", id="a card without MIG"),
        pytest.param([Health(uuid="a", index=0, figures={"mig_mode": False})], "ok", id="off"),
        pytest.param(
            [Health(uuid="a", index=0, figures={"mig_mode": True}, mig_instances=(INSTANCE,))],
            "ok",
            id="in use",
        ),
        pytest.param(
            [Health(uuid="a", index=0, figures={"mig_mode": True})], "warning", id="on, without an instance"
        ),
    ],
)
def test_mig(health: list[Health], level: str) -> None:
    assert levels([doctor.of_mig(health)]) == {"mig": level}


@pytest.mark.parametrize(
    ("offset", "level"),
    [
        pytest.param(None, "skipped", id="not told"),
        pytest.param(ClockOffset(seconds=0.4, bound_s=0.01), "ok", id="well"),
        pytest.param(ClockOffset(seconds=4.0, bound_s=5.0), "ok", id="perhaps"),
        pytest.param(ClockOffset(seconds=-2.0, bound_s=0.01), "warning", id="drifting"),
        pytest.param(ClockOffset(seconds=-31.0, bound_s=0.01), "failure", id="far off"),
    ],
)
def test_clock(offset: ClockOffset | None, level: str) -> None:
    assert levels([doctor.of_clock(offset)]) == {"clock": level}


LOADED = StateFolder(path="/s", free_mib=64, exists=True, waiting=9)


@pytest.mark.parametrize(
    ("state", "level"),
    [
        pytest.param(StateFolder(), "warning", id="none"),
        pytest.param(StateFolder(path="/s", trouble="no"), "failure", id="can't be used"),
        pytest.param(StateFolder(path="/s", free_mib=63), "warning", id="disk nearly full"),
        pytest.param(StateFolder(path="/s", free_mib=64), "ok", id="new"),
        pytest.param(StateFolder(path="/s", free_mib=64, exists=True, holder="7"), "ok", id="in use"),
        pytest.param(replace(LOADED, queue_bytes=47 << 20), "ok", id="three quarters full, nearly"),
        pytest.param(replace(LOADED, queue_bytes=48 << 20), "warning", id="three quarters full"),
        pytest.param(replace(LOADED, queue_bytes=48 << 20, waiting=0), "ok", id="all delivered"),
    ],
)
def test_state(state: StateFolder, level: str) -> None:
    assert levels([doctor.of_state(state, 64)]) == {"state": level}


def test_what_the_queue_lost_is_told_with_its_last_gap() -> None:
    since = datetime(2026, 5, 9, 0, 30, tzinfo=UTC)
    state = replace(LOADED, lost=1234, gap=(since, since + timedelta(hours=2)))
    assert "9 samples wait, 1,234 lost, the last from 2026-05-09 00:30 up to 2026-05-09 02:30 UTC" in (
        doctor.of_state(state, 64).words
    )


AWAY, NO_KEY = "can't connect", "no key"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(
            ControlPlaneFinding(url="u", reachable=True, key="accepted", cluster="c"),
            {"control plane": "ok", "key": "ok"}, id="well",
        ),
        pytest.param(
            ControlPlaneFinding(url="u", reachable=False, key="untested", problems=[AWAY]),
            {"control plane": "failure", "key": "skipped"}, id="away",
        ),
        pytest.param(
            ControlPlaneFinding(url="u", reachable=True, key="absent", problems=[NO_KEY]),
            {"control plane": "ok", "key": "failure"}, id="no key",
        ),
        pytest.param(
            ControlPlaneFinding(url="u", reachable=False, key="malformed", problems=[NO_KEY, AWAY]),
            {"control plane": "failure", "key": "failure"}, id="both",
        ),
        pytest.param(
            ControlPlaneFinding(url="u", reachable=True, key="untested", problems=["<html>"]),
            {"control plane": "failure", "key": "skipped"}, id="not a control plane",
        ),
        pytest.param(
            ControlPlaneFinding(url="u", reachable=True, key="accepted", key_is_wide=True),
            {"control plane": "ok", "key": "warning"}, id="an admin's key",
        ),
        pytest.param(
            ControlPlaneFinding(url="u", reachable=True, key="accepted", key_is_public=True),
            {"control plane": "ok", "key": "warning"}, id="everybody's key",
        ),
    ],
)  # fmt: skip
def test_control_plane_and_key(found: ControlPlaneFinding, expected: dict[str, str]) -> None:
    assert levels(found.findings()) == expected
