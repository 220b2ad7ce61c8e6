/**
 * The fleet as it is now, from the live stream. Figures of thousands of GPUs stay in typed arrays outside the reactive
 * graph; `tick` tells of a new frame, `fleet` of another set of GPUs. GPUs are known by their place in the arrays.
 */
import { batch, computed, signal } from "@preact/signals";
import type { FleetAllocation, FleetFrame, FleetSnapshot, Units } from "../api/schema";

export const UNKNOWN = 255;
export const enum State { free, busy, idle, fault, drained, offline, unknown }
export const STATE_WORDS = ["Free", "Busy", "Allocated but idle", "Faulty", "Drained", "Offline", "No telemetry"] as const;

export interface Job {
  id: number;
  name: string;
  /** A place in `tenants`, or -1. */
  tenant: number;
  startedAt: string | null;
}

export interface Fleet {
  version: number;
  gpus: number;
  clusters: { id: number; name: string; region: string | null; nodes: number[] }[];
  /** `gpus`: places, by index within the node. */
  nodes: { id: number; hostname: string; cluster: number; gpus: number[] }[];
  models: string[];
  gpuId: number[];
  gpuIndex: number[];
  node: Uint32Array;
  /** A place in `models`, or -1. */
  model: Int16Array;
  memoryMb: (number | null)[];
  units: Units;
}

/** What moves: one entry a GPU; 255 where nothing is known. `holder`: 0 free, k = jobs[k - 1]. */
export const now = {
  utilization: new Uint8Array(0),
  memory: new Uint8Array(0),
  temperature: new Uint8Array(0),
  power: new Uint8Array(0),
  state: new Uint8Array(0),
  holder: new Uint32Array(0),
};
export const fleet = signal<Fleet | null>(null);
export const tick = signal(0);
export const jobs = signal<Job[]>([]);
export const tenants = signal<{ id: number; name: string }[]>([]);
/** When the newest frame was measured, in ms since 1970. */
export const measuredAt = signal(0);

export function takeSnapshot(given: FleetSnapshot): void {
  const count = given.gpus.id.length;
  const nodes = given.nodes.id.map((id, at) => ({ id, hostname: given.nodes.hostname[at], cluster: given.nodes.cluster[at], gpus: [] as number[] }));
  given.gpus.node.forEach((node, gpu) => nodes[node].gpus.push(gpu));
  for (const node of nodes) node.gpus.sort((a, b) => given.gpus.gpu_index[a] - given.gpus.gpu_index[b]);
  const clusters = given.clusters.id.map((id, at) => ({ id, name: given.clusters.name[at], region: given.clusters.region[at], nodes: [] as number[] }));
  nodes.forEach((node, at) => clusters[node.cluster].nodes.push(at));
  const natural = new Intl.Collator("en", { numeric: true }).compare;
  for (const cluster of clusters) cluster.nodes.sort((a, b) => natural(nodes[a].hostname, nodes[b].hostname));
  for (const name of ["utilization", "memory", "temperature", "power"] as const) now[name] = new Uint8Array(count).fill(UNKNOWN);
  now.state = new Uint8Array(count).fill(State.unknown);
  now.holder = new Uint32Array(count);
  fleet.value = {
    version: given.version, gpus: count, clusters, nodes, models: given.models, gpuId: given.gpus.id, gpuIndex: given.gpus.gpu_index,
    node: Uint32Array.from(given.gpus.node), model: Int16Array.from(given.gpus.model, (each) => each ?? -1),
    memoryMb: given.gpus.memory_total_mb, units: given.units,
  };
}

export function takeAllocation(given: FleetAllocation): void {
  if (given.version !== fleet.value?.version) return;
  const raw = bytes(given.holder);
  now.holder = new Uint32Array(raw.buffer, 0, raw.length >> 2); // little-endian, as every machine with a browser is
  batch(() => {
    tenants.value = given.tenants.id.map((id, at) => ({ id, name: given.tenants.name[at] }));
    jobs.value = given.jobs.id.map((id, at) => ({ id, name: given.jobs.name[at], tenant: given.jobs.tenant[at] ?? -1, startedAt: given.jobs.started_at[at] }));
  });
}

export function takeFrame(given: FleetFrame): void {
  if (given.version !== fleet.value?.version) return;
  now.utilization = bytes(given.utilization_pct);
  now.memory = bytes(given.memory_pct);
  now.temperature = bytes(given.temperature_c);
  now.power = bytes(given.power_draw_w);
  const flags = bytes(given.flags);
  for (let gpu = 0; gpu < flags.length; gpu++) now.state[gpu] = stateOf(flags[gpu]);
  batch(() => {
    measuredAt.value = Date.parse(given.at);
    tick.value++;
  });
}

export function forget(): void {
  batch(() => {
    fleet.value = null;
    jobs.value = [];
    tenants.value = [];
    measuredAt.value = 0;
  });
}

/** What the map shows of a frame's flags: a fault before an absence, an absence before load. */
export function stateOf(flags: number): State {
  const status = flags & 7;
  if (status === 2) return State.fault;
  if (status === 3) return State.offline;
  if (!(flags & 8) && flags & (16 | 32)) return State.drained;
  if (flags & 64) return State.unknown;
  if (status === 1) return State.busy;
  return flags & 8 ? State.idle : State.free;
}

export const jobOf = (gpu: number): Job | null => jobs.value[now.holder[gpu] - 1] ?? null;
export function tenantOf(gpu: number): { id: number; name: string } | null {
  const job = jobOf(gpu);
  return job && job.tenant >= 0 ? tenants.value[job.tenant] : null;
}

type Figure = "utilization" | "memory" | "temperature" | "power";
const UNIT_OF: Record<Figure, keyof Units> = { utilization: "utilization_pct", memory: "memory_pct", temperature: "temperature_c", power: "power_draw_w" };

/** In percent, percent, °C, W; null where nothing is known. */
export function figure(name: Figure, gpu: number): number | null {
  const byte = now[name][gpu];
  return byte === UNKNOWN || !fleet.value ? null : byte * fleet.value.units[UNIT_OF[name]];
}

export interface Summary {
  gpus: number;
  nodes: number;
  /** By State. */
  states: number[];
  allocated: number;
  /** Mean of the reporting GPUs, percent. */
  utilization: number | null;
}

/** Counts of the newest frame. */
export const summary = computed<Summary | null>(() => {
  void tick.value;
  const all = fleet.value;
  if (!all || !measuredAt.value) return null;
  const states = [0, 0, 0, 0, 0, 0, 0];
  let sum = 0, reporting = 0, allocated = 0;
  for (let gpu = 0; gpu < all.gpus; gpu++) {
    states[now.state[gpu]]++;
    if (now.holder[gpu]) allocated++;
    if (now.utilization[gpu] !== UNKNOWN) {
      reporting++;
      sum += now.utilization[gpu];
    }
  }
  return { gpus: all.gpus, nodes: all.nodes.length, states, allocated, utilization: reporting ? (sum / reporting) * all.units.utilization_pct : null };
});

/** The same counts by State of these GPUs alone. */
export function statesOf(gpus: readonly number[]): number[] {
  const states = [0, 0, 0, 0, 0, 0, 0];
  for (const gpu of gpus) states[now.state[gpu]]++;
  return states;
}

export function bytes(base64: string): Uint8Array<ArrayBuffer> {
  const text = atob(base64);
  const found = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) found[at] = text.charCodeAt(at);
  return found;
}
