/** The fleet: its map by any figure and grouping, its table twin, and a node with its GPUs in a drawer. */
import { Filter } from "../components/filter";
import { useMemo } from "preact/hooks";
import { mayOperate } from "../api/session";
import { Icon } from "../components/icon";
import { Panel, Segments, Select, Status, type MarkKind } from "../components/parts";
import { Empty, NoFleet } from "../components/states";
import { Table, type Column } from "../components/table";
import { celsius, count, counted, percent, shortModel, watts } from "../format";
import { Chips, Legend } from "../map/controls";
import { FleetMap } from "../map/fleet-map";
import { NoGpus } from "../map/no-gpus";
import { extent, inView, placeOfCluster } from "../map/layout";
import { tenantColour } from "../map/paint";
import { figure, fleet, jobOf, jobs, measuredAt, now, State, STATE_WORDS, tenantOf, tenants, tick, type Fleet } from "../state/fleet";
import { useRates } from "../state/rates";
import { theme } from "../theme/theme";
import { flag, oneOf, order, text, whole } from "../url/codec";
import { href, parameters } from "../url/route";
import { NewCluster } from "./cluster";
import { NodeDrawer } from "./node";
import "../style/fleet.css";

const COLOURS = [["utilization", "Util"], ["memory", "Memory"], ["temperature", "Temp"], ["power", "Power"], ["tenant", "Tenant"]] as const;
const GROUPS = [["cluster", "By cluster"], ["model", "By model"], ["tenant", "By tenant"]] as const;

const at = parameters("fleet", {
  view: oneOf(["map", "table"], "map"),
  color: oneOf(["utilization", "memory", "temperature", "power", "tenant"], "utilization"),
  group: oneOf(["cluster", "model", "tenant"], "cluster"),
  show: oneOf(["all", "idle", "fault", "free"], "all"),
  q: text(),
  sort: order(["gpu", "model", "state", "tenant", "util", "memory", "temp", "power"], "gpu"),
  cluster: whole(),
  node: whole(),
  gpu: whole(),
  make: flag(),
  span: oneOf(["1h", "24h", "7d"], "1h"),
  figure: oneOf(["load", "memory", "heat", "power"], "load"),
});

export const Tools = () => (mayOperate() ? <button class="button" onClick={() => at.set({ make: true })}><Icon name="plus" />New cluster</button> : null);

export function View() {
  useRates();
  const all = fleet.value;
  return (
    <>
      {all ? <Inside all={all} /> : <NoFleet lines={12} />}
      {at.values.value.make && mayOperate() && <NewCluster onClose={() => at.set({ make: false })} />}
    </>
  );
}

function Inside({ all }: { all: Fleet }) {
  const { view, color, group, show, q, cluster, node } = at.values.value;
  const place = placeOfCluster(cluster);
  const wanted = useWanted(all);
  const shown = useMemo(() => inView(all, place, wanted), [all, place, wanted]);
  const options = [["", "All clusters"], ...all.clusters.map((each) => [String(each.id), each.name])] as [string, string][];
  return (
    <>
      <div class="toolbar">
        <Filter label="Filter GPUs" placeholder="Host, model, tenant or job" value={q} onInput={(typed) => at.set({ q: typed })} />
        <Select label="Cluster" options={options} value={String(cluster ?? "")} onChange={(id) => at.set({ cluster: id ? Number(id) : null })} />
        {view === "map" && <Select label="Group" options={GROUPS} value={group} onChange={(value) => at.set({ group: value })} />}
        <Chips value={show} of={shown} onChange={(value) => at.set({ show: value })} />
        <div class="grow" />
        <Segments label="View" options={[["map", "Map"], ["table", "Table"]]} value={view} onChange={(value) => at.set({ view: value })} />
      </div>
      {!all.gpus ? <Panel title="Fleet"><NoGpus /></Panel> : view === "map" ? <MapView all={all} place={place} wanted={wanted} shown={shown} /> : <TableView all={all} shown={shown} />}
      {color === "tenant" && view === "map" && <TenantKey />}
      {node !== null && <NodeDrawer key={node} id={node} gpu={at.values.value.gpu} look={at.values.value} onLook={(change) => at.set(change)} onClose={() => at.set({ node: null, gpu: null, span: "1h", figure: "load" })} onGpu={(gpu) => at.set({ gpu })} />}
    </>
  );
}

/** Which GPUs the words leave; null: all of them. A filter by job changes with what runs. */
function useWanted(all: Fleet): ((gpu: number) => boolean) | null {
  const typed = at.values.value.q.trim().toLowerCase();
  const running = typed ? jobs.value : null;
  return useMemo(() => {
    if (!typed) return null;
    const hosts = all.nodes.map((node) => node.hostname.toLowerCase().includes(typed));
    const models = all.models.map((model) => model.toLowerCase().includes(typed));
    return (gpu) => hosts[all.node[gpu]] || !!models[all.model[gpu]] || `${jobOf(gpu)?.name ?? ""} ${tenantOf(gpu)?.name ?? ""}`.toLowerCase().includes(typed);
  }, [all, typed, running]);
}

interface InView {
  all: Fleet;
  /** Null: all of them. */
  shown: number[] | null;
}

