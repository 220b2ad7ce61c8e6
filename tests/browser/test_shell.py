"""What every tab stands in: signing in, demo mode, themes, keyboard, addresses."""

import asyncio
import time

import pytest
from playwright.async_api import Route, expect

from tests.api.work import Work
from tests.browser.conftest import OpenScreen
from tests.browser.screen import MISPLACED, TABS, Screen


@pytest.mark.parametrize("tab", TABS)
async def test_every_tab_is_accessible_in_both_themes(open_screen: OpenScreen, tab: str) -> None:
    screen = await open_screen(demo="sample")
    await screen.open(tab)
    await expect(screen.page.get_by_text("A made-up fleet, read-only.")).to_be_visible()
    await expect(screen.page.locator("[aria-busy=true]")).to_have_count(0)
    await screen.see_accessible()


@pytest.mark.parametrize("tab", TABS)
async def test_every_tab_fits_a_phone(open_screen: OpenScreen, tab: str) -> None:
    screen = await open_screen(demo="sample", width=390, height=844)
    await screen.open(tab)
    await expect(screen.page.get_by_role("heading", level=1)).to_be_visible()
    await expect(screen.page.locator("main .panel").first).to_be_visible()
    await expect(screen.page.locator("[aria-busy=true]")).to_have_count(0)
    assert await screen.page.evaluate(MISPLACED) == []
    await screen.see_accessible()


async def test_without_a_key_and_without_demo_there_is_a_way_in(screen: Screen) -> None:
    screen.refusals = (401,)
    await screen.open("keys")
    await expect(screen.page.get_by_role("heading", name="Sign in to see this fleet")).to_be_visible()
    await screen.see_accessible()
    await screen.page.locator("main").get_by_role("button", name="Sign in").click()
    field = screen.dialog().get_by_label("API key")
    for wrong, words in (("abc", "A key begins with gfk_."), ("gfk_" + "0" * 64, "does not know this key")):
        await field.fill(wrong)
        await screen.dialog().get_by_role("button", name="Sign in").click()
        await expect(screen.dialog().get_by_text(words)).to_be_visible()
    await field.fill(screen.plane.admin_key)
    await screen.dialog().get_by_role("button", name="Sign in").click()
    await expect(screen.page.get_by_text("the admin").first).to_be_visible()
    assert "gfk_" not in screen.page.url
    assert "gfk_" not in await screen.page.evaluate("JSON.stringify(localStorage) + document.cookie")
    await screen.page.reload()
    await expect(screen.button("Sign out")).to_be_visible()
    await screen.button("Sign out").click()
    await expect(screen.page.get_by_role("heading", name="Sign in to see this fleet")).to_be_visible()


async def test_a_scope_decides_which_controls_show(screen: Screen) -> None:
    screen.refusals = (403,)
    reader = await screen.plane.key(permissions=["read"])
    await screen.open("keys", key=reader)
    await expect(screen.page.get_by_role("heading", name="This key may not see that")).to_be_visible()
    await expect(screen.button("Generate key")).to_have_count(0)


async def test_who_is_signed_in_is_asked_again_when_the_control_plane_says(screen: Screen) -> None:
    screen.refusals = (503,)
    asked = list[float]()

    async def overloaded_at_first(route: Route) -> None:
        asked.append(time.monotonic())
        if len(asked) > 2:
            await route.continue_()
        else:
            await route.fulfill(status=503, headers={"Retry-After": "1"}, body="{}")

    await screen.page.route("**/api/whoami", overloaded_at_first)
    await screen.open("keys", key=screen.plane.admin_key)
    await expect(screen.button("Generate key")).to_be_visible()
    first, second, third = asked
    assert min(second - first, third - second) >= 1


async def test_nobody_asks_on_behalf_of_a_key_that_is_gone(screen: Screen) -> None:
    screen.refusals = (401, 503)
    asked = list[str | None]()

    async def overloaded_for_the_key(route: Route) -> None:
        asked.append(await route.request.header_value("Authorization"))
        if asked[-1] is None:
            await route.continue_()
        else:
            await route.fulfill(status=503, headers={"Retry-After": "1"}, body="{}")

    await screen.page.clock.install()
    await screen.page.route("**/api/whoami", overloaded_for_the_key)
    await screen.open("keys", key=screen.plane.admin_key)
    await screen.button("Sign out").click()
    await expect(screen.page.get_by_role("heading", name="Sign in to see this fleet")).to_be_visible()
    await screen.page.clock.run_for(5_000)
    await screen.page.evaluate("fetch('api/whoami')")
    assert asked == [f"Bearer {screen.plane.admin_key}", None, None], "the second by this test"


