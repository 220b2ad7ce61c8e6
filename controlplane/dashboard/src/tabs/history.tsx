/** How a node or one of its GPUs did: an hour, a day, a week. */
import { useMemo } from "preact/hooks";
import { call } from "../api/client";
import { present } from "../api/clock";
import type { GpuRecord, History as Told, NodeDetail } from "../api/schema";
import { Segments } from "../components/parts";
import { Plot, type Line } from "../components/plot";
import { Loaded } from "../components/states";
import { useResource } from "../state/resource";

const SPANS = [["1h", "1 h"], ["24h", "24 h"], ["7d", "7 d"]] as const;
const FIGURES = [["load", "Load"], ["memory", "Memory"], ["heat", "Temp"], ["power", "Power"]] as const;
export type Span = (typeof SPANS)[number][0];
export type Figure = (typeof FIGURES)[number][0];
export interface Look {
  span: Span;
  figure: Figure;
}
const SECONDS: Record<Span, number> = { "1h": 3600, "24h": 86_400, "7d": 7 * 86_400 };
const UNITS: Record<Figure, string> = { load: "%", memory: " GB", heat: "°", power: " W" };

export function History({ node, gpu, look, onLook }: { node: NodeDetail; gpu: GpuRecord | null; look: Look; onLook: (change: Partial<Look>) => void }) {
  const { span, figure } = look;
  const subject = gpu ? `/api/gpus/${gpu.id}` : `/api/clusters/nodes/${node.id}`;
  const told = useResource(`${subject}/metrics?${span}`, () => ask(node, gpu, span), span === "1h" ? 10_000 : 60_000);
  const title = gpu ? `GPU ${gpu.gpu_index}` : "All its GPUs";
  return (
    <section class="charts" aria-label={`${title}, history`}>
      <header>
        <h3>{title}</h3>
        <Segments label="Figure" options={FIGURES} value={figure} onChange={(value) => onLook({ figure: value })} />
        <Segments label="Time" options={SPANS} value={span} onChange={(value) => onLook({ span: value })} />
      </header>
      <Loaded of={told} skeleton={5}>{(data) => <Chart told={data} figure={figure} title={title} />}</Loaded>
    </section>
  );
}

function ask(node: NodeDetail, gpu: GpuRecord | null, span: Span): Promise<Told> {
  const query = { from: new Date(present() - 1000 * SECONDS[span]).toISOString() };
  if (gpu) return call("GET /api/gpus/{gpu_id}/metrics", { path: { gpu_id: gpu.id }, query });
  return call("GET /api/clusters/nodes/{node_id}/metrics", { path: { node_id: node.id }, query });
}

function Chart({ told, figure, title }: { told: Told; figure: Figure; title: string }) {
  const times = useMemo(() => told.timestamps.map((time) => Date.parse(time) / 1000), [told]);
  const lines = useMemo(() => linesOf(told, figure), [told, figure]);
  if (!told.samples.some((count) => count > 0)) return <p class="pad">No telemetry in this time.</p>;
  return <Plot key={figure} label={`${title}, mean and highest`} times={times} lines={lines} unit={UNITS[figure]} from={0} {...(figure === "load" ? { to: 100 } : {})} />;
}

function linesOf(told: Told, figure: Figure): Line[] {
  const gigabytes = (column: (number | null)[]) => column.map((value) => (value === null ? null : value / 1024));
  const [mean, most] = {
    load: [told.utilization_pct, told.utilization_max_pct],
    memory: [gigabytes(told.memory_used_mb), gigabytes(told.memory_used_max_mb)],
    heat: [told.temperature_c, told.temperature_max_c],
    power: [told.power_draw_w, told.power_draw_max_w],
  }[figure];
  return [
    { title: "Highest", values: most, colour: "muted", dashed: true },
    { title: "Mean", values: mean, colour: "accent" },
  ];
}
