/** Jobs: the queue and what runs, with reasons in words; submit, cancel; the scheduler's log. */
import { call } from "../../api/client";
import { present } from "../../api/clock";
import type { JobRecord } from "../../api/schema";
import { isTenant, may } from "../../api/session";
import { named } from "../../components/brief";
import { Filter } from "../../components/filter";
import { Icon } from "../../components/icon";
import { Figure, Panel, Segments, Select, Status } from "../../components/parts";
import { Empty, Loaded } from "../../components/states";
import { Table, type Column } from "../../components/table";
import { ago, count, counted, duration, stamp } from "../../format";
import { nameOf, useClusters, useTenants } from "../../state/names";
import { useResource } from "../../state/resource";
import { flag, oneOf, order, text, whole } from "../../url/codec";
import { BASE, href, parameters } from "../../url/route";
import { JobDrawer } from "./drawer";
import { Log } from "./log";
import { Submit } from "./submit";
import { gpusOf, inShort, isOver, MARKS, ordinal, reasonOf, STATUSES } from "./words";

const FEW = 100;
const at = parameters("jobs", {
  view: oneOf(["jobs", "log"], "jobs"),
  status: oneOf(["all", ...STATUSES], "all"),
  cluster: whole(),
  tenant: whole(),
  q: text(),
  sort: order(["name", "status", "gpus", "priority", "submitted", "ran"], "-submitted"),
  every: flag(),
  job: whole(),
  submit: flag(),
});

export const Tools = () =>
  isTenant() ? null : (
    <Segments label="What to show" options={[["jobs", "Jobs"], ["log", "Scheduler's log"]]} value={at.values.value.view} onChange={(view) => at.set({ view })} />
  );

export function View() {
  const { view, job, submit, cluster } = at.values.value;
  return (
    <>
      <Depth />
      {view === "log" ? <Log /> : <List />}
      {job !== null && <JobDrawer key={job} id={job} onClose={() => at.set({ job: null })} />}
      {submit && may("write") && <Submit cluster={cluster} onClose={() => at.set({ submit: false })} onMade={(made) => at.set({ submit: false, job: made })} />}
    </>
  );
}

const useMetrics = () => useResource("/api/dashboard/scheduling-metrics", () => call("GET /api/dashboard/scheduling-metrics"), 10_000).data.value;

/** The place of jobs in the queue of their cluster, from 1 on. A tenant's key sees its own alone, so it can't count. */
function usePlaces(): Map<number, number> {
  const metrics = useMetrics();
  if (!metrics || isTenant()) return new Map();
  return new Map(metrics.clusters.flatMap((cluster) => cluster.queue.map((job, place) => [job.id, place + 1] as const)));
}

function Depth() {
  const now = useMetrics();
  const day = now?.throughput_24h;
  return (
    <div class="kpis">
      <Figure title="Running" value={count(now?.queue_depth.running)} note={day && `${counted(day.started, "start")} in 24 h`} />
      <Figure title="Queued" value={count(now?.queue_depth.queued)} note="start by themselves" />
      <Figure title="Blocked" value={count(now?.queue_depth.blocked)} warm={!!now?.queue_depth.blocked} note="until somebody acts" />
      <Figure title="Wait, p95" value={now?.wait.p95_s == null ? "–" : duration(now.wait.p95_s)} note={now && (now.wait.p50_s === null ? "nothing started in 24 h" : now.wait.p50_s < 1 ? "half start at once" : `half start within ${duration(now.wait.p50_s)}`)} />
      <Figure title="Ended in 24 h" value={day ? count(day.completed + day.failed + day.cancelled) : "–"} note={day && `${day.completed} completed, ${day.failed} failed, ${day.cancelled} cancelled`} />
    </div>
  );
}

