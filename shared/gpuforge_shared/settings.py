"""Settings: one frozen object, read once from a TOML file, then `GPUFORGE_…` variables, then flags.

The loader is shared; each program's `config.py` declares its own model and hands in its environment.
"""

from __future__ import annotations

import argparse
import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

ENV_PREFIX = "GPUFORGE_"

# Programs share one host and one prefix, so each must know what belongs to the others: a unit test
# holds this table to the models.
OWNERS: Mapping[str, frozenset[str]] = {
    "agent": frozenset(
        {
            "control_plane_url", "api_key", "api_key_file", "hostname", "interval_s", "push_interval_s",
            "heartbeat_interval_s", "source", "nvml_library", "nvml_deadline_s", "journal_xids", "state_dir",
            "queue_mib", "queue_samples", "metrics_listen",
            "simulated_nodes", "simulated_gpus", "simulated_model", "simulated_follow",
            "log_level", "log_format",
        }
    ),
    "controlplane": frozenset(
        {
            "database_url", "host", "port", "demo", "stripe_api_key", "stripe_webhook_secret",
            "stripe_api_base", "metrics_retention_hours", "rollup_5m_retention_days",
            "rollup_1h_retention_days", "schedule_interval_s", "notify_secret",
            "notify_allow_networks", "max_body_mib", "log_level", "log_format",
        }
    ),
    "client": frozenset({"control_plane_url", "api_key"}),
    "build": frozenset({"ui"}),
}  # fmt: skip


class Settings(BaseModel):
    """Base of every program's settings: frozen, unknown names refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)


class SettingsError(Exception):
    """A setting is unknown or invalid; the text names it, its origin and what to do. Exit status 2."""


S = TypeVar("S", bound=Settings)


def load(model: type[S], *, file: Path | None, environ: Mapping[str, str], flags: Mapping[str, str]) -> S:
    """`model` filled from the three layers, later ones winning.

    Raises SettingsError for a file that can't be read, an unknown name in any layer, or a bad value.
    """
    known = frozenset(model.model_fields)
    merged: dict[str, object] = {}
    origin: dict[str, str] = {}
    for where, layer in (
        (str(file), _from_file(file)),
        ("environment", _from_environment(environ)),
        ("command line", dict(flags)),
    ):
        foreign = _foreign(model) if where == "environment" else frozenset[str]()
        for name, value in layer.items():
            if name in known:
                merged[name], origin[name] = value, where
            elif name not in foreign:
                raise SettingsError(_unknown(name, where, known))
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        raise SettingsError(_describe(error, origin)) from None


def add_flags(parser: argparse.ArgumentParser, model: type[Settings]) -> None:
    """One `--flag` a field, its help from the field's description and default. Secrets take no flag: a
    command line is public to every user of the host. They are listed with their variable."""
    secrets = parser.add_argument_group("secrets, by variable or file alone")
    for name, field in model.model_fields.items():
        if SecretStr in (field.annotation, *getattr(field.annotation, "__args__", ())):
            secrets.description = "\n".join(
                [*filter(None, [secrets.description]), f"  {ENV_PREFIX}{name.upper()}  {field.description}"]
            )
            continue
        default = "" if field.default is None else f" (default: {field.default})"
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=f"setting_{name}",
            metavar=name.rsplit("_", 1)[-1].upper(),
            help=f"{field.description}{default} [{ENV_PREFIX}{name.upper()}]".replace("%", "%%"),
        )


def flags_of(arguments: argparse.Namespace) -> dict[str, str]:
    """The settings that were given as flags, by field name."""
    return {
        name.removeprefix("setting_"): value
        for name, value in vars(arguments).items()
        if name.startswith("setting_") and value is not None
    }


def _foreign(model: type[Settings]) -> frozenset[str]:
    return frozenset().union(*OWNERS.values()) - frozenset(model.model_fields)


def _from_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"can't read {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not valid TOML: {error}") from None


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(ENV_PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(ENV_PREFIX) and value != ""
    }


def _unknown(name: str, where: str, known: Sequence[str] | frozenset[str]) -> str:
    spelled = f"{ENV_PREFIX}{name.upper()}" if where == "environment" else name
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    if not near:
        return f"unknown setting {spelled} ({where}); --help lists all settings"
    meant = f"{ENV_PREFIX}{near[0].upper()}" if where == "environment" else near[0]
    return f"unknown setting {spelled} ({where}); did you mean {meant}?"


def _describe(error: ValidationError, origin: Mapping[str, str]) -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        name = str(problem["loc"][0]) if problem["loc"] else "settings"
        where = f" ({origin[name]})" if name in origin else ""
        lines.append(f"{name}{where}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(lines)
