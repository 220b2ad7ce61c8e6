"""Random histories against an independent calculator: 0 seconds and 0 cents of difference.

Here some hundred; `python -m tests.bench.histories` does ten thousand.
"""

import pytest

from gpuforge_controlplane.storage.database import Database
from tests.storage.histories import History


@pytest.mark.parametrize("first", [0, 100, 200, 300])
async def test_no_second_and_no_cent_is_lost_or_repeated(migrated_database_url: str, first: int) -> None:
    database = Database(migrated_database_url)
    count = 25 if database.dialect == "sqlite" else 8
    try:
        for seed in range(first, first + count):
            history = History(database, seed)
            await history.run(steps=25)
            try:
                await history.check()
            except AssertionError as error:
                error.add_note(f"seed {seed}: {', '.join(history.story)}")
                raise
    finally:
        await database.close()
