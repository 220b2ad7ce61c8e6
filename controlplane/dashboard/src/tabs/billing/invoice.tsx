/** An invoice: its lines, its payment link or why there is none; mark paid, void. */
import { useState } from "preact/hooks";
import { call } from "../../api/client";
import { download } from "../../api/download";
import type { InvoiceDetail, InvoiceLine, UnratedTime } from "../../api/schema";
import { mayOperate } from "../../api/session";
import { CopyButton } from "../../components/copy";
import { Dialog, Fault, useWrite } from "../../components/dialog";
import { Icon } from "../../components/icon";
import { Facts, Field, Status } from "../../components/parts";
import { Loaded, sentence } from "../../components/states";
import { ago, hours, money, period, stamp } from "../../format";
import { confirm, tell } from "../../state/dialogs";
import { touch, useResource } from "../../state/resource";
import { href } from "../../url/route";
import { MARKS } from "./invoices";

export const MONEY_PATHS = ["/api/invoices", "/api/billing", "/api/dashboard/revenue", "/api/tenants"];

export function InvoiceDrawer({ id, onClose }: { id: number; onClose: () => void }) {
  const invoice = useResource(`/api/invoices/${id}`, () => call("GET /api/invoices/{invoice_id}", { path: { invoice_id: id } }), 5_000);
  return (
    <Dialog side title={invoice.data.value ? `Invoice ${invoice.data.value.number}` : "Invoice"} onClose={onClose}>
      <Loaded of={invoice} skeleton={10}>{(found) => <Inside invoice={found} />}</Loaded>
    </Dialog>
  );
}

function Inside({ invoice }: { invoice: InvoiceDetail }) {
  const [voiding, setVoiding] = useState(false);
  const open = invoice.status === "pending" || invoice.status === "overdue";
  return (
    <>
      <div class="toolbar">
        <Status kind={MARKS[invoice.status]}><b>{invoice.status}</b></Status>
        {open && <span class={invoice.status === "overdue" ? "warm" : "muted"}>due {ago(invoice.due_at)}</span>}
        <div class="grow" />
        {open && mayOperate() && <button class="button primary" onClick={() => markPaid(invoice)}>Mark paid</button>}
        {open && mayOperate() && <button class="button" onClick={() => setVoiding(true)}>Void</button>}
      </div>
      <Facts of={[
        ["Tenant", <a class="link-text" href={href("tenants", `?tenant=${invoice.tenant_id}`)}>{invoice.tenant_name}</a>],
        ["E-mail", invoice.tenant_email ?? "none"],
        ["Period", `${period(invoice.period_start, invoice.period_end)}, UTC`],
        ["Issued", stamp(invoice.issued_at)],
        ["Due", stamp(invoice.due_at)],
        ...(invoice.paid_at ? [["Paid", `${stamp(invoice.paid_at)}, ${invoice.paid_by === "stripe" ? "by Stripe" : "marked by hand"}`] as const] : []),
        ...(invoice.voided_at ? [["Void", `since ${stamp(invoice.voided_at)}: ${invoice.void_reason ?? ""}`] as const] : []),
      ]} />
      <Lines lines={invoice.lines} total={invoice.total_amount} totalHours={invoice.total_gpu_hours} />
      <section>
        <h3>Payment link</h3>
        <Link url={invoice.stripe_payment_url} reason={invoice.payment_url_reason} />
      </section>
      <Files invoice={invoice} />
      {voiding && <Void invoice={invoice} onClose={() => setVoiding(false)} />}
    </>
  );
}

/** What is sent to whoever pays: a page that prints, and the lines for a spreadsheet. */
function Files({ invoice }: { invoice: InvoiceDetail }) {
  const write = useWrite();
  const save = (accept: string, ending: string) => void write.run(() => download("GET /api/invoices/{invoice_id}", { path: { invoice_id: invoice.id } }, accept, `${invoice.number}.${ending}`));
  return (
    <section>
      <h3>Files</h3>
      <div class="toolbar">
        <button class="button" disabled={write.busy} onClick={() => save("text/html", "html")}><Icon name="save" />Page to print</button>
        <button class="button" disabled={write.busy} onClick={() => save("text/csv", "csv")}><Icon name="save" />CSV</button>
      </div>
      <Fault text={write.fault} />
    </section>
  );
}

