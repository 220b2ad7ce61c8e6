/** The fleet at a glance: five figures, the map, what is lent against what is used, what needs a human, quotas. */
import { useMemo } from "preact/hooks";
import { call } from "../api/client";
import type { Kpis } from "../api/schema";
import { mayOperate } from "../api/session";
import { Attention } from "../components/attention";
import { Bar, Panel, Select } from "../components/parts";
import { Spark } from "../components/spark";
import { LentAndUsed } from "../components/lent-and-used";
import { Empty, Failed, FiguresSkeleton, Loaded, NoFleet, Skeleton } from "../components/states";
import { count, counted, NONE, percent, roughMoney } from "../format";
import { FleetMap } from "../map/fleet-map";
import { MapControls, Chips } from "../map/controls";
import { NoGpus } from "../map/no-gpus";
import { extent, inView, placeOfCluster } from "../map/layout";
import { fleet, State, summary, tick } from "../state/fleet";
import { useLeakage } from "../state/leakage";
import { past, type Moment } from "../state/past";
import { useRates } from "../state/rates";
import { useResource, type Resource } from "../state/resource";
import { oneOf, whole } from "../url/codec";
import { go, href, parameters } from "../url/route";

const at = parameters("", {
  color: oneOf(["utilization", "memory", "temperature", "power"], "utilization"),
  show: oneOf(["all", "idle", "fault", "free"], "all"),
  cluster: whole(),
});

export function Tools() {
  const all = fleet.value;
  if (!all || all.clusters.length < 2) return null;
  const options = [["", "All clusters"], ...all.clusters.map((cluster) => [String(cluster.id), cluster.name])] as [string, string][];
  return <Select label="Cluster" options={options} value={String(at.values.value.cluster ?? "")} onChange={(id) => at.set({ cluster: id ? Number(id) : null })} />;
}

export function View() {
  const there = fleet.value !== null; // the map first: what else is asked for waits until the fleet is on its way
  const kpis = useResource("/api/dashboard/kpis", () => call("GET /api/dashboard/kpis"), 5_000);
  return (
    <div class="overview">
      <Figures kpis={kpis} />
      <MapPanel />
      {there && <Priced />}
      <div class="overview-row">
        <Panel title="Allocated vs used" note="the shaded gap is paid-for idle time">{there ? <LentAndUsed /> : <Skeleton lines={5} />}</Panel>
        <Panel title="Needs attention" actions={<a href={href("alerts")}>All alerts</a>}>{there ? <Attention tenants={kpis.data.value?.quota_utilization.tenants ?? []} /> : <Skeleton lines={5} />}</Panel>
        <Panel title="Tenant quota" actions={<a href={href("tenants")}>{mayOperate() ? "Manage" : "All tenants"}</a>}><Quotas kpis={kpis} /></Panel>
      </div>
    </div>
  );
}

function Priced() {
  useRates();
  return null;
}

function Figures({ kpis }: { kpis: Resource<Kpis> }) {
  const told = kpis.data.value;
  if (!told) {
    const error = kpis.error.value;
    return error && error.status !== 0 ? <Failed error={error} retry={kpis.refresh} /> : <FiguresSkeleton />;
  }
  return <Told kpis={told} />;
}

