"""What the control plane says to a check: whether it answers, what the key may do, what the time is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import msgspec

from gpuforge_agent import config
from gpuforge_agent.clock_offset import ClockOffset, measured
from gpuforge_agent.config import Examined
from gpuforge_agent.doctor import Finding
from gpuforge_agent.identity import own_cluster
from gpuforge_client.failures import ControlPlaneUnreachable
from gpuforge_client.rest import RestClient
from gpuforge_client.retry import ONCE
from gpuforge_shared.clock import Clock
from gpuforge_shared.errors import Forbidden, GPUForgeError, Invalid, Unauthorized

KeyState = Literal["accepted", "absent", "malformed", "refused", "untested"]


class _Alive(msgspec.Struct):
    time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneFinding:
    """What the control plane said; each of `problems` is a sentence with the next step."""

    url: str
    reachable: bool
    key: KeyState
    cluster: str | None = None
    problems: list[str] = field(default_factory=list)
    clock: ClockOffset | None = None
    key_is_wide: bool = False
    key_is_public: bool = False

    def findings(self) -> Iterator[Finding]:
        """As the doctor tells them."""
        key_at_fault = self.key in ("absent", "malformed", "refused")
        ours = self.problems[:1] if key_at_fault else []
        theirs = self.problems[len(ours) :]
        if self.reachable and not theirs:
            yield Finding(subject="control plane", level="ok", words=f"{self.url} answers")
        else:
            step = "look at its log, and at what stands between (proxy, firewall, TLS)"
            words = "; ".join(theirs) or f"{self.url} does not answer"
            yield Finding(subject="control plane", level="failure", words=words, next_step=step)
        yield self._of_key(ours)

    def _of_key(self, problems: list[str]) -> Finding:
        step = (
            "put the key that POST /api/clusters gave into the service's /etc/gpuforge/agent.key (mode 600), "
            "or the file of GPUFORGE_API_KEY_FILE, and restart the agent, which reads it at its start"
        )
        if problems:
            return Finding(subject="key", level="failure", words=problems[0], next_step=step)
        if self.key == "untested":
            words = "well-formed; the control plane could not be asked"
            return Finding(subject="key", level="skipped", words=words)
        if self.key_is_wide:
            words = f"may do more than an agent must, for {self.cluster}"
            return Finding(subject="key", level="warning", words=words, next_step=step)
        if self.key_is_public:
            words = f"taken, for {self.cluster}, but every user of this host may read its file"
            return Finding(subject="key", level="warning", words=words, next_step="chmod 600 that file")
        return Finding(subject="key", level="ok", words=f"taken, for {self.cluster}")


async def ask(examined: Examined, clock: Clock) -> ControlPlaneFinding:
    """Reach the control plane, then try the key. Raises Invalid for a URL that can't be one."""
    settings = examined.settings
    url, doubt = settings.control_plane_url, examined.key_trouble or config.key_problem(settings)
    key: KeyState = "untested" if doubt is None else "malformed" if settings.api_key else "absent"
    problems = [] if doubt is None else [doubt]
    sent = settings.api_key if doubt is None else None  # what can't be our key may be another's
    cluster, reachable, offset, wide = None, True, None, False
    async with RestClient(url, sent, timeout_s=10.0, retry=ONCE) as client:
        try:
            offset = await _offset(client, clock)
            if sent is not None:
                cluster = await own_cluster(client)
                await _require_write(client)
                key, wide = "accepted", await _is_wide(client)
        except (Unauthorized, Forbidden) as error:
            key = "refused"
            problems.append(error.detail)
        except GPUForgeError as error:
            reachable = not isinstance(error, ControlPlaneUnreachable)
            problems.append(error.detail)
    return ControlPlaneFinding(
        url=url,
        reachable=reachable,
        key=key,
        cluster=f"{cluster.name} (id {cluster.id})" if cluster else None,
        problems=problems,
        clock=offset,
        key_is_wide=wide,
        key_is_public=examined.key_is_public,
    )


async def _offset(client: RestClient, clock: Clock) -> ClockOffset | None:
    """The second exchange counts: the first one also opens the connection."""
    for _ in range(2):
        asked_at, began = clock(), time.monotonic()
        alive = await client.get("/healthz", _Alive)
        took_s = time.monotonic() - began
    return None if alive.time is None else measured(asked_at, took_s, alive.time)


async def _require_write(client: RestClient) -> None:
    """Raises Forbidden for a key that may only read. An empty batch stores nothing, and says so with 422."""
    try:
        await client.post("/api/clusters/metrics", object, body={"metrics": []}, repeatable=True)
    except Invalid:
        return


async def _is_wide(client: RestClient) -> bool:
    """Whether the key sees tenants, which no agent's does: stolen from this host, it would open the fleet."""
    try:
        await client.get("/api/tenants", object)
    except GPUForgeError:
        return False
    return True
