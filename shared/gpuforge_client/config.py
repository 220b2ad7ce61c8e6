"""What the command line reads of its environment, and what it hands on of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpuforge_client.settings import ClientSettings

PREFIX = "GPUFORGE_"


def read() -> ClientSettings:
    """The settings of this run. Raises SettingsError, whose text never holds a value."""
    from gpuforge_client.settings import ClientSettings  # 0.1 s of pydantic, which the demo does without
    from gpuforge_shared.settings import load

    return load(ClientSettings, file=None, environ=os.environ, flags={})


def plain_environment() -> dict[str, str]:
    """This process's environment without GPUForge's settings: a child gets what it is told, nothing else."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def extend(settings: Mapping[str, str]) -> None:
    """Add to the environment of this process and of those it will start."""
    os.environ.update(settings)


def become(environment: Mapping[str, str]) -> None:
    """Make this the environment of this process, a copy that is to be somebody else."""
    os.environ.clear()
    os.environ.update(environment)
