"""`python -m tests.bench.histories [10000]`: random histories of work and money, all compared; on SQLite.

Prints how many histories were run, with how many ledger rows, invoices and crashes, and that seconds and
cents agree; ends at the first one that differs, with its seed and its story.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from sqlalchemy import func, select

from gpuforge_controlplane.migrations import migrate
from gpuforge_controlplane.storage.billing_schema import usage_events
from gpuforge_controlplane.storage.database import Database
from tests.storage.histories import History

# It is not the disk that is tried here.
MEMORY = next((folder for folder in (Path("/dev/shm"),) if folder.is_dir()), None)


async def compare(count: int, steps: int, first: int) -> None:
    """Run the histories `first` to `first + count - 1`."""
    began, crashes = time.monotonic(), 0
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        url = f"sqlite+aiosqlite:///{folder}/ledger.db"
        await migrate(url)
        database = Database(url)
        try:
            for seed in range(first, first + count):
                history = History(database, seed)
                await history.run(steps)
                try:
                    await history.check()
                except AssertionError:
                    print(f"seed {seed} differs: {', '.join(history.story)}")
                    raise
                crashes += sum("crashed" in thing for thing in history.story)
                if (seed + 1 - first) % 500 == 0:
                    print(f"{seed + 1 - first:,} histories agree", flush=True)
            async with database.read() as tx:
                rows = await tx.scalar(select(func.count()).select_from(usage_events))
                seconds = await tx.scalar(select(func.sum(usage_events.c.gpu_seconds)))
                issued = (await tx.exec_driver_sql("SELECT count(*) FROM invoices")).scalar_one()
        finally:
            await database.close()
    print(
        f"{count:,} histories, {rows:,} ledger rows, {seconds:,} GPU-seconds, {issued:,} invoices, "
        f"{crashes:,} crashes: 0 seconds and 0 cents of difference, in {time.monotonic() - began:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("count", type=int, nargs="?", default=10_000)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--first", type=int, default=0, help="seed of the first one")
    given = parser.parse_args()
    asyncio.run(compare(given.count, given.steps, given.first))


if __name__ == "__main__":
    main()
