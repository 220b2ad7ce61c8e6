"""What a host remembers of its cards: over restarts, slots that shift, and files that are damaged."""

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


def test_a_card_that_is_gone_is_known_to_the_next_run_where_it_was(tmp_path: Path) -> None:
    KnownGpus(tmp_path).note(Inventory(gpus=(card(0), card(1), card(2))))
    second = KnownGpus(tmp_path)
    assert second.gpus == (card(0), card(1), card(2))
    moved = replace(card(2), index=1)
    second.note(Inventory(gpus=(card(0), moved), absent=(card(1),)))
    assert set(KnownGpus(tmp_path).gpus) == {card(0), card(1), moved}


def test_the_file_is_written_only_when_there_is_news(tmp_path: Path) -> None:
    known = KnownGpus(tmp_path)
    known.note(Inventory(gpus=(card(0), card(1))))
    (tmp_path / FILE).unlink()
    known.note(Inventory(gpus=(card(1),), absent=(card(0),)))
    known.note(Inventory(absent=(card(0), card(1)), fault=Fault(reason=Reason.DRIVER_ABSENT, detail="")))
    assert not (tmp_path / FILE).exists()
    known.note(Inventory(gpus=(card(2),)))
    assert KnownGpus(tmp_path).gpus == (card(0), card(1), card(2))
    assert list(tmp_path.iterdir()) == [tmp_path / FILE]


@pytest.mark.parametrize("content", [b"", b"[", b"{}", b"[{}]", b"\xff", b'[{"uuid": 1}]'])
def test_a_damaged_file_is_as_none_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / FILE).write_bytes(content)
    known = KnownGpus(tmp_path)
    assert known.gpus == ()
    assert "are not known" in caplog.text
    known.note(Inventory(gpus=(card(0),)))
    assert KnownGpus(tmp_path).gpus == (card(0),)


def test_a_file_of_a_newer_agent_is_read(tmp_path: Path) -> None:
    KnownGpus(tmp_path).note(Inventory(gpus=(card(0),)))
    text = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(text.replace('"uuid"', '"from_the_future": [1],\n  "uuid"'))
    assert KnownGpus(tmp_path).gpus == (card(0),)


def test_where_nothing_can_be_written_it_is_said_and_forgotten_with_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = KnownGpus(tmp_path / "gone")
    for _ in range(3):
        known.note(Inventory(gpus=(card(0),)))
    assert caplog.text.count("can't be remembered") == 1
    assert known.gpus == (card(0),)
    assert KnownGpus(None).gpus == ()


def test_what_could_not_be_written_is_once_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "mounted later"
    known = KnownGpus(folder)
    known.note(Inventory(gpus=(card(0),)))
    folder.mkdir()
    known.note(Inventory(gpus=(card(0),)))
    assert KnownGpus(folder).gpus == (card(0),)
