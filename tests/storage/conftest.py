"""Fixtures of the storage tier."""

from collections.abc import AsyncIterator

import pytest

from tests.storage.rows import Shelf, shelf_at


@pytest.fixture
async def shelf(migrated_database_url: str) -> AsyncIterator[Shelf]:
    """An empty cluster in a database of this test's own, on both databases."""
    async with shelf_at(migrated_database_url) as shelf:
        yield shelf
