/** Where each GPU's cell lies: bands of blocks, a block a node, all cells of one size. */
import { count, counted } from "../format";
import { fleet, jobOf, tenants, type Fleet } from "../state/fleet";

export type Grouping = "cluster" | "model" | "tenant";

export interface Group {
  /** Of clusters the id, else a name. */
  key: string;
  title: string;
  notes: string[];
  blocks: { node: number; gpus: number[] }[];
}
export interface Band {
  group: Group;
  top: number;
  height: number;
}
export interface Layout {
  cell: number;
  width: number;
  height: number;
  /** By GPU; -1 where it is not on the map. */
  x: Int16Array;
  y: Int32Array;
  bands: Band[];
  /** Hostnames below their blocks, where there is room: node, x, y, width. */
  labels: { node: number; x: number; y: number; width: number }[];
}

const GAP = 1, BLOCK_GAP = 3, BAND_GAP = 12, LABEL = 16, LARGEST = 128, LABELLED_FROM = 15, BAND_LEAST = 50;

/** The blocks to draw. `only`: one cluster's place, or null for all. `wanted`: which GPUs, or null for all. */
export function groups(all: Fleet, by: Grouping, only: number | null, wanted: ((gpu: number) => boolean) | null): Group[] {
  const found = new Map<string, Group>();
  all.clusters.forEach((cluster, place) => {
    if (only !== null && only !== place) return;
    for (const node of cluster.nodes) {
      for (const gpu of all.nodes[node].gpus) {
        if (wanted && !wanted(gpu)) continue;
        const [key, title] = by === "cluster" ? [String(cluster.id), cluster.name] : named(all, by, gpu);
        let group = found.get(key);
        if (!group) found.set(key, (group = { key, title, notes: [], blocks: [] }));
        const last = group.blocks.at(-1);
        if (last?.node === node) last.gpus.push(gpu);
        else group.blocks.push({ node, gpus: [gpu] });
      }
    }
  });
  const made = [...found.values()];
  if (by !== "cluster") made.sort((a, b) => (a.key === "" ? 1 : b.key === "" ? -1 : b.blocks.length - a.blocks.length));
  for (const group of made) group.notes = notes(all, group, by);
  return made;
}

function named(all: Fleet, by: Grouping, gpu: number): [string, string] {
  if (by === "model") {
    const model = all.model[gpu] < 0 ? "" : all.models[all.model[gpu]];
    return [model, model.replace(/^NVIDIA /, "") || "Unknown model"];
  }
  const job = jobOf(gpu);
  if (!job) return ["", "Free"];
  const tenant = tenants.value[job.tenant];
  return tenant ? [String(tenant.id), tenant.name] : ["0", "No tenant"];
}

function notes(all: Fleet, group: Group, by: Grouping): string[] {
  const line = counted(group.blocks.length, "node");
  if (by !== "cluster") return [line];
  const models = new Set(group.blocks.flatMap((block) => block.gpus.map((gpu) => all.model[gpu])));
  const [model] = models;
  const words = models.size === 1 && model >= 0 ? all.models[model].replace(/^NVIDIA /, "").replace(/ HBM\d+$/, "") : `${models.size} models`;
  return [words, line];
}

/** The largest cells with which all fits into `width` × `height`; at the smallest it grows taller. `heading`: px above
 *  each band for its name; without, names stand beside the bands, and a band is at least as tall as they. */
