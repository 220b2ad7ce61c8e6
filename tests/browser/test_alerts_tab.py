"""Alerts in the browser: acknowledged, silenced, rules switched and tuned, channels added and removed."""

import pytest_asyncio
from playwright.async_api import expect

from tests.api.work import Work
from tests.browser.screen import Screen

HOSTILE = '<img src=x onerror="window.hit=1">'


@pytest_asyncio.fixture(loop_scope="session")
async def alarmed(screen: Screen) -> Screen:
    """A page on a control plane where a tenant's quota is full."""
    work = Work(plane=screen.plane)
    cluster = await work.cluster(4)
    await work.running(cluster, 4, tenant_id=await work.tenant(quota=4, name=HOSTILE))
    await screen.plane.evaluate()
    return screen


async def test_an_event_is_acknowledged_with_a_note(alarmed: Screen) -> None:
    await alarmed.open_as_admin("alerts")
    row = alarmed.page.get_by_role("row", name="Quota nearly full")
    await expect(row.get_by_role("link", name=HOSTILE, exact=True)).to_have_attribute(
        "href", "/tenants?tenant=1"
    )
    await alarmed.see_accessible()
    await row.get_by_role("button", name="Acknowledge").click()
    drawer = alarmed.dialog()
    await expect(drawer.get_by_text("Raise the quota if there is capacity")).to_be_visible()
    await drawer.get_by_label("Note").fill("more GPUs are on their way")
    await alarmed.see_accessible()
    await drawer.get_by_role("button", name="Acknowledge").click()
    await expect(drawer.get_by_text("more GPUs are on their way")).to_be_visible()
    await alarmed.page.keyboard.press("Escape")
    await expect(row).to_contain_text("acknowledged by key 1 (the admin)")
    (event,) = await alarmed.plane.admin.read("/api/alerts/events?rule_id=2")
    assert event["note"] == "more GPUs are on their way"
    assert await alarmed.page.evaluate("window.hit") is None


async def test_a_silence_from_an_event_and_its_end(alarmed: Screen) -> None:
    await alarmed.open_as_admin("alerts?event=1")
    await alarmed.dialog().get_by_role("button", name="Silence").click()
    form = alarmed.page.get_by_role("dialog", name="New silence")
    await form.get_by_label("What", exact=False).first.fill("tenant/*")
    await form.get_by_label("Why, for whoever wonders later").fill("known")
    await alarmed.see_accessible()
    await form.get_by_role("button", name="Silence").click()
    row = alarmed.page.get_by_role("row", name="tenant/*")
    await expect(row).to_contain_text("ends in")
    await row.get_by_role("button", name="End").click()
    await alarmed.dialog().get_by_role("button", name="End silence").click()
    await expect(alarmed.page.get_by_text("Nothing is silenced")).to_be_visible()
    await alarmed.button("All").click()
    await expect(row).to_contain_text("ended")
    await alarmed.see_accessible()


async def test_what_a_new_silence_is_for_comes_first(alarmed: Screen) -> None:
    await alarmed.open_as_admin("alerts?view=silences")
    await alarmed.button("New silence").click()
    form = alarmed.dialog()
    await expect(form.get_by_label("What", exact=False).first).to_be_focused()
    await expect(form).to_contain_text("Holds back none of the 1 active alert.")
    await form.get_by_label("What", exact=False).first.fill("tenant/<img*")
    await expect(form).to_contain_text("Holds back 1 of the 1 active alert.")
    await form.get_by_label("Rule").select_option(label="Node offline")
    await expect(form).to_contain_text("Holds back none of the 1 active alert.")


async def test_a_rule_is_tuned_and_switched_off(alarmed: Screen) -> None:
    alarmed.refusals = (422,)
    await alarmed.open_as_admin("alerts?view=rules")
    await alarmed.see_accessible()
    await alarmed.page.get_by_label("Edit Quota nearly full").click()
    form = alarmed.dialog()
    await form.get_by_label("Threshold").fill("95")
    await form.get_by_label("Clear at").fill("99")
    await form.get_by_role("button", name="Save changes").click()
    await expect(form.get_by_text("must not be above the threshold, 95")).to_be_visible()
    await form.get_by_label("Clear at").fill("90")
    await form.get_by_role("button", name="Save changes").click()
    row = alarmed.page.get_by_role("row", name="Quota nearly full")
    await expect(row).to_contain_text("95 %")

    switch = alarmed.page.get_by_role("switch", name="Quota nearly full")
    await expect(switch).to_be_checked()
    await switch.click()
    await expect(alarmed.dialog()).to_contain_text("its 1 active event is resolved")
    await alarmed.button("Switch off").click()
    await expect(switch).not_to_be_checked()
    rule = (await alarmed.plane.admin.read("/api/alerts/rules"))[1]
    assert (rule["threshold"], rule["clear_threshold"], rule["enabled"]) == (95, 90, False)
    await switch.click()
    await alarmed.button("Switch on").click()
    await expect(switch).to_be_checked()


async def test_a_channel_shows_its_secret_once(alarmed: Screen) -> None:
    await alarmed.open_as_admin("alerts?view=channels")
    await expect(alarmed.page.get_by_text("Nobody is notified yet")).to_be_visible()
    await alarmed.see_accessible()
    await alarmed.button("Add channel").click()
    form = alarmed.dialog()
    await form.get_by_label("Name").fill("on call")
    await form.get_by_label("Address").fill("https://hooks.example.com/secret-path")
    await form.get_by_role("button", name="Add channel").click()
    await expect(alarmed.page.get_by_label("The signing secret", exact=True)).to_be_focused()
    await alarmed.button("I saved it").click()
    row = alarmed.page.get_by_role("row", name="on call")
    await expect(row).to_contain_text("hooks.example.com")
    await expect(row).not_to_contain_text("secret-path")
    await row.get_by_role("button", name="Remove").click()
    await alarmed.dialog().get_by_role("textbox").fill("on call")
    await alarmed.button("Remove channel").click()
    await expect(alarmed.page.get_by_text("Nobody is notified yet")).to_be_visible()


async def test_a_secret_that_comes_late_is_not_lost_to_a_hasty_escape(alarmed: Screen) -> None:
    await alarmed.open_as_admin("alerts?view=channels")
    sent, may_come = await alarmed.hold("**/api/alerts/channels")
    await alarmed.button("Add channel").click()
    form = alarmed.dialog()
    await form.get_by_label("Name").fill("on call")
    await form.get_by_label("Address").fill("https://hooks.example.com/secret-path")
    await form.get_by_role("button", name="Add channel").click()
    await sent.wait()
    await alarmed.page.keyboard.press("Escape")
    await expect(form).to_have_count(0)
    may_come.set()
    await expect(alarmed.page.get_by_label("The signing secret", exact=True)).to_be_focused()
    await alarmed.button("I saved it").click()
    await expect(alarmed.page.get_by_role("row", name="on call")).to_be_visible()


async def test_a_reader_looks_and_changes_nothing(alarmed: Screen) -> None:
    await alarmed.open("alerts", key=await alarmed.plane.key(permissions=["read"]))
    await expect(alarmed.page.get_by_role("row", name="Quota nearly full")).to_be_visible()
    await expect(alarmed.button("Acknowledge")).to_have_count(0)
    await alarmed.button("Rules").click()
    await expect(alarmed.page.get_by_role("switch", name="Quota nearly full")).to_be_disabled()
