"""The GPUs that this host ever had, on disk by UUID: one that died between two runs is still missed."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from gpuforge_agent.sources.base import GpuIdentity, Inventory

logger = logging.getLogger(__name__)

FILE = "gpus.json"


class KnownGpus:
    """What is known of this host's cards. Without a folder it is forgotten with the process."""

    def __init__(self, folder: Path | None) -> None:
        """Read what an earlier run left; a file that can't be read is as none, and said so."""
        self._file = None if folder is None else folder / FILE
        self._gpus = {gpu.uuid: gpu for gpu in _read(self._file)}
        self._trouble: str | None = None  # why the file is behind

    @property
    def gpus(self) -> tuple[GpuIdentity, ...]:
        """Each card as it was listed last, by index."""
        return tuple(sorted(self._gpus.values(), key=lambda gpu: (gpu.index, gpu.uuid)))

    def note(self, inventory: Inventory) -> None:
        """Remember what is listed now; writes only news, old news until it succeeds. Never raises."""
        listed = {gpu.uuid: gpu for gpu in inventory.gpus}
        if listed.items() <= self._gpus.items() and self._trouble is None:
            return
        self._gpus |= listed
        trouble = self._saved()
        if trouble is not None and trouble != self._trouble:
            logger.warning("the GPUs of this host can't be remembered: %s", trouble)
        self._trouble = trouble

    def _saved(self) -> str | None:
        """Bring the file up to date; why that failed."""
        if self._file is None:
            return None
        try:
            _write(self._file, msgspec.json.format(msgspec.json.encode(self.gpus), indent=1))
        except OSError as error:
            return str(error)
        return None


def _read(file: Path | None) -> tuple[GpuIdentity, ...]:
    if file is None:
        return ()
    try:
        return msgspec.json.decode(file.read_bytes(), type=tuple[GpuIdentity, ...])
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        logger.warning("the GPUs of earlier runs are not known: %s", error, extra={"file": str(file)})
        return ()


def _write(file: Path, content: bytes) -> None:
    """Replace the file, so that a power cut leaves the old one or the new one."""
    fresh = file.with_suffix(".new")
    opened = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(opened, "wb") as writer:
        writer.write(content)
        writer.flush()
        os.fsync(writer.fileno())
    fresh.replace(file)
