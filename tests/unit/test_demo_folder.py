"""The demo's folder: keys for their owner alone, one demo at a time, logs that tell what happened last."""

from pathlib import Path

import pytest

from gpuforge_client.demo_folder import (
    DemoError,
    DemoFolder,
    fresh_log,
    last_lines,
    opened,
    read_key,
    write_key,
)
from gpuforge_shared.apikey import assemble

KEY = assemble("a" * 56)
URL = "http://127.0.0.1:8080"


@pytest.fixture
def folder(tmp_path: Path) -> DemoFolder:
    return DemoFolder(path=tmp_path)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_it_is_its_owners_alone(tmp_path: Path) -> None:
    with opened(tmp_path / "a" / "demo", URL) as folder:
        assert mode(folder.path) == 0o700


def test_a_key_is_kept_for_its_owner_and_read_back(folder: DemoFolder) -> None:
    write_key(folder.admin_key, assemble("b" * 56))
    write_key(folder.admin_key, KEY)
    assert (read_key(folder.admin_key), mode(folder.admin_key)) == (KEY, 0o600)
    assert [file.name for file in folder.path.iterdir()] == ["admin.key"]


@pytest.mark.parametrize(
    "content", [None, b"", KEY[:-1].encode(), b"\xff\xfe"], ids=["absent", "empty", "cut short", "not text"]
)
def test_what_is_no_key_is_none(folder: DemoFolder, content: bytes | None) -> None:
    if content is not None:
        folder.admin_key.write_bytes(content)
    assert read_key(folder.admin_key) is None


def test_two_demos_can_not_share_it(tmp_path: Path) -> None:
    with opened(tmp_path, URL), pytest.raises(DemoError, match=f"already \\({URL}, process [0-9]+\\)"):
        opened(tmp_path, "http://127.0.0.1:9").__enter__()
    with opened(tmp_path, URL):
        pass


def test_keys_go_when_the_database_they_belong_to_is_gone(tmp_path: Path) -> None:
    with opened(tmp_path, URL) as folder:
        folder.database.touch()
        write_key(folder.cluster_key("lab"), KEY)
    with opened(tmp_path, URL) as folder:
        assert read_key(folder.cluster_key("lab")) == KEY
        folder.database.unlink()
    with opened(tmp_path, URL) as folder:
        assert read_key(folder.cluster_key("lab")) is None


def test_a_place_that_can_not_be_is_refused_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DemoError, match=r"can't use .*file/demo: Not a directory; .* --data"):
        opened(tmp_path / "file" / "demo", URL).__enter__()


def test_the_end_of_a_log_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert last_lines(log) == "    (it is empty)"
    log.write_text("".join(f"line {number}\n" for number in range(5_000)))
    assert last_lines(log, 2) == "    line 4998\n    line 4999"


def test_the_last_runs_log_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    for text in ("first", "second"):
        fresh_log(log)
        log.write_text(text)
    fresh_log(log)
    assert (log.exists(), (tmp_path / "a.log.1").read_text()) == (False, "second")