export function layOut(all: Fleet, shown: Group[], width: number, height: number, heading = 0): Layout {
  const most = Math.max(1, ...shown.map((group) => Math.max(...group.blocks.map((block) => block.gpus.length))));
  const columns = most <= 2 ? most : Math.ceil(most / 2);
  const rows = Math.ceil(most / columns);
  const blockOf = (cell: number) => ({
    w: columns * (cell + GAP) + (cell >= LABELLED_FROM ? 14 : BLOCK_GAP),
    h: rows * (cell + GAP) + (cell >= LABELLED_FROM ? LABEL + 8 : BLOCK_GAP),
  });
  const perLine = (cell: number): number => Math.max(1, Math.floor(width / blockOf(cell).w));
  const bandHeight = (group: Group, cell: number): number => Math.max(heading ? 0 : BAND_LEAST, heading + Math.ceil(group.blocks.length / perLine(cell)) * blockOf(cell).h);
  const needed = (cell: number): number => shown.reduce((sum, group) => sum + bandHeight(group, cell) + BAND_GAP, -BAND_GAP);
  let cell = LARGEST;
  while (cell > 3 && needed(cell) > height) cell--;
  const block = blockOf(cell);
  const line = perLine(cell);
  const spare = Math.max(0, Math.min(cell >= LABELLED_FROM ? 24 : 3, Math.floor((width - line * block.w) / line)));
  const made: Layout = { cell, width, height: 0, x: new Int16Array(all.gpus).fill(-1), y: new Int32Array(all.gpus).fill(-1), bands: [], labels: [] };
  let top = 0;
  for (const group of shown) {
    group.blocks.forEach((each, place) => {
      const left = (place % line) * (block.w + spare);
      const above = top + heading + Math.floor(place / line) * block.h;
      each.gpus.forEach((gpu, slot) => {
        made.x[gpu] = left + (slot % columns) * (cell + GAP);
        made.y[gpu] = above + Math.floor(slot / columns) * (cell + GAP);
      });
      if (cell >= LABELLED_FROM) made.labels.push({ node: each.node, x: left, y: above + Math.ceil(each.gpus.length / columns) * (cell + GAP) + 12, width: block.w + spare - 6 });
    });
    const tall = bandHeight(group, cell);
    made.bands.push({ group, top, height: tall });
    top += tall + BAND_GAP;
  }
  made.height = Math.max(1, top - BAND_GAP);
  return made;
}

/** The GPU at that place of the map, or -1. */
export function hit(map: Layout, x: number, y: number): number {
  const reach = map.cell + GAP;
  for (let gpu = 0; gpu < map.x.length; gpu++)
    if (map.x[gpu] >= 0 && x >= map.x[gpu] && x < map.x[gpu] + reach && y >= map.y[gpu] && y < map.y[gpu] + reach) return gpu;
  return -1;
}

/** The nearest GPU in that direction, or `from` itself where there is none. */
export function neighbour(map: Layout, from: number, dx: number, dy: number): number {
  let best = from, least = Infinity;
  for (let gpu = 0; gpu < map.x.length; gpu++) {
    if (map.x[gpu] < 0) continue;
    const along = (map.x[gpu] - map.x[from]) * dx + (map.y[gpu] - map.y[from]) * dy;
    const aside = Math.abs((map.x[gpu] - map.x[from]) * dy) + Math.abs((map.y[gpu] - map.y[from]) * dx);
    if (along > 0 && along + 4 * aside < least) {
      least = along + 4 * aside;
      best = gpu;
    }
  }
  return best;
}

/** The GPUs that a cluster's place and a filter leave; null: all of them. */
export function inView(all: Fleet, only: number | null, wanted: ((gpu: number) => boolean) | null): number[] | null {
  if (only === null && !wanted) return null;
  return [...all.node.keys()].filter((gpu) => (only === null || all.nodes[all.node[gpu]].cluster === only) && (!wanted || wanted(gpu)));
}

/** How much of the fleet that is, in words: `12 nodes · 96 GPUs`, `4 of 12 nodes · 32 of 96 GPUs`. */
export function extent(all: Fleet, shown: number[] | null): string {
  if (!shown) return `${counted(all.nodes.length, "node")} · ${counted(all.gpus, "GPU")}`;
  const nodes = new Set(shown.map((gpu) => all.node[gpu])).size;
  return `${count(nodes)} of ${counted(all.nodes.length, "node")} · ${count(shown.length)} of ${counted(all.gpus, "GPU")}`;
}

export const placeOfCluster = (id: number | null): number | null => {
  const place = fleet.value?.clusters.findIndex((cluster) => cluster.id === id) ?? -1;
  return place < 0 ? null : place;
};
