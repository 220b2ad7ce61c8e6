"""How fast a day's history of one GPU is told, out of a large fleet's two days of rollups on SQLite.

python -m tests.bench.history [--gpus 10000]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from datetime import datetime, timedelta

from gpuforge_controlplane.domain.buckets import FIVE_MINUTES, Kept, start_of
from gpuforge_controlplane.domain.resolution import Window, resolve
from gpuforge_controlplane.migrations import migrate
from gpuforge_controlplane.storage import history
from gpuforge_controlplane.storage.database import Database
from gpuforge_controlplane.storage.history import Subject
from gpuforge_controlplane.storage.statements import sqlite_driver
from gpuforge_shared.clock import utc_now
from tests.bench.scheduler import GPUS_A_NODE, build

DAY = timedelta(days=1)


async def fill(database: Database, gpus: int, until: datetime) -> None:
    """Two days of five-minute buckets of every GPU."""
    row = "30, 30, 1500.0, 10.0, 90.0, 30, 2100000, 81000, 30, 2100.0, 75.0, 30, 12000.0, 480.0"
    first = int((until - 2 * DAY).timestamp())
    async with database.write() as tx:
        driver = await sqlite_driver(tx)
        await driver.execute(
            "WITH RECURSIVE b(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM b WHERE n < 575)"
            f" INSERT INTO gpu_rollup_5m SELECT ({first} + 300 * b.n) * 1000000, gpus.id, {row} FROM gpus, b"
        )


async def measure(url: str, gpus: int) -> None:
    """Print what one question takes."""
    await migrate(url)
    database = Database(url)
    await build(database, gpus // GPUS_A_NODE, 0, held=False)
    until = start_of(utc_now(), FIVE_MINUTES)
    await fill(database, gpus, until)
    for name, subject, count in (
        ("one GPU", Subject(gpu_id=gpus // 2), 1),
        ("a node", Subject(node_id=gpus // 2 // GPUS_A_NODE), GPUS_A_NODE),
    ):
        took = []
        for _ in range(50):
            began = time.perf_counter()
            async with database.read() as tx:
                window = Window(since=until - DAY, until=until, step_s=None)
                told = resolve(window, gpus=count, fleet=gpus, now=until, kept=Kept(), rolled_up=True)
                points = await history.points(tx, subject, told)
            took.append(1000 * (time.perf_counter() - began))
        ranks = statistics.quantiles(took, n=20)
        print(f"a day of {name}, {len(points)} points: {ranks[9]:.1f} ms, p95 {ranks[18]:.1f} ms")
    await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpus", type=int, default=10_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpuforge-bench-") as name:
        asyncio.run(measure(f"sqlite+aiosqlite:///{name}/bench.db", asked.gpus))


if __name__ == "__main__":
    main()
