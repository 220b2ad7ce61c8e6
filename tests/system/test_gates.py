"""Format, lint, types and import contracts of the checkout: so `make test` alone vouches for them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(300)  # mypy, the first time, on a slow machine
@pytest.mark.parametrize(
    "command",
    ["ruff format --check", "ruff check", "lint-imports --no-logo", "mypy"],
    ids=lambda command: str(command).replace(" ", "-"),
)
def test_gate(command: str) -> None:
    program, *arguments = command.split()
    gate = subprocess.run(
        [Path(sys.executable).parent / program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert gate.returncode == 0, f"{command}\n{gate.stdout}{gate.stderr}"
