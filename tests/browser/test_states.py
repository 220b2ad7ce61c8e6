"""What a tab shows before, instead of and beside its data: each state is looked at."""

import asyncio
import json
import re
from datetime import datetime, timedelta

import pytest
from playwright.async_api import Route, expect

from tests.api.work import Work
from tests.browser.screen import MISPLACED, Screen

PROBLEM = {
    "status": 503,
    "code": "unavailable",
    "detail": "the database does not answer",
    "request_id": "r-1",
}


async def refuse(route: Route) -> None:
    await route.fulfill(status=503, content_type="application/problem+json", body=json.dumps(PROBLEM))


async def test_loading_error_and_the_way_back(screen: Screen) -> None:
    screen.refusals = (503,)
    answer = asyncio.Event()

    async def late(route: Route) -> None:
        await answer.wait()
        await refuse(route)

    await screen.page.route("**/api/tenants*", late)
    await screen.open_as_admin("tenants")
    loading = screen.page.get_by_label("Loading").first
    await expect(loading).to_be_visible()
    await screen.see_accessible()
    answer.set()
    failed = screen.page.get_by_role("heading", name="That didn't work")
    await expect(failed).to_be_visible()
    await expect(loading).to_have_count(0)
    await expect(screen.page.get_by_text("The database does not answer.")).to_be_visible()
    await expect(screen.page.get_by_text("Request r-1")).to_be_visible()
    await screen.see_accessible()
    await screen.page.unroute("**/api/tenants*")
    await screen.button("Try again").click()
    await expect(screen.page.get_by_text("No tenants yet")).to_be_visible()


async def test_values_that_grew_old_stay_and_say_so(screen: Screen) -> None:
    screen.refusals = (503,)
    await screen.plane.key(label="kept")
    await screen.open_as_admin("keys")
    await expect(screen.page.get_by_role("row", name="kept")).to_be_visible()
    await screen.page.route("**/api/api-keys*", refuse)
    await screen.plane.key(label="made meanwhile")
    stale = screen.page.locator(".stale")
    await expect(stale).to_contain_text("Values of", timeout=40_000)  # the list is asked for every 15 s
    await expect(stale).to_contain_text("the database does not answer")
    await expect(screen.page.get_by_role("row", name="kept")).to_be_visible()
    await screen.see_accessible()
    await screen.page.unroute("**/api/api-keys*")
    await expect(stale).to_have_count(0, timeout=40_000)
    await expect(screen.page.get_by_role("row", name="made meanwhile")).to_be_visible()


async def test_a_write_that_fails_behind_a_closed_dialog_is_told(screen: Screen) -> None:
    screen.refusals = (503,)
    await screen.plane.key(label="kept")
    await screen.open_as_admin("keys")
    sent, may_fail = asyncio.Event(), asyncio.Event()

    async def fail_late(route: Route) -> None:
        if route.request.method != "DELETE":
            return await route.continue_()
        sent.set()
        await may_fail.wait()
        return await refuse(route)

    await screen.page.route("**/api/api-keys/*", fail_late)
    await screen.page.get_by_role("row", name="kept").get_by_role("button", name="Revoke").click()
    asked = screen.page.get_by_role("dialog", name="Revoke")
    await asked.get_by_role("textbox").fill("kept")
    await asked.get_by_role("button", name="Revoke key").click()
    await sent.wait()
    await screen.page.keyboard.press("Escape")
    await expect(asked).to_have_count(0)
    await screen.button("Generate key").click()  # a later dialog: the end of the first must leave it open
    may_fail.set()
    await screen.see_told("the database does not answer")
    await expect(screen.dialog()).to_be_visible()


@pytest.mark.parametrize("wait", ["Wed, 21 Oct 2065 07:28:00 GMT", "2147484"], ids=["date", "long"])
async def test_who_has_too_much_to_do_is_not_asked_all_the_more(screen: Screen, wait: str) -> None:
    screen.refusals = (503,)
    asked = list[str]()

    async def overloaded(route: Route) -> None:
        asked.append(route.request.url)
        await route.fulfill(status=503, headers={"Retry-After": wait}, body="busy")

    await screen.page.route("**/api/api-keys*", overloaded)
    await screen.open_as_admin("keys")
    await expect(screen.page.get_by_text("The control plane answered 503.")).to_be_visible()
    await screen.page.wait_for_timeout(1_500)
    assert len(asked) == 1


