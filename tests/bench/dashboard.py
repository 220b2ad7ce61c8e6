"""The dashboard with a large fleet: time to the first live map, frames a second, the cost of drawing one.

    python -m tests.bench.dashboard [--gpus 10000 100000] [--requests 5]

A control plane in a process of its own, on a fleet that is held and reports; Chromium and this script share
the machine with it. Each of `--requests` first visits is by a browser that was never here.
"""

import os
import statistics

from playwright.async_api import Page, async_playwright

from gpuforge_controlplane.migrations import migrate
from gpuforge_controlplane.storage.database import Database
from tests.bench.alerts import furnish
from tests.bench.server import Server, on_fleets
from tests.dashboard import find_chromium

WATCH_S = 10
_MEASURE = """seconds => new Promise(done => {
  const gaps = [];
  let last = performance.now();
  const end = last + 1000 * seconds;
  const step = now => {
    gaps.push(now - last);
    last = now;
    now < end ? requestAnimationFrame(step) : done(gaps);
  };
  requestAnimationFrame(step);
})"""
_FIRST_MAP = "performance.getEntriesByName('first map')[0]?.startTime"


async def prepare(url: str, gpus: int) -> None:
    """The fleet."""
    await migrate(url)
    database = Database(url)
    try:
        await furnish(database, gpus)
    finally:
        await database.close()


async def visit(server: Server, visits: int) -> None:
    """First map in ms of browsers that were never here, and at their second visit; then a page's frames."""
    first, second, gaps = list[float](), list[float](), list[float]()
    async with async_playwright() as playwright:
        for left in reversed(range(visits)):
            browser = await playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
            page = await browser.new_page(viewport={"width": 1440, "height": 900})
            await page.add_init_script(f"sessionStorage.setItem('gpuforge.key', '{server.key}')")
            for times in (first, second):
                await page.goto(f"http://127.0.0.1:{server.port}/")
                times.append(await _first_map(page))
            if not left:
                gaps = sorted(await page.evaluate(_MEASURE, WATCH_S))
            await browser.close()
    print(f"  first live map at a first visit, ms: {_spread(first)}")
    print(f"  at a second visit, ms: {_spread(second)}")
    late = gaps[int(0.99 * len(gaps))]
    print(f"  {len(gaps) / WATCH_S:.1f} frames a second, p99 {late:.1f} ms, longest {gaps[-1]:.1f} ms")
    print(f"  load average {os.getloadavg()[0]:.1f}; control plane {server.rss_mib():.0f} MiB")


def _spread(times: list[float]) -> str:
    low, high = min(times), max(times)
    return f"{low:.0f} to {high:.0f}, median {statistics.median(times):.0f}, the very first {times[0]:.0f}"


async def _first_map(page: Page) -> float:
    # asked again and again from here: the page's policy forbids Playwright's own way of waiting
    while (found := await page.evaluate(_FIRST_MAP)) is None:
        await page.wait_for_timeout(20)
    return float(found)


if __name__ == "__main__":
    on_fleets(__doc__.splitlines()[0], prepare, visit, 5)
