"""Tenants in the browser: created, quota changed in place, budget, usage, deleted by typing the name."""

from datetime import timedelta

from playwright.async_api import expect

from gpuforge_controlplane.services.sample import SampleFleet
from tests.api.work import Work
from tests.browser.screen import Screen

HOSTILE = '<img src=x onerror="window.hit=1">'


async def test_a_tenant_from_creation_to_deletion(screen: Screen) -> None:
    # 404: the stream tells of the edit while it is deleted, and the drawer asks once more
    screen.refusals = (409, 404)
    await screen.open_as_admin("tenants")
    await expect(screen.page.get_by_text("No tenants yet")).to_be_visible()
    await screen.see_accessible()
    for expected in ("was created.", "choose another name"):
        await screen.button("Create tenant").click()
        form = screen.page.get_by_role("dialog", name="Create tenant")
        await form.get_by_label("Name", exact=True).fill(HOSTILE)
        await form.get_by_label("Quota, GPUs").fill("4")
        await form.get_by_role("button", name="Create tenant").click()
        await expect(screen.page.get_by_text(expected)).to_be_visible()
    await form.get_by_role("button", name="Cancel").click()

    await screen.page.get_by_role("link", name=HOSTILE).click()
    drawer = screen.page.get_by_role("dialog", name=HOSTILE)
    await drawer.get_by_role("button", name="Edit").click()
    edit = screen.page.get_by_role("dialog", name="Edit")
    await edit.get_by_label("Contact e-mail").fill("bills@example.com")
    await edit.get_by_role("button", name="Save changes").click()
    await expect(drawer.get_by_text("bills@example.com")).to_be_visible()

    await drawer.get_by_role("button", name="Delete").click()
    ask = screen.page.get_by_role("dialog", name="Delete this tenant?")
    await expect(ask.get_by_role("button", name="Delete tenant")).to_be_disabled()
    await ask.get_by_role("textbox").fill(HOSTILE)
    await screen.see_accessible()
    await ask.get_by_role("button", name="Delete tenant").click()
    await expect(screen.page.get_by_text("No tenants yet")).to_be_visible()
    assert await screen.plane.admin.read("/api/tenants") == []
    assert await screen.page.evaluate("window.hit") is None


async def test_a_quota_changes_where_it_stands_and_says_what_that_does(screen: Screen) -> None:
    work = Work(plane=screen.plane)
    cluster = await work.cluster(8)
    tenant = await work.tenant(quota=4)
    await work.running(cluster, 4, tenant_id=tenant)
    await screen.open_as_admin("tenants")
    await screen.page.get_by_label("Change the quota of Acme ML").click()
    field = screen.page.get_by_label("Quota of Acme ML", exact=True)
    await expect(field).to_be_focused()
    await field.fill("6")
    await expect(screen.page.get_by_text("room for 2 more GPUs")).to_be_visible()
    await screen.see_accessible()
    await field.press("Enter")
    await expect(screen.page.get_by_text("The quota of Acme ML is 6: room for 2 more GPUs.")).to_be_visible()
    await expect(screen.page.get_by_role("row", name="Acme ML")).to_contain_text("66.7 %")

    await screen.page.get_by_label("Change the quota of Acme ML").click()
    await field.fill("3")
    await expect(screen.page.get_by_text("1 over: what runs goes on, new jobs wait")).to_be_visible()
    await screen.button("Save").click()
    await screen.dialog().get_by_role("button", name="Lower quota").click()
    await expect(screen.page.get_by_role("row", name="Acme ML")).to_contain_text("133.3 %")
    assert (await screen.plane.admin.read(f"/api/tenants/{tenant}"))["gpu_quota"] == 3


async def test_an_edit_takes_back_nothing_that_another_changed_meanwhile(screen: Screen) -> None:
    tenant = await Work(plane=screen.plane).tenant(quota=4)
    await screen.open_as_admin(f"tenants?tenant={tenant}")
    await screen.dialog().get_by_role("button", name="Edit").click()
    edit = screen.page.get_by_role("dialog", name="Edit")
    await edit.get_by_label("Contact e-mail").fill("bills@example.com")
    assert (await screen.plane.admin.put(f"/api/tenants/{tenant}", {"gpu_quota": 64})).status == 200
    await edit.get_by_role("button", name="Save changes").click()
    await expect(screen.page.get_by_text("Acme ML was changed.")).to_be_visible()
    found = await screen.plane.admin.read(f"/api/tenants/{tenant}")
    assert (found["contact_email"], found["gpu_quota"]) == ("bills@example.com", 64)


async def test_one_whose_jobs_run_is_deleted_only_when_told_twice(screen: Screen) -> None:
    screen.refusals = (409,)
    work = Work(plane=screen.plane)
    cluster = await work.cluster(8)
    tenant = await work.tenant(quota=4)
    await work.running(cluster, 4, tenant_id=tenant)
    await screen.open_as_admin(f"tenants?tenant={tenant}")
    await screen.dialog().get_by_role("button", name="Delete").click()
    for title, action in (("Delete this tenant?", "Delete tenant"), ("Delete it nevertheless?",) * 2):
        ask = screen.page.get_by_role("dialog", name=title)
        await ask.get_by_role("textbox").fill("Acme ML")
        await ask.get_by_role("button", name=action.rstrip("?")).click()
    await expect(screen.page.get_by_text("Acme ML was deleted.")).to_be_visible()
    assert await screen.plane.admin.read("/api/tenants") == []


async def test_usage_and_the_budget_it_is_held_against(screen: Screen) -> None:
    await SampleFleet(screen.plane.database, timedelta(days=30)).build(screen.plane.clock())
    await screen.open_as_admin("tenants?tenant=1&days=7")
    drawer = screen.dialog()
    await expect(drawer.get_by_role("row", name="H100")).to_contain_text("$")
    await expect(drawer.get_by_role("img", name="Cost by day")).to_be_visible()
    await drawer.get_by_role("button", name="Set budget").click()
    await drawer.get_by_label("Dollars a month").fill("100")
    await drawer.get_by_role("button", name="Save").click()
    await expect(drawer.get_by_text("of $100 spent")).to_be_visible()
    await screen.see_accessible()
    await drawer.get_by_role("button", name="Change budget").click()
    await drawer.get_by_label("Dollars a month").fill("")
    await drawer.get_by_role("button", name="Take it away").click()
    await expect(drawer.get_by_role("button", name="Set budget")).to_be_visible()


async def test_a_tenants_own_key_changes_nothing(screen: Screen) -> None:
    work = Work(plane=screen.plane)
    tenant = await work.tenant()
    await work.tenant(name="another")
    await screen.open("tenants", key=await screen.plane.key(permissions=["write"], tenant_id=tenant))
    await expect(screen.page.locator("tbody tr")).to_have_count(1)
    await expect(screen.button("Create tenant")).to_have_count(0)
    await expect(screen.page.get_by_label("Change the quota of Acme ML")).to_have_count(0)
