"""What this host says about itself when it registers."""

from __future__ import annotations

import importlib.metadata
import os
import socket
from dataclasses import dataclass
from pathlib import Path

KIB_PER_GIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A node as `POST /api/clusters/nodes` takes it. None where the host does not say."""

    hostname: str
    cpu_cores: int | None
    ram_gb: int | None  # GiB, rounded: the figure people know their machine by
    agent_version: str


def describe(hostname: str | None) -> Host:
    """This host, under `hostname` if it is given."""
    return Host(
        hostname=hostname or socket.gethostname(),
        cpu_cores=os.cpu_count(),
        ram_gb=ram_gb(),
        agent_version=version(),
    )


def version() -> str:
    """The installed version, as pip shows it."""
    return importlib.metadata.version("gpuforge")


def ram_gb(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """`MemTotal` of proc(5), which counts KiB, in GiB."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, amount = line.partition(":")
        if name == "MemTotal":
            return round(int(amount.split()[0]) / KIB_PER_GIB)
    return None
