"""What is shown follows what is: over the stream, through a restart, on a small screen."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from playwright.async_api import expect

from gpuforge_client import config
from gpuforge_controlplane.domain.buckets import start_of
from gpuforge_controlplane.storage import fleet_use
from gpuforge_controlplane.storage.fleet_use import Use
from tests.api.work import Work
from tests.browser.conftest import OpenScreen
from tests.browser.screen import TABS, Screen


async def test_a_job_that_starts_shows_without_a_reload(screen: Screen) -> None:
    work = Work(plane=screen.plane)
    cluster = await work.cluster(8)
    tenant = await work.tenant(8)
    await screen.open_as_admin("allocation")
    await expect(screen.page.get_by_role("heading", name="No GPU is allocated")).to_be_visible()
    await work.running(cluster, 4, tenant_id=tenant, name="pretrain")
    await expect(screen.page.get_by_role("row", name="pretrain").locator(".cell")).to_have_count(4)


async def test_the_overview_shows_the_fleet(open_screen: OpenScreen) -> None:
    screen = await open_screen(demo="sample")
    await screen.open()
    await expect(screen.page.get_by_text("5 nodes · 32 GPUs")).to_be_visible()
    await expect(screen.page.locator(".link")).to_have_text("Live")
    await screen.page.get_by_role("button", name="Allocated but idle").click()
    assert screen.page.url.endswith("/?show=idle")
    await screen.page.locator(".cells canvas").hover(position={"x": 10, "y": 10})
    await expect(screen.page.locator(".tip")).to_contain_text("gpu-01")
    await screen.page.locator(".cells canvas").click(position={"x": 10, "y": 10})
    await expect(screen.dialog()).to_contain_text("gpu-01")


async def test_a_day_of_allocated_against_used_is_there_at_once(screen: Screen) -> None:
    async with screen.plane.database.write() as tx:
        for hours, held in ((20, 8), (1, 5)):
            at = start_of(screen.plane.clock() - timedelta(hours=hours))
            await fleet_use.add(tx, Use(at, watched_s=300, gpu_s=3000, held_s=300 * held, idle_s=600))
    await screen.open_as_admin()
    chart = screen.page.get_by_role("img", name="Share of the fleet's GPUs over a day")
    await expect(chart).to_have_accessible_name(re.compile("Allocated: 50%, Used: 30%"))


# what is wider than the room it has, of the page and of the tables in it
_SIDEWAYS = """() => [document.querySelector("main"), ...document.querySelectorAll(".table-box")]
  .filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.ariaLabel ?? box.tagName)"""


async def test_a_narrow_screen_scrolls_in_one_direction_alone(open_screen: OpenScreen) -> None:
    screen = await open_screen(demo="sample", width=390, height=844)
    places = ("fleet?view=table", "fleet?node=1", "billing?view=leakage", "jobs?job=1", "jobs?view=log")
    for place in (*TABS, *places, "keys?show=all", "alerts?state=all", "alerts?view=rules"):
        await screen.open(place)
        await expect(screen.page.get_by_role("heading", level=1)).to_be_visible()
        await expect(screen.page.locator("[aria-busy=true]")).to_have_count(0)
        assert await screen.page.evaluate(_SIDEWAYS) == [], place


async def test_a_narrow_screen_lacks_nothing_that_a_table_tells(open_screen: OpenScreen) -> None:
    screen = await open_screen(width=390, height=844)
    await screen.plane.key(
        label="an ingestor that has quite a long name to tell from others", permissions=["read"]
    )
    await screen.open_as_admin("keys")
    cards = screen.page.get_by_role("region", name="API keys, table").locator("tbody tr")
    await expect(cards).to_have_count(2)
    card = cards.filter(has_text="an ingestor")
    cells = card.locator("td")
    for cell in await cells.all():
        await expect(cell).to_be_in_viewport(ratio=1)
    titles = await cells.evaluate_all(
        "cells => cells.map((cell) => getComputedStyle(cell, '::before').content)"
    )
    assert titles[1:-1] == [
        f'"{each}"' for each in ("Prefix", "Permissions", "Belongs to", "Made", "Last used", "State")
    ]
    await screen.see_accessible()
    await screen.button("Label").click()
    await expect(cards.first).to_contain_text("an ingestor")
    await card.get_by_role("button", name="Revoke").click()
    await expect(screen.dialog()).to_contain_text("Revoke this key?")


async def test_a_narrow_screen_scrolls_through_many_rows(open_screen: OpenScreen) -> None:
    screen = await open_screen(width=390, height=844)
    work = Work(plane=screen.plane)
    cluster = await work.cluster(4)
    for number in range(130):
        await work.submit(cluster, 1, name=f"job {number:03}")
    await screen.open_as_admin("jobs?every=1&sort=name")
    box = screen.page.get_by_role("region", name="Jobs, table")
    await expect(box.get_by_role("link", name="job 000")).to_be_visible()
    await box.evaluate("box => (box.scrollIntoView(), box.scrollTop = box.scrollHeight)")
    await expect(box.get_by_role("link", name="job 129")).to_be_in_viewport(ratio=1)
    assert await screen.page.evaluate(_SIDEWAYS) == []


@contextlib.contextmanager
def served(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A control plane of its own, which can be killed."""
    command = [
        sys.executable,
        "-m",
        "gpuforge_controlplane",
        "serve",
        "--port",
        str(port),
        "--demo",
        "sample",
    ]
    process = subprocess.Popen(
        [*command, "--database-url", f"sqlite+aiosqlite:///{folder}/gpuforge.db"],
        env=config.plain_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_a_control_plane_that_comes_back_is_found_again(
    open_screen: OpenScreen, tmp_path: Path, free_port: int
) -> None:
    screen = await open_screen()
    screen.may_lose_server = True
    address = f"http://127.0.0.1:{free_port}/"
    with served(tmp_path, free_port) as process:
        for _ in range(100):
            with contextlib.suppress(Exception):
                await screen.page.goto(address)
                break
            await screen.page.wait_for_timeout(100)
        await expect(screen.page.locator(".link")).to_have_text("Live")
        os.kill(process.pid, signal.SIGKILL)
        await expect(screen.page.locator(".link")).to_have_text("Reconnecting")
        await expect(screen.page.get_by_text("5 nodes · 32 GPUs")).to_be_visible()
    with served(tmp_path, free_port):
        await expect(screen.page.locator(".link")).to_have_text("Live", timeout=30_000)
