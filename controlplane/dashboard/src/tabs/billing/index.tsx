/** Billing: what was earned, what was invoiced and paid, what an hour costs. */
import { call } from "../../api/client";
import { Figure, Segments } from "../../components/parts";
import { FiguresSkeleton, Loaded } from "../../components/states";
import { counted, roughMoney } from "../../format";
import { useLeakage } from "../../state/leakage";
import { useResource } from "../../state/resource";
import { oneOf, order, text, whole } from "../../url/codec";
import { href, parameters } from "../../url/route";
import { InvoiceDrawer } from "./invoice";
import { Invoices } from "./invoices";
import { Issue } from "./issue";
import { LeakageView } from "./leakage";
import { Rates } from "./rates";
import { RevenuePanel } from "./revenue";

const at = parameters("billing", {
  view: oneOf(["money", "leakage"], "money"),
  days: oneOf(["7", "30", "90"], "30"),
  status: oneOf(["all", "pending", "overdue", "paid", "void"], "all"),
  tenant: whole(),
  q: text(),
  sort: order(["number", "tenant", "amount", "issued", "due", "status"], "-issued"),
  idle: order(["gpu", "type", "job", "tenant", "load", "idle", "cost"], "-cost"),
  invoice: whole(),
  issue: whole(),
});
export type BillingPlace = typeof at;

export const Tools = () => (
  <Segments label="What to show" options={[["money", "Revenue and invoices"], ["leakage", "Leakage"]]} value={at.values.value.view} onChange={(view) => at.set({ view, q: "" })} />
);

export function View() {
  const { view, invoice, issue } = at.values.value;
  if (view === "leakage") return <LeakageView at={at} />;
  return (
    <>
      <Totals />
      <div class="split">
        <RevenuePanel at={at} />
        <Rates />
      </div>
      <Invoices at={at} />
      {invoice !== null && <InvoiceDrawer key={invoice} id={invoice} onClose={() => at.set({ invoice: null })} />}
      {issue !== null && <Issue tenant={issue} onTenant={(id) => at.set({ issue: id })} onClose={() => at.set({ issue: null })} onMade={(id) => at.set({ issue: null, invoice: id })} />}
    </>
  );
}

function Totals() {
  const summary = useResource("/api/billing/summary", () => call("GET /api/billing/summary"), 20_000);
  const leaks = useLeakage().data.value?.totals;
  return (
    <Loaded of={summary} skeleton={<FiguresSkeleton />}>
      {(sums) => {
        const worst = [...sums.tenants].sort((a, b) => b.total_overdue - a.total_overdue)[0];
        return (
          <div class="kpis">
            <Figure title="Invoiced" value={roughMoney(sums.total_invoiced)} note={sums.invoice_count ? `${counted(sums.invoice_count, "invoice")}, void ones not counted` : "none yet"} />
            <Figure title="Paid" value={roughMoney(sums.total_paid)} note={sums.total_invoiced ? `${Math.round((100 * sums.total_paid) / sums.total_invoiced)} % of what was invoiced` : "nothing was invoiced"} />
            <Figure title="Pending" value={roughMoney(sums.total_pending)} note="not due yet" />
            <Figure title="Overdue" value={roughMoney(sums.total_overdue)} warm={sums.total_overdue > 0} note={sums.total_overdue > 0 ? `most by ${worst.tenant_name}` : "nobody is late"} />
            <Figure title="Leaks now" to={href("billing", "?view=leakage")} value={roughMoney(leaks?.lost_per_hour)} unit={leaks && "/h"} warm={!!leaks?.lost_per_hour} note={leaks && `${leaks.idle_gpus ? counted(leaks.idle_gpus, "held GPU") : "no held GPU"} idle${leaks.unbilled_cents ? `, ${roughMoney(leaks.unbilled)} unbilled` : ""}`} />
          </div>
        );
      }}
    </Loaded>
  );
}
