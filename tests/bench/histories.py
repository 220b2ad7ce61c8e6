"""`python -m tests.bench.histories [10000]`: random histories of work and money, all compared; on SQLite.

Prints how many histories were run, with how many ledger rows, invoices and crashes, and that seconds and
cents agree; ends at the first one that differs, with its seed and its story.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from gpuforge_controlplane.migrations import migrate
from gpuforge_controlplane.storage.billing_schema import invoices, usage_events
from gpuforge_controlplane.storage.database import Database
from tests.storage.histories import History

A_DATABASE = 100  # histories: each one's meter passes over all of them
# It is not the disk that is tried here.
MEMORY = next((folder for folder in (Path("/dev/shm"),) if folder.is_dir()), None)


@dataclass(slots=True)
class Tally:
    """What was compared."""

    rows: int = 0
    seconds: int = 0
    invoices: int = 0
    crashes: int = 0


async def compare(seeds: range, steps: int, tally: Tally) -> None:
    """Run these histories on a database of their own."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        url = f"sqlite+aiosqlite:///{folder}/ledger.db"
        await migrate(url)
        database = Database(url)
        try:
            for seed in seeds:
                history = History(database, seed)
                await history.run(steps)
                try:
                    await history.check()
                except AssertionError:
                    print(f"seed {seed} differs: {', '.join(history.story)}")
                    raise
                tally.crashes += sum("crashed" in thing for thing in history.story)
            async with database.read() as tx:
                tally.rows += await tx.scalar(select(func.count()).select_from(usage_events)) or 0
                tally.seconds += await tx.scalar(select(func.sum(usage_events.c.gpu_seconds))) or 0
                tally.invoices += await tx.scalar(select(func.count()).select_from(invoices)) or 0
        finally:
            await database.close()


async def run(first: int, count: int, steps: int) -> None:
    """Compare the histories of the seeds from `first` on, and print what was compared."""
    began, tally = time.monotonic(), Tally()
    for start in range(first, first + count, A_DATABASE):
        await compare(range(start, min(start + A_DATABASE, first + count)), steps, tally)
        print(f"{min(start + A_DATABASE, first + count) - first:,} histories agree", flush=True)
    print(
        f"{count:,} histories, {tally.rows:,} ledger rows, {tally.seconds:,} GPU-seconds, "
        f"{tally.invoices:,} invoices, {tally.crashes:,} crashes: 0 seconds and 0 cents of difference, "
        f"in {time.monotonic() - began:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("count", type=int, nargs="?", default=10_000)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--first", type=int, default=0, help="seed of the first one")
    given = parser.parse_args()
    asyncio.run(run(given.first, given.count, given.steps))


if __name__ == "__main__":
    main()
