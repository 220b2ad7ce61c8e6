"""A control plane for each test, on both databases; what must hold after any of them."""

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tests.api.harness import Plane, Site, build_site, secrets_in, serving
from tests.api.work import Work

Serve = Callable[..., Awaitable[Plane]]


@pytest.fixture
async def serve(migrated_database_url: str, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Serve]:
    """Starts control planes on this test's database, and in the end sees that none of them

    - logged a traceback: whatever a test sends, it is answered, not stumbled over;
    - left a raw key in the database or in the log.
    """
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, logger="gpuforge_controlplane")
    planes: list[Plane] = []
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: Any) -> Plane:
            plane = await stack.enter_async_context(serving(migrated_database_url, **settings))
            planes.append(plane)
            return plane

        yield start
        for plane in planes:
            await _see_no_raw_key(plane, caplog)
    assert [record.getMessage() for record in caplog.get_records("call") if record.exc_info] == []


@pytest.fixture
async def plane(serve: Serve) -> Plane:
    """A control plane whose anonymous readers are refused."""
    return await serve()


@pytest.fixture
async def site(plane: Plane) -> Site:
    """A cluster with a node of two GPUs."""
    return await build_site(plane, "east")


@pytest.fixture
async def work(plane: Plane) -> Work:
    """A fleet without a node, for a test to furnish."""
    return Work(plane=plane)


async def _see_no_raw_key(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    url = make_url(str(plane.database.url))
    contents = await plane.contents()
    texts = [row for rows in contents.values() for row in rows]
    if url.database and plane.database.dialect == "sqlite":
        files = [Path(url.database + suffix) for suffix in ("", "-wal")]
        texts += [file.read_bytes().decode("latin-1") for file in files if file.exists()]
    texts += [str(vars(record)) for record in caplog.get_records("call")]
    assert secrets_in(plane, iter(texts)) == []
