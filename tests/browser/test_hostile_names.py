"""Names that are code elsewhere: in every field that people or agents write, they are text and no more."""

from datetime import timedelta

import pytest
from playwright.async_api import expect

from tests.api.work import Work
from tests.browser.conftest import OpenScreen
from tests.browser.screen import MISPLACED, Screen

CORPUS = (
    "<img src=x onerror=\"window.hit='%s'\">",
    "\"'><script>window.hit='%s'</script>",
    "<svg/onload=window.hit='%s'>{{7*7}}${window.hit='%s'}",
    "</title></textarea><iframe srcdoc=\"<script>parent.hit='%s'</script>\">",
    "javascript:window.hit='%s'//%%0a<a href=\"javascript:window.hit='%s'\">",
)
PLACES = (
    *("", "fleet?view=table", "fleet?group=tenant", "fleet?group=model", "fleet?node=1", "allocation"),
    *("jobs", "jobs?job=1", "jobs?job=2", "jobs?view=log", "jobs?submit=1", "tenants", "tenants?tenant=1"),
    *("billing", "billing?issue=1", "alerts", "alerts?event=1", "alerts?view=silences"),
    *("alerts?view=channels", "keys"),
)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("code", CORPUS, ids=range(len(CORPUS)))
async def test_no_name_is_ever_run(screen: Screen, code: str) -> None:
    def hostile(place: str) -> str:
        return code.replace("%s", place).replace("%%", "%")

    work, admin = Work(plane=screen.plane), screen.plane.admin
    cluster = (await admin.write("/api/clusters", {"name": hostile("cluster"), "region": hostile("region")}))[
        "id"
    ]
    await work.host(cluster, hostile("host"), 2, hostile("model"))
    tenant = await work.tenant(1, name=hostile("tenant"))
    await work.running(cluster, 1, tenant_id=tenant, name=hostile("job"), submitted_by=hostile("person"))
    await work.submit(cluster, 1, tenant_id=tenant, name=hostile("waiter"))
    await work.cycle()
    await screen.plane.evaluate()
    await screen.plane.key(label=hostile("key"))
    tomorrow = (screen.plane.clock() + timedelta(days=1)).isoformat()
    silence = {"subject": "node/*", "until": tomorrow, "reason": hostile("reason")}
    await admin.write("/api/alerts/silences", silence)
    channel = {"name": hostile("channel"), "type": "webhook", "url": "https://hooks.example.com/x"}
    await admin.write("/api/alerts/channels", channel)
    await admin.write("/api/alerts/events/1/acknowledge", {"note": hostile("note")})
    node = work.hosts[0]
    gpu = {"gpu_id": node.gpu_ids[0], "unreadable": hostile("")[:64]}
    driver = {"reason": hostile("")[:64], "detail": hostile("driver")}
    await admin.write(f"/api/clusters/nodes/{node.id}/health", {"gpus": [gpu], "driver_fault": driver})
    await screen.open_as_admin("jobs")
    await expect(screen.page.get_by_text(hostile("job"), exact=True).first).to_be_visible()
    for place in PLACES:
        await screen.page.goto(f"{screen.plane.url}/{place}")
        await expect(screen.page.locator(".link.live")).to_be_visible()
        await expect(screen.page.locator("[aria-busy=true]")).to_have_count(0)
        assert await screen.page.evaluate("window.hit") is None, place
    await screen.page.keyboard.press("Control+k")
    await screen.page.keyboard.type("window")
    await expect(screen.page.get_by_role("option").first).to_be_visible()
    assert await screen.page.evaluate("window.hit") is None


# what runs out of the side of an open drawer, or lies over its title
_RUNS_OUT = """() => [...document.querySelectorAll("dialog[open] .dialog-box")].flatMap((box) => [
  ...(box.scrollWidth > box.clientWidth ? ["it is wider than the drawer"] : []),
  ...[...box.children].filter((its) => its.scrollHeight > its.clientHeight + 2).map((each) => each.tagName),
])"""


@pytest.mark.parametrize("width", [390, 1440])
async def test_the_longest_names_have_room(open_screen: OpenScreen, width: int) -> None:
    screen = await open_screen(width=width)
    work = Work(plane=screen.plane)
    name = "W" * 255
    cluster = (await screen.plane.admin.write("/api/clusters", {"name": name}))["id"]
    await work.host(cluster, "h" * 240, 1, "M" * 255)
    await work.running(cluster, 1, tenant_id=await work.tenant(1, name=name), name=name)
    await screen.plane.evaluate()
    await screen.open_as_admin()
    for place in (
        "fleet?color=tenant",
        "fleet?node=1&gpu=1",
        "jobs?job=1",
        "tenants?tenant=1",
        "alerts?event=1",
    ):
        await screen.page.goto(f"{screen.plane.url}/{place}")
        await expect(screen.page.locator(".link.live")).to_be_visible()
        await expect(screen.page.locator("[aria-busy=true]")).to_have_count(0)
        if place == "fleet?color=tenant":
            await expect(screen.page.get_by_label("Tenants' colours").get_by_role("listitem")).to_be_visible()
            assert await screen.page.evaluate(MISPLACED) == [], place
        else:
            await expect(screen.dialog()).to_be_visible()
            assert await screen.page.evaluate(_RUNS_OUT) == [], place


async def test_a_name_is_typed_as_it_is_read(screen: Screen) -> None:
    tenant = await Work(plane=screen.plane).tenant(name="Acme  ML")  # two spaces
    await screen.open_as_admin(f"tenants?tenant={tenant}")
    await screen.dialog().get_by_role("button", name="Delete").click()
    ask = screen.page.get_by_role("dialog", name="Delete this tenant?")
    await ask.get_by_role("textbox").fill(await ask.locator("label .quoted").inner_text())
    await expect(ask.get_by_role("button", name="Delete tenant")).to_be_enabled()