@pytest.mark.parametrize("tab", ["", "fleet", "allocation"])
async def test_a_fleet_that_does_not_come_is_no_endless_skeleton(screen: Screen, tab: str) -> None:
    screen.refusals = (503,)
    await screen.page.route("**/api/events", refuse)
    await screen.page.route("**/api/dashboard/kpis", refuse)
    await screen.open_as_admin(tab)
    said = screen.page.get_by_role("heading", name="No live figures come")
    await expect(said).to_be_visible()
    await screen.see_accessible()
    if not tab:
        await expect(screen.page.get_by_role("heading", name="That didn't work").first).to_be_visible()
        assert await screen.page.evaluate(MISPLACED) == []
    await screen.page.unroute("**/api/events")
    await expect(said).to_have_count(0, timeout=40_000)


async def test_a_figure_that_has_not_come_claims_nothing(screen: Screen) -> None:
    await screen.page.route("**/api/dashboard/scheduling-metrics", lambda route: None)  # never answered
    await screen.open_as_admin("jobs")
    await expect(screen.page.get_by_text("No jobs yet")).to_be_visible()
    await expect(screen.page.get_by_text("nothing started in 24 h")).to_have_count(0)


async def test_offline_is_said_and_ends_by_itself(screen: Screen) -> None:
    screen.may_lose_server = True
    await screen.page.route("**/api/tenants*", lambda route: route.abort())
    await screen.open_as_admin("tenants")
    await expect(
        screen.page.get_by_role("heading", name="The control plane can't be reached")
    ).to_be_visible()
    await screen.see_accessible()
    await screen.page.unroute("**/api/tenants*")
    await expect(screen.page.get_by_text("No tenants yet")).to_be_visible(timeout=40_000)
    await expect(screen.page.locator(".link")).to_have_text("Live")


@pytest.mark.parametrize(
    ("tab", "words", "path"),
    [
        ("", "No GPU has reported yet", "api/clusters"),
        ("fleet", "No GPU has reported yet", "api/clusters"),
        ("jobs", "No jobs yet", "api/jobs"),
        ("tenants", "No tenants yet", "api/tenants"),
        ("billing", "No invoices yet", "api/tenants/1/invoice"),
        ("alerts?view=silences", "Nothing is silenced", "api/alerts/silences"),
        ("alerts?view=channels", "Nobody is notified yet", "api/alerts/channels"),
    ],
)
async def test_an_empty_tab_carries_the_command_that_fills_it(
    screen: Screen, tab: str, words: str, path: str
) -> None:
    await screen.open_as_admin(tab)
    panel = screen.page.locator(".notice").filter(has_text=words)
    await expect(panel).to_be_visible()
    command = panel.get_by_role("group", name="Command").first
    await expect(command).to_contain_text(f"{screen.plane.url}/{path}")


@pytest.mark.parametrize("tab", ["", "fleet", "jobs", "tenants", "billing", "alerts", "keys"])
async def test_unauthorised_is_said_on_every_tab(screen: Screen, tab: str) -> None:
    screen.refusals = (401,)
    await screen.open(tab)
    await expect(screen.page.get_by_role("heading", name="Sign in to see this fleet")).to_be_visible()
    await screen.see_accessible()


@pytest.mark.parametrize("hours", [-5, 5], ids=["slow", "fast"])
async def test_a_browser_whose_clock_is_off_goes_by_the_control_planes(screen: Screen, hours: int) -> None:
    now = screen.plane.clock()
    work = Work(plane=screen.plane)
    await work.running(await work.cluster(2), 1, name="pretrain")
    await screen.plane.key(label="for two hours", expires_at=now + timedelta(hours=2))
    await screen.page.clock.install(time=now + timedelta(hours=hours))
    await screen.open_as_admin("keys")
    key = screen.page.get_by_role("row", name="for two hours")
    await expect(key.get_by_role("button", name="Revoke")).to_be_visible()
    await expect(key.locator("time").first).to_have_text(re.compile(r"now|\d+ s ago"))
    await screen.page.get_by_role("link", name="Jobs").click()
    job = screen.page.get_by_role("row", name="pretrain")
    await expect(job.locator("time")).to_have_text(re.compile(r"now|\d+ s ago"))
    await screen.page.goto(f"{screen.plane.url}/fleet?node=1")
    await expect(screen.dialog()).to_contain_text(
        "No telemetry in this time."
    )  # asked for, and none is there
    await screen.page.goto(f"{screen.plane.url}/alerts?silence=node/*")
    form = screen.page.get_by_role("dialog", name="New silence")
    await form.get_by_label("Why, for whoever wonders later").fill("new fans")
    await form.get_by_role("button", name="Silence").click()
    await expect(screen.page.get_by_text("is silenced until")).to_be_visible()
    (silence,) = await screen.plane.admin.read("/api/alerts/silences")
    left = datetime.fromisoformat(silence["until"]) - screen.plane.clock()
    assert abs(left - timedelta(hours=1)) < timedelta(minutes=1)
