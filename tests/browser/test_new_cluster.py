"""A cluster made in the page, the key of its agents shown once, and what brings an agent onto a host."""

from playwright.async_api import expect

from tests.api.work import Work
from tests.browser.screen import MISPLACED, Screen


async def test_a_newcomer_makes_a_cluster_and_its_agents_come(screen: Screen) -> None:
    await screen.open_as_admin()
    await expect(screen.page.get_by_role("link", name="New cluster")).to_be_visible()
    assert await screen.page.evaluate(MISPLACED) == []
    await screen.page.get_by_role("link", name="New cluster").click()
    form = screen.page.get_by_role("dialog", name="New cluster")
    await form.get_by_label("Name").fill("us-east-prod")
    await form.get_by_label("Region").fill("us-east-1")
    await screen.see_accessible()
    await form.get_by_role("button", name="Create cluster").click()
    secret = screen.page.get_by_label("The new API key")
    await expect(secret).to_be_focused()
    raw = await secret.input_value()
    install = screen.dialog().get_by_role("group", name="Command")
    await expect(install.nth(2)).to_contain_text(f'control_plane_url = "{screen.plane.url}/"')
    await screen.see_accessible()

    agent = screen.plane.holder(raw)
    node = await agent.write("/api/clusters/nodes", {"cluster_id": 1, "hostname": "gpu-01"})
    await agent.write("/api/clusters/gpus", {"node_id": node["id"], "gpus": [{"model": "NVIDIA H100"}]})
    await expect(screen.page.locator(".map-panel .note")).to_contain_text("1 node · 1 GPU.")
    await expect(secret).to_have_value(raw)  # though the map has come
    await screen.button("I saved it").click()
    await expect(screen.dialog()).to_have_count(0)
    assert raw not in await screen.page.content()
    (cluster,) = await screen.plane.admin.read("/api/clusters")
    assert (cluster["name"], cluster["region"]) == ("us-east-prod", "us-east-1")
    assert screen.page.url.endswith("/fleet")


async def test_a_key_of_agents_is_not_lost_to_haste(screen: Screen) -> None:
    await screen.open_as_admin("fleet")
    sent, may_come = await screen.hold("**/api/clusters")
    await screen.button("New cluster").click()
    await screen.dialog().get_by_label("Name").fill("east")
    await screen.dialog().get_by_role("button", name="Create cluster").click()
    await sent.wait()
    await screen.page.keyboard.press("Escape")
    await expect(screen.dialog().get_by_role("button", name="Cancel")).to_be_disabled()
    may_come.set()
    await expect(screen.page.get_by_label("The new API key")).to_be_focused()


async def test_what_is_wrong_with_a_cluster_is_said_at_its_field(screen: Screen) -> None:
    screen.refusals = (409,)
    await Work(plane=screen.plane).cluster(8, name="east")
    await screen.open_as_admin("fleet")
    await screen.button("New cluster").click()
    await screen.dialog().get_by_label("Name").fill("east")
    await screen.dialog().get_by_role("button", name="Create cluster").click()
    name = screen.dialog().locator(".field", has_text="Name")
    await expect(name).to_contain_text('There is a cluster "east" already; choose another name.')
    await screen.dialog().get_by_label("Name").fill("west")
    await screen.dialog().get_by_role("button", name="Create cluster").click()
    await expect(screen.page.get_by_label("The new API key")).to_be_visible()


async def test_a_cluster_without_gpus_says_how_they_come(screen: Screen) -> None:
    await Work(plane=screen.plane).cluster(name="east")
    await screen.open_as_admin()
    await expect(screen.page.get_by_text("apt install ./gpuforge-agent_*.deb")).to_be_visible()
    await expect(screen.page.get_by_text("New cluster")).to_have_count(0)
    assert await screen.page.evaluate(MISPLACED) == []


async def test_who_may_not_make_a_cluster_is_not_asked_to(screen: Screen) -> None:
    work = Work(plane=screen.plane)
    tenant = await work.tenant(8)
    for key in (
        await screen.plane.key(permissions=["read"]),
        await screen.plane.key(permissions=["read", "write"], tenant_id=tenant),
    ):
        await screen.open("fleet?make=1", key=key)
        await expect(screen.page.get_by_text("No GPU has reported yet")).to_be_visible()
        await expect(screen.button("Sign out")).to_be_visible()
        await expect(screen.page.get_by_text("New cluster")).to_have_count(0)
        await expect(screen.dialog()).to_have_count(0)


async def test_another_key_for_a_clusters_agents(screen: Screen) -> None:
    await Work(plane=screen.plane).cluster(8, name="east")
    await screen.open_as_admin("keys")
    await screen.button("Generate key").click()
    form = screen.dialog()
    await form.get_by_label("Label").fill("agents, new")
    await form.get_by_label("For").select_option(label="agents of east")
    await expect(form.get_by_role("checkbox").first).to_be_disabled()
    await form.get_by_role("button", name="Generate key").click()
    raw = await screen.page.get_by_label("The new API key").input_value()
    await expect(screen.dialog().get_by_role("group", name="Command").first).to_be_visible()
    told = await screen.plane.holder(raw).read("/api/whoami")
    assert (told["kind"], told["cluster_id"]) == ("cluster key", 1)
    await screen.button("I saved it").click()
    await expect(screen.page.get_by_role("row", name="agents, new")).to_contain_text("agents of east")
