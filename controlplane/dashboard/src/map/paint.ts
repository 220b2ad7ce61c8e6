/** Draws the map: a pass a colour, so that ten thousand cells take a few milliseconds. */
import { fleet, now, State, tenants, jobs, UNKNOWN } from "../state/fleet";
import { PALETTES, shades, TENANTS, type Theme } from "../theme/colours";
import { token } from "../theme/theme";
import type { Layout } from "./layout";

export type Colouring = "utilization" | "memory" | "temperature" | "power" | "tenant";
export type Highlight = "all" | "idle" | "fault" | "free" | "drained";

const STEPS = 33;
const TEMPERATURE = [25, 90]; // °C over the ramp
const POWER_MOST = 750; // W
const DIMMED = 0.2;
const SHOWN: Record<Highlight, State[]> = {
  all: [0, 1, 2, 3, 4, 5, 6],
  idle: [State.idle],
  fault: [State.fault, State.offline],
  free: [State.free],
  drained: [State.drained],
};

export class Painter {
  private readonly context: CanvasRenderingContext2D;
  private ramp: string[] = [];
  private theme: Theme = "dark";
  private panel = "#000";
  private text = "#fff";

  constructor(private readonly canvas: HTMLCanvasElement) {
    this.context = canvas.getContext("2d", { alpha: false })!;
  }

  wear(theme: Theme): void {
    this.theme = theme;
    this.ramp = shades(PALETTES[theme].ramp, STEPS);
    this.panel = token("--panel");
    this.text = token("--muted");
  }

  fit(map: Layout): void {
    const scale = Math.min(2, devicePixelRatio || 1);
    this.canvas.width = Math.max(1, map.width * scale);
    this.canvas.height = Math.max(1, map.height * scale);
    this.canvas.style.width = `${map.width}px`;
    this.canvas.style.height = `${map.height}px`;
    this.context.setTransform(scale, 0, 0, scale, 0, 0);
  }

  draw(map: Layout, by: Colouring, highlight: Highlight): void {
    const { context } = this;
    context.globalAlpha = 1;
    context.fillStyle = this.panel;
    context.fillRect(0, 0, map.width, map.height);
    const shown = new Set(SHOWN[highlight]);
    for (const [colour, gpus] of this.sorted(map, by)) {
      for (const gpu of gpus) {
        const alpha = shown.has(now.state[gpu]) ? 1 : DIMMED;
        if (context.globalAlpha !== alpha) context.globalAlpha = alpha;
        if (context.fillStyle !== colour) context.fillStyle = colour;
        this.cell(map, gpu);
      }
    }
    context.globalAlpha = 1;
    this.labels(map);
  }

  /** GPUs by colour. */
  private sorted(map: Layout, by: Colouring): Map<string, number[]> {
    const found = new Map<string, number[]>();
    for (let gpu = 0; gpu < map.x.length; gpu++) {
      if (map.x[gpu] < 0) continue;
      const colour = this.colour(gpu, by);
      const known = found.get(colour);
      if (known) known.push(gpu);
      else found.set(colour, [gpu]);
    }
    return found;
  }

  private colour(gpu: number, by: Colouring): string {
    const palette = PALETTES[this.theme];
    const state: State = now.state[gpu];
    if (state === State.fault || state === State.offline) return palette.fault;
    if (state === State.drained) return palette.drained;
    if (by === "tenant") return this.tenant(gpu);
    if (state === State.idle) return palette.idle;
    const byte = now[by][gpu];
    if (byte === UNKNOWN) return palette.unknown;
    return this.ramp[Math.round(share(byte, by) * (STEPS - 1))];
  }

  private tenant(gpu: number): string {
    const job = jobs.value[now.holder[gpu] - 1];
    if (!job) return PALETTES[this.theme].ramp[0];
    const id = tenants.value[job.tenant]?.id;
    return id === undefined ? PALETTES[this.theme].unknown : tenantColour(id, this.theme);
  }

  /** Shape doubles colour: a ring is idle, a solid cell a fault or load, a dash what is out of service. */
  private cell(map: Layout, gpu: number): void {
    const { context } = this;
    const size = map.cell, x = map.x[gpu], y = map.y[gpu];
    const state: State = now.state[gpu];
    if (state === State.drained || state === State.offline) {
      const thick = Math.max(1, size >> 2);
      context.fillRect(x, y + ((size - thick) >> 1), size, thick);
    } else if (state === State.idle) {
      const edge = size >= 40 ? 4 : size >= 12 ? 3 : size >= 6 ? 2 : 1;
      context.fillRect(x, y, size, edge);
      context.fillRect(x, y + size - edge, size, edge);
      context.fillRect(x, y + edge, edge, size - 2 * edge);
      context.fillRect(x + size - edge, y + edge, edge, size - 2 * edge);
    } else context.fillRect(x, y, size, size);
  }

  private labels(map: Layout): void {
    const all = fleet.value;
    if (!all || !map.labels.length) return;
    this.context.fillStyle = this.text;
    this.context.font = "10.5px InterVar, sans-serif";
    for (const label of map.labels) this.context.fillText(fitted(this.context, all.nodes[label.node].hostname, label.width), label.x, label.y);
  }
}

export const tenantColour = (id: number, theme: Theme): string => TENANTS[theme][(id - 1) % TENANTS[theme].length];

/** 0 to 1 on the ramp. */
function share(byte: number, by: Exclude<Colouring, "tenant">): number {
  const units = fleet.value?.units;
  if (by === "temperature") return clamp((byte * (units?.temperature_c ?? 1) - TEMPERATURE[0]) / (TEMPERATURE[1] - TEMPERATURE[0]));
  if (by === "power") return clamp((byte * (units?.power_draw_w ?? 1)) / POWER_MOST);
  return clamp((byte * ((by === "memory" ? units?.memory_pct : units?.utilization_pct) ?? 1)) / 100);
}
const clamp = (value: number): number => Math.min(1, Math.max(0, value));

function fitted(context: CanvasRenderingContext2D, text: string, width: number): string {
  if (context.measureText(text).width <= width) return text;
  let short = text;
  while (short.length > 3 && context.measureText(`…${short}`).width > width) short = short.slice(1);
  return `…${short}`; // hosts differ at the end of their names
}
