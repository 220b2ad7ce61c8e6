"""A page of the dashboard in a real browser, and what must hold of it whatever a test does."""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import ConsoleMessage, Locator, Page, Route, expect

from gpuforge_shared.clock import utc_now
from tests.api.harness import Plane, WallClock
from tests.dashboard import PACKAGES

TABS = ("", "fleet", "allocation", "jobs", "tenants", "billing", "alerts", "keys", "reference")
_AXE = """async () => {
  const found = await axe.run(document, { resultTypes: ["violations"] });
  return found.violations.map((each) => [`${each.id}: ${each.help}`,
    ...each.nodes.slice(0, 4).map((node) => `    ${node.html.slice(0, 160)}`)].join("\\n"));
}"""
# what is cut off, lies over something else, or has run out of its panel
MISPLACED = """() => {
  const found = [];
  const main = document.querySelector("main");
  const isCut = (each) => each.scrollWidth > each.clientWidth;
  if ([document.documentElement, main].some(isCut)) found.push("wider than the screen");
  const here = document.querySelector("nav [aria-current]").getBoundingClientRect();
  if (here.left < 0 || here.right > innerWidth) found.push("the tab's name is out of sight");
  let last = null;
  for (const panel of main.querySelectorAll(".panel")) {
    const [box, name] = [panel.getBoundingClientRect(), panel.innerText.slice(0, 30)];
    if (panel.scrollHeight > panel.clientHeight + 1) found.push(`${name} runs out of its panel`);
    if (last && box.top < last.bottom && box.left < last.right) found.push(`${name} lies over another`);
    last = box;
  }
  return found;
}"""


class LiveClock(WallClock):
    """The machine's clock: what a browser goes by."""

    def __call__(self) -> Any:
        return utc_now()


@dataclass(kw_only=True)
class Screen:
    """A page and the control plane behind it."""

    page: Page
    plane: Plane
    errors: list[str] = field(default_factory=list)
    # Chromium writes a line for each request that is refused: a test that provokes some names their statuses
    refusals: tuple[int, ...] = ()
    may_lose_server: bool = False

    def watch(self) -> None:
        """Note what the page complains of: any of it fails the test."""
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note(self, message: ConsoleMessage) -> None:
        refusal = re.search(r"the server responded with a status of (\d+)", message.text)
        if self.may_lose_server and "net::ERR" in message.text:
            return
        if message.type in ("error", "warning") and not (refusal and int(refusal[1]) in self.refusals):
            self.errors.append(message.text)

    async def open(self, tab: str = "", *, key: str | None = None) -> None:
        """Go to a tab, signed in with this key as a visitor of before would be."""
        if key is not None:
            await self.page.add_init_script(f"sessionStorage.setItem('gpuforge.key', '{key}')")
        await self.page.goto(f"{self.plane.url}/{tab}")

    async def open_as_admin(self, tab: str = "") -> None:
        await self.open(tab, key=self.plane.admin_key)
        await expect(self.page.get_by_role("button", name="Sign out")).to_be_visible()

    async def theme(self, name: str) -> None:
        """Switch to `dark` or `light`."""
        if await self.page.evaluate("document.documentElement.dataset.theme") != name:
            # by script: a dialog makes the rest of the page inert
            await self.page.evaluate("document.querySelector('button.theme').click()")

    async def see_accessible(self) -> None:
        """Fail on whatever axe finds, in both themes."""
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate((PACKAGES / "axe-core" / "axe.min.js").read_text())
        for theme in ("light", "dark"):
            await self.theme(theme)
            found = await self.page.evaluate(_AXE)
            assert not found, f"axe, {theme} theme:\n" + "\n".join(found)

    async def see_told(self, words: str) -> None:
        """A message is there for eyes, too, over the dialog that is open, and goes when it is told to."""
        toast = self.page.locator(".toast", has_text=words)
        await expect(toast).to_be_visible()
        box = await toast.bounding_box()
        assert box
        shown = await self.page.screenshot(clip=box)
        await toast.evaluate("toast => toast.style.visibility = 'hidden'")
        assert shown != await self.page.screenshot(clip=box), f"“{words}” lies behind something"
        await toast.evaluate("toast => toast.style.visibility = ''")
        await toast.get_by_role("button", name="Dismiss").click(timeout=3_000)
        await expect(toast).to_have_count(0)

    async def hold(self, address: str, method: str = "POST") -> tuple[asyncio.Event, asyncio.Event]:
        """Let such a request wait for the second event; the first says that one does."""
        sent, may_go = asyncio.Event(), asyncio.Event()

        async def late(route: Route) -> None:
            if route.request.method == method:
                sent.set()
                await may_go.wait()
            await route.continue_()

        await self.page.route(address, late)
        return sent, may_go

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")
