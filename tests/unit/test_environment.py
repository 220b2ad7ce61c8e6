"""What `make` builds before anything is installed: when it works, when it rests, what it says."""

import re
import sys
from pathlib import Path

import pytest

from tests import environment

PYPROJECT = """
[build-system]
requires = ["hatchling"]
[project]
name = "gpuforge"
[tool.hatch]
[tool.ruff]
line-length = 110
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".venv").mkdir()
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "VENV", tmp_path / ".venv")
    return tmp_path


@pytest.mark.parametrize(
    ("installed", "ready"),
    [("dev", ["demo", "dev"]), ("demo", ["demo"])],
)
def test_dev_includes_demo(checkout: Path, installed: str, ready: list[str]) -> None:
    environment._stamp(installed).write_text(environment._fingerprint())
    assert [wanted for wanted in ("demo", "dev") if environment.is_ready(wanted)] == ready


@pytest.mark.parametrize(
    ("before", "after", "ready"),
    [('requires = ["hatchling"]', 'requires = ["hatchling>=2"]', False), ("= 110", "= 100", True)],
    ids=["packaging", "lint"],
)
def test_only_packaging_asks_for_an_install(checkout: Path, before: str, after: str, ready: bool) -> None:
    environment._stamp("dev").write_text(environment._fingerprint())
    (checkout / "pyproject.toml").write_text(PYPROJECT.replace(before, after))
    assert environment.is_ready("dev") is ready


def test_a_copied_checkout_is_not_ready(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment._stamp("dev").write_text(environment._fingerprint())
    monkeypatch.setattr(environment, "ROOT", checkout.rename(tmp_path_factory.mktemp("elsewhere") / "copy"))
    monkeypatch.setattr(environment, "VENV", environment.ROOT / ".venv")
    assert not environment.is_ready("dev")


def test_a_step_says_what_it_does_and_keeps_the_rest_to_itself(
    checkout: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    environment.run_step("installing", [sys.executable, "-c", "print('a hundred lines')"])
    assert re.fullmatch(r"installing …\n  done in \d+ s\n", capfd.readouterr().out)


def test_a_failed_step_shows_all_that_the_command_said(checkout: Path) -> None:
    script = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    with pytest.raises(environment.StepFailedError, match=r"(?s)out.*err.*exit 3"):
        environment.run_step("installing", [sys.executable, "-uc", script])


def test_a_long_step_reports_where_it_is(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reported = checkout / "reported"  # the command goes on until its line was seen

    def say(line: str, *, final: bool = False) -> None:
        if re.fullmatch(r" +\d+ s  Collecting rich>=13", line):
            reported.touch()

    monkeypatch.setattr(environment, "PLAIN_LINE_SECONDS", 0.01)
    monkeypatch.setattr(environment, "_say", say)
    script = f"""
import pathlib, time
print("Collecting rich>=13 (from gpuforge)", flush=True)
while not pathlib.Path({str(reported)!r}).exists(): time.sleep(0.01)
"""
    environment.run_step("installing", [sys.executable, "-c", script])
    assert reported.exists()
