"""GET /api/invoices/{id} by Accept: JSON, CSV, a page to print; 406 for anything else."""

import base64
import csv
import hashlib
import io
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from sqlalchemy import update

from gpuforge_controlplane.storage.billing_schema import invoices
from tests.api.conftest import Serve
from tests.api.harness import ON_SQLITE, Answer, Caller, Plane, build_site

# Each as the name of a tenant: none may become markup, script, style, an attribute or a formula.
HOSTILE = (
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<!--<script>-->",
    "<a href=javascript:alert(1)>pay</a>",
    "\u202e<b>gnp.exe</b>",
    "{{7*7}}${7*7}",
    "</dd></dl><h1>Paid</h1>",
)
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x","y")', "\uff1d1+1", 'a,"b"')


async def invoiced(plane: Plane, name: str = "Acme ML") -> int:
    """The id of an invoice over an hour of one GPU, of a tenant of that name."""
    tenant_id = await plane.tenant(name)
    plane.clock.forward(hours=-1)
    site = await build_site(plane, f"site-{tenant_id}")
    wanted = {"cluster_id": site.cluster_id, "name": "train", "tenant_id": tenant_id}
    job = await plane.admin.write("/api/jobs", wanted)
    await plane.cycle()
    plane.clock.forward(hours=1)
    assert (await plane.admin.patch(f"/api/jobs/{job['id']}", {"status": "completed"})).status == 200
    issued = await plane.admin.write(f"/api/tenants/{tenant_id}/invoice", None)
    return int(issued["invoice"]["id"])


async def shown(caller: Caller, invoice_id: int, accept: str) -> Answer:
    return await caller.get(f"/api/invoices/{invoice_id}", headers={"Accept": accept})


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.style = ""
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "style" and not self.style:
            self.style = data
        else:
            self.text += data


@ON_SQLITE
@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("*/*", "application/json"),
        ("", "application/json"),
        ("application/json", "application/json"),
        ("application/*", "application/json"),
        ("text/csv", "text/csv"),
        ("TEXT/CSV", "text/csv"),
        ("text/html", "text/html"),
        ("text/html;q=0.5, text/csv", "text/csv"),
        ("text/*", "text/csv"),
        ("text/*, text/csv;q=0", "text/html"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("application/json, text/html", "application/json"),
        ("*/*, application/json;q=0", "text/csv"),
        ("image/png, */*;q=0.1", "application/json"),
    ],
)
async def test_accept_chooses_the_form(plane: Plane, accept: str, media: str) -> None:
    answer = await shown(plane.admin, await invoiced(plane), accept)
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, media)
    assert answer.headers["Vary"] == "Accept"


@ON_SQLITE
@pytest.mark.parametrize(
    "accept",
    ["image/png", "application/pdf, text/plain", "*/*;q=0", "application/json;q=0", "json", "a/b;q=2"],
)
async def test_what_excludes_all_forms_is_406(plane: Plane, accept: str) -> None:
    answer = await shown(plane.admin, await invoiced(plane), accept)
    assert (answer.status, answer.code) == (406, "not_acceptable")
    assert "text/html" in answer.body["detail"]


@ON_SQLITE
async def test_an_unknown_invoice_is_404_in_any_form(plane: Plane) -> None:
    for accept in ("text/html", "text/csv", "*/*"):
        assert (await shown(plane.admin, 999, accept)).status == 404


