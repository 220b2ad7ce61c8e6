"""The state folder: one agent's own, and an agent that can't have one works without."""

import errno
import os
import threading
from pathlib import Path

import pytest

from gpuforge_agent import state


async def test_a_folder_is_one_agents_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "state"
    async with state.claimed(folder) as ours:
        assert ours
        assert ours.folder == folder
        assert folder.stat().st_mode & 0o777 == 0o700
        assert state.holder(folder)
        with pytest.raises(state.FolderTaken, match="another agent"):
            async with state.claimed(folder):
                pass
    assert state.holder(folder) is None
    async with state.claimed(folder) as again:
        assert again
        assert again.folder == folder


async def test_without_a_folder_nothing_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with state.claimed(None) as folder:
        assert folder is None
    assert "in memory" in caplog.text


async def test_a_folder_that_cannot_be_made_yet_is_ours_once_it_can(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with state.claimed(tmp_path / "file" / "state") as claim:
        assert claim
        with pytest.raises(NotADirectoryError):
            claim.hold()
        (tmp_path / "file").unlink()
        claim.hold()
        claim.hold()
        assert state.holder(claim.folder)
        with pytest.raises(state.FolderTaken, match="another agent"):
            async with state.claimed(claim.folder):
                pass


async def test_a_folder_that_another_took_meanwhile_stays_theirs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with state.claimed(tmp_path / "file" / "state") as late:
        assert late
        (tmp_path / "file").unlink()
        async with state.claimed(late.folder):
            with pytest.raises(state.FolderTaken, match="another agent"):
                late.hold()
        late.hold()


async def test_a_start_does_not_wait_for_a_disk_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr(state, "HANG_S", 0.01)
    monkeypatch.setattr(state, "_locked", lambda folder: (released.wait(), os.open(folder, os.O_RDONLY))[1])
    async with state.claimed(tmp_path) as claim:
        assert claim
        released.set()
        claim.hold()


async def test_on_a_full_disk_the_folder_is_claimed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: int, _content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("gpuforge_agent.state.os.write", full)
        async with state.claimed(tmp_path) as claim:
            assert claim
            assert state.holder(tmp_path) == "unknown"
