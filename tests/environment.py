"""Builds .venv for make: `python3 tests/environment.py demo|dev`. It runs before any install: stdlib only."""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
EXTRAS = {"demo": "agent,controlplane", "dev": "dev"}
PLAIN_LINE_SECONDS = 10.0


def main(arguments: Sequence[str]) -> int:
    """Make .venv hold what `demo` or `dev` needs; next to no work when it already does."""
    (wanted,) = arguments
    if is_ready(wanted):
        return 0
    try:
        _make_venv()
        for outdated in VENV.glob("installed-*"):
            outdated.unlink()
        pip = [
            str(VENV / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
        ]
        run_step(
            f"installing what `make {wanted.replace('dev', 'test')}` needs into .venv",
            # compiling every module takes pip a quarter of its time; those in use are compiled at first use
            [*pip, "--progress-bar", "off", "--no-compile", "-e", f"{ROOT}[{EXTRAS[wanted]}]"],
        )
    except StepFailedError as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130
    _stamp(wanted).write_text(_fingerprint())
    return 0


class StepFailedError(Exception):
    """A command that a step ran has failed; the text is the command's own output."""


def is_ready(wanted: str) -> bool:
    """Whether .venv was installed for these requirements, in this folder; `dev` includes `demo`."""
    stamps = [_stamp("dev"), _stamp(wanted)]
    return any(stamp.is_file() and stamp.read_text() == _fingerprint() for stamp in stamps)


def run_step(title: str, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
    """Run `command` under one line that says how long it has taken and what it is at.

    Raises StepFailedError, with all that the command printed, when it exits with anything but 0.
    """
    started = time.monotonic()
    printed: list[str] = []
    print(f"{title} …", flush=True)
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        reader = threading.Thread(target=lambda: printed.extend(process.stdout or ()), daemon=True)
        reader.start()
        _report_until_end(process, printed, started)
        reader.join()
    if process.returncode:
        raise StepFailedError(f"{''.join(printed)}\n{' '.join(command)}\nfailed: exit {process.returncode}")
    _say(f"  done in {time.monotonic() - started:.0f} s", final=True)


def apt_install(packages: Sequence[str]) -> bool:
    """Install Debian packages; False where this user or system can't, or where apt failed (and was shown)."""
    if os.geteuid() or not shutil.which("apt-get"):
        return False
    quietly = {"DEBIAN_FRONTEND": "noninteractive"}
    install = [
        "apt-get",
        "install",
        "-y",
        "--no-install-recommends",
        "-o",
        "DPkg::Lock::Timeout=120",
        *packages,
    ]
    title = f"installing {' '.join(packages)} (apt)"
    try:
        run_step(title, install, quietly)
    except StepFailedError:  # no package lists yet, as in a fresh container, or lists grown old
        try:
            run_step("fetching apt's package lists", ["apt-get", "update"], quietly)
            run_step(title, install, quietly)
        except StepFailedError as failure:
            print(failure, file=sys.stderr)
            return False
    return True


def _make_venv() -> None:
    # Scripts in a .venv name its folder: one copied along with a checkout would run the original's code.
    if _is_of_this_folder():
        return
    base_python = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    # Debian ships the standard library without ensurepip.
    if importlib.util.find_spec("ensurepip") is None and not apt_install([package]):
        raise StepFailedError(
            f"{sys.executable} has no ensurepip, so it can't make a virtual environment.\n"
            f"As root: apt-get install -y {package}"
        )
    run_step(f"making .venv with {base_python}", [str(base_python), "-m", "venv", "--clear", str(VENV)])


def _is_of_this_folder() -> bool:
    """Whether .venv was made here, by the interpreter's version that runs now."""
    script = VENV / "bin" / "pip"
    configuration = VENV / "pyvenv.cfg"
    if not (script.is_file() and configuration.is_file() and (VENV / "bin" / "python").exists()):
        return False
    version = f"version = {sys.version_info.major}.{sys.version_info.minor}."
    return version in configuration.read_text() and str(VENV) in script.read_text()


def _stamp(wanted: str) -> Path:
    return VENV / f"installed-{wanted}"


def _fingerprint() -> str:
    """What an install depends on: the packaging half of pyproject.toml, the folder, the interpreter."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packaging = [pyproject["build-system"], pyproject["project"], pyproject["tool"]["hatch"]]
    text = json.dumps([packaging, str(ROOT), sys.version_info[:2], _dashboard()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _dashboard() -> str:
    """The dashboard's sources: an install builds them (see hatch_build.py)."""
    folder = ROOT / "controlplane" / "dashboard"
    found = hashlib.sha256()
    for file in sorted((folder / "src").rglob("*")) + sorted(folder.glob("*.*")):
        if file.is_file() and file.name != "schema.ts":  # generated, and only types: not built
            found.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return found.hexdigest()


def _report_until_end(process: subprocess.Popen[str], printed: Sequence[str], started: float) -> None:
    between = 0.5 if sys.stdout.isatty() else PLAIN_LINE_SECONDS
    while True:
        try:
            process.wait(timeout=between)
        except subprocess.TimeoutExpired:
            # "Collecting sqlalchemy<2.2,>=2.0.36 (from gpuforge==0.1.0)": what follows the name says nothing
            told = (line for line in reversed(printed) if not line.startswith("WARNING"))
            at = next(told, "").split(" (from")[0].strip()
            _say(f"  {time.monotonic() - started:3.0f} s  {at[:70]}")
        else:
            return


def _say(line: str, *, final: bool = False) -> None:
    """One line that is written over on a terminal, one line each in a log."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K{line}", end="\n" if final else "", flush=True)
    else:
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
