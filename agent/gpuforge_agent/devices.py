"""Sees that a driver came after us: the unit's device policy knows what the kernel had when it started."""

from __future__ import annotations

from pathlib import Path

DEVICES = Path("/proc/devices")
_NOT_FOR_NVML = frozenset({"nvidia-uvm", "nvidia-modeset"})  # the former comes with the first CUDA program


def nvidia_majors(devices: Path = DEVICES) -> frozenset[int]:
    """Device numbers of the kernel's (proc(5)) that NVML may have to open; none where there is no such file.

    `nvidia-caps`, of MIG's instances, has another one after each boot, or load of the driver.
    """
    try:
        rows = [line.split() for line in devices.read_text(encoding="ascii").splitlines()]
    except (OSError, UnicodeDecodeError):
        return frozenset()
    names = ((row[0], row[1]) for row in rows if len(row) == 2 and row[0].isdecimal())
    return frozenset(
        int(major) for major, name in names if name.startswith("nvidia") and name not in _NOT_FOR_NVML
    )