function MapView({ all, place, wanted, shown }: InView & { place: number | null; wanted: ReturnType<typeof useWanted> }) {
  const { color, group, show, cluster } = at.values.value;
  return (
    <section class="panel map-panel" aria-labelledby="map-title">
      <header>
        <h2 id="map-title">Fleet map</h2>
        <span class="muted note">{extent(all, shown)}. {place !== null ? "The cluster's name leads back to all, a" : group === "cluster" ? "A name zooms into its cluster, a" : "A"} cell opens its node.</span>
        <div class="grow" />
        <Legend of={color} />
        <Segments label="Colour by" options={COLOURS} value={color} onChange={(value) => at.set({ color: value })} />
      </header>
      <FleetMap fleet={all} colouring={color} grouping={group} highlight={show} cluster={place} wanted={wanted}
        onBand={(key) => at.set({ cluster: cluster === Number(key) ? null : Number(key) }, "push")}
        onOpen={(gpu) => at.set({ node: all.nodes[all.node[gpu]].id, gpu: all.gpuId[gpu] }, "push")} />
    </section>
  );
}

const TenantKey = () => (
  <ul class="tenant-key" aria-label="Tenants' colours">
    {tenants.value.map((tenant) => <li key={tenant.id}><i style={{ background: tenantColour(tenant.id, theme.value) }} />{tenant.name}</li>)}
  </ul>
);

const SHOWN: Record<string, (state: State) => boolean> = {
  all: () => true,
  idle: (state) => state === State.idle,
  fault: (state) => state === State.fault || state === State.offline,
  free: (state) => state === State.free,
};
const MARKS: MarkKind[] = ["free", "dot", "ring", "solid", "dash", "solid", "dash"];

function TableView({ all, shown }: InView) {
  const { show, sort } = at.values.value;
  void tick.value;
  const rows = (shown ?? [...all.node.keys()]).filter((gpu) => SHOWN[show](now.state[gpu]));
  const columns = useMemo(() => columnsOf(all), [all]);
  return (
    <Panel title="GPUs" note={`${count(rows.length)} of ${counted(all.gpus, "GPU")}`} class="fills">
      {rows.length && measuredAt.value ? (
        <Table label="GPUs" columns={columns} rows={rows} rowKey={(gpu) => all.gpuId[gpu]} order={sort} onOrder={(wanted) => at.set({ sort: wanted })}
          onOpen={(gpu) => at.set({ node: all.nodes[all.node[gpu]].id, gpu: all.gpuId[gpu] }, "push")} marked={(gpu) => all.gpuId[gpu] === at.values.value.gpu} />
      ) : <Empty title="No GPU fits this filter" />}
    </Panel>
  );
}

function columnsOf(all: Fleet): Column<number>[] {
  // hosts are sorted as people count them once, not at every frame
  const rank = new Uint32Array(all.nodes.length);
  const natural = new Intl.Collator("en", { numeric: true }).compare;
  all.nodes.map((_, node) => node).sort((a, b) => natural(all.nodes[a].hostname, all.nodes[b].hostname)).forEach((node, place) => (rank[node] = place));
  const host = (gpu: number) => all.nodes[all.node[gpu]];
  const known = (text: string, unit: string): string => (text === "–" ? text : `${text} ${unit}`);
  return [
    { id: "gpu", title: "GPU", by: (gpu) => rank[all.node[gpu]] * 1024 + all.gpuIndex[gpu], cell: (gpu) => <a class="strong" href={at.to({ ...at.values.peek(), node: host(gpu).id, gpu: all.gpuId[gpu] })}>{host(gpu).hostname} <span class="faint">· {all.gpuIndex[gpu]}</span></a> },
    { id: "cluster", title: "Cluster", cell: (gpu) => all.clusters[host(gpu).cluster].name },
    { id: "model", title: "Model", by: (gpu) => all.models[all.model[gpu]] ?? null, cell: (gpu) => shortModel(all.models[all.model[gpu]]) },
    { id: "state", title: "State", by: (gpu) => now.state[gpu], cell: (gpu) => <Status kind={MARKS[now.state[gpu]]}>{STATE_WORDS[now.state[gpu]]}</Status> },
    { id: "tenant", title: "Tenant", by: (gpu) => tenantOf(gpu)?.name ?? null, cell: (gpu) => tenantOf(gpu)?.name ?? "–" },
    { id: "job", title: "Job", cell: (gpu) => holder(gpu) },
    { id: "util", title: "Util", by: (gpu) => figure("utilization", gpu), cell: (gpu) => known(percent(figure("utilization", gpu)), "%"), numeric: true },
    { id: "memory", title: "Memory", by: (gpu) => figure("memory", gpu), cell: (gpu) => known(percent(figure("memory", gpu)), "%"), numeric: true },
    { id: "temp", title: "Temp", by: (gpu) => figure("temperature", gpu), cell: (gpu) => celsius(figure("temperature", gpu)), numeric: true },
    { id: "power", title: "Power", by: (gpu) => figure("power", gpu), cell: (gpu) => watts(figure("power", gpu)), numeric: true },
  ];
}

function holder(gpu: number) {
  const job = jobOf(gpu);
  return job ? <a class="link-text" href={href("jobs", `?job=${job.id}`)}>{job.name}</a> : "–";
}