/** Opened only where it leads to a web page: what a database holds may be anything. */
function Link({ url, reason }: { url: string | null; reason: string | null }) {
  if (!url || !/^https:\/\//.test(url)) return <p class="muted">{sentence(reason ?? "there is none")}</p>;
  return (
    <div class="toolbar">
      <a class="button" href={url} target="_blank" rel="noreferrer noopener"><Icon name="out" />Open payment page</a>
      <CopyButton text={url} label="Copy link" />
    </div>
  );
}

interface LinesProps {
  lines: InvoiceLine[];
  total: number;
  totalHours: number;
  unrated?: UnratedTime[];
}

export const Lines = ({ lines, total, totalHours, unrated = [] }: LinesProps) => (
  <table>
    <thead><tr><th scope="col">GPU type</th><th scope="col" class="num">GPU time</th><th scope="col" class="num">Rate</th><th scope="col" class="num">Amount</th></tr></thead>
    <tbody>
      {lines.map((line) => (
        <tr key={`${line.gpu_type} ${line.rate_per_hour}`}>
          <td><b>{line.gpu_type}</b></td><td class="num">{hours(line.gpu_hours)}</td><td class="num">{money(line.rate_per_hour)}/h</td><td class="num">{money(line.amount)}</td>
        </tr>
      ))}
      {unrated.map((line) => (
        <tr key={`unrated ${line.gpu_type}`}>
          <td><b>{line.gpu_type}</b></td><td class="num">{hours(line.gpu_hours)}</td><td class="num warm">unrated</td><td class="num muted">not billed</td>
        </tr>
      ))}
      <tr class="sum"><td>Total</td><td class="num">{hours(totalHours)}</td><td /><td class="num">{money(total)}</td></tr>
    </tbody>
  </table>
);

function markPaid(invoice: InvoiceDetail): void {
  confirm({
    title: "Mark this invoice as paid?",
    body: <p>{invoice.number} over <b>{money(invoice.total_amount)}</b> to <b class="quoted">{invoice.tenant_name}</b> counts as paid from now on, and its payment link is closed so that nobody pays twice.</p>,
    action: "Mark paid",
    run: async () => {
      await call("PATCH /api/invoices/{invoice_id}/status", { path: { invoice_id: invoice.id }, body: { status: "paid" } });
      await touch(...MONEY_PATHS);
      return `${invoice.number} is paid.`;
    },
  });
}

function Void({ invoice, onClose }: { invoice: InvoiceDetail; onClose: () => void }) {
  const [reason, setReason] = useState("");
  const [typed, setTyped] = useState("");
  const write = useWrite();
  const submit = (event: Event) => {
    event.preventDefault();
    void write.run(async () => {
      await call("POST /api/invoices/{invoice_id}/void", { path: { invoice_id: invoice.id }, body: { reason } });
      await touch(...MONEY_PATHS);
      tell(`${invoice.number} is void; its usage can be invoiced anew.`);
      onClose();
    });
  };
  return (
    <Dialog title="Void this invoice?" onClose={onClose}>
      <form onSubmit={submit}>
        <div class="prose"><p>{invoice.number} over <b>{money(invoice.total_amount)}</b> counts for nothing any more and can't be paid. Its number is not used again; its usage is free for a new invoice. This can't be undone.</p></div>
        <Field label="Reason, for the record" fault={write.at("reason")}>
          <input autofocus required maxLength={255} value={reason} onInput={(event) => setReason(event.currentTarget.value)} />
        </Field>
        <label class="field">
          <span>Type <b class="quoted">{invoice.number}</b> to go on</span>
          <input value={typed} autocomplete="off" spellcheck={false} onInput={(event) => setTyped(event.currentTarget.value)} />
        </label>
        <Fault text={write.fault} />
        <footer>
          <button type="button" class="button" onClick={onClose}>Keep it as it is</button>
          <button class="button danger" disabled={write.busy || typed !== invoice.number || !reason.trim()}>{write.busy ? "Working …" : "Void invoice"}</button>
        </footer>
      </form>
    </Dialog>
  );
}
