"""The host's own figures: processors, memory, disk, load, since when it is up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

from gpuforge_shared.aside import aside

Figure: TypeAlias = float | int | str
KIB_PER_MIB = 1024
HANG_S = 2.0  # after which a disk that says nothing counts as hung
_DISK = ("disk_used_mb", "disk_total_mb")


class Gauges:
    """Reads /proc. The share of the processors in use is that between two looks."""

    def __init__(
        self, disk: Path, proc: Path = Path("/proc"), *, disk_hangs: Callable[[], bool] = lambda: False
    ) -> None:
        """`disk`: a folder on the file system to tell of. `disk_hangs`: whether others know that it does."""
        self._disk = disk
        self._proc = proc
        self._disk_hangs = disk_hangs
        self._space: asyncio.Future[tuple[int, int]] | None = None
        self._ticks: tuple[int, int] | None = None

    async def read(self) -> tuple[dict[str, Figure], dict[str, str]]:
        """What could be read, and of the rest why not. MiB, per cent of all processors, seconds."""
        figures: dict[str, Figure] = {}
        missing: dict[str, str] = {}
        for names, read in self._readers():
            try:
                figures |= dict(zip(names, read(), strict=True))
            except (OSError, ValueError, IndexError, KeyError) as error:
                missing |= dict.fromkeys(names, _reason(error))
        try:
            figures |= dict(zip(_DISK, await self._disk_space(), strict=True))
        except OSError as error:
            hangs = isinstance(error, TimeoutError)
            missing |= dict.fromkeys(_DISK, "hung" if hangs else _reason(error))
        if "cpu_pct" in figures and figures["cpu_pct"] == NOT_YET:
            del figures["cpu_pct"]
            missing["cpu_pct"] = "not_reached"
        return figures, missing

    def _readers(self) -> Iterator[tuple[tuple[str, ...], Callable[[], tuple[Figure, ...]]]]:
        yield ("boot_id",), self._boot_id
        yield ("uptime_s",), lambda: (float(self._text("uptime").split()[0]),)
        yield ("cpu_pct",), self._cpu
        yield ("load_1m", "load_5m", "load_15m"), self._load
        yield ("ram_used_mb", "ram_total_mb"), self._ram

    def _boot_id(self) -> tuple[str]:
        return (self._text("sys/kernel/random/boot_id").strip(),)

    def _load(self) -> tuple[float, ...]:
        return tuple(map(float, self._text("loadavg").split()[:3]))

    def _cpu(self) -> tuple[float]:
        """From the first line of /proc/stat, proc(5): idle and iowait are not in use."""
        ticks = list(map(int, self._text("stat").splitlines()[0].split()[1:9]))
        idle, total = ticks[3] + ticks[4], sum(ticks)
        before, self._ticks = self._ticks, (idle, total)
        if before is None or total <= before[1]:
            return (NOT_YET,)
        return (round(100 * (1 - (idle - before[0]) / (total - before[1])), 1),)

    def _ram(self) -> tuple[int, int]:
        """Used is what no process could have: `MemTotal` without `MemAvailable`."""
        lines = (line.partition(":") for line in self._text("meminfo").splitlines())
        kib = {name: int(amount.split()[0]) for name, _, amount in lines if amount}
        return (kib["MemTotal"] - kib["MemAvailable"]) // KIB_PER_MIB, kib["MemTotal"] // KIB_PER_MIB

    async def _disk_space(self) -> tuple[int, int]:
        """Raises TimeoutError for a disk that hangs: it is not asked again before it has answered."""
        if self._disk_hangs():
            raise TimeoutError
        if self._space is None:
            self._space = aside(partial(_space, self._disk))
        async with asyncio.timeout(HANG_S):
            await asyncio.wait([self._space])
        asked, self._space = self._space, None
        return asked.result()

    def _text(self, name: str) -> str:
        return (self._proc / name).read_text(encoding="ascii")


def _space(disk: Path) -> tuple[int, int]:
    """MiB used and in all. Used is what is not free, whoever it is reserved for, as df(1) counts."""
    found = os.statvfs(disk)
    return (found.f_blocks - found.f_bfree) * found.f_frsize >> 20, found.f_blocks * found.f_frsize >> 20


def _reason(error: Exception) -> str:
    return "no_permission" if isinstance(error, PermissionError) else "not_supported"


NOT_YET = -1.0  # a share needs two looks
