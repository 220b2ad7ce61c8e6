/** Who holds what: a strip of GPUs for each running job, how many of them do nothing, and what that has cost. */
import { call } from "../api/client";
import { Filter } from "../components/filter";
import { Panel, Segments, Status } from "../components/parts";
import { Empty, NoFleet } from "../components/states";
import { Table, type Column } from "../components/table";
import { count, counted, duration, percent, roughMoney, stamp } from "../format";
import { figure, fleet, jobs, measuredAt, now, State, STATE_WORDS, summary, tenants, tick, type Fleet, type Job } from "../state/fleet";
import { useLeakage } from "../state/leakage";
import { costOf, useRates } from "../state/rates";
import { useResource } from "../state/resource";
import { oneOf, order, text, whole } from "../url/codec";
import { href, parameters } from "../url/route";
import "../style/allocation.css";

const at = parameters("allocation", {
  show: oneOf(["all", "idle"], "all"),
  q: text(),
  sort: order(["job", "tenant", "gpus", "idle", "load", "age", "cost", "waste"], "-waste"),
  job: whole(),
});

interface Holding {
  job: Job;
  tenant: string;
  gpus: number[];
  idle: number;
  /** Mean of its reporting GPUs, percent. */
  load: number | null;
  ageS: number | null;
  /** Dollars an hour of all and of the idle ones. */
  rate: number;
  waste: number;
}

export function View() {
  useRates();
  void tick.value;
  const all = fleet.value;
  if (!all || !measuredAt.value) return <NoFleet lines={12} />;
  const { show, q, sort, job } = at.values.value;
  const held = holdings(all);
  const shown = held.filter((each) => (show === "all" || each.idle > 0) && `${each.job.name} ${each.tenant}`.toLowerCase().includes(q.toLowerCase()));
  return (
    <>
      <Gap held={held} />
      <div class="toolbar">
        <Filter label="Filter jobs" placeholder="Filter by job or tenant" value={q} onInput={(typed) => at.set({ q: typed })} />
        <Segments label="Which jobs" options={[["all", "All"], ["idle", "With idle GPUs"]]} value={show} onChange={(value) => at.set({ show: value })} />
        <div class="grow" />
        <ul class="key" aria-label="What the strips show"><li><i class="cell load" />working</li><li><i class="cell idle" />lent but idle</li><li><i class="cell fault" />faulty</li><li><i class="cell unknown" />no telemetry</li></ul>
      </div>
      <Panel title="Running jobs" note={`${counted(held.length, "job")} ${held.length === 1 ? "holds" : "hold"} ${counted(summary.value?.allocated ?? 0, "GPU")}`} class="fills">
        {shown.length ? (
          <Table label="Running jobs and their GPUs" columns={COLUMNS} rows={shown} rowKey={(row) => row.job.id} order={sort}
            onOrder={(wanted) => at.set({ sort: wanted })} marked={(row) => row.job.id === job} />
        ) : held.length ? <Empty title="No running job fits this filter" /> : (
          <Empty title="No GPU is allocated" command={`gpuforge jobs submit --help`}>Submit a job in the Jobs tab, or from a shell:</Empty>
        )}
      </Panel>
    </>
  );
}

/** Three bars of one length: what there is, what is lent, what is used; and what the gap costs. */
function Gap({ held }: { held: Holding[] }) {
  const kpis = useResource("/api/dashboard/kpis", () => call("GET /api/dashboard/kpis"), 5_000);
  const now = summary.value;
  if (!now) return null;
  const used = held.reduce((sum, each) => sum + each.gpus.length - each.idle, 0);
  const idle = now.allocated - used;
  const waste = held.reduce((sum, each) => sum + each.waste, 0);
  const leak = kpis.data.value?.revenue_leakage;
  const lost = useLeakage().data.value?.totals;
  const bars: [string, number, string][] = [["In the fleet", now.gpus, "there"], ["Allocated", now.allocated, "lent"], ["Used", used, "used"]];
  return (
    <section class="panel gap" aria-label="Allocated against used">
      <ul>
        {bars.map(([title, value, kind]) => (
          <li key={kind}><span>{title}</span><i class={kind}><i style={{ width: `${now.gpus ? (100 * value) / now.gpus : 0}%` }} /></i><b>{count(value)}</b></li>
        ))}
      </ul>
      <div class="gap-cost">
        <span class="kpi-title">The gap costs now</span>
        <b class={waste ? "kpi-value warm" : "kpi-value"}>{roughMoney(waste)}<small>/h</small></b>
        <span class="muted">{idle ? counted(idle, "GPU") : "no GPU"} lent and idle{idle > 0 && lost ? `, ${lost.idle_gpus ? count(lost.idle_gpus) : "none"} for half an hour` : ""}</span>
        <a class="link-text" href={href("billing", "?view=leakage")}>{leak ? `Idle in 24 h: ${percent(leak.percentage)} % of what was lent` : "Evidence"}</a>
      </div>
    </section>
  );
}

