"""An invoice for people: as a page to print and as CSV."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from decimal import Decimal
from html import escape

from gpuforge_controlplane.api.route import Sheet
from gpuforge_controlplane.domain.spreadsheet import csv_row
from gpuforge_shared.wire.billing import InvoiceDetail, InvoiceLine

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #16181d; font: 15px/1.5 system-ui, "Segoe UI", sans-serif; }
main { max-width: 46rem; margin: 2.5rem auto; padding: 0 1.5rem; }
header { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 1rem; }
h1 { margin: 0; font-size: 1.6rem; }
.status { align-self: center; border: 2px solid; border-radius: 4px; padding: .1rem .7rem; font-weight: 700;
  text-transform: uppercase; letter-spacing: .06em; }
.paid { color: #14683a; } .pending { color: #7a4d00; } .overdue { color: #a3141c; } .void { color: #555; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.5rem; margin: 1.5rem 0; }
dt { color: #5a606b; } dd { margin: 0; overflow-wrap: anywhere; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .5rem; border-bottom: 1px solid #cdd1d8; text-align: left; }
th { color: #5a606b; font-weight: 600; } tr { break-inside: avoid; }
.n { text-align: right; white-space: nowrap; }
tfoot td { border-bottom: 0; font-weight: 700; font-size: 1.1rem; }
footer { margin-top: 1.5rem; color: #3c414a; overflow-wrap: anywhere; }
a { color: #0b57d0; }
@page { size: A4; margin: 18mm; }
@media print { main { max-width: none; margin: 0; padding: 0; } a { color: inherit; }
  body { font-size: 11pt; } }
"""
# The one style that the page is allowed, by its hash: whatever else got into it would not be heeded.
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_COLUMNS = (
    "invoice_number", "status", "tenant_id", "tenant_name", "tenant_email", "period_start", "period_end",
    "issued_at", "due_at", "paid_at", "currency", "gpu_type", "gpu_seconds", "gpu_hours", "rate_per_hour",
    "amount",
)  # fmt: skip

_SETTLED = {"paid": "This invoice is paid.", "void": "This invoice is void: nothing is to be paid."}


def invoice_csv(invoice: InvoiceDetail) -> Sheet:
    """A row a line of the invoice; the amounts add up to its total."""
    rows = [csv_row(_COLUMNS)]
    rows += [
        csv_row(
            (
                invoice["number"],
                invoice["status"],
                invoice["tenant_id"],
                invoice["tenant_name"],
                invoice["tenant_email"],
                invoice["period_start"],
                invoice["period_end"],
                invoice["issued_at"],
                invoice["due_at"],
                invoice["paid_at"],
                invoice["currency"],
                line["gpu_type"],
                line["gpu_seconds"],
                _hours(line["gpu_hours"]),
                line["rate_per_hour"],
                line["amount"],
            )
        )
        for line in invoice["lines"]
    ]
    return Sheet(body="".join(rows).encode(), filename=f"{invoice['number']}.csv")


def invoice_page(invoice: InvoiceDetail) -> Sheet:
    """A page that prints on A4. It holds no script, and nothing in it was written unescaped."""
    number, status = escape(invoice["number"]), escape(invoice["status"])
    lines = "".join(map(_line, invoice["lines"]))
    total = f"{invoice['total_amount']:,.2f} {escape(invoice['currency'])}"
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Invoice {number}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<header><h1>Invoice {number}</h1><span class="status {status}">{status}</span></header>
<dl>{_facts(invoice)}</dl>
<table>
<thead><tr><th scope="col">GPU type</th><th scope="col" class="n">GPU-hours</th>
<th scope="col" class="n">$ per GPU-hour</th><th scope="col" class="n">Amount</th></tr></thead>
<tbody>{lines}</tbody>
<tfoot><tr><td>Total</td><td class="n">{_grouped(_hours(invoice["total_gpu_hours"]))}</td><td></td>
<td class="n">{total}</td></tr></tfoot>
</table>
<footer>{_payment(invoice)}</footer>
</main>
</body>
</html>
"""
    return Sheet(body=page.encode(), filename=f"{invoice['number']}.html", policy=POLICY)


def _facts(invoice: InvoiceDetail) -> str:
    email = f" ({invoice['tenant_email']})" if invoice["tenant_email"] else ""
    facts = [
        ("Billed to", f"{invoice['tenant_name']}{email}"),
        ("Tenant", str(invoice["tenant_id"])),
        ("Period", f"{_moment(invoice['period_start'])} to {_moment(invoice['period_end'])}"),
        ("Issued", _moment(invoice["issued_at"])),
        ("Due", f"{invoice['due_at']:%Y-%m-%d}"),
    ]
    if invoice["paid_at"] is not None:
        facts.append(("Paid", f"{_moment(invoice['paid_at'])} ({invoice['paid_by'] or 'unknown how'})"))
    if invoice["voided_at"] is not None:
        facts.append(("Voided", f"{_moment(invoice['voided_at'])}: {invoice['void_reason'] or 'no reason'}"))
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)


def _line(line: InvoiceLine) -> str:
    figures = (
        _grouped(_hours(line["gpu_hours"])),
        _grouped(line["rate_per_hour"]),
        f"{line['amount']:,.2f}",
    )
    cells = "".join(f'<td class="n">{escape(figure)}</td>' for figure in figures)
    return f"<tr><td>{escape(line['gpu_type'])}</td>{cells}</tr>"


def _payment(invoice: InvoiceDetail) -> str:
    """For who is to pay; why there is no link is for who runs this, and in the JSON."""
    if (settled := _SETTLED.get(invoice["status"])) is not None:
        return settled
    url = invoice["stripe_payment_url"]
    if url is None:
        return "There is no payment link for this invoice at present."
    shown = escape(url)
    if not url.startswith("https://"):  # another scheme could run something in the reader's name
        return f"Pay at {shown}"
    return f'Pay at <a href="{shown}" rel="noopener noreferrer">{shown}</a>'


def _hours(hours: float) -> Decimal:
    return Decimal(str(hours)).quantize(Decimal("0.0001"))


def _grouped(figure: Decimal) -> str:
    return f"{figure:,f}"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
