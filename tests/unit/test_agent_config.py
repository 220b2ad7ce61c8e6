"""The agent's settings and command line: names that packages rely on, refusals before anything starts."""

from pathlib import Path

import pytest

from gpuforge_agent import config
from gpuforge_agent.__main__ import main, parser
from gpuforge_shared.apikey import assemble
from gpuforge_shared.settings import SettingsError, flags_of

KEY = assemble("a" * 56)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the person who runs the suite has set is not ours."""
    for name in config.AgentSettings.model_fields:
        monkeypatch.delenv(f"GPUFORGE_{name.upper()}", raising=False)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)


@pytest.mark.parametrize(
    ("variable", "value", "field", "read"),
    [
        ("GPUFORGE_CONTROL_PLANE_URL", "https://c:1", "control_plane_url", "https://c:1"),
        ("GPUFORGE_HOSTNAME", "gpu-01", "hostname", "gpu-01"),
        ("GPUFORGE_INTERVAL_S", "0.5", "interval_s", 0.5),
        ("GPUFORGE_PUSH_INTERVAL_S", "1", "push_interval_s", 1.0),
        ("GPUFORGE_SOURCE", "simulated", "source", "simulated"),
        ("GPUFORGE_STATE_DIR", "/srv/state", "state_dir", Path("/srv/state")),
        ("STATE_DIRECTORY", "/var/lib/gpuforge-agent:/other", "state_dir", Path("/var/lib/gpuforge-agent")),
    ],
)
def test_the_contracts_variables(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, field: str, read: object
) -> None:
    monkeypatch.setenv(variable, value)
    assert getattr(config.read({}), field) == read


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("9835", ("127.0.0.1", 9835)),
        ("0.0.0.0:9835", ("0.0.0.0", 9835)),
        ("[::1]:9835", ("::1", 9835)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_prometheus_reads_on_loopback_unless_told(listen: str, address: tuple[str, int]) -> None:
    assert config.listen_address(listen) == address


def test_a_state_folder_that_was_asked_for_goes_before_systemds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/gpuforge-agent")
    assert config.read({"state_dir": "/srv"}).state_dir == Path("/srv")


@pytest.mark.parametrize(
    ("argv", "flags"),
    [
        (["run", "--interval", "2"], {"interval_s": "2"}),
        (["run", "--interval-s", "2"], {"interval_s": "2"}),
        (["check", "--source", "simulated"], {"source": "simulated"}),
        (["run", "--control-plane-url", "http://c"], {"control_plane_url": "http://c"}),
        (["run", "--config", "f.toml"], {}),
    ],
    ids=" ".join,
)
def test_the_contracts_flags(argv: list[str], flags: dict[str, str]) -> None:
    assert flags_of(parser().parse_args(argv)) == flags


def test_a_key_in_a_file_is_read_without_its_newline(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    settings = config.read({"api_key_file": str(tmp_path / "key")})
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == KEY
    assert KEY not in repr(settings)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "No such file or directory", id="absent"),
        pytest.param(b"\n", "is empty", id="empty"),
        pytest.param(b"\xff\xfe", "not ASCII text", id="binary"),
    ],
)
def test_a_key_file_that_holds_no_key(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(SettingsError, match=said):
        config.read({"api_key_file": str(tmp_path / "key")})


def test_a_check_takes_what_nobody_set_from_the_packaged_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GPUFORGE_API_KEY", raising=False)
    service = config.Service(file=tmp_path / "toml", key=tmp_path / "key", state=tmp_path / "state")
    assert config.examined({}, None, service).file is None

    service.file.write_text("interval_s = 7.0")
    assert config.examined({}, None, service).settings.state_dir == service.state  # which a first start makes
    service.key.write_text(KEY)
    found = config.examined({}, None, service)
    assert (found.file, found.key_trouble) == (service.file, None)
    assert (found.settings.interval_s, found.settings.state_dir) == (7.0, service.state)
    assert found.settings.api_key is not None
    assert found.settings.api_key.get_secret_value() == KEY
    for mode, public in ((0o644, True), (0o600, False)):
        service.key.chmod(mode)
        assert config.examined({}, None, service).key_is_public == public

    (tmp_path / "mine").write_text(f'state_dir = "{tmp_path}"')
    found = config.examined({"api_key_file": str(tmp_path / "none")}, tmp_path / "mine", service)
    assert (found.file, found.settings.interval_s) == (tmp_path / "mine", 5.0)
    assert found.settings.state_dir == tmp_path
    assert found.settings.api_key is None
    assert "No such file" in str(found.key_trouble)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"interval_s": "0"}, "interval_s (command line): Input should be greater than 0"),
        ({"interval_s": "nan"}, "interval_s (command line): Input should be a finite number"),
        ({"simulated_nodes": "2"}, "simulated_nodes needs source = simulated"),
        (
            {"metrics_listen": "0.0.0.0"},
            "metrics_listen (command line): must be PORT",
        ),
        ({"metrics_listen": ":9835"}, "must be PORT or HOST:PORT"),
        ({"metrics_listen": "h:99999"}, "must be PORT or HOST:PORT"),
        ({"source": "dcgm"}, "source (command line): Input should be 'nvml' or 'simulated'"),
    ],
    ids=str,
)
def test_a_bad_value_is_refused_by_name(flags: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        config.read(flags)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["run"], "no key: set GPUFORGE_API_KEY_FILE (or GPUFORGE_API_KEY) to the cluster's key"),
        (["run", "--sorce", "nvml"], "unknown flag --sorce; did you mean --source?"),
        (["run", "--inter", "2"], "unknown flag --inter; did you mean --interval?"),
        (["run", "--xyzzy"], "unknown flag --xyzzy; --help lists all"),
        (["run", "--json"], "--json belongs to check"),
        (["check", "--control-plane-url", "gpus.example.com"], "must be like http://host:8080"),
        (["check", "--control-plane-url", "http://u:secret@c"], "must not carry a user, password"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_start_is_one_line_and_exit_status_2(
    capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("gpuforge-agent: ")
    assert said in error
    assert error.count("\n") == 1
    assert "secret" not in error


def test_a_mistyped_key_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GPUFORGE_API_KEY", KEY[:-1] + "0")
    assert main(["run"]) == 2
    error = capsys.readouterr().err
    assert "checksum" in error
    assert KEY[:20] not in error


@pytest.mark.parametrize(
    ("microseconds", "seconds"), [("60000000", 60.0), ("", None), ("0", None), ("soon", None)]
)
def test_the_watchdog_period_is_systemds(
    monkeypatch: pytest.MonkeyPatch, microseconds: str, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    assert config.watchdog_s() == seconds
