/** What the palette can go to: every node and cluster, jobs that run or wait and the newest others, tenants. */
import { computed } from "@preact/signals";
import { call, pages } from "../api/client";
import type { Target } from "../components/palette";
import { TABS } from "../tabs";
import { withoutKeys } from "../url/codec";
import { href } from "../url/route";
import { fleet, jobs, measuredAt } from "./fleet";

const NEWEST = 100;
/** What is not searched by itself, in words. */
export const LIMITS = `Jobs: all that run, those that wait, and the newest ${NEWEST}. Older ones: the last line.`;

/** Known at once: the tabs, and, as soon as the stream has told of them, all nodes, clusters and jobs that run. */
export const known = computed((): Target[] => [
  ...TABS.map((tab) => ({ title: tab.title, kind: "tab", address: href(tab.name) })),
  ...nodesOf(fleet.value?.clusters ?? [], (cluster) => cluster.nodes.map((at) => fleet.value!.nodes[at])),
  ...jobs.value.map((job) => jobTarget(job, "running")),
]);

/** Asked for when the palette opens; also for what the stream tells, while it has not come. */
export function asked(): Promise<Target[]>[] {
  const missing = measuredAt.value ? [] : [nodes(), jobsThat({ status: "running" })];
  return [...missing, jobsThat({ limit: NEWEST }), jobsThat({ status: "queued", limit: NEWEST }), jobsThat({ status: "blocked", limit: NEWEST }), tenants()];
}

/** Where to look for what is typed beyond the targets: there is always a way on. */
export function beyond(typed: string): Target[] {
  const words = withoutKeys(typed.trim());
  if (!words) return [];
  const query = encodeURIComponent(words);
  return [
    ...(/^\d{1,15}$/.test(words) ? [{ title: `Job ${words}`, kind: "job by its number", address: href("jobs", `?job=${words}`) }] : []),
    { title: `GPUs with “${words}”`, kind: "in the fleet", address: href("fleet", `?view=table&q=${query}`) },
    { title: `Jobs with “${words}”`, kind: "of all times", address: href("jobs", `?q=${query}`) },
  ];
}

interface Named {
  id: number;
  name: string;
}

/** Clusters, then the nodes of each. */
const nodesOf = <C extends Named>(clusters: readonly C[], of: (cluster: C) => { id: number; hostname: string }[]): Target[] => [
  ...clusters.map((cluster) => ({ title: cluster.name, kind: "cluster", address: href("fleet", `?cluster=${cluster.id}`) })),
  ...clusters.flatMap((cluster) => of(cluster).map((node) => ({ title: node.hostname, kind: `node, ${cluster.name}`, address: href("fleet", `?node=${node.id}`) }))),
];

async function nodes(): Promise<Target[]> {
  const [{ nodes }, clusters] = await Promise.all([call("GET /api/dashboard", {}), pages("GET /api/clusters")]);
  return nodesOf(clusters.flat(), (cluster) => nodes.filter((node) => node.cluster_id === cluster.id));
}

const jobTarget = (job: Named, status: string): Target => ({ title: job.name, kind: `job ${job.id}, ${status}`, address: href("jobs", `?job=${job.id}`) });
const jobsThat = async (query: { status?: "queued" | "blocked" | "running"; limit?: number }): Promise<Target[]> =>
  (await call("GET /api/jobs", { query })).map((job) => jobTarget(job, job.status));

async function tenants(): Promise<Target[]> {
  const found = await call("GET /api/tenants", {});
  return found.map((tenant) => ({ title: tenant.name, kind: "tenant", address: href("tenants", `?tenant=${tenant.id}`) }));
}
