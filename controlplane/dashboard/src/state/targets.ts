/** What the palette can go to: every node and cluster, jobs that run or wait and the newest others, tenants. */
import { call } from "../api/client";
import type { Target } from "../components/palette";
import { TABS } from "../tabs";
import { withoutKeys } from "../url/codec";
import { href } from "../url/route";
import { fleet, jobs } from "./fleet";

const NEWEST = 100;
/** What is not searched by itself, in words. */
export const LIMITS = `Jobs: all that run, those that wait, and the newest ${NEWEST}. Older ones: the last line.`;

export function targets(): Promise<Target[]>[] {
  return [tabs(), nodes(), running(), recent(), waiting("queued"), waiting("blocked"), tenants()];
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

const tabs = async (): Promise<Target[]> => TABS.map((tab) => ({ title: tab.title, kind: "tab", address: href(tab.name) }));

/** Out of the stream: it has all of them, whatever their number. */
async function nodes(): Promise<Target[]> {
  const all = fleet.value;
  if (!all) return (await call("GET /api/dashboard", {})).nodes.map((node) => ({ title: node.hostname, kind: "node", address: href("fleet", `?node=${node.id}`) }));
  return [
    ...all.clusters.map((cluster) => ({ title: cluster.name, kind: "cluster", address: href("fleet", `?cluster=${cluster.id}`) })),
    ...all.clusters.flatMap((cluster) => cluster.nodes.map((at) => ({ title: all.nodes[at].hostname, kind: `node, ${cluster.name}`, address: href("fleet", `?node=${all.nodes[at].id}`) }))),
  ];
}

/** Out of the stream too, once it has come. */
async function running(): Promise<Target[]> {
  if (!fleet.value) return toTargets(await call("GET /api/jobs", { query: { status: "running" } }));
  return jobs.value.map((job) => ({ title: job.name, kind: `job ${job.id}, running`, address: href("jobs", `?job=${job.id}`) }));
}
const recent = async (): Promise<Target[]> => toTargets(await call("GET /api/jobs", { query: { limit: NEWEST } }));
const waiting = async (status: "queued" | "blocked"): Promise<Target[]> => toTargets(await call("GET /api/jobs", { query: { status, limit: NEWEST } }));

const toTargets = (found: readonly { id: number; name: string; status: string }[]): Target[] =>
  found.map((job) => ({ title: job.name, kind: `job ${job.id}, ${job.status}`, address: href("jobs", `?job=${job.id}`) }));

async function tenants(): Promise<Target[]> {
  const found = await call("GET /api/tenants", {});
  return found.map((tenant) => ({ title: tenant.name, kind: "tenant", address: href("tenants", `?tenant=${tenant.id}`) }));
}