function holdings(all: Fleet): Holding[] {
  const found = jobs.value.map((job) => ({ job, tenant: tenants.value[job.tenant]?.name ?? "–", gpus: [] as number[], idle: 0, load: null as number | null, ageS: job.startedAt ? (measuredAt.value - Date.parse(job.startedAt)) / 1000 : null, rate: 0, waste: 0 }));
  for (let gpu = 0; gpu < all.gpus; gpu++) found[now.holder[gpu] - 1]?.gpus.push(gpu);
  for (const each of found) {
    const told = each.gpus.map((gpu) => figure("utilization", gpu)).filter((value) => value !== null);
    each.load = told.length ? told.reduce((sum, value) => sum + value, 0) / told.length : null;
    for (const gpu of each.gpus) {
      const cost = costOf(gpu) ?? 0;
      each.rate += cost;
      if (now.state[gpu] !== State.idle) continue;
      each.idle++;
      each.waste += cost;
    }
  }
  return found.filter((each) => each.gpus.length);
}

const COLUMNS: Column<Holding>[] = [
  { id: "job", title: "Job", cell: (row) => <a class="strong" href={href("jobs", `?job=${row.job.id}`)}>{row.job.name}</a>, by: (row) => row.job.name },
  { id: "tenant", title: "Tenant", cell: (row) => row.tenant, by: (row) => row.tenant },
  { id: "strip", title: "GPUs", wide: true, cell: (row) => <Strip holding={row} /> },
  { id: "gpus", title: "Held", cell: (row) => count(row.gpus.length), by: (row) => row.gpus.length, numeric: true },
  { id: "idle", title: "Idle", cell: (row) => (row.idle ? <Status kind="ring">{count(row.idle)}</Status> : <span class="faint">0</span>), by: (row) => row.idle, numeric: true },
  { id: "load", title: "Mean load", cell: (row) => `${percent(row.load)} %`, by: (row) => row.load, numeric: true },
  { id: "age", title: "Running for", cell: (row) => <time title={stamp(row.job.startedAt)}>{duration(row.ageS)}</time>, by: (row) => row.ageS, numeric: true },
  { id: "cost", title: "Cost so far", cell: (row) => (row.rate && row.ageS !== null ? roughMoney((row.rate * row.ageS) / 3600) : "–"), by: (row) => row.rate * (row.ageS ?? 0), numeric: true },
  { id: "waste", title: "Idle now", cell: (row) => (row.waste ? <b class="warm">{roughMoney(row.waste)}/h</b> : <span class="faint">–</span>), by: (row) => row.waste * 1e4 + row.idle, numeric: true },
];

const MOST_CELLS = 64;
const KINDS: Partial<Record<State, string>> = { [State.idle]: "idle", [State.fault]: "fault", [State.offline]: "fault", [State.unknown]: "unknown" };

/** A cell a GPU, by load; a link to its node each. */
function Strip({ holding }: { holding: Holding }) {
  const all = fleet.value!;
  const first = holding.gpus.slice(0, MOST_CELLS);
  const hosts = new Set(holding.gpus.map((gpu) => all.nodes[all.node[gpu]].hostname));
  return (
    <a class="strip" href={href("fleet", `?node=${all.nodes[all.node[first[0]]].id}`)} aria-label={`${counted(holding.gpus.length, "GPU")} on ${[...hosts].slice(0, 3).join(", ")}, ${counted(holding.idle, "idle GPU")}`}>
      {first.map((gpu) => <i key={gpu} class={`cell ${KINDS[now.state[gpu] as State] ?? `r${Math.min(5, Math.round((figure("utilization", gpu) ?? 0) / 20))}`}`}
        title={`${all.nodes[all.node[gpu]].hostname} GPU ${all.gpuIndex[gpu]}: ${STATE_WORDS[now.state[gpu]]}, ${percent(figure("utilization", gpu))} %`} />)}
      {holding.gpus.length > MOST_CELLS && <span class="faint">+{holding.gpus.length - MOST_CELLS}</span>}
    </a>
  );
}

