"""`make screenshots`: every tab in both themes, out of a demo that has run for a while."""

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

import hatch_build
from gpuforge_client import config
from tests.browser.screen import TABS
from tests.dashboard import ROOT, find_chromium
from tests.loopback import free_loopback_port

SETTLE_MS = 2500  # charts and lists have come by then


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where the dashboard is and a key that sees all of it."""

    url: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """What a picture is called, and what it shows."""

    name: str
    address: str
    theme: str = "dark"
    width: int = 1440
    height: int = 900


SHOTS = (
    *(Shot(name=tab or "overview", address=tab, theme=theme) for tab in TABS for theme in ("dark", "light")),
    Shot(name="fleet-table", address="fleet?view=table"),
    Shot(name="fleet-node", address="fleet?node=1"),
    Shot(name="billing-leakage", address="billing?view=leakage"),
    Shot(name="overview", address="", width=390, height=844),
    Shot(name="overview", address="", width=2560, height=1440),
)


def main() -> None:
    """Take them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "screenshots")
    parser.add_argument("--nodes", type=int, default=12)
    parser.add_argument("--life", type=float, default=60.0, help="seconds that the demo lives before")
    parser.add_argument("--tab", action="append", choices=[tab or "overview" for tab in TABS])
    parser.add_argument("--url", help="a control plane that runs already, together with --key")
    parser.add_argument("--key")
    options = parser.parse_args()
    if hatch_build.is_wanted(ROOT):
        hatch_build.build(ROOT)
    options.out.mkdir(exist_ok=True)
    running = contextlib.nullcontext(Site(url=options.url, key=options.key)) if options.url else None
    with running or demo(options.nodes, options.life) as site, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        for shot in SHOTS:
            if not options.tab or shot.name.partition("-")[0] in options.tab:
                take(browser, site, shot, options.out)
        browser.close()


def take(browser: Browser, site: Site, shot: Shot, out: Path) -> None:
    """One picture: `overview-dark.png`, `overview-dark-390.png`."""
    context = browser.new_context(viewport={"width": shot.width, "height": shot.height})
    context.add_init_script(f"sessionStorage.setItem('gpuforge.key', '{site.key}')")
    context.add_init_script(f"localStorage.setItem('gpuforge.theme', '{shot.theme}')")
    page = context.new_page()
    page.goto(f"{site.url}/{shot.address}")
    page.wait_for_timeout(SETTLE_MS * (4 if shot.address == "" else 1))
    name = f"{shot.name}-{shot.theme}" + ("" if shot.width == 1440 else f"-{shot.width}")
    page.screenshot(path=out / f"{name}.png")
    sys.stdout.write(f"{out / name}.png\n")
    context.close()


@contextlib.contextmanager
def demo(nodes: int, life_s: float) -> Iterator[Site]:
    """A demo of its own, in a folder that goes with it."""
    port = free_loopback_port()
    with tempfile.TemporaryDirectory(prefix="gpuforge-screenshots-") as folder:
        flags = ["--nodes", str(nodes), "--port", str(port), "--data", folder]
        process = subprocess.Popen(
            [sys.executable, "-m", "gpuforge_client", "demo", *flags],
            env=config.plain_environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout
            said = ""
            while "begins anew" not in said:
                line = process.stdout.readline()
                assert line, f"the demo has ended: {said}"
                said += line
            key = re.search(r"gfk_[0-9a-f]{64}", said)
            assert key
            time.sleep(life_s)
            yield Site(url=f"http://127.0.0.1:{port}", key=key[0])
        finally:
            process.terminate()
            process.communicate()


if __name__ == "__main__":
    main()
