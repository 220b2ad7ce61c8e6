"""Builds the Debian packages: `python deb/build.py [--python 3.11] [--architecture amd64] [--into dist]`.

Neither needs a virtual environment or a registry on the host: its Python packages come along, for one minor
version of Python and one architecture. Needs dpkg-deb, and pip with a registry or a cache.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SYSTEMD = ROOT / "systemd"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
OLDEST_GLIBC = 28  # 2.28: Debian 10, Ubuntu 18.10
COMMAND = """\
#!/usr/bin/python3 -I
# With the packages that it came with first, and nothing from environment or home.
import sys

sys.path.insert(0, "/opt/{package}/lib")

from {module}.__main__ import main

sys.exit(main())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One of the packages: what it is made of."""

    name: str
    extras: str
    summary: str
    commands: Mapping[str, str]  # in /usr/bin -> the module whose main() it is
    leave_out: tuple[str, ...]  # of the distribution, which carries all programs
    settings: str  # in systemd/, and /etc/gpuforge
    more: Mapping[str, str] = field(default_factory=dict)  # in systemd/ -> on the host


AGENT = Package(
    name="gpuforge-agent",
    extras="agent",
    summary="reads this host's GPUs and reports them to GPUForge's control plane",
    commands={"gpuforge-agent": "gpuforge_agent"},
    leave_out=("gpuforge_controlplane", "example.py"),  # the latter is nvidia-ml-py's
    settings="agent.toml",
    more={
        f"drop-ins/{name}.conf": f"usr/share/gpuforge-agent/drop-ins/{name}.conf"
        for name in ("journal-xids", "processes")
    },
)
CONTROL_PLANE = Package(
    name="gpuforge-controlplane",
    extras="controlplane,notify",
    summary="GPUForge's API, scheduler and dashboard, and its command line",
    commands={"gpuforge-controlplane": "gpuforge_controlplane", "gpuforge": "gpuforge_client"},
    leave_out=("gpuforge_agent",),
    settings="controlplane.toml",
    more={"sysusers.d/gpuforge-controlplane.conf": "usr/lib/sysusers.d/gpuforge-controlplane.conf"},
)
PACKAGES = (AGENT, CONTROL_PLANE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The hosts that a package is for."""

    python: str  # minor version, such as 3.11
    architecture: str  # Debian's name

    @property
    def next_python(self) -> str:
        """The first version of Python whose compiled modules are others."""
        major, minor = self.python.split(".")
        return f"{major}.{int(minor) + 1}"

    @property
    def platforms(self) -> Iterator[str]:
        """Wheel tags (PEP 600) that these hosts can load."""
        machine = MACHINES[self.architecture]
        yield f"manylinux2014_{machine}"
        yield from (f"manylinux_2_{minor}_{machine}" for minor in range(5, OLDEST_GLIBC + 1))


def main(arguments: Sequence[str]) -> int:
    """Build both packages and name them on stdout."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--python", default=host_python(), help="minor version on the hosts: %(default)s")
    parser.add_argument("--architecture", default=debian_architecture(), choices=MACHINES)
    parser.add_argument("--into", type=Path, default=ROOT / "dist")
    asked = parser.parse_args(arguments)
    if not re.fullmatch(r"3\.\d+", asked.python) or int(asked.python[2:]) < 11:
        parser.error(f"--python {asked.python}: GPUForge needs 3.11 or newer")
    for built in build(Target(python=asked.python, architecture=asked.architecture), asked.into):
        print(built)
    return 0


def host_python() -> str:
    """The version of this system's own Python, which is what its packages run with; 3.11 if that is older."""
    interpreter = Path("/usr/bin/python3")
    if not interpreter.exists():
        return "3.11"
    said = _said(str(interpreter), "-c", "import sys; print(*sys.version_info[:2])")
    major, minor = map(int, said.split())
    return f"{major}.{max(minor, 11)}"


def debian_architecture() -> str:
    """Of this system, such as amd64."""
    return _said("dpkg", "--print-architecture")


def build(target: Target, into: Path) -> list[Path]:
    """Both packages for these hosts, in the folder `into`. Raises SystemExit with what a failed step said."""
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gpuforge-deb-") as temporary:
        work = Path(temporary)
        _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(work), str(ROOT))
        (wheel,) = work.glob("gpuforge-*.whl")
        return [_built(package, target, wheel, work / package.name, into) for package in PACKAGES]


def _built(package: Package, target: Target, wheel: Path, stage: Path, into: Path) -> Path:
    stage.mkdir(mode=0o755)
    _libraries(package, target, wheel, stage / "opt" / package.name / "lib")
    _files(package, stage)
    version = f"{_version()}+py{target.python}"
    _control(package, target, version, stage)
    for path in stage.rglob("*"):  # whatever the umask here is
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    built = into / f"{package.name}_{version}_{target.architecture}.deb"
    _run(["dpkg-deb", "--root-owner-group", "-Zzstd", "--build", str(stage), str(built)])
    return built


def _libraries(package: Package, target: Target, wheel: Path, folder: Path) -> None:
    platforms = [word for tag in target.platforms for word in ("--platform", tag)]
    _pip(
        "install", "--target", str(folder), "--no-compile", "--only-binary=:all:",
        "--implementation", "cp", "--python-version", target.python, *platforms,
        f"{wheel}[{package.extras}]",
    )  # fmt: skip
    for name in ("bin", *package.leave_out):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _files(package: Package, stage: Path) -> None:
    for command, module in package.commands.items():
        path = _placed(stage / "usr/bin" / command)
        path.write_text(COMMAND.format(package=package.name, module=module))
        path.chmod(0o755)
    documents = f"usr/share/doc/{package.name}"
    unit = f"{package.name}.service"
    copies = {
        SYSTEMD / unit: f"usr/lib/systemd/system/{unit}",
        SYSTEMD / package.settings: f"etc/gpuforge/{package.settings}",
        ROOT / "README.md": f"{documents}/README.md",
        ROOT / "CHANGELOG.md": f"{documents}/CHANGELOG.md",
        ROOT / "LICENSE": f"{documents}/copyright",
        **{SYSTEMD / source: place for source, place in package.more.items()},
    }
    for source, place in copies.items():
        shutil.copyfile(source, _placed(stage / place))


def _control(package: Package, target: Target, version: str, stage: Path) -> None:
    size = sum(path.stat().st_size for path in stage.rglob("*") if path.is_file()) // 1024
    folder = stage / "DEBIAN"
    folder.mkdir()
    (folder / "control").write_text(
        f"Package: {package.name}\n"
        f"Version: {version}\n"
        f"Architecture: {target.architecture}\n"
        "Maintainer: The GPUForge developers\n"
        "Section: admin\n"
        "Priority: optional\n"
        f"Installed-Size: {size}\n"
        f"Depends: python3 (>= {target.python}), python3 (<< {target.next_python}), systemd (>= 250), "
        "ca-certificates, passwd\n"
        f"Description: {package.summary}\n"
        " See /usr/share/doc for how to install it.\n"
    )
    (folder / "conffiles").write_text(f"/etc/gpuforge/{package.settings}\n")
    for script in (ROOT / "deb" / package.name).iterdir():
        shutil.copyfile(script, folder / script.name)
        (folder / script.name).chmod(0o755)


def _placed(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def _pip(*words: str) -> None:
    command, *rest = words
    _run(
        [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check", "--no-input", *rest]
    )


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout}{done.stderr}\n{' '.join(command)}\nfailed: exit {done.returncode}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
