"""What is in the Debian packages, without installing them."""

import subprocess
from pathlib import Path

import pytest

from tests.booted import PYTHON
from tests.environment import ROOT

NAMES = ("gpuforge-agent", "gpuforge-controlplane")
pytestmark = pytest.mark.timeout(600)  # the first that asks builds them


def deb(debs: Path, name: str) -> Path:
    (found,) = debs.glob(f"{name}_*.deb")
    return found


def contents(path: Path) -> dict[str, str]:
    """Mode and owner by path."""
    said = subprocess.run(["dpkg-deb", "--contents", path], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=5) for line in said.splitlines()]
    return {row[5].removeprefix("."): f"{row[0]} {row[1]}" for row in rows}


def field(path: Path, name: str) -> str:
    command = ["dpkg-deb", "--field", str(path), name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_roots_and_nobody_else_may_write(name: str, debs: Path) -> None:
    for path, mode in contents(deb(debs, name)).items():
        assert mode.split()[1] == "root/root", path
        assert mode[0] in "d-", f"{path}: {mode}"
        assert mode[5] == mode[8] == "-", f"{path}: {mode}"
        assert "s" not in mode[:10], f"{path}: {mode}"


@pytest.mark.parametrize("name", NAMES)
def test_it_is_for_one_python(name: str, debs: Path) -> None:
    path = deb(debs, name)
    assert f"python3 (>= {PYTHON}), python3 (<< 3.12)" in field(path, "Depends")
    modules = [each for each in contents(path) if each.endswith(".so")]
    assert modules
    assert not [each for each in modules if "cpython-" in each and "cpython-311" not in each]
    assert not [each for each in contents(path) if "__pycache__" in each or each.endswith(".pyc")]


@pytest.mark.parametrize(
    ("name", "has", "lacks"),
    [
        ("gpuforge-agent", ["gpuforge_agent/app.py", "pynvml.py"], ["gpuforge_controlplane", "sqlalchemy"]),
        (
            "gpuforge-controlplane",
            [
                "gpuforge_controlplane/_ui/index.html",
                "gpuforge_controlplane/migrations/versions/0001_spine.py",
            ],
            ["gpuforge_agent", "pynvml.py"],
        ),
    ],
    ids=NAMES,
)
def test_each_has_what_it_needs_alone(name: str, has: list[str], lacks: list[str], debs: Path) -> None:
    there = contents(deb(debs, name))
    for each in has:
        assert f"/opt/{name}/lib/{each}" in there
    for each in lacks:
        assert not [path for path in there if path.startswith(f"/opt/{name}/lib/{each}")]
    assert f"/usr/bin/{name}" in there
    assert f"/usr/lib/systemd/system/{name}.service" in there


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_the_administrators_and_no_file_names_the_builders_folder(
    name: str, debs: Path, tmp_path: Path
) -> None:
    subprocess.run(["dpkg-deb", "--raw-extract", deb(debs, name), tmp_path / "x"], check=True)
    settings = f"/etc/gpuforge/{name.removeprefix('gpuforge-')}.toml"
    assert (tmp_path / "x/DEBIAN/conffiles").read_text() == f"{settings}\n"
    assert (tmp_path / f"x{settings}").is_file()
    here = str(ROOT).encode()
    for path in (tmp_path / "x").rglob("*"):
        if path.is_file() and path.name != "direct_url.json":
            assert here not in path.read_bytes(), path
