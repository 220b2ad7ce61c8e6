"""API keys in the browser: made and shown once, revoked by typing the label."""

from playwright.async_api import expect

from tests.browser.screen import Screen

NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', { value: undefined })"


async def generate(screen: Screen) -> None:
    await screen.button("Generate key").click()
    await screen.page.get_by_label("Label").fill("prod ingestor")
    await screen.dialog().get_by_role("button", name="Generate key").click()


async def test_a_key_is_shown_once_and_revoked_by_its_name(screen: Screen) -> None:
    await screen.open_as_admin("keys")
    await generate(screen)
    secret = screen.page.get_by_label("The new API key")
    await expect(secret).to_be_focused()
    raw = await secret.input_value()
    assert (await screen.plane.holder(raw).get("/api/whoami")).status == 200
    await screen.page.keyboard.press("Escape")
    await screen.page.keyboard.press("Escape")
    await expect(secret).to_be_visible()
    await screen.button("I saved it").click()
    await expect(screen.dialog()).to_have_count(0)
    assert raw not in await screen.page.content()

    row = screen.page.get_by_role("row", name="prod ingestor")
    await row.get_by_role("button", name="Revoke").click()
    revoke = screen.dialog().get_by_role("button", name="Revoke key")
    await expect(revoke).to_be_disabled()
    await screen.dialog().get_by_role("textbox").fill("prod ingestor")
    await revoke.click()
    await expect(screen.page.get_by_text("prod ingestor was revoked.")).to_be_visible()
    await expect(row).to_have_count(0)
    assert (await screen.plane.holder(raw).get("/api/whoami")).status == 401


async def test_a_key_that_is_being_made_is_not_lost_to_a_hasty_escape(screen: Screen) -> None:
    await screen.open_as_admin("keys")
    sent, may_come = await screen.hold("**/api/api-keys*")
    await generate(screen)
    await sent.wait()
    await screen.page.keyboard.press("Escape")
    await expect(screen.dialog().get_by_role("button", name="Cancel")).to_be_disabled()
    may_come.set()
    await expect(screen.page.get_by_label("The new API key")).to_be_focused()


async def test_a_key_is_copied_where_the_page_came_without_tls(screen: Screen) -> None:
    # there browsers copy only what is selected, and nothing outside of an open dialog can be
    await screen.page.add_init_script(NO_CLIPBOARD)
    await screen.open_as_admin("keys")
    await generate(screen)
    secret = screen.page.get_by_label("The new API key")
    raw = await secret.input_value()
    await screen.button("Copy").click()
    await expect(screen.button("Copied")).to_be_focused()
    await screen.button("I saved it").click()
    await screen.button("Generate key").click()
    label = screen.page.get_by_label("Label")
    await label.fill("")
    await label.press("Control+v")
    await expect(label).to_have_value(raw)


async def test_a_browser_that_copies_nothing_is_not_passed_over(screen: Screen) -> None:
    await screen.page.add_init_script(f"{NO_CLIPBOARD}; document.execCommand = () => false")
    await screen.open_as_admin("keys")
    await generate(screen)
    await screen.button("Copy").click()
    await screen.see_told("This browser copies nothing by a button")


async def test_a_new_key_stays_until_it_is_saved_wherever_the_page_goes(screen: Screen) -> None:
    screen.refusals = (401,)
    own = await screen.plane.key(label="short-lived", permissions=["admin"])
    await screen.open("jobs", key=own)
    await screen.page.get_by_role("link", name="API keys").click()
    await generate(screen)
    secret = screen.page.get_by_label("The new API key")
    raw = await secret.input_value()
    await screen.page.keyboard.press("Control+k")
    await screen.page.keyboard.type("tenants")
    await screen.page.keyboard.press("Enter")
    await expect(screen.page).to_have_url(f"{screen.plane.url}/tenants")
    await screen.page.go_back()
    await screen.page.go_back()
    await expect(screen.page).to_have_url(f"{screen.plane.url}/jobs")
    await expect(secret).to_have_value(raw)
    async with screen.page.expect_event("dialog") as asked:
        await screen.page.evaluate("setTimeout(() => location.reload())")
    assert (await asked.value).type == "beforeunload"
    await (await asked.value).dismiss()
    assert (await screen.plane.admin.delete("/api/api-keys/2")).status == 200
    await expect(screen.page.get_by_role("heading", name="This key is no longer valid")).to_have_count(
        1, timeout=40_000
    )
    await expect(secret).to_have_value(raw)
    await screen.button("I saved it").click()
    await expect(screen.dialog()).to_have_count(0)


async def test_a_key_that_comes_late_is_shown_over_another_tab(screen: Screen) -> None:
    await screen.open_as_admin("keys")
    sent, may_come = await screen.hold("**/api/api-keys*")
    await generate(screen)
    await sent.wait()
    await screen.page.keyboard.press("Control+k")
    await screen.page.keyboard.type("jobs")
    await screen.page.keyboard.press("Enter")
    await expect(screen.page.get_by_role("heading", name="Jobs", level=1)).to_be_visible()
    may_come.set()
    await expect(screen.page.get_by_label("The new API key")).to_be_focused()


async def test_filter_and_order_are_in_the_address(screen: Screen) -> None:
    for label in ("alpha", "beta"):
        await screen.plane.key(label=label)
    await screen.open_as_admin("keys?q=a&sort=label")
    labels = screen.page.locator("tbody tr td:first-child")
    await expect(labels).to_have_text(["alpha", "beta", "the admin"])
    await screen.page.get_by_label("Filter keys").fill("alph")
    await expect(labels).to_have_text(["alpha"])
    assert screen.page.url.endswith("/keys?q=alph&sort=label")
    await screen.page.get_by_label("Filter keys").fill(screen.plane.admin_key)
    await expect(labels).to_have_text(["the admin"])
    assert screen.page.url.endswith(f"/keys?q={screen.plane.admin_key[:12]}&sort=label"), "no key in a URL"


async def test_what_is_wrong_is_said_at_the_field(screen: Screen) -> None:
    screen.refusals = (422,)
    await screen.open_as_admin("keys")
    await screen.button("Generate key").click()
    await screen.page.get_by_label("Label").fill("late")
    await screen.page.get_by_label("Expires").fill("2020-01-01T00:00")
    await screen.dialog().get_by_role("button", name="Generate key").click()
    await expect(screen.dialog().get_by_text("must lie in the future")).to_be_visible()
    await expect(screen.dialog().get_by_role("alert")).to_have_count(1)
    await screen.see_accessible()
