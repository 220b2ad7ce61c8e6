"""The command `gpuforge` against a real control plane: lists, keys, refusals in words, exit statuses."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpuforge_client import config
from gpuforge_client.__main__ import main
from gpuforge_client.settings import ClientSettings
from gpuforge_shared.apikey import assemble, is_well_formed
from gpuforge_shared.settings import OWNERS
from tests.loopback import free_loopback_port

URL, KEY = "GPUFORGE_CONTROL_PLANE_URL", "GPUFORGE_API_KEY"
CREATE = ["keys", "create", "--label", "x"]

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[dict[str, str]]:
    """The variables that lead to one that serves, with an admin's key; without one readers see a sample."""
    folder = tmp_path_factory.mktemp("plane")
    shutil.copyfile(migrated_sqlite, folder / "gpuforge.db")
    port = str(free_loopback_port())

    def command(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "gpuforge_controlplane", *words],
            cwd=folder,
            env=config.plain_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    key, _ = command("create-key", "--label", "first", "--permissions", "admin").communicate()
    with command("serve", "--port", port) as serving:
        assert serving.stderr is not None
        for line in serving.stderr:
            if '"serving"' in line:
                break
        yield {"GPUFORGE_CONTROL_PLANE_URL": f"http://127.0.0.1:{port}", "GPUFORGE_API_KEY": key.strip()}
        serving.send_signal(signal.SIGTERM)
        serving.communicate()


@pytest.fixture
def cli(plane: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run the command with the key, or with other variables: exit status, stdout, stderr."""

    def run(*words: str, **changes: str) -> tuple[int, str, str]:
        for name, value in {**plane, **changes}.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        status = main(words)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def fields(cli: Cli, *words: str, **changes: str) -> Any:
    status, out, _ = cli(*words, "--json", **changes)
    assert status == 0
    return json.loads(out)


def test_a_key_is_made_listed_used_and_revoked(cli: Cli) -> None:
    status, raw, err = cli("keys", "create", "--label", "of a test", "--permissions", "read")
    assert (status, err) == (0, "")
    assert is_well_formed(raw.strip())
    assert cli("clusters", GPUFORGE_API_KEY=raw)[0] == 0
    assert cli("keys", "list", GPUFORGE_API_KEY=raw)[0] == 4

    _, table, _ = cli("keys", "list")
    row = next(line for line in table.splitlines() if raw[:12] in line)
    assert row.split()[1:6] == [raw[:12], "of", "a", "test", "read"]
    assert raw.strip() not in table

    status, said, _ = cli("keys", "revoke", row.split()[0])
    assert (status, said) == (0, f"revoked {raw[:12]}… (of a test)\n")
    status, out, err = cli("clusters", GPUFORGE_API_KEY=raw)
    assert (status, out) == (4, "")
    assert "revoked" in err
    assert "GPUFORGE_API_KEY" in err


def test_json_is_the_apis_own_record(cli: Cli) -> None:
    made = fields(cli, "keys", "create", "--label", "x", "--expires-at", "2999-01-01T00:00:00Z")
    assert made["permissions"] == ["read", "write"]
    assert made["expires_at"] == "2999-01-01T00:00:00Z"
    gone = fields(cli, "keys", "revoke", str(made["id"]))
    assert gone["revoked_at"]
    listed = {each["id"]: each for each in fields(cli, "keys", "list")}
    assert listed[made["id"]] == gone


def test_without_a_key_it_shows_the_sample_and_says_so(cli: Cli) -> None:
    assert cli("clusters") == (0, "ID  CLUSTER  REGION  STATUS  NODES  GPUS  RUNNING  QUEUED\n", "")
    status, out, err = cli("clusters", GPUFORGE_API_KEY="")
    assert status == 0
    assert len(out.splitlines()) > 1
    assert "GPUFORGE_API_KEY is not set" in err
    assert "made-up sample" in err


def test_nodes_and_gpus_of_one_cluster_or_all(cli: Cli) -> None:
    first, *others = fields(cli, "clusters", GPUFORGE_API_KEY="")
    every = fields(cli, "gpus", GPUFORGE_API_KEY="")
    assert len(every) == sum(cluster["gpu_count"] for cluster in [first, *others])
    by_name = fields(cli, "gpus", "--cluster", first["name"], GPUFORGE_API_KEY="")
    assert [gpu["id"] for gpu in by_name] == [gpu["id"] for gpu in every if gpu["cluster"] == first["name"]]
    nodes = fields(cli, "nodes", "--cluster", str(first["id"]), GPUFORGE_API_KEY="")
    assert {gpu["hostname"] for gpu in by_name} == {node["hostname"] for node in nodes}
    assert len(nodes) == first["node_count"]
    status, table, _ = cli("gpus", GPUFORGE_API_KEY="")
    assert (status, len(table.splitlines())) == (0, 1 + len(every))


@pytest.mark.parametrize(
    ("words", "changes", "status", "said"),
    [
        pytest.param(["nodes", "--cluster", "nowhere"], {}, 1, "no cluster nowhere", id="unknown cluster"),
        pytest.param(["keys", "revoke", "999"], {}, 1, "no API key 999", id="unknown key"),
        pytest.param([*CREATE, "--permissions", "red"], {}, 1, "permissions[0]", id="a field"),
        pytest.param(["clusters"], {KEY: assemble("e" * 56)}, 4, "unknown", id="unknown to it"),
        pytest.param(["clusters"], {KEY: "gfk_short"}, 4, "mistyped", id="mistyped"),
        pytest.param(["clusters"], {URL: "http://127.0.0.1:x"}, 1, "control_plane_url", id="URL"),
        pytest.param(["clusters"], {URL[:-2]: "x"}, 2, f"did you mean {URL}?", id="variable"),
        pytest.param(["cluster"], {}, 2, "No such command 'cluster'", id="command"),
        pytest.param(["demo", "--nodes", "0"], {}, 2, "--nodes", id="range"),
    ],
)
def test_a_refusal_is_a_sentence_and_a_status(
    cli: Cli, words: list[str], changes: dict[str, str], status: int, said: str
) -> None:
    answered, out, err = cli(*words, **changes)
    assert (answered, out) == (status, "")
    assert said in err
    assert "Traceback" not in err


def test_nobody_there(cli: Cli, free_port: int) -> None:
    status, _, err = cli("clusters", GPUFORGE_CONTROL_PLANE_URL=f"http://127.0.0.1:{free_port}")
    assert status == 3
    assert f"can't connect to http://127.0.0.1:{free_port}" in err
    assert "GPUFORGE_CONTROL_PLANE_URL" in err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--help"], ["GPUFORGE_API_KEY", "demo", "clusters", "keys", "Exit status"]),
        (["demo", "--help"], ["--nodes", "--port", "--data", "Ctrl-C"]),
        (["keys", "--help"], ["list", "create", "revoke"]),
        (["keys", "create", "--help"], ["--label", "--permissions", "--expires-at"]),
    ],
    ids=lambda value: " ".join(value) if "--help" in value else "",
)
def test_help_names_what_there_is(cli: Cli, words: list[str], named: list[str]) -> None:
    status, out, _ = cli(*words)
    assert status == 0
    assert all(name in out for name in named)


def test_the_table_of_owners_holds_the_clients_settings() -> None:
    assert OWNERS["client"] == frozenset(ClientSettings.model_fields)
