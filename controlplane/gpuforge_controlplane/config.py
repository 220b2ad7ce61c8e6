"""The control plane's settings, read once from a file, the environment and flags."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from gpuforge_shared.logs import LogFormat, LogLevel
from gpuforge_shared.settings import Settings, load

_PLAIN_FILE = re.compile(r"sqlite\+aiosqlite:///(?!:memory:|file:)[\w./ -]+")


def _database_url(value: str) -> str:
    # SQLAlchemy takes longer to import than all else, and `serve` listens before it does
    if _PLAIN_FILE.fullmatch(value):
        return value
    from gpuforge_controlplane.storage.database import DatabaseUrlError, parse_url

    try:
        parse_url(value)
    except DatabaseUrlError as error:
        raise ValueError(str(error)) from None
    return value


def _networks(value: str) -> str:
    for network in filter(None, value.split(",")):
        try:
            ipaddress.ip_network(network.strip())
        except ValueError:
            raise ValueError(f"{network.strip()} is no network; write it as 10.0.0.0/8") from None
    return value


class ControlPlaneSettings(Settings):
    """Everything that can be set."""

    database_url: Annotated[str, AfterValidator(_database_url)] = Field(
        default="sqlite+aiosqlite:///gpuforge.db",
        description="Where the truth is kept: sqlite+aiosqlite:///PATH or postgresql+asyncpg://USER@HOST/NAME",
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on")
    port: int = Field(default=8080, ge=0, le=65535, description="TCP port to listen on; 0 picks a free one")
    demo: Literal["sample", "off", "live"] = Field(
        default="sample",
        description="What readers without a key see: sample (a made-up fleet), off, or live (loopback alone)",
    )
    stripe_api_key: SecretStr | None = Field(default=None, description="Stripe secret key, for payment links")
    stripe_webhook_secret: SecretStr | None = Field(
        default=None, description="Secret that Stripe signs webhooks with"
    )
    stripe_api_base: str | None = Field(default=None, description="Another Stripe API base URL, for tests")
    metrics_retention_hours: int = Field(
        default=24, ge=1, le=24 * 365, description="How long raw samples are kept, in hours"
    )
    rollup_5m_retention_days: int = Field(
        default=14, ge=1, le=400, description="How long samples rolled up by five minutes are kept, in days"
    )
    rollup_1h_retention_days: int = Field(
        default=400, ge=1, le=4000, description="How long samples rolled up by hour are kept, in days"
    )
    schedule_interval_s: float = Field(
        default=30.0, ge=0.5, le=3600, description="Seconds between scheduler cycles when nothing happens"
    )
    max_body_mib: int = Field(default=8, ge=1, le=64, description="Largest request body, in MiB")
    notify_secret: SecretStr | None = Field(
        default=None, min_length=16, description="Seals the URLs of notification channels and signs webhooks"
    )
    notify_allow_networks: Annotated[str, AfterValidator(_networks)] = Field(
        default="",
        description="Networks that notifications may go to though not public: 10.0.0.0/8,127.0.0.1/32",
    )
    log_level: LogLevel = Field(default="info", description="debug, info, warning or error")
    log_format: LogFormat = Field(
        default="auto", description="human, json, or auto: human on a terminal, JSON in a service"
    )

    @model_validator(mode="after")
    def _live_demo_stays_home(self) -> Self:
        if self.demo == "live" and not is_loopback(self.host):
            raise ValueError(
                f"demo=live shows real data to anybody, so it needs host=127.0.0.1, not {self.host}"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_settings(
    *, file: Path | None, flags: Mapping[str, str], environ: Mapping[str, str] | None = None
) -> ControlPlaneSettings:
    """The settings of this run. Raises SettingsError."""
    return load(
        ControlPlaneSettings, file=file, environ=os.environ if environ is None else environ, flags=flags
    )


def journal_stream() -> str | None:
    """Where systemd lets stdout or stderr lead to its journal: device and inode, None outside of a unit."""
    return os.environ.get("JOURNAL_STREAM") or None
