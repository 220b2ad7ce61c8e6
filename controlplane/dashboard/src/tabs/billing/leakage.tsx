/** What is lost, with its evidence: idle GPUs that jobs hold, metered against billed, usage that no invoice takes. */
import type { BillingGap, IdleGpu, Leakage, SilentGpu, UnderusedTenant } from "../../api/schema";
import { Filter } from "../../components/filter";
import { Figure, Panel, Status } from "../../components/parts";
import { Empty, FiguresSkeleton, Loaded } from "../../components/states";
import { Table, type Column } from "../../components/table";
import { clock, count, counted, day, duration, hours, money, percent, period, roughMoney, stamp } from "../../format";
import { fleet } from "../../state/fleet";
import { useLeakage } from "../../state/leakage";
import { href } from "../../url/route";
import type { BillingPlace } from ".";

type HeldGpu = IdleGpu | SilentGpu;

export function LeakageView({ at }: { at: BillingPlace }) {
  return (
    <Loaded of={useLeakage()} skeleton={<FiguresSkeleton />}>
      {(told) => (
        <>
          <Totals of={told} />
          <IdlePanel told={told} at={at} />
          <div class="split even">
            <Gaps told={told} />
            <Unused told={told} />
          </div>
        </>
      )}
    </Loaded>
  );
}

function Totals({ of: { totals, unrated, void_invoices } }: { of: Leakage }) {
  const voided = void_invoices.reduce((sum, each) => sum + each.invoice_count, 0);
  return (
    <div class="kpis">
      <Figure title="Idle GPUs cost now" value={roughMoney(totals.lost_per_hour)} unit="/h" warm={totals.lost_per_hour > 0} note={`${totals.idle_gpus ? counted(totals.idle_gpus, "held GPU") : "no held GPU"} idle for half an hour`} />
      <Figure title="Metered, not billed" value={roughMoney(totals.unbilled)} warm={totals.flagged_tenants > 0}
        note={`${totals.flagged_tenants ? `${counted(totals.flagged_tenants, "tenant")} over 5 %` : "no tenant over 5 %"}${voided ? `, ${counted(voided, "void invoice")}` : ""}`} />
      <Figure title="Too old to invoice" value={roughMoney(totals.expired)} warm={totals.expired_cents > 0} note="older than the longest invoice" />
      <Figure title="Without a rate" value={hours(totals.unrated_gpu_seconds / 3600)} warm={totals.unrated_gpu_seconds > 0} note={unrated.length ? unrated.map((each) => each.gpu_type).join(", ") : "every GPU type has one"} />
      <Figure title="Underused tenants" value={count(totals.underutilized_tenants)} warm={totals.underutilized_tenants > 0} note="under 30 % of what they hold, 24 h" />
    </div>
  );
}

function IdlePanel({ told, at }: { told: Leakage; at: BillingPlace }) {
  const { q, idle: order } = at.values.value;
  const rows = told.idle_gpus.filter((gpu) => `${gpu.hostname} ${gpu.job_name} ${gpu.tenant_name ?? ""} ${gpu.gpu_type}`.toLowerCase().includes(q.toLowerCase()));
  const more = told.totals.idle_gpus - told.idle_gpus.length;
  return (
    <Panel title="Held and idle" class="fills" note={`Under 10 % on average from ${clock(told.window_start)} to ${clock(told.window_end)}, and held all that time${more > 0 ? `. The dearest ${count(told.idle_gpus.length)} of ${count(told.totals.idle_gpus)}` : ""}`}
      actions={<Filter label="Filter idle GPUs" placeholder="Host, job, tenant or type" value={q} onInput={(typed) => at.set({ q: typed })} />}>
      {rows.length ? <Table label="Idle GPUs" columns={IDLE} rows={rows} rowKey={(gpu) => gpu.gpu_id} order={order} onOrder={(idle) => at.set({ idle })} />
        : told.idle_gpus.length ? <Empty title="No idle GPU fits this filter" />
        : <Empty title="No GPU that a job holds lies idle">{told.no_telemetry.length ? "" : "Whatever is held was used in the last half hour, or is held for less than that."}</Empty>}
      {told.no_telemetry.length > 0 && <Silent gpus={told.no_telemetry} all={told.totals.no_telemetry_gpus} />}
    </Panel>
  );
}

const IDLE: Column<IdleGpu>[] = [
  { id: "gpu", title: "GPU", cell: (gpu) => <Host gpu={gpu} />, by: (gpu) => `${gpu.hostname} ${String(gpu.gpu_index).padStart(3, "0")}` },
  { id: "type", title: "Type", cell: (gpu) => gpu.gpu_type, by: (gpu) => gpu.gpu_type },
  { id: "job", title: "Job", cell: (gpu) => <a class="link-text" href={href("jobs", `?job=${gpu.job_id}`)}>{gpu.job_name}</a>, by: (gpu) => gpu.job_name },
  { id: "tenant", title: "Tenant", cell: (gpu) => (gpu.tenant_id === null ? <span class="faint">none</span> : <a class="link-text" href={href("tenants", `?tenant=${gpu.tenant_id}`)}>{gpu.tenant_name}</a>), by: (gpu) => gpu.tenant_name },
  { id: "load", title: "Mean load", cell: (gpu) => `${percent(gpu.mean_utilization_pct)} %`, by: (gpu) => gpu.mean_utilization_pct, numeric: true },
  { id: "idle", title: "Idle for", cell: (gpu) => <time title={`since ${stamp(gpu.idle_since)}, held since ${stamp(gpu.allocated_since)}`}>{gpu.idle_minutes >= 1440 ? "a day or more" : duration(60 * gpu.idle_minutes)}</time>, by: (gpu) => gpu.idle_minutes, numeric: true },
  { id: "cost", title: "Costs", cell: (gpu) => (gpu.rate_per_hour === null ? <span class="muted">unrated</span> : <b class="warm">{money(gpu.rate_per_hour)}/h</b>), by: (gpu) => gpu.rate_per_hour, numeric: true },
];

