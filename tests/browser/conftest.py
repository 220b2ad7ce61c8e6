"""The built dashboard, one Chromium for the session, a control plane and a page for each test."""

import contextlib
import inspect
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserType, async_playwright, expect

import hatch_build
from tests.api.harness import Plane, serving
from tests.browser.screen import LiveClock, Screen
from tests.conftest import require
from tests.dashboard import ROOT, find_chromium
from tests.tiers import CHROMIUM, IN_CI, NPM_PACKAGES

expect.set_options(timeout=15_000)  # a shared machine may be busy
OpenScreen = Callable[..., Awaitable[Screen]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One event loop for all tests here: the browser lives in it."""
    for item in items:
        if "tests/browser/" in item.path.as_posix() and inspect.iscoroutinefunction(
            getattr(item, "obj", None)
        ):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def built_dashboard() -> None:
    """The dashboard as it would be installed: `make test` has built it, an edit since then has not."""
    require(NPM_PACKAGES)
    if hatch_build.is_built(ROOT):
        return
    try:
        hatch_build.build(ROOT)
    except SystemExit as failure:
        if IN_CI:
            raise
        pytest.skip(str(failure))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def launched(built_dashboard: None) -> AsyncIterator[list[Browser]]:
    """Every Chromium of this session, the one in use last."""
    require(CHROMIUM)
    async with async_playwright() as playwright:
        browsers = [await _launch(playwright.chromium)]
        yield browsers
        for browser in browsers:
            await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def browser(launched: list[Browser]) -> Browser:
    """The Chromium of this session; a new one where it died, so that only the test that it died in fails."""
    if not launched[-1].is_connected():
        launched.append(await _launch(launched[-1].browser_type))
    return launched[-1]


async def _launch(chromium: BrowserType) -> Browser:
    # without /dev/shm: containers often have 64 MB there, on which a renderer dies
    switches = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    return await chromium.launch(executable_path=find_chromium(), args=switches)


@pytest_asyncio.fixture(loop_scope="session")
async def open_screen(browser: Browser, migrated_sqlite: Path, tmp_path: Path) -> AsyncIterator[OpenScreen]:
    """Opens pages on control planes of this test's own, by settings such as `demo="sample"`.

    In the end no page may have written an error to the console: a broken content security policy is one.
    """
    async with contextlib.AsyncExitStack() as stack:
        screens: list[Screen] = []

        async def open_one(
            *, width: int = 1440, height: int = 900, plane: Plane | None = None, **settings: object
        ) -> Screen:
            if plane is None:
                path = tmp_path / f"gpuforge-{len(screens)}.db"
                shutil.copyfile(migrated_sqlite, path)
                url = f"sqlite+aiosqlite:///{path}"
                plane = await stack.enter_async_context(serving(url, LiveClock(), **settings))
            context = await browser.new_context(
                viewport={"width": width, "height": height}, color_scheme="dark"
            )
            stack.push_async_callback(context.close)
            screen = Screen(page=await context.new_page(), plane=plane)
            screen.page.set_default_timeout(15_000)
            screen.watch()
            screens.append(screen)
            return screen

        yield open_one
    assert [error for screen in screens for error in screen.errors] == []


@pytest_asyncio.fixture(loop_scope="session")
async def screen(open_screen: OpenScreen) -> Screen:
    """A page on an empty control plane that shows nothing without a key."""
    return await open_screen()
