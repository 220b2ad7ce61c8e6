"""The fleet in the browser: map and table twin, filters in the address, a node's drawer, cordoning."""

from playwright.async_api import expect

from tests.api.harness import Json
from tests.api.work import Work
from tests.browser.screen import Screen

XSS = "<img src=x onerror=\"window.hacked='%s'\">'\"><script>window.hacked=1</script>{{7*7}}"


async def furnish(screen: Screen) -> Work:
    """Two clusters with three nodes, a tenant and a job on two GPUs."""
    work = Work(plane=screen.plane)
    east = await work.cluster(8, 8, name="east")
    await work.cluster(4, name="lab")
    tenant = await work.tenant(16, name="NovAI Labs")
    await work.running(east, 2, tenant_id=tenant, name="finetune")
    samples: list[Json] = [
        {"gpu_id": gpu, "utilization_pct": 10 * place, "temperature_c": 40 + place, "power_draw_w": 300}
        for host in work.hosts
        for place, gpu in enumerate(host.gpu_ids)
    ]
    await screen.plane.admin.write("/api/clusters/metrics", {"metrics": samples})
    return work


async def test_the_table_twin_sorts_filters_and_opens_a_node(screen: Screen) -> None:
    await furnish(screen)
    await screen.open_as_admin("fleet?view=table&sort=-util")
    rows = screen.page.locator("tbody tr")
    await expect(rows).to_have_count(20)
    await expect(rows.first).to_contain_text("70.0 %")
    await screen.page.get_by_role("button", name="Util").click()
    assert "sort=util" in screen.page.url
    await screen.page.get_by_label("Filter GPUs").fill("lab-01")
    await expect(rows).to_have_count(4)
    await rows.first.get_by_role("link").first.click()
    await expect(screen.dialog()).to_contain_text("lab-01")
    assert "node=" in screen.page.url
    await screen.page.keyboard.press("Escape")
    await expect(screen.dialog()).to_have_count(0)
    assert "node=" not in screen.page.url


async def test_the_map_is_walked_by_keyboard_and_opens_a_node(screen: Screen) -> None:
    await furnish(screen)
    await screen.open_as_admin("fleet")
    canvas = screen.page.locator(".cells canvas")
    await canvas.focus()
    await screen.page.keyboard.press("ArrowRight")
    await screen.page.keyboard.press("ArrowRight")
    await expect(screen.page.locator(".tip")).to_contain_text("GPU 1")
    await screen.page.keyboard.press("Enter")
    await expect(screen.dialog()).to_contain_text("east-01")
    await expect(screen.dialog().get_by_role("img", name="GPU 1, mean and highest")).to_be_visible()
    await screen.dialog().get_by_role("button", name="7 d").click()
    await screen.see_accessible()


async def test_a_node_is_cordoned_after_a_question(screen: Screen) -> None:
    work = await furnish(screen)
    node = work.hosts[1]
    await screen.open_as_admin(f"fleet?node={node.id}")
    await screen.dialog().get_by_role("button", name="Cordon").click()
    question = screen.page.get_by_role("dialog", name=f"Cordon {node.hostname}?")
    await question.get_by_role("button", name="Cordon").click()
    await expect(screen.page.get_by_text(f"{node.hostname} is cordoned.")).to_be_visible()
    await expect(screen.page.get_by_role("dialog", name=node.hostname)).to_contain_text("cordoned")
    assert (await work.admin.read(f"/api/clusters/nodes/{node.id}"))["state"] == "cordoned"


async def test_a_reader_sees_no_controls(screen: Screen) -> None:
    work = await furnish(screen)
    await screen.open(f"fleet?node={work.hosts[0].id}", key=await screen.plane.key(permissions=["read"]))
    await expect(screen.dialog()).to_contain_text("Heartbeat")
    await expect(screen.dialog().get_by_role("button", name="Cordon")).to_have_count(0)


async def test_allocation_shows_who_holds_what(screen: Screen) -> None:
    await furnish(screen)
    await screen.open_as_admin("allocation")
    row = screen.page.get_by_role("row", name="finetune")
    await expect(row).to_contain_text("NovAI Labs")
    await expect(row.locator(".cell")).to_have_count(2)
    await screen.page.get_by_label("Filter jobs").fill("nothing like it")
    await expect(screen.page.get_by_role("heading", name="No running job fits this filter")).to_be_visible()


async def test_names_are_text_whatever_they_hold(screen: Screen) -> None:
    work = Work(plane=screen.plane)
    cluster = await work.cluster(2, name=XSS % "cluster")
    tenant = await work.tenant(4, name=XSS % "tenant")
    await work.running(cluster, 1, tenant_id=tenant, name=XSS % "job")
    await screen.plane.key(label=XSS % "key")
    await screen.open_as_admin("fleet?view=table")
    for tab in (
        "",
        "fleet?view=table",
        "fleet?group=tenant",
        "allocation",
        "jobs",
        "tenants",
        "billing",
        "keys",
    ):
        await screen.page.goto(f"{screen.plane.url}/{tab}")
        await screen.page.wait_for_timeout(700)
        assert await screen.page.evaluate("window.hacked") is None, tab
    await expect(screen.page.get_by_role("row", name="onerror").first).to_be_visible()
