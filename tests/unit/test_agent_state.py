"""The state folder: one agent's own, and an agent that can't have one works without."""

import errno
from pathlib import Path

import pytest

from gpuforge_agent import state
from gpuforge_shared.settings import SettingsError


def test_a_folder_is_one_agents_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "state"
    with state.claimed(folder) as ours:
        assert ours == folder
        assert folder.stat().st_mode & 0o777 == 0o700
        assert state.holder(folder)
        with pytest.raises(SettingsError, match="another agent"), state.claimed(folder):
            pass
    assert state.holder(folder) is None
    with state.claimed(folder) as again:
        assert again == folder


def test_without_a_folder_nothing_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with state.claimed(None) as folder:
        assert folder is None
    assert "in memory" in caplog.text


def test_a_folder_that_cannot_be_made_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with state.claimed(tmp_path / "file" / "state") as folder:
        assert folder is None
    assert "can't be used" in caplog.text


def test_on_a_full_disk_the_folder_is_claimed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: int, _content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("gpuforge_agent.state.os.write", full)
        with state.claimed(tmp_path) as folder:
            assert folder == tmp_path
            assert state.holder(tmp_path) == "unknown"
