"""Runs the whole suite, and sees to what it needs from the system: `python -m tests.tiers [for pytest …]`."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.booted import TOOLS, can_boot, fetch_system, has_system
from tests.dashboard import fetch_packages, find_chromium, has_packages
from tests.environment import ROOT, apt_install
from tests.postgres import find_binaries

# A folder each; bench only measures and is no part of the suite.
TIERS = ("unit", "storage", "api", "e2e", "system", "browser")
# A missing part is a gap on a laptop and a failure where nobody reads the gap.
IN_CI = os.environ.get("CI", "").lower() in ("1", "true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Something the suite needs from the system and pip can't bring."""

    name: str
    needed_by: str
    packages: tuple[str, ...]
    present: Callable[[], bool]
    fetch: Callable[[], bool] | None = None  # where it is not apt that brings it
    remedy: str = ""  # what a person runs then
    possible: Callable[[], bool] = lambda: True  # whether anything that can be installed would bring it

    @property
    def line(self) -> str:
        """What installs it: on Debian and as root, where it comes by apt."""
        if self.remedy:
            return self.remedy
        return f"apt-get update && apt-get install -y --no-install-recommends {' '.join(self.packages)}"


def compiles_c() -> bool:
    """Whether gcc is there and finds libc's headers, which Debian packs apart."""
    if not shutil.which("gcc"):
        return False
    command = ["gcc", "-E", "-include", "stdio.h", "-x", "c", os.devnull]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


POSTGRESQL = Part(
    name="PostgreSQL's server",
    needed_by="every test on PostgreSQL (the same tests still run on SQLite)",
    packages=("postgresql",),
    present=lambda: find_binaries() is not None,
)
C_COMPILER = Part(
    name="a C compiler with libc's headers",
    needed_by="the tests on the fake NVML library",
    packages=("gcc", "libc6-dev"),
    present=compiles_c,
)
CHROMIUM = Part(
    name="Chromium",
    needed_by="the tests of the dashboard in a browser",
    packages=("chromium",),
    present=lambda: find_chromium() is not None,
)
SYSTEMD = Part(
    name="systemd-analyze",
    needed_by="the tests of the units in systemd/",
    packages=("systemd",),
    present=lambda: shutil.which("systemd-analyze") is not None,
)
DPKG = Part(
    name="dpkg-deb",
    needed_by="the tests of the Debian packages",
    packages=("dpkg",),
    present=lambda: shutil.which("dpkg-deb") is not None,
)
CONTAINER = Part(
    name="a Debian that systemd-nspawn can boot (root, and the right to mount)",
    needed_by="the tests of the packages under a real systemd",
    packages=TOOLS,
    present=lambda: has_system() and can_boot(),
    fetch=lambda: can_boot() and fetch_system(),
    remedy="make test, as root, where mounts are allowed and apt's mirror can be reached",
    possible=can_boot,
)
NPM_PACKAGES = Part(
    name="the dashboard's npm packages",
    needed_by="the dashboard's type check and its tests, in Node and in a browser",
    packages=(),
    present=has_packages,
    fetch=fetch_packages,
    remedy="make test, where npm's registry can be reached",
)
PARTS = (POSTGRESQL, C_COMPILER, CHROMIUM, SYSTEMD, DPKG, CONTAINER, NPM_PACKAGES)


def missing_parts(parts: Sequence[Part], install: Callable[[Sequence[str]], bool]) -> list[Part]:
    """The parts that are missing even after trying to install them."""

    def brought(part: Part) -> bool:
        return (part.fetch() if part.fetch else install(part.packages)) and part.present()

    return [part for part in parts if not part.present() and not brought(part)]


def notice(missing: Sequence[Part]) -> str:
    """A frame that no one scrolling by overlooks."""
    edge = "!" * 110
    lines = [
        line
        for part in missing
        for line in (
            f"!! MISSING   {part.name}",
            f"!! LEFT OUT  {part.needed_by}",
            f"!! AS ROOT   {part.line}",
            edge,
        )
    ]
    return "\n".join([edge, *lines])


def folders(root: Path) -> list[str]:
    """The tiers that have a test, cheapest first."""
    return [f"tests/{tier}" for tier in TIERS if any((root / "tests" / tier).glob("**/test_*.py"))]


def main(arguments: Sequence[str]) -> NoReturn:
    """Install or name what is missing, then become pytest."""
    missing = missing_parts(PARTS, apt_install)
    if missing:
        print(notice(missing), file=sys.stderr, flush=True)
        if IN_CI and any(part.possible() for part in missing):
            sys.exit("CI is set, where a missing part is a failure: no test was run.")
    # Two workers: much of the suite waits, for deadlines and for processes. Each has a PostgreSQL of its own.
    command = [sys.executable, "-m", "pytest", "-n", "2", *folders(ROOT), *arguments]
    os.chdir(ROOT)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
