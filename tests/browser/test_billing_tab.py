"""Billing in the browser: invoices previewed, issued, paid and voided; rates set; revenue shown."""

from datetime import UTC, datetime, timedelta

import pytest_asyncio
from playwright.async_api import expect
from sqlalchemy import update

from gpuforge_controlplane.services.sample import SampleFleet
from gpuforge_controlplane.storage.billing_schema import invoices
from gpuforge_controlplane.storage.schema import allocations
from tests.api.work import Work
from tests.browser.screen import Screen

PENDING = "GF-000002"  # the sample's: of Acme ML


@pytest_asyncio.fixture(loop_scope="session")
async def billed(screen: Screen) -> Screen:
    """A page on six days of jobs and two invoices, one of them paid."""
    await SampleFleet(screen.plane.database, timedelta(days=30)).build(screen.plane.clock())
    return screen


async def test_an_invoice_is_voided_issued_anew_and_paid(billed: Screen) -> None:
    await billed.open_as_admin("billing?sort=number")
    await expect(billed.page.get_by_text("nobody is late")).to_be_visible()
    await billed.see_accessible()
    await billed.page.get_by_role("link", name=PENDING).click()
    drawer = billed.page.get_by_role("dialog", name=f"Invoice {PENDING}")
    await expect(drawer.get_by_role("row", name="Total")).to_contain_text("$")
    await expect(drawer.get_by_text("A made-up invoice: nobody has to pay it.")).to_be_visible()
    await drawer.get_by_role("button", name="Void").click()
    void = billed.page.get_by_role("dialog", name="Void this invoice?")
    await void.get_by_label("Reason, for the record").fill("wrong rate")
    await expect(void.get_by_role("button", name="Void invoice")).to_be_disabled()
    await void.get_by_label("to go on").fill(PENDING)
    await billed.see_accessible()
    await void.get_by_role("button", name="Void invoice").click()
    await expect(drawer.get_by_text("wrong rate")).to_be_visible()
    await expect(void).to_have_count(0)
    await billed.page.keyboard.press("Escape")

    await billed.button("Issue invoice").click()
    form = billed.page.get_by_role("dialog", name="Issue invoice")
    await form.get_by_label("Tenant").select_option("Acme ML")
    await expect(form.get_by_text("Would bill")).to_be_visible()
    await billed.see_accessible()
    await form.get_by_role("button", name="Issue invoice").click()
    drawer = billed.page.get_by_role("dialog", name="Invoice GF-000003")
    await billed.see_told("was issued.")
    await expect(drawer.get_by_role("heading", name="Payment link")).to_be_visible()
    await drawer.get_by_role("button", name="Mark paid").click()
    ask = billed.page.get_by_role("dialog", name="Mark this invoice as paid?")
    await ask.get_by_role("button", name="Mark paid").click()
    await expect(drawer.get_by_text("marked by hand")).to_be_visible()
    await expect(ask).to_have_count(0)
    await billed.see_told("GF-000003 is paid.")
    await billed.page.keyboard.press("Escape")
    await expect(billed.page.locator("tbody tr td:nth-child(3)").filter(has_text="paid")).to_have_count(2)
    statuses = [each["status"] for each in await billed.plane.admin.read("/api/invoices")]
    assert statuses == ["paid", "void", "paid"]


async def test_an_invoice_is_saved_to_print_and_for_a_spreadsheet(billed: Screen) -> None:
    await billed.open_as_admin("billing?invoice=2")
    drawer = billed.page.get_by_role("dialog", name=f"Invoice {PENDING}")
    for button, name, held in (("Page to print", "html", "<!doctype html>"), ("CSV", "csv", "gpu_type,")):
        async with billed.page.expect_download() as saved:
            await drawer.get_by_role("button", name=button).click()
        file = await saved.value
        assert file.suggested_filename == f"{PENDING}.{name}"
        text = (await file.path()).read_text()
        assert held in text.lower()
        assert PENDING in text


async def test_one_that_is_pending_is_shown_instead_of_another(billed: Screen) -> None:
    await billed.open_as_admin("billing?issue=2")
    await expect(billed.dialog().get_by_text("is pending already")).to_be_visible()
    await billed.button("Show pending invoice").click()
    await expect(billed.page.get_by_role("dialog", name=f"Invoice {PENDING}")).to_be_visible()


async def test_a_rate_is_set_from_now_on(billed: Screen) -> None:
    await billed.open_as_admin("billing")
    await billed.page.get_by_label("Edit the rate of H100").click()
    form = billed.page.get_by_role("dialog", name="Rate of H100")
    await form.get_by_label("Dollars per GPU-hour").fill("5.25")
    await expect(form.get_by_text("$4.76 → $5.25 an hour")).to_be_visible()
    await billed.see_accessible()
    await form.get_by_role("button", name="Set rate").click()
    await expect(billed.page.get_by_text("H100 costs $5.25 an hour")).to_be_visible()
    await expect(billed.page.get_by_role("row", name="H100")).to_contain_text("$5.25")
    card = {rate["family"]: rate["rate_per_hour"] for rate in await billed.plane.admin.read("/api/rates")}
    assert card["H100"] == 5.25


