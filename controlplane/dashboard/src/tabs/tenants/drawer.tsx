/** A tenant: its budget, what it used and what that costs; edit and delete. */
import { useState } from "preact/hooks";
import { call, Problem } from "../../api/client";
import type { BudgetRecord, TenantRecord, TenantUsage } from "../../api/schema";
import { mayOperate } from "../../api/session";
import { DayBars } from "../../components/daybars";
import { Dialog, Fault, useWrite } from "../../components/dialog";
import { Bar, Facts, Segments, Status } from "../../components/parts";
import { Loaded } from "../../components/states";
import { counted, hours, money, stamp } from "../../format";
import { confirm, tell } from "../../state/dialogs";
import { touch, useResource } from "../../state/resource";
import { href } from "../../url/route";
import { TenantForm } from "./form";
import { focus, Quota } from "./quota";
import { budgetWords, effectOf } from "./words";

type Days = "7" | "30" | "90";
interface DrawerProps {
  id: number;
  days: Days;
  onDays: (days: Days) => void;
  onClose: () => void;
}

export function TenantDrawer({ id, days, onDays, onClose }: DrawerProps) {
  const tenant = useResource(`/api/tenants/${id}`, () => call("GET /api/tenants/{tenant_id}", { path: { tenant_id: id } }), 10_000);
  const usage = useResource(`/api/tenants/${id}/usage?${days}`, () => call("GET /api/tenants/{tenant_id}/usage", { path: { tenant_id: id }, query: { days: Number(days), limit: 1 } }), 30_000);
  return (
    <Dialog side title={tenant.data.value?.name ?? `Tenant ${id}`} onClose={onClose}>
      <Loaded of={tenant} skeleton={6}>{(found) => <About tenant={found} onGone={onClose} />}</Loaded>
      <Loaded of={usage} skeleton={6}>
        {(told) => (
          <>
            <Budget id={id} budget={told.budget} />
            <section>
              <div class="toolbar">
                <h3>Cost</h3>
                <Segments label="Over how long" options={[["7", "7 days"], ["30", "30 days"], ["90", "90 days"]]} value={days} onChange={onDays} />
                <div class="grow" />
                <b>{money(told.total_cost)}</b><span class="muted">{hours(told.total_gpu_hours)}</span>
              </div>
              <Usage told={told} />
            </section>
          </>
        )}
      </Loaded>
    </Dialog>
  );
}

function About({ tenant, onGone }: { tenant: TenantRecord; onGone: () => void }) {
  const [editing, setEditing] = useState(false);
  return (
    <>
      <div class="toolbar">
        <Status kind={tenant.status === "active" ? "dot" : "dash"}><b>{tenant.status}</b></Status>
        <span class="muted">{tenant.plan_tier}, since {stamp(tenant.created_at).slice(0, 10)}</span>
        <div class="grow" />
        {mayOperate() && <button class="button" onClick={() => setEditing(true)}>Edit</button>}
        {mayOperate() && <button class="button" onClick={() => remove(tenant, false, onGone)}>Delete</button>}
      </div>
      <Bar label="GPUs in use of the quota" value={tenant.gpus_in_use} most={tenant.gpu_quota} />
      <Facts of={[
        ["GPUs in use", `${tenant.gpus_in_use}, ${effectOf(tenant.gpu_quota, tenant.gpus_in_use)}`],
        ["Quota", <Quota tenant={tenant} />],
        ["Jobs", <a class="link-text" href={href("jobs", `?tenant=${tenant.id}`)}>{tenant.running_jobs} running, {tenant.queued_jobs} queued</a>],
        ["Invoices", <a class="link-text" href={href("billing", `?tenant=${tenant.id}`)}>Show</a>],
        ["Contact", tenant.contact_email ?? "none"],
      ]} />
      {editing && <TenantForm tenant={tenant} onClose={() => setEditing(false)} onDone={() => setEditing(false)} />}
    </>
  );
}