async def test_a_key_that_is_revoked_while_in_use(screen: Screen) -> None:
    screen.refusals = (401,)
    own = await screen.plane.key(label="short-lived", permissions=["admin"])
    await screen.open("keys", key=own)
    await screen.page.get_by_role("row", name="short-lived").get_by_role("button", name="Revoke").click()
    await expect(screen.dialog().get_by_text("the key that you are signed in with")).to_be_visible()
    await screen.dialog().get_by_role("textbox").fill("short-lived")
    await screen.dialog().get_by_role("button", name="Revoke key").click()
    await expect(screen.page.get_by_role("heading", name="This key is no longer valid")).to_be_visible()


async def test_a_key_that_is_valid_after_all_has_everything_back(screen: Screen) -> None:
    screen.refusals = (401,)
    await Work(plane=screen.plane).cluster(2)

    async def refuse(route: Route) -> None:
        await route.fulfill(status=401, content_type="application/problem+json", body='{"detail": "who?"}')

    await screen.page.route("**/api/**", refuse)  # a gateway before the control plane
    await screen.open("fleet", key=screen.plane.admin_key)
    await expect(screen.page.get_by_role("heading", name="This key is no longer valid")).to_be_visible()
    await expect(screen.page.locator(".link")).to_have_text("Not live")
    await screen.page.unroute("**/api/**")
    await expect(screen.page.get_by_text("1 node · 2 GPUs")).to_be_visible(timeout=40_000)
    await expect(screen.page.locator(".link")).to_have_text("Live")
    await expect(screen.button("New cluster")).to_be_visible()


async def test_the_palette_goes_anywhere_by_keyboard(open_screen: OpenScreen) -> None:
    screen = await open_screen(demo="sample")
    await screen.open()
    await screen.page.keyboard.press("Control+k")
    await screen.page.keyboard.type("api k")
    await screen.page.keyboard.press("Enter")
    await expect(screen.page.get_by_role("heading", name="API keys", level=1)).to_be_visible()
    assert screen.page.url.endswith("/keys")
    await screen.page.keyboard.press("/")
    await expect(screen.page.get_by_label("Filter keys")).to_be_focused()
    await screen.page.go_back()
    await expect(screen.page.get_by_role("heading", name="Overview", level=1)).to_be_visible()


async def test_the_first_link_skips_to_the_content(open_screen: OpenScreen) -> None:
    screen = await open_screen(demo="sample")
    await screen.open("jobs?status=queued")
    await expect(screen.page.get_by_label("Filter jobs")).to_be_visible()
    await screen.page.get_by_role("link", name="Skip to content").focus()
    await screen.page.keyboard.press("Enter")
    await expect(screen.page.get_by_role("main")).to_be_focused()
    await expect(screen.page.get_by_role("heading", name="Jobs", level=1)).to_be_visible()
    await screen.page.get_by_role("link", name="Tenants").click()
    await expect(screen.page.get_by_role("heading", name="Tenants", level=1)).to_be_visible()
    await screen.page.go_back()
    await expect(screen.page.get_by_label("Filter jobs")).to_be_visible()
    assert "status=queued" in screen.page.url


async def test_the_filter_is_gone_to_once_it_is_there(screen: Screen) -> None:
    asked, may_come = await screen.hold("**/assets/keys-*.js", "GET")
    await screen.open_as_admin("keys")
    await asked.wait()
    await screen.page.keyboard.press("/")
    await expect(screen.dialog()).to_have_count(0)
    may_come.set()
    await expect(screen.page.get_by_label("Filter keys")).to_be_focused()
    asked, may_come = await screen.hold("**/api/openapi.json", "GET")
    await screen.page.get_by_role("link", name="API reference").click()
    await asked.wait()
    await expect(screen.page.get_by_role("heading", name="API reference", level=1)).to_be_visible()
    await screen.page.keyboard.press("/")
    await expect(screen.dialog()).to_have_count(0)
    may_come.set()
    await expect(screen.page.get_by_label("Filter endpoints")).to_be_focused()