function Told({ kpis: told }: { kpis: Kpis }) {
  const leaks = useLeakage();
  void tick.value;
  const live = summary.value;
  const { fleet_utilization: load, revenue_leakage: leak, quota_utilization: quota, fleet_health: health, active_jobs: work } = told;
  const lost = leaks.data.value?.totals;
  const idle = lost?.idle_gpus ?? leak.idle_allocated_gpus;
  const faulty = (live ? live.states[State.fault] + live.states[State.offline] : health.total - health.healthy);
  const drained = live?.states[State.drained] ?? 0;
  const arrow = { up: "rising", down: "falling", flat: "steady" }[leak.direction];
  return (
    <div class="kpis">
      <Kpi title="Fleet utilisation" value={percent(live?.utilization ?? load.percentage)} unit="%" to={href("fleet")} spark={(each) => each.utilization}
        note={load.total_gpus ? `${count(load.active_gpus)} of ${count(load.total_gpus)} active` : "no GPUs yet"} />
      <Kpi title="Revenue leakage" value={lost ? roughMoney(lost.lost_per_hour) : percent(leak.percentage)} unit={lost ? "/h" : "%"} to={href("billing", "?view=leakage")} warm={idle > 0} spark={(each) => each.idle}
        lead={idle ? count(idle) : undefined} note={idle ? `idle for half an hour · ${arrow}` : "none idle for half an hour"} />
      <Kpi title="Quota utilisation" value={percent(quota.percentage)} unit="%" to={href("tenants")} spark={(each) => each.allocated}
        note={`${count(quota.gpus_in_use)} of ${counted(quota.total_quota, "GPU")}`} />
      <Kpi title="Fleet health" value={health.total ? percent((100 * health.healthy) / health.total) : "–"} unit="%" to={href("fleet", "?show=fault")} spark={(each) => each.healthy}
        lead={faulty ? count(faulty) : undefined} note={`${faulty === 1 ? "needs a look" : faulty ? "need a look" : health.total ? "all well" : "no GPUs yet"}${drained ? ` · ${count(drained)} drained` : ""}`} warm={faulty > 0} />
      <Kpi title="Active jobs" value={count(work.running)} to={href("jobs")} spark={(each) => each.running}
        lead={work.queued ? count(work.queued) : undefined} note={`${work.queued ? "queued" : "none queued"} · ${count(work.blocked)} blocked`} warm={work.blocked > 0} />
    </div>
  );
}

interface KpiProps {
  title: string;
  value: string;
  unit?: string;
  note: string;
  /** Stands out before the note. */
  lead?: string | undefined;
  warm?: boolean;
  to: string;
  spark?: (each: Moment) => number | null;
}

const Kpi = ({ title, value, unit = "", note, lead, warm = false, to, spark }: KpiProps) => (
  <a class="kpi" href={to}>
    <span class="kpi-title">{title}</span>
    <span class="kpi-value">{value}{value !== NONE && <small>{unit}</small>}</span>
    <span class="kpi-note">{lead && <b class={warm ? "warm" : ""}>{lead} </b>}{note}</span>
    {spark && <Spark values={past.slice(-120).map(spark)} warm={warm} />}
  </a>
);

function MapPanel() {
  const { color, show, cluster } = at.values.value;
  const all = fleet.value;
  const place = placeOfCluster(cluster);
  const shown = useMemo(() => all && inView(all, place, null), [all, place]);
  return (
    <section class="panel map-panel" aria-labelledby="map-title">
      <header>
        <h2 id="map-title">Fleet map</h2><span class="muted note">{all && extent(all, shown)}</span>
        <Chips value={show} of={shown} onChange={(wanted) => at.set({ show: wanted })} />
        <div class="grow" />
        <MapControls value={color} onChange={(wanted) => at.set({ color: wanted })} />
      </header>
      {!all ? <NoFleet lines={9} /> : !all.gpus ? <NoGpus /> : (
        <FleetMap fleet={all} colouring={color} highlight={show} cluster={place}
          onBand={(key) => at.set({ cluster: cluster === Number(key) ? null : Number(key) })}
          onOpen={(gpu) => go(href("fleet", `?node=${all.nodes[all.node[gpu]].id}&gpu=${all.gpuId[gpu]}`))} />
      )}
    </section>
  );
}

const MOST_QUOTAS = 6;

const Quotas = ({ kpis }: { kpis: Resource<Kpis> }) => (
  <Loaded of={kpis} skeleton={5}>
    {({ quota_utilization: { tenants } }) =>
      tenants.length ? (
        <ul class="quotas">
          {[...tenants].sort((a, b) => (b.percentage ?? 0) - (a.percentage ?? 0)).slice(0, MOST_QUOTAS).map((tenant) => (
            <li key={tenant.tenant_id}>
              <a href={href("tenants", `?tenant=${tenant.tenant_id}`)}>{tenant.name}</a>
              <b>{count(tenant.gpus_in_use)}<small> / {count(tenant.gpu_quota)}</small></b>
              <Bar label={`${tenant.name}: GPUs in use of its quota`} value={tenant.gpus_in_use} most={tenant.gpu_quota} />
            </li>
          ))}
        </ul>
      ) : <Empty title="No tenants yet">{mayOperate() ? <a class="link-text" href={href("tenants", "?create=1")}>Create one</a> : "A tenant's quota says how many GPUs it may hold."}</Empty>}
  </Loaded>
);