/** The GPU's place, with a way to its node as far as the fleet is known here. */
function Host({ gpu }: { gpu: HeldGpu }) {
  const all = fleet.value;
  const place = all ? all.gpuId.indexOf(gpu.gpu_id) : -1;
  const words = <>{gpu.hostname} <span class="faint">· {gpu.gpu_index ?? "–"}</span></>;
  return all && place >= 0 ? <a class="strong" href={href("fleet", `?node=${all.nodes[all.node[place]].id}&gpu=${gpu.gpu_id}`)}>{words}</a> : <span>{words}</span>;
}

/** Not known to idle: nothing is known of them. */
function Silent({ gpus, all }: { gpus: readonly HeldGpu[]; all: number }) {
  const jobs = new Map(gpus.map((gpu) => [gpu.job_id, gpu.job_name]));
  return (
    <p class="pad muted">
      <Status kind="dash">{counted(all, "held GPU")} without telemetry, not counted as idle:</Status>{" "}
      {[...jobs].slice(0, 5).map(([id, name], place) => <>{place > 0 && ", "}<a key={id} class="link-text" href={href("jobs", `?job=${id}`)}>{name}</a></>)}{jobs.size > 5 && ` and ${counted(jobs.size - 5, "more job")}`}
    </p>
  );
}

function Gaps({ told }: { told: Leakage }) {
  return (
    <Panel title="Metered against billed" note="Over the periods that invoices cover">
      {told.billing_gaps.length ? <Table label="Metered against billed" columns={GAPS} rows={told.billing_gaps} rowKey={(gap) => gap.tenant_id} />
        : <Empty title="No invoice to hold against the meter yet" />}
      {told.void_invoices.map((each) => (
        <p key={each.tenant_id} class="pad muted">{counted(each.invoice_count, "void invoice")} over {money(each.amount)} of <a class="link-text" href={href("billing", `?tenant=${each.tenant_id}&status=void`)}>{each.tenant_name}</a>: the usage is free for another.</p>
      ))}
    </Panel>
  );
}

const periodsOf = (gap: BillingGap): string => gap.periods.map((each) => period(each.start, each.end)).join(", ");
const GAPS: Column<BillingGap>[] = [
  { id: "tenant", title: "Tenant", cell: (gap) => <a class="link-text" title={periodsOf(gap)} href={href("billing", `?tenant=${gap.tenant_id}`)}>{gap.tenant_name}</a> },
  { id: "metered", title: "Metered", cell: (gap) => money(gap.metered), numeric: true },
  { id: "billed", title: "Billed", cell: (gap) => money(gap.billed), numeric: true },
  { id: "gap", title: "Gap", cell: (gap) => (gap.flagged ? <Status kind="ring"><b class="warm">{money(gap.gap)}, {percent(gap.gap_percentage)} %</b></Status> : <span class="muted">{money(gap.gap)}, {percent(gap.gap_percentage)} %</span>), numeric: true },
];

/** Tenants that hold more than they use; usage that nobody will pay for. */
function Unused({ told }: { told: Leakage }) {
  const lost = told.expired_usage.length > 0 || told.unrated.length > 0;
  return (
    <Panel title="Held and little used" note="Tenants under 30 % in 24 h">
      {told.underutilized_tenants.length ? <Table label="Underused tenants" columns={UNDERUSED} rows={told.underutilized_tenants} rowKey={(each) => each.tenant_id} />
        : <Empty title="No tenant holds much more than it uses" />}
      {lost && (
        <ul class="pad muted">
          {told.expired_usage.map((each) => <li key={each.tenant_id}>{money(each.amount)} of <a class="link-text" href={href("tenants", `?tenant=${each.tenant_id}`)}>{each.tenant_name}</a> ({hours(each.gpu_hours)}, last {day(each.last_used_at)}) is too old for an invoice.</li>)}
          {told.unrated.map((each) => <li key={each.gpu_type}>{hours(each.gpu_hours)} on {each.gpu_type} in 30 days have no rate: <a class="link-text" href={href("billing")}>set one</a>.</li>)}
        </ul>
      )}
    </Panel>
  );
}

const UNDERUSED: Column<UnderusedTenant>[] = [
  { id: "tenant", title: "Tenant", cell: (each) => <a class="link-text" href={href("tenants", `?tenant=${each.tenant_id}`)}>{each.tenant_name}</a> },
  { id: "held", title: "Held", cell: (each) => hours(each.gpu_hours), numeric: true },
  { id: "load", title: "Mean load", cell: (each) => <b class="warm">{percent(each.mean_utilization_pct)} %</b>, numeric: true },
];
