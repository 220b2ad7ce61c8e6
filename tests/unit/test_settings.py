"""The settings loader that every program shares: layers, names, and refusals that help."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from gpuforge_agent.config import AgentSettings
from gpuforge_controlplane.config import ControlPlaneSettings
from gpuforge_shared.settings import OWNERS, Settings, SettingsError, add_flags, flags_of, load

SECRET = "gfk_" + "a" * 64


class Example(Settings):
    """A program's settings."""

    port: int = Field(default=8080, ge=1, le=65535, description="Where to listen.")
    interval_s: float = Field(default=5.0, description="Seconds, at 100 %.")
    api_key: SecretStr | None = Field(default=None, description="A secret.")


def example(
    tmp_path: Path,
    *,
    file: str | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Example:
    path = tmp_path / "settings.toml" if file is not None else None
    if path is not None:
        path.write_text(file or "")
    return load(Example, file=path, environ=environ or {}, flags=flags or {})


def test_later_layers_win_over_earlier_ones(tmp_path: Path) -> None:
    file, environ, flags = "port = 1\ninterval_s = 1", {"GPUFORGE_PORT": "2"}, {"port": "3"}
    assert example(tmp_path).port == 8080
    assert example(tmp_path, file=file).port == 1
    assert example(tmp_path, file=file, environ=environ).port == 2
    last = example(tmp_path, file=file, environ=environ, flags=flags)
    assert (last.port, last.interval_s) == (3, 1.0)


@pytest.mark.parametrize(
    ("file", "environ", "said"),
    [
        pytest.param(
            "prot = 1", {}, "unknown setting prot (FILE); did you mean port?", id="typo in the file"
        ),
        pytest.param(
            None,
            {"GPUFORGE_INTERVALS": "1"},
            "unknown setting GPUFORGE_INTERVALS (environment); did you mean GPUFORGE_INTERVAL_S?",
            id="typo in the environment",
        ),
        pytest.param(
            "zzzzzz = 1", {}, "unknown setting zzzzzz (FILE); --help lists all settings", id="nothing near"
        ),
        pytest.param(
            None,
            {"GPUFORGE_PORT": "eighty"},
            "port (environment): Input should be a valid integer, unable to parse string as an integer",
            id="not a number",
        ),
        pytest.param("port = 0", {}, "port (FILE): Input should be greater than or equal to 1", id="bounds"),
        pytest.param(
            "port = ", {}, "FILE is not valid TOML: Invalid value (at end of document)", id="not TOML"
        ),
    ],
)
def test_a_refusal_names_the_setting_where_it_stands_and_the_next_step(
    tmp_path: Path, file: str | None, environ: Mapping[str, str], said: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        example(tmp_path, file=file, environ=environ)
    assert str(refused.value).replace(str(tmp_path / "settings.toml"), "FILE") == said


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"can't read .*gone\.toml: No such file"):
        load(Example, file=tmp_path / "gone.toml", environ={}, flags={})


def test_another_programs_variables_are_no_typos(tmp_path: Path) -> None:
    environ = {"GPUFORGE_SIMULATED_NODES": "3", "HOME": "/", "GPUFORGE_PORT": ""}
    assert example(tmp_path, environ=environ) == Example()
    with pytest.raises(SettingsError, match="simulated_nodes"):
        example(tmp_path, flags={"simulated_nodes": "3"})


def test_no_refusal_shows_a_secret(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        example(tmp_path, file=f'api_key = ["{SECRET}"]')
    assert SECRET not in str(refused.value)
    assert SECRET not in repr(example(tmp_path, environ={"GPUFORGE_API_KEY": SECRET}))


def test_every_setting_but_a_secret_has_a_flag() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, Example)
    assert flags_of(parser.parse_args(["--interval-s", "2"])) == {"interval_s": "2"}
    assert "--api-key" not in parser.format_help()
    assert "Seconds, at 100 %. (default: 5.0) [GPUFORGE_INTERVAL_S]" in " ".join(parser.format_help().split())


@pytest.mark.parametrize(
    ("program", "model"), [("agent", AgentSettings), ("controlplane", ControlPlaneSettings)]
)
def test_the_table_of_owners_is_what_the_programs_declare(program: str, model: type[Settings]) -> None:
    assert OWNERS[program] == frozenset(model.model_fields)


def test_what_is_loaded_does_not_change(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        example(tmp_path).__setattr__("port", 1)
