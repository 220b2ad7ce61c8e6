"""The rules of the house that no linter knows."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    path for folder in ("agent", "controlplane", "shared") for path in (ROOT / folder).rglob("*.py")
)
MAX_LINES = 400


def test_there_are_modules() -> None:
    assert len(MODULES) > 10


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_fits_in_one_head(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES, f"{lines} lines: it has two reasons to change, split it"


def test_test_files_have_names_of_their_own() -> None:
    """Without packages in tests/, pytest and mypy tell two files apart by their name alone."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("name", ["LICENSE", "README.md", "CHANGELOG.md"])
def test_what_a_reader_looks_for_is_there(name: str) -> None:
    assert (ROOT / name).read_text().strip()


def test_the_ci_runs_what_a_newcomer_runs() -> None:
    script = ROOT / ".ci" / "run"
    commands = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert commands[-1] == "exec make test"
    assert script.stat().st_mode & 0o111
