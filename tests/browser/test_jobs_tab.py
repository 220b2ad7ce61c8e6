"""Jobs in the browser: submitted after a dry run, explained, cancelled; filters in the address."""

import asyncio

import pytest
from playwright.async_api import Route, expect

from tests.api.work import Work
from tests.browser.conftest import OpenScreen
from tests.browser.screen import Screen

HOSTILE = '<img src=x onerror="window.hit=1">'


async def test_a_dry_run_says_what_submitting_then_does(screen: Screen) -> None:
    work = Work(plane=screen.plane)
    await work.cluster(4)
    await work.tenant(quota=6, name=HOSTILE)
    await screen.open_as_admin("jobs")
    await expect(screen.page.get_by_text("No jobs yet")).to_be_visible()
    await screen.button("Submit job").click()
    form = screen.dialog()
    await form.get_by_label("Name").fill(HOSTILE)
    await form.get_by_label("GPUs", exact=True).fill("4")
    await form.get_by_label("Tenant").select_option(HOSTILE)
    await expect(form.get_by_text("Would start now on east-01.")).to_be_visible()
    await form.get_by_label("GPUs", exact=True).fill("5")
    await expect(form.get_by_text("Would be blocked: needs 5 GPUs; the cluster owns 4.")).to_be_visible()
    await form.get_by_label("GPUs", exact=True).fill("4")
    await expect(form.get_by_text("Would start now on east-01.")).to_be_visible()
    await screen.see_accessible()
    await form.get_by_role("button", name="Submit job").click()
    drawer = screen.page.get_by_role("dialog", name=HOSTILE)
    await expect(drawer.get_by_text("Next in line")).to_be_visible()
    assert screen.page.url.endswith("/jobs?job=1")
    await work.cycle()
    await expect(drawer.get_by_text("Holds 4 GPUs")).to_be_visible()
    await expect(drawer.get_by_role("link", name="east-01")).to_be_visible()
    await screen.see_accessible()
    assert await screen.page.evaluate("window.hit") is None


async def test_what_waits_and_what_is_wrong_with_a_form_is_said_in_words(screen: Screen) -> None:
    screen.refusals = (422,)
    work = Work(plane=screen.plane)
    cluster = await work.cluster(4)
    await work.running(cluster, 4, estimated_duration_min=40)
    await screen.open_as_admin("jobs?submit=1")
    form = screen.dialog()
    await form.get_by_label("Name").fill("later")
    await expect(
        form.get_by_text("Would wait about 40 min because it needs 1 GPU; 0 of 4 idle.")
    ).to_be_visible()
    await form.get_by_label("Priority").fill("11")
    await expect(form.get_by_label("Priority")).to_have_js_property("validity.rangeOverflow", True)
    await expect(form.locator(".field.bad small")).to_be_visible()


@pytest.mark.parametrize("lost", ["connection", "gateway"])
async def test_a_job_whose_answer_was_lost_is_not_submitted_twice(screen: Screen, lost: str) -> None:
    screen.may_lose_server, screen.refusals = True, (502,)
    await Work(plane=screen.plane).cluster(4)
    losses = [lost]

    async def lose_the_first_answer(route: Route) -> None:
        if not losses:
            return await route.continue_()
        await route.fetch()
        return await (route.abort() if losses.pop() == "connection" else route.fulfill(status=502))

    await screen.page.route(f"{screen.plane.url}/api/jobs", lose_the_first_answer)
    await screen.open_as_admin("keys")
    await screen.page.goto(f"{screen.plane.url}/jobs?submit=1")
    form = screen.dialog()
    await form.get_by_label("Name").fill("pretrain")
    submit = form.get_by_role("button", name="Submit job")
    for _ in range(2):
        await submit.click()
        await expect(screen.page.get_by_role("alert").or_(screen.page.locator(".toast"))).to_be_visible()
    await expect(screen.page.get_by_text("pretrain was submitted as job 1.")).to_be_visible()
    for number in (2, 3):
        await screen.page.goto(f"{screen.plane.url}/jobs?submit=1")
        await form.get_by_label("Name").fill("pretrain")
        await submit.click()
        await expect(screen.page.get_by_text(f"pretrain was submitted as job {number}.")).to_be_visible()


