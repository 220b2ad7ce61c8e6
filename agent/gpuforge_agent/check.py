"""`gpuforge-agent check`: what can be read here and what not, and whether the control plane takes the key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import msgspec

from gpuforge_agent import config, host
from gpuforge_agent.app import collector_of
from gpuforge_agent.config import AgentSettings
from gpuforge_agent.identity import own_cluster
from gpuforge_agent.sources.base import GpuIdentity, Inventory, Reading
from gpuforge_client.failures import ControlPlaneUnreachable
from gpuforge_client.rest import RestClient
from gpuforge_client.retry import ONCE
from gpuforge_shared.clock import Clock, utc_now
from gpuforge_shared.errors import Forbidden, GPUForgeError, Unauthorized

KeyState = Literal["accepted", "absent", "malformed", "refused", "untested"]

OK, GPUS_UNREADABLE, USAGE, UNREACHABLE, KEY_REFUSED = range(5)  # exit statuses
FIGURES = {
    "utilization_pct": "%",
    "memory_used_mb": "MiB",
    "memory_total_mb": "MiB",
    "temperature_c": "°C",
    "power_draw_w": "W",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFinding:
    """One GPU: its figures, and the reason of each that is missing."""

    index: int
    uuid: str
    model: str | None
    figures: dict[str, float | None]
    missing: dict[str, str]
    caveats: dict[str, str]

    @property
    def is_unreadable(self) -> bool:
        """Whether not one figure could be read."""
        return all(figure is None for figure in self.figures.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneFinding:
    """What the control plane said; each of `problems` is a sentence with the next step."""

    url: str
    reachable: bool
    key: KeyState
    cluster: str | None = None
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole answer of `check`."""

    hostname: str
    ip_address: str | None
    clock: datetime
    agent_version: str
    source: str
    driver_version: str | None
    fault: str | None  # why no GPU at all can be read
    gpus: list[GpuFinding]
    unidentified: dict[int, str]  # NVML index → why it does not say who it is
    control_plane: ControlPlaneFinding

    @property
    def exit_status(self) -> int:
        """The gravest finding, as a script sees it."""
        if self.control_plane.key in ("absent", "malformed", "refused"):
            return KEY_REFUSED
        if self.control_plane.problems:
            return UNREACHABLE
        if self.fault or not self.gpus or self.unidentified or any(gpu.is_unreadable for gpu in self.gpus):
            return GPUS_UNREADABLE
        return OK

    def to_json(self) -> str:
        """One object, the fields of this class and `exit_status`."""
        fields: dict[str, object] = msgspec.to_builtins(self, str_keys=True)
        text = msgspec.json.encode({**fields, "exit_status": self.exit_status})
        return msgspec.json.format(text, indent=2).decode()


async def check(settings: AgentSettings, *, clock: Clock = utc_now) -> Report:
    """Read every GPU once and ask the control plane; nothing is registered or stored."""
    control_plane = await ask(settings)
    this = await host.describe(settings.hostname, settings.control_plane_url)
    collector = collector_of(this.hostname, settings)
    try:
        inventory = await collector.inventory()
        readings = await collector.read()
    finally:
        await collector.close()
    return Report(
        hostname=this.hostname,
        ip_address=this.ip_address,
        clock=clock(),
        agent_version=this.agent_version,
        source=settings.source,
        driver_version=inventory.driver_version,
        fault=None if inventory.fault is None else inventory.fault.detail,
        gpus=_findings(inventory, readings),
        unidentified={index: str(reason) for index, reason in inventory.unidentified.items()},
        control_plane=control_plane,
    )


async def ask(settings: AgentSettings) -> ControlPlaneFinding:
    """Reach the control plane, then try the key. Raises Invalid for a URL that can't be one."""
    url, doubt = settings.control_plane_url, config.key_problem(settings)
    key: KeyState = "untested" if doubt is None else "malformed" if settings.api_key else "absent"
    problems = [] if doubt is None else [doubt]
    sent = settings.api_key if doubt is None else None  # what can't be our key may be another's
    cluster, reachable = None, True
    async with RestClient(url, sent, timeout_s=10.0, retry=ONCE) as client:
        try:
            await client.get("/healthz", object)
            if sent is not None:
                cluster = await own_cluster(client)
                key = "accepted"
        except (Unauthorized, Forbidden) as error:
            key = "refused"
            problems.append(error.detail)
        except GPUForgeError as error:
            reachable = not isinstance(error, ControlPlaneUnreachable)
            problems.append(error.detail)
    named = f"{cluster.name} (id {cluster.id})" if cluster else None
    return ControlPlaneFinding(url=url, reachable=reachable, key=key, cluster=named, problems=problems)


def _findings(inventory: Inventory, readings: Iterable[Reading]) -> list[GpuFinding]:
    identities: dict[str, GpuIdentity] = {gpu.uuid: gpu for gpu in (*inventory.gpus, *inventory.absent)}
    return [
        GpuFinding(
            index=reading.index,
            uuid=reading.uuid,
            model=identities[reading.uuid].model if reading.uuid in identities else None,
            figures={name: getattr(reading, name) for name in FIGURES},
            missing={name: str(reason) for name, reason in reading.missing.items()},
            caveats=dict(reading.caveats),
        )
        for reading in readings
    ]
