"""What a host remembers of its cards: over restarts, slots that shift, and files that are damaged."""

import asyncio
import errno
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from gpuforge_agent.known_gpus import FILE, KnownGpus
from gpuforge_agent.sources.base import Fault, GpuIdentity, Inventory, Reason


def card(number: int) -> GpuIdentity:
    return GpuIdentity(
        uuid=f"GPU-{number}",
        index=number,
        model="H100",
        vram_mb=81_559,
        pci_bus_id=f"00000000:{number:02}:00.0",
    )


async def known_in(folder: Path) -> KnownGpus:
    known = KnownGpus(folder)
    await known.read()
    return known


async def note(known: KnownGpus, inventory: Inventory) -> None:
    known.note(inventory)
    await known.saved()


async def test_a_card_that_is_gone_is_known_to_the_next_run_where_it_was(tmp_path: Path) -> None:
    await note(KnownGpus(tmp_path), Inventory(gpus=(card(0), card(1), card(2))))
    second = await known_in(tmp_path)
    assert second.gpus == (card(0), card(1), card(2))
    moved = replace(card(2), index=1)
    await note(second, Inventory(gpus=(card(0), moved), absent=(card(1),)))
    assert set((await known_in(tmp_path)).gpus) == {card(0), card(1), moved}


async def test_the_file_is_written_only_when_there_is_news(tmp_path: Path) -> None:
    known = KnownGpus(tmp_path)
    await note(known, Inventory(gpus=(card(0), card(1))))
    (tmp_path / FILE).unlink()
    await note(known, Inventory(gpus=(card(1),), absent=(card(0),)))
    await note(
        known, Inventory(absent=(card(0), card(1)), fault=Fault(reason=Reason.DRIVER_ABSENT, detail=""))
    )
    assert not (tmp_path / FILE).exists()
    await note(known, Inventory(gpus=(card(2),)))
    assert (await known_in(tmp_path)).gpus == (card(0), card(1), card(2))
    assert not await asyncio.to_thread((tmp_path / FILE).with_suffix(".new").exists)


@pytest.mark.parametrize("content", [b"", b"[", b"{}", b"[{}]", b"\xff", b'[{"uuid": 1}]'])
async def test_a_damaged_file_is_as_none_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / FILE).write_bytes(content)
    known = await known_in(tmp_path)
    assert known.gpus == ()
    assert "are not known" in caplog.text
    await note(known, Inventory(gpus=(card(0),)))
    assert (await known_in(tmp_path)).gpus == (card(0),)


async def test_a_file_of_a_newer_agent_is_read(tmp_path: Path) -> None:
    await note(KnownGpus(tmp_path), Inventory(gpus=(card(0),)))
    text = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(text.replace('"uuid"', '"from_the_future": [1],\n  "uuid"'))
    assert (await known_in(tmp_path)).gpus == (card(0),)


async def test_where_nothing_can_be_written_it_is_said_and_forgotten_with_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = KnownGpus(tmp_path / "gone")
    for _ in range(3):
        await note(known, Inventory(gpus=(card(0),)))
    assert caplog.text.count("can't be remembered") == 1
    assert known.gpus == (card(0),)
    assert KnownGpus(None).gpus == ()


async def test_what_could_not_be_written_is_once_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "mounted later"
    known = KnownGpus(folder)
    await note(known, Inventory(gpus=(card(0),)))
    folder.mkdir()
    await note(known, Inventory(gpus=(card(0),)))
    assert (await known_in(folder)).gpus == (card(0),)


async def test_what_could_not_be_read_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await note(KnownGpus(tmp_path), Inventory(gpus=(card(0),)))

    def broken(_: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as disk:
        disk.setattr("gpuforge_agent.known_gpus.Path.read_bytes", broken)
        known = await known_in(tmp_path)
        await note(known, Inventory(gpus=(card(1),)))
    assert "are not known" in caplog.text
    await note(known, Inventory(gpus=(card(1),)))
    assert (await known_in(tmp_path)).gpus == known.gpus == (card(0), card(1))


async def test_a_disk_that_hangs_holds_up_no_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, released = threading.Event(), threading.Event()

    def hang(_: int) -> None:
        reached.set()
        released.wait()

    monkeypatch.setattr("gpuforge_agent.state.os.fsync", hang)
    known = await known_in(tmp_path)
    known.note(Inventory(gpus=(card(0),)))
    await asyncio.to_thread(reached.wait)
    known.note(Inventory(gpus=(card(0), card(1))))
    assert known.gpus == (card(0), card(1))
    released.set()
    await known.saved()
    await note(known, Inventory(gpus=(card(0), card(1))))
    assert (await known_in(tmp_path)).gpus == (card(0), card(1))