async def test_where_there_is_no_filter_the_palette_is_gone_to(screen: Screen) -> None:
    asked, may_come = await screen.hold("**/assets/overview-*.js", "GET")
    await screen.open_as_admin()
    await asked.wait()
    await screen.page.keyboard.press("/")
    await expect(screen.dialog()).to_have_count(0)
    may_come.set()
    await expect(screen.page.get_by_role("dialog", name="Go to")).to_be_visible()
    await screen.page.keyboard.press("/")
    await expect(screen.page.get_by_role("combobox")).to_have_value("/")


async def test_the_palette_finds_what_is_not_among_the_newest(screen: Screen) -> None:
    work = Work(plane=screen.plane)
    cluster = await work.cluster(4)
    await work.running(cluster, 1, name="the oldest")
    done = (await work.submit(cluster, 1, name="long over"))["id"]
    await work.change(f"/api/jobs/{done}", status="cancelled")
    for number in range(110):
        await work.submit(cluster, 1, name=f"later {number}")
    await screen.open_as_admin("keys")
    await screen.page.keyboard.press("Control+k")
    found = screen.page.get_by_role("option")
    await screen.page.keyboard.type("the oldest")
    await expect(found.first).to_contain_text("job 1, running")
    await screen.page.get_by_role("combobox").fill("east-01")
    await expect(found.first).to_contain_text("node, east")
    await screen.see_accessible()
    await screen.page.get_by_role("combobox").fill("long over")
    await expect(found.last).to_contain_text("Jobs with “long over”")
    await found.last.click()
    await expect(screen.page.get_by_role("link", name="long over")).to_be_visible()
    assert screen.page.url.endswith("/jobs?q=long%20over")


async def test_the_palette_waits_for_no_stream(screen: Screen) -> None:
    work = Work(plane=screen.plane)
    await work.running(await work.cluster(4), 1, name="the oldest")
    await screen.page.route("**/api/events", lambda route: None)  # it is asked, and never answers
    await screen.open_as_admin("keys")
    await screen.page.keyboard.press("Control+k")
    await screen.page.keyboard.type("the oldest")
    await expect(screen.page.get_by_role("option").first).to_contain_text("job 1, running")
    await screen.page.get_by_role("combobox").fill("east-01")
    await expect(screen.page.get_by_role("option").first).to_contain_text("node, east")


async def test_the_palette_takes_up_a_stream_that_comes_late(screen: Screen) -> None:
    work = Work(plane=screen.plane)
    await work.running(await work.cluster(4), 1, name="the oldest")
    may_come = asyncio.Event()

    async def late(route: Route) -> None:
        await may_come.wait()
        await route.continue_()

    await screen.page.route("**/api/events", late)
    for asked_instead in ("**/api/jobs*", "**/api/dashboard", "**/api/clusters*"):
        await screen.page.route(asked_instead, lambda route: None)  # never answered
    await screen.open_as_admin("keys")
    await screen.page.keyboard.press("Control+k")
    await screen.page.keyboard.type("the oldest")
    found = screen.page.get_by_role("option")
    await expect(found.first).to_contain_text("GPUs with")
    may_come.set()
    await expect(found.first).to_contain_text("job 1, running")
    await screen.page.get_by_role("combobox").fill("east-01")
    await expect(found.first).to_contain_text("node, east")


async def test_the_theme_is_kept(open_screen: OpenScreen) -> None:
    screen = await open_screen(demo="sample")
    await screen.open()
    await screen.button("Light theme").click()
    await screen.page.reload()
    await expect(screen.button("Dark theme")).to_be_visible()
    assert await screen.page.evaluate("document.documentElement.dataset.theme") == "light"


async def test_an_address_that_names_nothing(screen: Screen) -> None:
    screen.refusals = (404,)
    response = await screen.page.goto(f"{screen.plane.url}/nowhere")
    assert response
    assert response.status == 404
