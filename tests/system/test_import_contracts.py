"""Each import contract of pyproject.toml is broken on purpose, in a copy, and must be seen to fail."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("agent", "controlplane", "shared")
UNLISTED = "controlplane/gpuforge_controlplane/unlisted.py"

# (contract, the file that offends, what it imports)
OFFENCES = [
    ("1", "agent/gpuforge_agent/", "gpuforge_controlplane.domain"),
    ("1", "controlplane/gpuforge_controlplane/domain/", "gpuforge_agent.sources"),
    ("1", "shared/gpuforge_client/", "gpuforge_agent.sources"),
    ("1", "shared/gpuforge_client/", "gpuforge_controlplane.services"),
    ("1", "shared/gpuforge_shared/", "gpuforge_client"),
    ("2", "controlplane/gpuforge_controlplane/api/", "gpuforge_controlplane.loops"),
    ("2", "controlplane/gpuforge_controlplane/loops/", "gpuforge_controlplane.api"),
    ("2", "controlplane/gpuforge_controlplane/services/", "gpuforge_controlplane.api"),
    ("2", "controlplane/gpuforge_controlplane/services/", "gpuforge_controlplane.config"),
    ("2", "controlplane/gpuforge_controlplane/storage/", "gpuforge_controlplane.services"),
    ("2", "controlplane/gpuforge_controlplane/gateways/", "gpuforge_controlplane.storage"),
    ("2", "controlplane/gpuforge_controlplane/domain/", "gpuforge_controlplane.storage"),
    ("3", "controlplane/gpuforge_controlplane/domain/", "asyncio"),
    ("3", "controlplane/gpuforge_controlplane/domain/", "gpuforge_shared.clock"),
    ("3", "controlplane/gpuforge_controlplane/domain/", "random"),
    ("3", "controlplane/gpuforge_controlplane/domain/", "sqlalchemy"),
    ("3", "controlplane/gpuforge_controlplane/domain/", "time"),
    ("4", "agent/gpuforge_agent/", "pynvml"),
    ("4", "agent/gpuforge_agent/sources/", "pynvml"),
    ("4", "controlplane/gpuforge_controlplane/services/", "pynvml"),
    ("5", "controlplane/gpuforge_controlplane/services/", "sqlalchemy"),
    ("5", "controlplane/gpuforge_controlplane/api/", "alembic"),
    ("5", "agent/gpuforge_agent/", "sqlalchemy"),
    ("6", "controlplane/gpuforge_controlplane/services/", "asyncpg"),
    ("6", "shared/gpuforge_shared/", "sqlite3"),
    ("7", "controlplane/gpuforge_controlplane/services/", "stripe"),
    ("7", "controlplane/gpuforge_controlplane/gateways/", "stripe"),
]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What lint-imports says of a tree with every offence in it: by the contract's number, its findings."""
    copy = tmp_path_factory.mktemp("offences")
    for folder in FOLDERS:
        shutil.copytree(
            ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "dashboard")
        )
    shutil.copyfile(ROOT / "pyproject.toml", copy / "pyproject.toml")
    for number, (_, package, imported) in enumerate(OFFENCES):
        (copy / package / f"offence_{number}.py").write_text(f"import {imported}\n")
    (copy / UNLISTED).write_text("")
    said = lint_imports(copy)
    findings = said.split("Broken contracts", 1)[1]
    parts = re.split(r"^(\d+)\. .*\n-+$", findings, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def lint_imports(root: Path) -> str:
    run = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-logo", "--no-cache"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folder for folder in FOLDERS), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts:" in run.stdout, run.stdout + run.stderr
    return run.stdout


@pytest.mark.parametrize(
    ("number", "offence"),
    list(enumerate(OFFENCES)),
    ids=[f"{contract}-{Path(package).name}-{imported}" for contract, package, imported in OFFENCES],
)
def test_contract_fails(number: int, offence: tuple[str, str, str], broken: dict[str, str]) -> None:
    contract, package, imported = offence
    offender = ".".join([*Path(package).parts[1:], f"offence_{number}"])
    assert re.search(rf"{re.escape(offender)} -> {re.escape(imported)}\b", broken[contract])


def test_a_module_outside_the_layers_is_a_failure(broken: dict[str, str]) -> None:
    assert "gpuforge_controlplane.unlisted" in broken["2"]


def test_every_contract_has_an_offence() -> None:
    names = re.findall(r'^name = "(\d+)\. ', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert sorted(names) == sorted({contract for contract, _, _ in OFFENCES})
