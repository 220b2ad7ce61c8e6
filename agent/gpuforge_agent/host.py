"""What this host says about itself when it registers."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

KIB_PER_GIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A node as `POST /api/clusters/nodes` takes it. None where the host does not say."""

    hostname: str
    ip_address: str | None  # the one that traffic to the control plane leaves from
    cpu_cores: int | None
    ram_gb: int | None  # GiB, rounded: the figure people know their machine by
    agent_version: str


async def describe(hostname: str | None, control_plane_url: str) -> Host:
    """This host, under `hostname` if it is given."""
    return Host(
        hostname=hostname or socket.gethostname(),
        ip_address=await address_towards(control_plane_url),
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


async def address_towards(url: str) -> str | None:
    """The local address from which packets to `url` would leave; None while there is no way there.

    Connecting a UDP socket sends nothing: it only asks the kernel for a route.
    """
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return None
