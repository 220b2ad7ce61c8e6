/** Issuing an invoice: first what it would bill, then the invoice. */
import { useState } from "preact/hooks";
import { call } from "../../api/client";
import { Dialog, Fault, useWrite } from "../../components/dialog";
import { Field, Segments } from "../../components/parts";
import { Loaded } from "../../components/states";
import { money, period } from "../../format";
import { tell } from "../../state/dialogs";
import { useTenants } from "../../state/names";
import { touch, useResource } from "../../state/resource";
import { Lines, MONEY_PATHS } from "./invoice";

interface IssueProps {
  tenant: number;
  onTenant: (id: number) => void;
  onClose: () => void;
  onMade: (invoice: number) => void;
}

export function Issue({ tenant, onTenant, onClose, onMade }: IssueProps) {
  const [days, setDays] = useState<"7" | "30" | "90">("30");
  const tenants = useTenants().data.value;
  const write = useWrite();
  const chosen = tenants?.some((each) => each.id === tenant) ? tenant : (tenants?.[0]?.id ?? null);
  const submit = (event: Event) => {
    event.preventDefault();
    if (chosen === null) return;
    void write.run(async () => {
      const made = await call("POST /api/tenants/{tenant_id}/invoice", { path: { tenant_id: chosen }, query: { days: Number(days) } });
      tell(`${made.invoice.number} over ${money(made.total_amount)} was issued.`);
      onMade(made.invoice.id);
      await touch(...MONEY_PATHS);
    });
  };
  return (
    <Dialog title="Issue invoice" onClose={onClose}>
      <form onSubmit={submit}>
        <div class="two">
          <Field label="Tenant">
            <select autofocus value={String(chosen ?? "")} onChange={(event) => onTenant(Number(event.currentTarget.value))}>
              {(tenants ?? []).map((each) => <option key={each.id} value={String(each.id)}>{each.name}</option>)}
            </select>
          </Field>
          <div class="field"><span>Used, not invoiced, in the last</span><Segments label="Days" options={[["7", "7 days"], ["30", "30 days"], ["90", "90 days"]]} value={days} onChange={setDays} /></div>
        </div>
        {chosen === null ? <p class="verdict">There is no tenant to invoice yet.</p> : <Preview key={`${chosen} ${days}`} tenant={chosen} days={days} busy={write.busy} onShow={onMade} onClose={onClose} />}
        <Fault text={write.fault} />
      </form>
    </Dialog>
  );
}

interface PreviewProps {
  tenant: number;
  days: string;
  busy: boolean;
  onShow: (invoice: number) => void;
  onClose: () => void;
}

function Preview({ tenant, days, busy, onShow, onClose }: PreviewProps) {
  const preview = useResource(`/api/tenants/${tenant}/invoice/preview?${days}`, () => call("GET /api/tenants/{tenant_id}/invoice/preview", { path: { tenant_id: tenant }, query: { days: Number(days) } }), 10_000);
  const told = preview.data.value;
  return (
    <>
      <Loaded of={preview} skeleton={4}>
        {(now) => (
          <>
            {now.pending_invoice_id !== null
              ? <p class="verdict block">An invoice for this period is pending already. It is shown instead of issuing another.</p>
              : <p class="verdict wait">{now.total_amount_cents ? <>Would bill <b>{money(now.total_amount)}</b> for {period(now.period_start, now.period_end)}, to the second when it is issued.</> : "There is nothing to bill: nothing was used, or it is invoiced, or unrated."}</p>}
            {(now.lines.length > 0 || now.unrated.length > 0) && <Lines lines={now.lines} unrated={now.unrated} total={now.total_amount} totalHours={now.total_gpu_hours} />}
          </>
        )}
      </Loaded>
      <footer>
        <button type="button" class="button" onClick={onClose}>Cancel</button>
        {told && told.pending_invoice_id !== null
          ? <button type="button" class="button primary" onClick={() => onShow(told.pending_invoice_id!)}>Show pending invoice</button>
          : <button class="button primary" disabled={busy || !told?.total_amount_cents}>{busy ? "Issuing …" : "Issue invoice"}</button>}
      </footer>
    </>
  );
}
