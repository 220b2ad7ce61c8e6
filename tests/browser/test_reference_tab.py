"""The API reference in the browser: out of the route table, curls filled locally, GETs tried."""

import json

from playwright.async_api import expect

from gpuforge_controlplane.api.routes import ROUTES
from tests.browser.screen import Screen


async def test_every_endpoint_is_there_and_found_by_its_words(screen: Screen) -> None:
    await screen.open_as_admin("reference")
    rows = screen.page.locator("details.endpoint")
    await expect(rows).to_have_count(len(ROUTES))
    await screen.page.get_by_label("Filter endpoints").fill("clear-fault")
    await expect(rows).to_have_count(1)
    assert screen.page.url.endswith("/reference?q=clear-fault")
    await rows.first.locator("summary").click()
    await expect(rows.first).to_contain_text("curl -X POST")
    await expect(rows.first.get_by_role("button", name="Send GET")).to_have_count(0)
    await screen.see_accessible()


async def test_a_pasted_key_fills_every_curl_and_stays_here(screen: Screen) -> None:
    sent: list[str] = []
    screen.page.on("request", lambda request: sent.append(request.url + (request.post_data or "")))
    await screen.open_as_admin("reference?q=%2Fapi%2Ftenants")
    row = screen.page.locator("details.endpoint").first
    await row.locator("summary").click()
    curl = row.get_by_role("region", name="curl for GET /api/tenants")
    await expect(curl).to_contain_text("Bearer YOUR_KEY")
    await expect(curl).to_contain_text(f"{screen.plane.url}/api/tenants")
    key = await screen.plane.key(permissions=["admin"])
    await screen.page.get_by_label("Paste a key to fill in every curl below").fill(key)
    await expect(screen.page.get_by_text("This is an admin key")).to_be_visible()
    await expect(curl).to_contain_text(f"Bearer {key[:12]}…")
    assert key not in await screen.page.locator("main").inner_text(), "people share screens"
    await screen.see_accessible()
    await screen.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await row.get_by_role("button", name="Copy").click()
    assert f"Bearer {key}" in await screen.page.evaluate("navigator.clipboard.readText()")
    assert not [each for each in sent if key in each]
    assert key not in await screen.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    await screen.button("Forget it").click()
    await expect(curl).to_contain_text("Bearer YOUR_KEY")


async def test_a_get_is_tried_and_a_stream_is_not(screen: Screen) -> None:
    screen.refusals = (404,)
    await screen.open_as_admin("reference?q=%2Fapi%2Fwhoami")
    row = screen.page.locator("details.endpoint").first
    await row.locator("summary").click()
    await row.get_by_role("button", name="Send GET").click()
    await expect(row.get_by_role("status")).to_contain_text("200 in")
    answer = json.loads(await row.get_by_role("region", name="The answer", exact=True).inner_text())
    assert answer["scopes"][-1] == "admin"
    await row.get_by_label("Path to ask for").fill("https://elsewhere.example/api/whoami")
    await expect(row.get_by_role("button", name="Send GET")).to_be_disabled()
    await screen.page.get_by_label("Filter endpoints").fill("/api/events")
    stream = screen.page.locator("details.endpoint").first
    await stream.locator("summary").click()
    await expect(stream).to_contain_text("This page listens to it all the time")
    await expect(stream.get_by_role("button", name="Send GET")).to_have_count(0)
