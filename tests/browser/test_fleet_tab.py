"""The fleet in the browser: map and table twin, filters in the address, a node's drawer, cordoning."""

from playwright.async_api import expect

from tests.api.harness import Json
from tests.api.work import Work
from tests.browser.screen import Screen


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


async def test_the_map_zooms_into_a_cluster_and_back(screen: Screen) -> None:
    await furnish(screen)
    await screen.open_as_admin("fleet")
    note = screen.page.locator(".map-panel .note")
    await expect(note).to_contain_text("3 nodes · 20 GPUs.")
    await screen.button("lab").click()
    await expect(note).to_contain_text("1 of 3 nodes · 4 of 20 GPUs.")
    await screen.page.reload()
    await expect(note).to_contain_text("1 of 3 nodes · 4 of 20 GPUs.")
    await expect(screen.page.get_by_label("Cluster")).to_have_value("2")
    await screen.button("lab").click()
    await expect(note).to_contain_text("3 nodes · 20 GPUs.")
    await screen.page.get_by_label("Filter GPUs").fill("finetune")
    await expect(note).to_contain_text("1 of 3 nodes · 2 of 20 GPUs.")


async def test_the_chips_count_what_is_in_view_and_say_so(screen: Screen) -> None:
    work = await furnish(screen)
    await report(screen, work, 1, xids=[{"code": 79, "seen_at": screen.plane.clock().isoformat()}])
    chips = screen.page.get_by_role("group", name="Highlight").get_by_role("button")
    await screen.open_as_admin("fleet")
    whole = ["All GPUs 20", "Allocated but idle 1", "Faulty or offline 1", "Free 4"]
    await expect(chips).to_have_text(whole)
    await screen.page.get_by_label("Filter GPUs").fill("east-01")
    await expect(chips).to_have_text(["In view 8", "Allocated but idle 1", "Faulty or offline 1", "Free 0"])
    await screen.page.get_by_label("Filter GPUs").fill("")
    await screen.button("lab").click()
    lab = ["In view 4", "Allocated but idle 0", "Faulty or offline 0", "Free 2"]
    await expect(chips).to_have_text(lab)
    await screen.button("Table").click()
    await expect(chips).to_have_text(lab)
    await screen.page.goto(f"{screen.plane.url}/?cluster=2")
    await expect(chips).to_have_text(lab)
    await screen.button("lab").click()
    await expect(chips).to_have_text(whole)


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
    await screen.dialog().get_by_role("button", name="Power").click()
    assert screen.page.url.endswith("&span=7d&figure=power")
    await screen.see_accessible()
    height = await screen.page.evaluate("document.querySelector('.charts .plot').clientHeight")
    assert height == 170, "a chart does not grow by looking at it"


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
    held = screen.dialog().get_by_role("link", name="finetune").first
    await expect(held).to_have_attribute("href", "/jobs?job=1")
    await expect(screen.dialog().get_by_role("button", name="Cordon")).to_have_count(0)


async def test_allocation_shows_who_holds_what(screen: Screen) -> None:
    await furnish(screen)
    await screen.open_as_admin("allocation")
    row = screen.page.get_by_role("row", name="finetune")
    await expect(row).to_contain_text("NovAI Labs")
    await expect(row.locator(".cell")).to_have_count(2)
    await screen.page.get_by_label("Filter jobs").fill("nothing like it")
    await expect(screen.page.get_by_role("heading", name="No running job fits this filter")).to_be_visible()


async def report(screen: Screen, work: Work, index: int, **condition: Json) -> None:
    """What the first host's agent says of one of its GPUs."""
    host = work.hosts[0]
    gpu = {"gpu_id": host.gpu_ids[index], "health": {}, "processes": [], **condition}
    await screen.plane.admin.write(f"/api/clusters/nodes/{host.id}/health", {"gpus": [gpu]})


async def test_a_fault_is_told_in_words_and_cleared_by_an_operators_word(screen: Screen) -> None:
    work = await furnish(screen)
    host = work.hosts[0]
    await report(screen, work, 1, xids=[{"code": 79, "seen_at": screen.plane.clock().isoformat()}])
    await report(screen, work, 2, unreadable="hung")
    await report(
        screen, work, 3, health={"throttle_reasons": ["hw_thermal"], "pcie_width": 8, "pcie_width_max": 16}
    )
    await screen.open_as_admin(f"fleet?node={host.id}")
    cards = screen.page.locator(".gpu")
    fallen, hung, slow = (
        cards.filter(has=screen.page.get_by_text(f"GPU {place}", exact=True)) for place in (1, 2, 3)
    )
    await expect(fallen).to_contain_text("Xid 79: the GPU has fallen off the bus.")
    await expect(fallen).to_contain_text("until an operator says that it is well")
    await expect(hung).to_contain_text("The GPU can't be read: a call on it does not return.")
    await expect(hung.get_by_role("button", name="Clear fault")).to_have_count(0)
    await expect(slow).to_contain_text("Slowed down by heat.")
    await expect(slow).to_contain_text("PCIe runs 8 lanes wide of 16.")
    await screen.see_accessible()

    await fallen.get_by_role("button", name="Clear fault").click()
    question = screen.page.get_by_role("dialog", name=f"Declare GPU 1 of {host.hostname} well?")
    await question.get_by_label("What was done about it").fill("reseated the card")
    await screen.see_accessible()
    await question.get_by_role("button", name="Clear fault").click()
    await expect(screen.page.get_by_text(f"GPU 1 of {host.hostname} takes jobs again.")).to_be_visible()
    await expect(fallen.get_by_role("list", name="Faults")).to_have_count(0)
    audited = await screen.plane.admin.read("/api/audit?object_type=gpu&limit=1")
    assert (audited[0]["action"], audited[0]["after"]["note"]) == ("gpu.fault_clear", "reseated the card")


async def test_a_reader_sees_faults_and_clears_none(screen: Screen) -> None:
    work = await furnish(screen)
    await report(screen, work, 1, xids=[{"code": 48, "seen_at": screen.plane.clock().isoformat()}])
    await screen.open(f"fleet?node={work.hosts[0].id}", key=await screen.plane.key(permissions=["read"]))
    await expect(screen.dialog()).to_contain_text("Xid 48: double-bit ECC error.")
    await expect(screen.dialog().get_by_role("button", name="Clear fault")).to_have_count(0)
