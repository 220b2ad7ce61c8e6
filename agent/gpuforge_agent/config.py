"""The agent's settings: from a TOML file, then the environment, then flags; read once, frozen."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from gpuforge_shared import apikey
from gpuforge_shared import settings as loader
from gpuforge_shared.logs import LogFormat, LogLevel
from gpuforge_shared.wire.base import Name

Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


def listen_address(listen: str) -> tuple[str, int]:
    """Host and port of `[HOST:]PORT`, an IPv6 host in brackets. Raises ValueError for anything else."""
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not port.isascii() or not port.isdecimal() or int(port) > 65_535 or (colon and not host):
        raise ValueError("must be PORT or HOST:PORT, such as 9835 or 127.0.0.1:9835")
    return host or "127.0.0.1", int(port)


def _checked_listen(listen: str) -> str:
    listen_address(listen)
    return listen


class AgentSettings(loader.Settings):
    """Everything that can be set. The field's name is the flag, the variable and the key of the file."""

    control_plane_url: str = Field(
        default="http://127.0.0.1:8080", description="Where the control plane listens, http or https."
    )
    api_key: SecretStr | None = Field(default=None, description="The cluster's key.")
    api_key_file: Path | None = Field(
        default=None, description="A file that holds the cluster's key, such as a systemd credential."
    )
    hostname: Name | None = Field(
        default=None, description="The node's name in the control plane; this host's own unless given."
    )
    interval_s: Seconds = Field(default=5.0, description="Seconds between two readings of every GPU.")
    push_interval_s: Seconds = Field(default=10.0, description="Seconds between two deliveries.")
    heartbeat_interval_s: Seconds = Field(
        default=30.0, description="Seconds between two heartbeats; a node silent for 90 s counts as offline."
    )
    source: Literal["nvml", "simulated"] = Field(
        default="nvml", description="nvml: this host's NVIDIA GPUs; simulated: invented ones, for demos."
    )
    nvml_library: str | None = Field(
        default=None, description="Absolute path of the libnvidia-ml to load; the system's unless given."
    )
    nvml_deadline_s: Seconds = Field(
        default=2.0, description="Seconds after which a call on one GPU counts as hung."
    )
    journal_xids: bool = Field(
        default=False,
        description="Take Xids from the kernel's messages in the journal as well (true or false); the user "
        "must be in the group systemd-journal.",
    )
    state_dir: Path | None = Field(
        default=None,
        description="Folder that keeps queue and identity over restarts, one agent's own; systemd's "
        "StateDirectory unless given, and without that nothing is kept.",
    )
    queue_mib: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=64, description="MiB of a node's samples kept on disk while the control plane is away."
    )
    queue_samples: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=20_000,
        description="Samples of a node kept in memory that are on no disk: there is none, or it hangs.",
    )
    metrics_listen: Annotated[str, AfterValidator(_checked_listen)] | None = Field(
        default=None,
        description="[HOST:]PORT of GET /metrics for Prometheus, loopback unless HOST is given; else off.",
    )
    simulated_nodes: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=1, description="Nodes that one agent plays with --source simulated: <hostname>-01 and on."
    )
    simulated_gpus: Annotated[int, Field(ge=1, le=64)] = Field(
        default=8, description="GPUs of each simulated node."
    )
    simulated_model: Literal["H100", "H200", "A100", "A6000"] = Field(
        default="H100", description="H100, H200, A100 or A6000: what the simulated GPUs are."
    )
    simulated_follow: bool = Field(
        default=False,
        description="Simulated GPUs follow their allocation: those that no job holds idle (true or false).",
    )
    log_level: LogLevel = Field(default="info", description="debug, info, warning or error.")
    log_format: LogFormat = Field(
        default="auto", description="human, json, or auto: human on a terminal, JSON elsewhere."
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.api_key is not None and self.api_key_file is not None:
            raise ValueError("api_key and api_key_file are both given; give one")
        if self.simulated_nodes > 1 and self.source != "simulated":
            raise ValueError("simulated_nodes needs source = simulated")
        return self


def read(flags: Mapping[str, str], file: Path | None = None) -> AgentSettings:
    """The settings of this process, its key read from `api_key_file` and its state folder taken from systemd
    where those are.

    Raises SettingsError, whose text never holds a value.
    """
    settings = _loaded(flags, file)
    return settings if settings.api_key_file is None else _with_key(settings, settings.api_key_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Where the packaged service keeps what it needs."""

    file: Path = Path("/etc/gpuforge/agent.toml")
    key: Path = Path("/etc/gpuforge/agent.key")
    state: Path = Path("/var/lib/gpuforge-agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What a check goes by."""

    settings: AgentSettings
    file: Path | None = None  # that the settings come from
    key_trouble: str | None = None  # why the key's file holds none
    key_is_public: bool = False  # every user of the host may read it


def examined(flags: Mapping[str, str], file: Path | None, service: Service | None = None) -> Examined:
    """As `read`, but what nobody set is the packaged service's, where that is, and a key may be missing."""
    service = service or Service()
    if file is None and service.file.exists():
        file = service.file
    settings = _loaded(flags, file)
    found: dict[str, object] = {}
    if settings.api_key is None and settings.api_key_file is None and service.key.exists():
        found["api_key_file"] = service.key
    # before its first start it is not there yet; where the link leads is root's to see
    if settings.state_dir is None and (file == service.file or os.path.lexists(service.state)):
        found["state_dir"] = service.state
    settings = settings.model_copy(update=found)
    try:
        if settings.api_key_file is not None:
            settings = _with_key(settings, settings.api_key_file)
    except loader.SettingsError as error:
        return Examined(settings=settings, file=file, key_trouble=str(error))
    return Examined(settings=settings, file=file, key_is_public=_is_public(settings.api_key_file))


def _is_public(file: Path | None) -> bool:
    return file is not None and bool(file.stat().st_mode & stat.S_IROTH)


def _loaded(flags: Mapping[str, str], file: Path | None) -> AgentSettings:
    settings = loader.load(AgentSettings, file=file, environ=os.environ, flags=flags)
    given = os.environ.get("STATE_DIRECTORY")
    if settings.state_dir is not None or not given:
        return settings
    # systemd.exec(5): several are separated by colons
    return settings.model_copy(update={"state_dir": Path(given.split(":")[0])})


def _with_key(settings: AgentSettings, file: Path) -> AgentSettings:
    try:
        raw = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not ASCII text"
        if isinstance(error, PermissionError):
            reason = f"{reason}; run this as its owner or as root"
        raise loader.SettingsError(f"api_key_file: can't read {file}: {reason}") from None
    if not raw:
        raise loader.SettingsError(f"api_key_file: {file} is empty")
    return settings.model_copy(update={"api_key": SecretStr(raw)})


def key_problem(settings: AgentSettings) -> str | None:
    """Why the key can't be one, in a sentence with the next step; None: only the control plane can tell."""
    if settings.api_key is None:
        return "no key: set GPUFORGE_API_KEY_FILE (or GPUFORGE_API_KEY) to the cluster's key"
    if not apikey.is_well_formed(settings.api_key.get_secret_value()):
        return "the key is mistyped or cut short (its checksum does not hold): paste it again"
    return None


def notify_socket() -> str | None:
    """Where systemd listens for READY=1, None outside of a unit of Type=notify."""
    return os.environ.get("NOTIFY_SOCKET") or None


def journal_stream() -> str | None:
    """Where systemd lets stdout or stderr lead to its journal: device and inode, None outside of a unit."""
    return os.environ.get("JOURNAL_STREAM") or None


def watchdog_s() -> float | None:
    """Seconds after which systemd, left without a sign of life, restarts this process; None if it won't."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None
