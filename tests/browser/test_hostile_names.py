"""Names that are code elsewhere: in every field that people or agents write, they are text and no more."""

from datetime import timedelta

import pytest
from playwright.async_api import expect

from tests.api.work import Work
from tests.browser.screen import Screen

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
