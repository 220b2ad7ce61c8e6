"""When an install builds the dashboard, and so asks for Node."""

from pathlib import Path

import pytest

import hatch_build


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Sources, and what was built of them."""
    (tmp_path / "controlplane" / "dashboard" / "src").mkdir(parents=True)
    (tmp_path / "controlplane" / "dashboard" / "src" / "main.tsx").write_text("1")
    (tmp_path / "controlplane" / "dashboard" / "package.json").write_text("{}")
    built = tmp_path / "controlplane" / "gpuforge_controlplane" / "_ui"
    built.mkdir(parents=True)
    (built / ".stamp").write_text(hatch_build.digest(tmp_path))
    return tmp_path


def test_what_was_built_of_these_sources_is_not_built_again(checkout: Path) -> None:
    assert not hatch_build.is_wanted(checkout)


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ("src/main.tsx", True),
        ("src/new.css", True),
        ("package.json", True),
        ("package-lock.json", True),
        (".npmrc", True),
        ("src/api/schema.ts", False),
        ("node_modules/x.js", False),
        ("test/x.test.ts", False),
    ],
)
def test_only_what_a_build_sees_makes_it_stale(checkout: Path, changed: str, wanted: bool) -> None:
    path = checkout / "controlplane" / "dashboard" / changed
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("2")
    assert hatch_build.is_wanted(checkout) is wanted


def test_a_moved_file_is_a_change(checkout: Path) -> None:
    source = checkout / "controlplane" / "dashboard" / "src" / "main.tsx"
    source.rename(source.with_name("other.tsx"))
    assert hatch_build.is_wanted(checkout)


def test_who_declines_gets_none(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "controlplane" / "gpuforge_controlplane" / "_ui" / ".stamp").unlink()
    assert hatch_build.is_wanted(checkout)
    monkeypatch.setenv("GPUFORGE_UI", "skip")
    assert not hatch_build.is_wanted(checkout)


def test_an_sdist_without_sources_builds_nothing(tmp_path: Path) -> None:
    assert not hatch_build.is_wanted(tmp_path)


def test_npm_away_is_one_clear_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "node"
    script.write_text("#!/bin/sh\necho npm error code ECONNREFUSED >&2; exit 1\n")
    script.chmod(0o755)
    with pytest.raises(SystemExit, match=r"npm's registry can't be reached.*GPUFORGE_UI=skip"):
        hatch_build._run([script, "npm-cli.js", "ci"], tmp_path)
