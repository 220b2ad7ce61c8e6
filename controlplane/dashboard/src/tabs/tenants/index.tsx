/** Tenants: quota against use, made, changed and deleted; budget and usage in a drawer. */
import type { TenantRecord } from "../../api/schema";
import { mayOperate } from "../../api/session";
import { Filter } from "../../components/filter";
import { Icon } from "../../components/icon";
import { Bar, Figure, Panel, Select, Status } from "../../components/parts";
import { Empty, Loaded } from "../../components/states";
import { Table, type Column } from "../../components/table";
import { count, counted, percent } from "../../format";
import { useTenants } from "../../state/names";
import { flag, oneOf, order, text, whole } from "../../url/codec";
import { BASE, href, parameters } from "../../url/route";
import { TenantDrawer } from "./drawer";
import { TenantForm } from "./form";
import { Quota } from "./quota";
import { shareOf } from "./words";

const PLANS = ["starter", "pro", "growth", "enterprise"] as const;
const at = parameters("tenants", {
  q: text(),
  plan: oneOf(["all", ...PLANS], "all"),
  sort: order(["name", "use", "share", "running", "queued"], "-share"),
  tenant: whole(),
  days: oneOf(["7", "30", "90"], "30"),
  create: flag(),
});

export function View() {
  const { q, plan, sort, tenant, days, create } = at.values.value;
  const tenants = useTenants();
  return (
    <>
      {tenants.data.value && <Sums of={tenants.data.value} />}
      <div class="toolbar">
        <Filter label="Filter tenants" placeholder="Filter by name or e-mail" value={q} onInput={(typed) => at.set({ q: typed })} />
        <Select label="Plan" options={[["all", "All plans"], ...PLANS.map((each) => [each, each] as const)]} value={plan} onChange={(value) => at.set({ plan: value })} />
        <div class="grow" />
        {mayOperate() && <button class="button primary" onClick={() => at.set({ create: true })}><Icon name="plus" />Create tenant</button>}
      </div>
      <Panel title="Tenants" class="fills" note="A quota holds for GPUs in use at one time. Lowering one stops nothing that runs.">
        <Loaded of={tenants} skeleton={8}>
          {(all) => {
            const rows = all.filter((row) => (plan === "all" || row.plan_tier === plan) && `${row.name} ${row.contact_email ?? ""}`.toLowerCase().includes(q.toLowerCase()));
            if (rows.length) return <Table label="Tenants" columns={COLUMNS} rows={rows} rowKey={(row) => row.id} order={sort} onOrder={(wanted) => at.set({ sort: wanted })} onOpen={(row) => at.set({ tenant: row.id })} marked={(row) => row.id === tenant} />;
            return all.length ? <Empty title="No tenant fits this filter" /> : (
              <Empty title="No tenants yet" command={`curl -X POST ${BASE}api/tenants -H "Authorization: Bearer $GPUFORGE_API_KEY" -H "Content-Type: application/json" -d '{"name": "NovAI Labs", "gpu_quota": 8}'`}>{mayOperate() ? "Make one here, or from a shell:" : "With an operator's key that may write, from a shell:"}</Empty>
            );
          }}
        </Loaded>
      </Panel>
      {tenant !== null && <TenantDrawer key={tenant} id={tenant} days={days} onDays={(value) => at.set({ days: value })} onClose={() => at.set({ tenant: null })} />}
      {create && mayOperate() && <TenantForm onClose={() => at.set({ create: false })} onDone={() => at.set({ create: false })} />}
    </>
  );
}

function Sums({ of: all }: { of: TenantRecord[] }) {
  const sum = (pick: (row: TenantRecord) => number): number => all.reduce((total, row) => total + pick(row), 0);
  const quota = sum((row) => (row.status === "active" ? row.gpu_quota : 0));
  const used = sum((row) => row.gpus_in_use);
  const full = all.filter((row) => shareOf(row) >= 90).length;
  return (
    <div class="kpis">
      <Figure title="Tenants" value={count(all.length)} note={`${count(all.filter((row) => row.status === "active").length)} active`} />
      <Figure title="GPUs in use" value={count(used)} note={`of ${count(quota)} in quotas`} />
      <Figure title="Quota utilisation" value={quota ? percent((100 * used) / quota) : "–"} unit="%" note={`${counted(Math.max(0, quota - used), "GPU")} left`} />
      <Figure title="Nearly full" value={count(full)} warm={full > 0} note="hold 90 % of their quota or more" />
      <Figure title="Jobs" value={count(sum((row) => row.running_jobs))} note={`running, ${count(sum((row) => row.queued_jobs))} queued`} />
    </div>
  );
}

const COLUMNS: Column<TenantRecord>[] = [
  { id: "name", title: "Tenant", cell: (row) => <a href={href("tenants", `?tenant=${row.id}`)} onClick={(event) => (event.preventDefault(), at.set({ tenant: row.id }, "push"))}><b>{row.name}</b></a>, by: (row) => row.name },
  { id: "share", title: "Of its quota", wide: true, cell: (row) => <span class="inline quota-bar"><Bar label={`${row.name}: GPUs in use of its quota`} value={row.gpus_in_use} most={row.gpu_quota} /><span class={shareOf(row) > 100 ? "warm" : "muted"}>{percent(shareOf(row))} %</span></span>, by: shareOf },
  { id: "use", title: "GPUs in use", cell: (row) => count(row.gpus_in_use), by: (row) => row.gpus_in_use, numeric: true },
  { id: "quota", title: "Quota", cell: (row) => <Quota key={row.id} tenant={row} /> },
  { id: "running", title: "Running", cell: (row) => <a href={href("jobs", `?status=running&tenant=${row.id}`)}>{count(row.running_jobs)}</a>, by: (row) => row.running_jobs, numeric: true },
  { id: "queued", title: "Queued", cell: (row) => <a href={href("jobs", `?status=queued&tenant=${row.id}`)}>{count(row.queued_jobs)}</a>, by: (row) => row.queued_jobs, numeric: true },
  { id: "plan", title: "Plan", cell: (row) => row.plan_tier },
  { id: "status", title: "Status", cell: (row) => <Status kind={row.status === "active" ? "dot" : "dash"}>{row.status}</Status> },
  { id: "email", title: "Contact", cell: (row) => row.contact_email ?? <span class="faint">none</span> },
];
