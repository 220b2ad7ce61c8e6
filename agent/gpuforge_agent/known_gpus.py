"""The GPUs that this host ever had, on disk by UUID: one that died between two runs is still missed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import msgspec

from gpuforge_agent.sources.base import GpuIdentity, Inventory
from gpuforge_agent.state import HANG_S, replace_file
from gpuforge_shared.aside import aside

logger = logging.getLogger(__name__)

FILE = "gpus.json"


class KnownGpus:
    """What is known of this host's cards. Without a folder it is forgotten with the process."""

    def __init__(self, folder: Path | None, hold: Callable[[], None] = lambda: None) -> None:
        """Nothing is known before `read`. `hold` comes before anything is written, and may raise OSError."""
        self._file = None if folder is None else folder / FILE
        self._hold = hold
        self._gpus: dict[str, GpuIdentity] = {}
        self._is_read = False
        self._is_behind = False  # the file
        self._saving: asyncio.Future[None] | None = None
        self._trouble: str | None = None  # why the file is behind

    @property
    def gpus(self) -> tuple[GpuIdentity, ...]:
        """Each card as it was listed last, by index."""
        return tuple(sorted(self._gpus.values(), key=lambda gpu: (gpu.index, gpu.uuid)))

    async def read(self) -> None:
        """Take in what an earlier run left; a file that can't be read is as none, and said so."""
        if self._file is None:
            return
        try:
            async with asyncio.timeout(HANG_S):
                earlier = await aside(partial(_read, self._file))
        except OSError as error:
            logger.warning(
                "the GPUs of earlier runs are not known: %s", str(error) or "the disk does not answer"
            )
        else:
            self._take_in(earlier)

    def note(self, inventory: Inventory) -> None:
        """Remember what is listed now; writes only news, old news until it succeeds. Waits for no disk."""
        listed = {gpu.uuid: gpu for gpu in inventory.gpus}
        self._is_behind |= not listed.items() <= self._gpus.items()
        self._gpus |= listed
        if self._is_behind and self._file is not None and (self._saving is None or self._saving.done()):
            self._saving = asyncio.ensure_future(self._save(self._file))

    async def saved(self) -> None:
        """Until what was noted is on disk, or could not be written; takes as long as the disk does."""
        if self._saving is not None:
            await asyncio.wait([self._saving])

    async def _save(self, file: Path) -> None:
        """Bring the file up to date."""
        trouble = None
        self._is_behind = False
        try:
            await aside(self._hold)
            if not self._is_read:  # what we could not read then must not be written over
                self._take_in(await aside(partial(_read, file)))
            await aside(
                partial(replace_file, file, msgspec.json.format(msgspec.json.encode(self.gpus), indent=1))
            )
        except OSError as error:
            self._is_behind = True
            trouble = str(error)
        if trouble is not None and trouble != self._trouble:
            logger.warning("the GPUs of this host can't be remembered: %s", trouble)
        self._trouble = trouble

    def _take_in(self, earlier: Iterable[GpuIdentity]) -> None:
        self._gpus = {gpu.uuid: gpu for gpu in earlier} | self._gpus
        self._is_read = True


def _read(file: Path) -> tuple[GpuIdentity, ...]:
    """What the file holds; one that is damaged is as none, and said so. Raises OSError."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=tuple[GpuIdentity, ...])
    except FileNotFoundError:
        return ()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        logger.warning("the GPUs of earlier runs are not known: %s", error, extra={"file": str(file)})
        return ()