async def test_what_comes_late_leads_nobody_back(screen: Screen) -> None:
    await Work(plane=screen.plane).cluster(4)
    await screen.open_as_admin("jobs?submit=1")
    form = screen.dialog()
    await form.get_by_label("Name").fill("pretrain")
    await expect(form.get_by_text("Would start now")).to_be_visible()
    sent, may_come = await screen.hold("**/api/jobs")
    await form.get_by_role("button", name="Submit job").click()
    await asyncio.wait_for(sent.wait(), 15)
    await screen.page.keyboard.press("Escape")
    await screen.page.get_by_role("link", name="Tenants").click()
    may_come.set()
    await expect(screen.page.get_by_text("pretrain was submitted as job 1.")).to_be_visible()
    assert screen.page.url.endswith("/tenants")


@pytest.mark.parametrize("runs", [True, False], ids=["running", "queued"])
async def test_cancelling_asks_first_and_shows_at_once(screen: Screen, runs: bool) -> None:
    work = Work(plane=screen.plane)
    cluster = await work.cluster(4)
    await work.running(cluster, 4, name="holder")
    waiting = (await work.submit(cluster, 1, name="waiter"))["id"]
    name, job = ("holder", 1) if runs else ("waiter", waiting)
    await screen.open_as_admin(f"jobs?job={job}")
    await screen.page.get_by_role("dialog", name=name).get_by_role("button", name="Cancel job").click()
    ask = screen.page.get_by_role("dialog", name="Cancel this job?")
    if runs:
        await expect(ask.get_by_role("button", name="Cancel job")).to_be_disabled()
        await ask.get_by_role("textbox").fill(name)
    await screen.see_accessible()
    await ask.get_by_role("button", name="Cancel job").click()
    await expect(ask).to_have_count(0)
    drawer = screen.page.get_by_role("dialog", name=name)
    await expect(drawer.get_by_text("cancelled", exact=True).first).to_be_visible()
    await expect(drawer.get_by_role("button", name="Cancel job")).to_have_count(0)
    assert (await work.states(job)) == ["cancelled"]


async def test_filters_are_in_the_address_and_a_row_opens_its_job(screen: Screen) -> None:
    work = Work(plane=screen.plane)
    cluster = await work.cluster(4)
    tenant = await work.tenant(quota=2)
    await work.running(cluster, 2, name="alpha", tenant_id=tenant)
    await work.submit(cluster, 1, name="beta", tenant_id=tenant)
    await work.submit(cluster, 9, name="gamma")
    await work.cycle()
    await screen.open_as_admin("jobs?sort=name")
    names = screen.page.locator("tbody tr td:first-child")
    await expect(names).to_have_text(["alpha", "beta", "gamma"])
    await expect(screen.page.get_by_role("row", name="beta")).to_contain_text("1st in line")
    await expect(screen.page.get_by_role("row", name="beta")).to_contain_text("Acme ML uses 2 of its quota")
    await screen.see_accessible()
    await screen.button("Blocked").click()
    await expect(names).to_have_text(["gamma"])
    assert screen.page.url.endswith("/jobs?status=blocked&sort=name")
    await screen.button("All").click()
    await screen.page.get_by_label("Tenant").select_option("Acme ML")
    await expect(names).to_have_text(["alpha", "beta"])
    await screen.page.get_by_label("Filter jobs").fill("alp")
    await screen.page.get_by_role("link", name="alpha").click()
    await expect(screen.page.get_by_role("dialog", name="alpha")).to_be_visible()
    await screen.page.keyboard.press("Escape")
    await expect(screen.dialog()).to_have_count(0)
    await screen.button("Scheduler's log").click()
    await expect(screen.page.get_by_role("row", name="quota full").first).to_be_visible()
    await screen.see_accessible()


async def test_a_reader_and_a_tenant_see_what_is_theirs(open_screen: OpenScreen) -> None:
    screen = await open_screen()
    work = Work(plane=screen.plane)
    cluster = await work.cluster(4)
    tenant = await work.tenant()
    await work.submit(cluster, 1, name="theirs", tenant_id=tenant)
    await work.submit(cluster, 1, name="others")
    await screen.open("jobs", key=await screen.plane.key(permissions=["read"]))
    await expect(screen.page.get_by_role("link", name="others")).to_be_visible()
    await expect(screen.button("Submit job")).to_have_count(0)

    other = await open_screen(plane=screen.plane)
    await other.open("jobs", key=await screen.plane.key(permissions=["write"], tenant_id=tenant))
    await expect(other.page.locator("tbody tr td:first-child")).to_have_text(["theirs"])
    await expect(other.button("Scheduler's log")).to_have_count(0)
    await other.button("Submit job").click()
    await expect(other.dialog().get_by_label("Tenant")).to_be_disabled()
