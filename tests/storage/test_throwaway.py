"""A throwaway database leaves nothing behind, whoever was killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuforge_controlplane.storage import throwaway as module
from gpuforge_controlplane.storage.throwaway import throwaway

PREFIX = "gpuforge-test-"
HOLDER = f"""
import asyncio
from gpuforge_controlplane.storage.throwaway import throwaway
async def hold():
    async with throwaway("{PREFIX}"):
        print("there", flush=True)
        await asyncio.Event().wait()
asyncio.run(hold())
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder(temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process with a throwaway database of its own."""
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "there\n"
        yield process
        process.kill()


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def content(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def age(folder: Path) -> None:
    os.utime(folder, (0, 0))


async def test_nothing_is_left(temporary: Path) -> None:
    async with throwaway(PREFIX):
        assert len(content(temporary)) == 1
    assert not content(temporary)


async def test_what_a_killed_process_left_goes(temporary: Path, holder: subprocess.Popen[str]) -> None:
    [left] = content(temporary)
    age(left)
    kill(holder)
    async with throwaway(PREFIX):
        assert not left.exists()


async def test_what_a_process_holds_stays(temporary: Path, holder: subprocess.Popen[str]) -> None:
    [held] = content(temporary)
    age(held)
    async with throwaway(PREFIX):
        assert (held / "gpuforge.db").exists()


async def test_what_may_not_be_locked_yet_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = temporary / f"{PREFIX}fresh"
    fresh.mkdir()
    async with throwaway(PREFIX):
        assert fresh.exists()
    monkeypatch.setattr(module, "SETTLED_S", -60.0)
    async with throwaway(PREFIX):
        assert not fresh.exists()


async def test_nothing_is_followed_and_nothing_else_touched(temporary: Path) -> None:
    outside = temporary / "outside"
    outside.mkdir()
    link, file, other = (temporary / name for name in (f"{PREFIX}link", f"{PREFIX}file", "gpuforge-other"))
    link.symlink_to(outside)
    file.touch()
    other.mkdir()
    for each in (outside, file, other):
        age(each)
    async with throwaway(PREFIX):
        pass
    assert content(temporary) == sorted((outside, link, file, other))