function Budget({ id, budget }: { id: number; budget: BudgetRecord }) {
  const [typed, setTyped] = useState<string | null>(null);
  const write = useWrite();
  const save = (event: Event) => {
    event.preventDefault();
    void write.run(async () => {
      await call("PUT /api/tenants/{tenant_id}/budget", { path: { tenant_id: id }, body: { monthly_amount: typed || null } });
      await touch(`/api/tenants/${id}`);
      tell(typed ? `The budget is ${money(Number(typed))} a month. It warns, it stops no job.` : "The budget was taken away.");
      setTyped(null);
    });
  };
  return (
    <section>
      <div class="toolbar">
        <h3>Budget of {budget.month}</h3>
        <div class="grow" />
        {typed === null && mayOperate() && <button class="button small" onClick={() => setTyped(budget.budget === null ? "" : String(budget.budget))}>{budget.budget === null ? "Set budget" : "Change budget"}</button>}
      </div>
      {budget.budget !== null && <Bar label="Spent of the budget" value={budget.spent} most={budget.budget} warmFrom={0.8} />}
      <p class="muted">{budgetWords(budget)}</p>
      {typed !== null && (
        <form class="inline" onSubmit={save}>
          <label class="inline">Dollars a month <input type="number" min="0.01" step="0.01" value={typed} ref={focus} onInput={(event) => setTyped(event.currentTarget.value)} /></label>
          <button class="button primary small" disabled={write.busy}>{write.busy ? "Saving …" : typed ? "Save" : "Take it away"}</button>
          <button type="button" class="button small" onClick={() => setTyped(null)}>Cancel</button>
        </form>
      )}
      <Fault text={write.fault} />
    </section>
  );
}

function Usage({ told }: { told: TenantUsage }) {
  if (!told.total_gpu_seconds) return <p class="muted">Nothing was used in these {told.days} days.</p>;
  return (
    <>
      <DayBars label="Cost by day" days={told.by_day.map((each) => ({ date: each.date, dollars: each.cost }))} />
      <table>
        <thead><tr><th scope="col">GPU type</th><th scope="col" class="num">GPU hours</th><th scope="col" class="num">Cost</th></tr></thead>
        <tbody>
          {told.by_gpu_type.map((each) => (
            <tr key={each.gpu_type}>
              <td><b>{each.gpu_type}</b>{each.unrated_gpu_seconds > 0 && <span class="muted"> {hours(each.unrated_gpu_seconds / 3600)} unrated</span>}</td>
              <td class="num">{hours(each.gpu_hours)}</td><td class="num">{money(each.cost)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {told.accruing_gpu_seconds > 0 && <p class="faint">{hours(told.accruing_gpu_seconds / 3600)} of it still run.</p>}
    </>
  );
}

function remove(tenant: TenantRecord, force: boolean, onGone: () => void, why = ""): void {
  confirm({
    title: force ? "Delete it nevertheless?" : "Delete this tenant?",
    body: (
      <>
        {why && <p>{why}</p>}
        <p><b class="quoted">{tenant.name}</b> is gone for good, and its API keys are refused from the next request on.{tenant.running_jobs > 0 && ` Its ${counted(tenant.running_jobs, "running job")} would run on and belong to nobody.`} Invoices stand{force && ", without payment links"}.</p>
      </>
    ),
    action: force ? "Delete it nevertheless" : "Delete tenant",
    danger: true,
    typed: tenant.name,
    run: async () => {
      try {
        await call("DELETE /api/tenants/{tenant_id}", { path: { tenant_id: tenant.id }, query: force ? { force } : {} });
      } catch (error) {
        if (!(error instanceof Problem) || error.status !== 409 || force) throw error;
        const words = tenant.running_jobs ? "It has running jobs; it was not deleted." : "It has unpaid invoices; it was not deleted.";
        setTimeout(() => remove(tenant, true, onGone, words)); // once this dialog has closed
        return;
      }
      onGone();
      await touch("/api/tenants?", "/api/jobs", "/api/dashboard/", "/api/api-keys", "/api/billing");
      return `${tenant.name} was deleted.`;
    },
  });
}
