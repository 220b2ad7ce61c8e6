"""The units and the example configuration in systemd/: as systemd and the settings' own models read them."""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from gpuforge_agent.__main__ import main as agent
from gpuforge_agent.config import AgentSettings
from gpuforge_controlplane.__main__ import main as controlplane
from gpuforge_controlplane.config import ControlPlaneSettings
from gpuforge_shared.settings import Settings
from tests.conftest import require
from tests.tiers import SYSTEMD

FOLDER = Path(__file__).resolve().parents[2] / "systemd"
UNITS = ("gpuforge-agent", "gpuforge-controlplane")
DROP_INS = sorted((FOLDER / "drop-ins").glob("*.conf"))
# 1.5 is what the agent is to reach (dcgm-exporter 9.6, gpud 9.8, node_exporter 9.2); both are at their floor
# without an address list, which is for whoever knows the addresses.
EXPOSURE = {"gpuforge-agent": 1.5, "gpuforge-controlplane": 1.1}
MODELS = [
    pytest.param("agent", AgentSettings, id="agent"),
    pytest.param("controlplane", ControlPlaneSettings, id="controlplane"),
]


@pytest.fixture(autouse=True)
def systemd() -> None:
    require(SYSTEMD)


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def placed(unit: str, folder: Path, *drop_ins: Path) -> Path:
    """The unit with its drop-ins, as it stands on a host where the package's command is in `folder`."""
    command = folder / unit
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    target = folder / f"{unit}.service"
    text = (FOLDER / f"{unit}.service").read_text().replace(f"/usr/bin/{unit}", str(command))
    target.write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE))  # of the package
    for drop_in in drop_ins:
        (folder / f"{unit}.service.d").mkdir(exist_ok=True)
        shutil.copy(drop_in, folder / f"{unit}.service.d")
    return target


def complaints(unit: Path) -> str:
    """What `verify` says; it answers 0 where it warns of a name that it does not know."""
    done = analyze("verify", unit)
    return done.stdout + done.stderr + (f"exit {done.returncode}" if done.returncode else "")


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_has_nothing_to_say_of_a_unit(unit: str, tmp_path: Path) -> None:
    assert complaints(placed(unit, tmp_path)) == ""


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_systemd_has_nothing_to_say_of_a_drop_in(drop_in: Path, tmp_path: Path) -> None:
    assert complaints(placed("gpuforge-agent", tmp_path, drop_in)) == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [("ProtectEverything=yes", "ProtectEverything"), ("WatchdogSec=soon", "Failed to parse")],
    ids=["unknown", "unreadable"],
)
def test_what_systemd_does_not_know_is_seen(line: str, said: str, tmp_path: Path) -> None:
    drop_in = tmp_path / "wrong.conf"
    drop_in.write_text(f"[Service]\n{line}\n")
    assert said in complaints(placed("gpuforge-agent", tmp_path, drop_in))


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_exposes_little(unit: str) -> None:
    done = analyze("security", "--offline=true", FOLDER / f"{unit}.service")
    overall = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert overall, done.stdout + done.stderr
    assert float(overall[1]) <= EXPOSURE[unit], done.stdout


@pytest.mark.parametrize(
    ("unit", "status"),
    [
        ("gpuforge-agent", lambda: agent(["run", "--interval-s", "soon"])),
        ("gpuforge-controlplane", lambda: controlplane(["serve", "--port", "none"])),
    ],
    ids=UNITS,
)
def test_what_a_bad_setting_ends_with_is_not_started_again(unit: str, status: Callable[[], int]) -> None:
    found = re.findall(
        r"^RestartPreventExitStatus=(.*)$", (FOLDER / f"{unit}.service").read_text(), re.MULTILINE
    )
    assert found == [str(status())]


def example(name: str) -> dict[str, tuple[str, object]]:
    """Every setting in the example: its explanation, and the value that stands there, on or off."""
    found: dict[str, tuple[str, object]] = {}
    comment: list[str] = []
    for line in (FOLDER / f"{name}.toml").read_text().splitlines():
        if setting := re.fullmatch(r"#?([a-z0-9_]+) = .+", line):
            value = tomllib.loads(line.removeprefix("#"))[setting[1]]
            found[setting[1]] = (" ".join(comment), value)
        comment = [*comment, line.removeprefix("# ")] if line.startswith("# ") else []
    return found


@pytest.mark.parametrize(("name", "model"), MODELS)
def test_the_example_explains_every_setting_and_no_other(name: str, model: type[Settings]) -> None:
    assert list(example(name)) == list(model.model_fields)


@pytest.mark.parametrize(("name", "model"), MODELS)
def test_the_example_says_of_a_setting_what_help_says(name: str, model: type[Settings]) -> None:
    for setting, (words, _) in example(name).items():
        description = model.model_fields[setting].description
        assert description
        assert description in words, setting


@pytest.mark.parametrize(("name", "model"), MODELS)
def test_what_is_off_in_the_example_is_the_default(name: str, model: type[Settings]) -> None:
    on = tomllib.loads((FOLDER / f"{name}.toml").read_text())
    for setting, (_, value) in example(name).items():
        default = model.model_fields[setting].default
        assert default is not PydanticUndefined
        if setting not in on and default is not None and not isinstance(default, SecretStr):
            assert value == default, setting


@pytest.mark.parametrize(("name", "model"), MODELS)
def test_the_example_can_be_loaded_as_it_is_and_all_of_it_on(name: str, model: type[Settings]) -> None:
    on = tomllib.loads((FOLDER / f"{name}.toml").read_text())
    model.model_validate(on)
    values = {setting: value for setting, (_, value) in example(name).items()}
    values.pop("api_key", None)  # either this or api_key_file
    model.model_validate(values)