async def test_the_csv_adds_up_to_the_total(plane: Plane) -> None:
    invoice_id = await invoiced(plane)
    answer = await shown(plane.admin, invoice_id, "text/csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="GF-000001.csv"'
    (row,) = csv.DictReader(io.StringIO(answer.raw.decode(), newline=""))
    assert row == {
        "invoice_number": "GF-000001",
        "status": "pending",
        "tenant_id": "1",
        "tenant_name": "Acme ML",
        "tenant_email": "",
        "period_start": "2026-04-09T12:00:00Z",
        "period_end": "2026-05-09T12:00:00Z",
        "issued_at": "2026-05-09T12:00:00Z",
        "due_at": "2026-06-08T12:00:00Z",
        "paid_at": "",
        "currency": "USD",
        "gpu_type": "H100",
        "gpu_seconds": "3600",
        "gpu_hours": "1.0000",
        "rate_per_hour": "4.76",
        "amount": "4.76",
    }


@ON_SQLITE
async def test_a_formula_as_a_name_is_only_text_in_csv(plane: Plane) -> None:
    for name in FORMULAS:
        answer = await shown(plane.admin, await invoiced(plane, name), "text/csv")
        (row,) = csv.DictReader(io.StringIO(answer.raw.decode(), newline=""))
        assert row["tenant_name"] == (name if name.startswith("a") else f"'{name}")


async def test_the_page_says_all_that_a_payer_needs(plane: Plane) -> None:
    invoice_id = await invoiced(plane)
    answer = await shown(plane.admin, invoice_id, "text/html")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    text = Page(answer.raw.decode()).text
    for words in (
        "Invoice GF-000001", "pending", "Acme ML", "2026-04-09 12:00:00 UTC to 2026-05-09 12:00:00 UTC",
        "Due2026-06-08", "H100", "4.76 USD", "There is no payment link",
    ):  # fmt: skip
        assert words in text, words
    assert "GPUFORGE" not in text  # which setting is missing is no matter of the payer's


async def test_a_link_to_pay_is_a_link_only_where_it_is_https(plane: Plane) -> None:
    invoice_id = await invoiced(plane)
    for url, links in (("https://buy.stripe.com/x?a=1&b=2", [("a", "href")]), ("javascript:alert(1)", [])):
        async with plane.database.write() as tx:
            await tx.execute(update(invoices).values(link_url=url))
        page = Page((await shown(plane.admin, invoice_id, "text/html")).raw.decode())
        assert [(tag, name) for tag, name, _ in page.attributes if name == "href"] == links
        assert url in page.text


@pytest.mark.parametrize("status", ["paid", "void", "overdue"])
async def test_the_page_tells_where_the_invoice_stands(plane: Plane, status: str) -> None:
    invoice_id = await invoiced(plane)
    reason = "<i>twice</i>"
    if status == "void":
        await plane.admin.write(f"/api/invoices/{invoice_id}/void", {"reason": reason})
    else:
        await plane.admin.patch(f"/api/invoices/{invoice_id}/status", {"status": status})
    page = Page((await shown(plane.admin, invoice_id, "text/html")).raw.decode())
    assert ("span", "class", f"status {status}") in page.attributes
    assert (reason in page.text) == (status == "void")
    assert (f"This invoice is {status}" in page.text) == (status != "overdue")


@ON_SQLITE
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_name_stays_a_name(plane: Plane, name: str) -> None:
    """Markup of a hostile name's page is that of any other, and its style the one that the policy allows."""
    plain = Page((await shown(plane.admin, await invoiced(plane), "text/html")).raw.decode())
    answer = await shown(plane.admin, await invoiced(plane, name), "text/html")
    page = Page(answer.raw.decode())
    assert page.tags == plain.tags
    assert page.attributes == plain.attributes
    assert name in page.text
    _see_policy(answer, page)


def _see_policy(answer: Answer, page: Page) -> None:
    policy = answer.headers["Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert re.findall(r"'sha256-([^']+)'", policy) == [digest]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "script" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name == "style"]


async def test_a_tenants_key_sees_its_own_alone(plane: Plane) -> None:
    own, other = await invoiced(plane, "own"), await invoiced(plane, "other")
    tenant = await plane.holder_of(permissions=["read"], tenant_id=1)
    for accept in ("text/html", "text/csv"):
        assert (await shown(tenant, own, accept)).status == 200
        assert (await shown(tenant, other, accept)).status == 404


@ON_SQLITE
async def test_the_sample_has_pages_too(serve: Serve) -> None:
    plane = await serve(demo="sample")
    answer = await shown(plane.anonymous, 1, "text/html")
    assert (answer.status, answer.headers["X-GPUForge-Demo"]) == (200, "sample")
    _see_policy(answer, Page(answer.raw.decode()))


@ON_SQLITE
async def test_the_document_names_all_forms(plane: Plane) -> None:
    operation: Any = plane.contract.document["paths"]["/api/invoices/{invoice_id}"]["get"]
    assert list(operation["responses"]["200"]["content"]) == ["application/json", "text/csv", "text/html"]