async def test_revenue_and_invoices_by_what_the_address_says(billed: Screen) -> None:
    await billed.open_as_admin("billing?days=7&status=paid")
    await expect(billed.page.get_by_role("img", name="Revenue by day")).to_be_visible()
    await expect(billed.page.get_by_role("link", name="GF-000001")).to_be_visible()
    await expect(billed.page.get_by_role("link", name=PENDING)).to_have_count(0)
    await billed.button("Overdue").click()
    await expect(billed.page.get_by_text("No invoice fits this filter")).to_be_visible()


async def test_a_reader_changes_no_money(billed: Screen) -> None:
    await billed.open("billing?invoice=2", key=await billed.plane.key(permissions=["read"]))
    await expect(billed.dialog().get_by_role("row", name="Total")).to_be_visible()
    for name in ("Mark paid", "Void"):
        await expect(billed.dialog().get_by_role("button", name=name)).to_have_count(0)
    await billed.page.keyboard.press("Escape")
    await expect(billed.page.get_by_role("row", name=PENDING)).to_be_visible()
    for name in ("Issue invoice", "Set rate"):
        await expect(billed.button(name)).to_have_count(0)


async def test_without_use_there_is_nothing_to_show(screen: Screen) -> None:
    await screen.open_as_admin("billing")
    await expect(screen.page.get_by_text("No invoices yet")).to_be_visible()
    await expect(screen.page.get_by_text("Nothing was used in these 30 days")).to_be_visible()
    await screen.see_accessible()


async def test_leakage_shows_the_servers_figures_with_their_evidence(screen: Screen) -> None:
    plane, work = screen.plane, Work(plane=screen.plane)
    cluster = await work.cluster(8, name="east")
    tenant = await work.tenant(8, name="NovAI Labs")
    await work.running(cluster, 3, tenant_id=tenant, name="forgotten", gpu_type="H100")
    held = [row["gpu_id"] for row in await work.admin.read("/api/dashboard/gpu-allocation?allocated=true")]
    async with plane.database.write() as tx:  # it has run for two hours
        await tx.execute(update(allocations).values(started_at=plane.clock() - timedelta(hours=2)))
    metrics = [
        {
            "gpu_id": gpu,
            "recorded_at": (plane.clock() - timedelta(minutes=ago)).isoformat(),
            "utilization_pct": load,
        }
        for ago in (1, 10, 20)
        for gpu, load in zip(held, (2, 4, 80), strict=True)
    ]
    await work.admin.write("/api/clusters/metrics", {"metrics": metrics})
    await screen.open_as_admin("billing")
    await screen.page.get_by_role("link", name="Leaks now").click()
    assert screen.page.url.endswith("/billing?view=leakage")
    lost = (await work.admin.read("/api/dashboard/leakage"))["totals"]["lost_per_hour"]
    assert lost == 9.52
    await expect(screen.page.locator(".kpi").first).to_contain_text("$9.52/h")
    rows = screen.page.get_by_role("region", name="Idle GPUs, table").locator("tbody tr")
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text("$4.76/h")
    await expect(rows.first.get_by_role("link", name="forgotten")).to_have_attribute("href", "/jobs?job=1")
    await screen.page.get_by_role("button", name="Mean load").click()
    assert "idle=load" in screen.page.url
    await expect(rows.first).to_contain_text("2.0 %")
    await screen.see_accessible()

    await screen.page.goto(f"{plane.url}/")
    await expect(screen.page.get_by_role("link", name="Revenue leakage")).to_contain_text("$9.52/h")
    attention = screen.page.locator(".attention li").filter(has_text="2 lent GPUs idle")
    await expect(attention).to_contain_text("NovAI Labs")
    await expect(attention).to_contain_text("$9.52/h")
    await screen.page.goto(f"{plane.url}/allocation")
    await expect(screen.page.get_by_label("Allocated against used")).to_contain_text("$9.52/h")


async def test_a_period_is_the_same_wherever_it_is_read(billed: Screen) -> None:
    october = {name: datetime(2026, month, 1, tzinfo=UTC) for name, month in (("start", 10), ("end", 11))}
    async with billed.plane.database.write() as tx:
        await tx.execute(update(invoices).values({f"period_{name}": at for name, at in october.items()}))
    emulation = await billed.page.context.new_cdp_session(billed.page)
    await emulation.send("Emulation.setTimezoneOverride", {"timezoneId": "America/St_Johns"})
    await billed.open_as_admin("billing?invoice=2")
    await expect(billed.dialog()).to_contain_text("2026-10-01 to 2026-11-01, UTC")
    await billed.page.keyboard.press("Escape")
    await expect(billed.page.get_by_role("row", name=PENDING)).to_contain_text("2026-10-01 to 2026-11-01")
