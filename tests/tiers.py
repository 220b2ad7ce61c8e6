"""Runs the suite, tier by tier: `python -m tests.tiers`."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass

from tests.postgres import find_binaries


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Something the suite needs from the system and pip can't bring."""

    name: str
    needed_by: str
    packages: tuple[str, ...]
    present: Callable[[], bool]

    def missing(self) -> str:
        """Say what is left out without this part, and the line that installs it."""
        line = f"apt-get install -y --no-install-recommends {' '.join(self.packages)}"
        return f"{self.name} is missing; left out: {self.needed_by}; as root: {line}"


POSTGRESQL = Part(
    name="PostgreSQL's server",
    needed_by="every test on PostgreSQL (the same tests run on SQLite)",
    packages=("postgresql",),
    present=lambda: find_binaries() is not None,
)
C_COMPILER = Part(
    name="a C compiler",
    needed_by="the tests on the fake NVML library",
    packages=("gcc", "libc6-dev"),
    present=lambda: shutil.which("gcc") is not None,
)