function List() {
  const { status, cluster, tenant, q, sort, every, job } = at.values.value;
  const clusters = useClusters().data.value;
  const tenants = useTenants().data.value;
  const all = every || !!q;
  const query = { ...(status === "all" ? {} : { status }), ...(cluster === null ? {} : { cluster_id: cluster }), ...(tenant === null ? {} : { tenant_id: tenant }), ...(all ? {} : { limit: FEW }) };
  const jobs = useResource(`/api/jobs?${JSON.stringify(query)}`, () => call("GET /api/jobs", { query }), 10_000);
  const places = usePlaces();
  const why = (row: JobRecord): string => [row.status === "queued" && places.has(row.id) ? `${ordinal(places.get(row.id)!)} in line` : "", inShort(named(reasonOf(row), tenants))].filter(Boolean).join(": ");
  const columns = columnsOf((row) => nameOf(clusters, row.cluster_id, "cluster"), (row) => nameOf(tenants, row.tenant_id, "tenant"), why);
  return (
    <>
      <div class="toolbar">
        <Filter label="Filter jobs" placeholder="Filter by name, reason, submitter" value={q} onInput={(typed) => at.set({ q: typed })} />
        <Segments label="Status" options={[["all", "All"], ...STATUSES.map((each) => [each, title(each)] as const)]} value={status} onChange={(value) => at.set({ status: value })} />
        <Choice label="Cluster" none="All clusters" of={clusters} value={cluster} onChange={(id) => at.set({ cluster: id })} />
        {!isTenant() && <Choice label="Tenant" none="All tenants" of={tenants} value={tenant} onChange={(id) => at.set({ tenant: id })} />}
        <div class="grow" />
        {may("write") && <button class="button primary" onClick={() => at.set({ submit: true })}><Icon name="plus" />Submit job</button>}
      </div>
      <Panel title="Jobs" class="fills" note={jobs.data.value && counted(jobs.data.value.filter((row) => fits(row, q)).length, "job")}
        actions={!all && jobs.data.value?.length === FEW && <button class="link-text" onClick={() => at.set({ every: true })}>The newest {FEW}. Show all</button>}>
        <Loaded of={jobs} skeleton={9}>
          {(found) => {
            const rows = found.filter((row) => fits(row, q));
            if (rows.length) return <Table label="Jobs" columns={columns} rows={rows} rowKey={(row) => row.id} order={sort} onOrder={(wanted) => at.set({ sort: wanted })} onOpen={(row) => at.set({ job: row.id })} marked={(row) => row.id === job} />;
            const filtered = status !== "all" || cluster !== null || tenant !== null || !!q;
            return filtered ? <Empty title="No job fits this filter" /> : <NoJobs cluster={clusters?.[0]?.id} />;
          }}
        </Loaded>
      </Panel>
    </>
  );
}

const NoJobs = ({ cluster = 1 }: { cluster?: number | undefined }) => (
  <Empty title="No jobs yet" command={`curl -X POST ${BASE}api/jobs -H "Authorization: Bearer $GPUFORGE_API_KEY" -H "Content-Type: application/json" -d '{"cluster_id": ${cluster}, "name": "train", "gpu_count": 1}'`}>
    {may("write") ? "Submit one here, or from a shell:" : "With a key that may write, from a shell:"}
  </Empty>
);

interface ChoiceProps {
  label: string;
  none: string;
  of: readonly { id: number; name: string }[] | null;
  value: number | null;
  onChange: (id: number | null) => void;
}
const Choice = ({ label, none, of, value, onChange }: ChoiceProps) => (
  <Select label={label} value={String(value ?? "")} onChange={(id) => onChange(id ? Number(id) : null)}
    options={[["", none], ...(of ?? []).map((each) => [String(each.id), each.name] as const), ...(value !== null && !of?.some((each) => each.id === value) ? [[String(value), `${label} ${value}`] as const] : [])]} />
);

const title = (status: string): string => status.charAt(0).toUpperCase() + status.slice(1);

function fits(row: JobRecord, typed: string): boolean {
  return `${row.name} ${row.id} ${row.submitted_by ?? ""} ${reasonOf(row)}`.toLowerCase().includes(typed.toLowerCase());
}

function columnsOf(cluster: (row: JobRecord) => string, tenant: (row: JobRecord) => string, why: (row: JobRecord) => string): Column<JobRecord>[] {
  return [
    { id: "name", title: "Job", cell: (row) => <a href={href("jobs", `?job=${row.id}`)} onClick={(event) => (event.preventDefault(), at.set({ job: row.id }, "push"))}><b class="short" title={row.name}>{row.name}</b></a>, by: (row) => row.name },
    { id: "status", title: "Status", cell: (row) => <Status kind={MARKS[row.status]}>{row.status}</Status>, by: (row) => STATUSES.indexOf(row.status) },
    { id: "gpus", title: "GPUs", cell: gpusOf, by: (row) => row.gpu_count, numeric: true },
    { id: "tenant", title: "Tenant", cell: (row) => tenant(row) || <span class="faint">none</span> },
    { id: "cluster", title: "Cluster", cell: cluster },
    { id: "priority", title: "Priority", cell: (row) => row.priority, by: (row) => row.priority, numeric: true },
    { id: "reason", title: "Why", wide: true, cell: (row) => why(row) && <span class={row.status === "blocked" || row.status === "failed" ? "why" : "why muted"} title={why(row)}>{why(row)}</span> },
    { id: "ran", title: "Ran", cell: ran, by: (row) => (row.started_at ? length(row) : null), numeric: true },
    { id: "submitted", title: "Submitted", cell: (row) => <time title={stamp(row.submitted_at)}>{ago(row.submitted_at)}</time>, by: (row) => Date.parse(row.submitted_at), numeric: true },
  ];
}

const length = (row: JobRecord): number => ((row.ended_at ? Date.parse(row.ended_at) : present()) - Date.parse(row.started_at!)) / 1000;
const ran = (row: JobRecord) => (row.started_at && (row.status === "running" || isOver(row)) ? duration(length(row)) : <span class="faint">–</span>);
