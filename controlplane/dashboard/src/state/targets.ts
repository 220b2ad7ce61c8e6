/** What the palette can go to. */
import { call } from "../api/client";
import type { Target } from "../components/palette";
import { TABS } from "../tabs";
import { href } from "../url/route";

export function targets(): Promise<Target[]>[] {
  return [tabs(), nodes(), jobs(), tenants()];
}

const tabs = async (): Promise<Target[]> => TABS.map((tab) => ({ title: tab.title, kind: "tab", address: href(tab.name) }));

async function nodes(): Promise<Target[]> {
  const overview = await call("GET /api/dashboard", {});
  return overview.nodes.map((node) => ({ title: node.hostname, kind: "node", address: href("fleet", `?node=${node.id}`) }));
}

async function jobs(): Promise<Target[]> {
  const found = await call("GET /api/jobs", { query: { limit: 100 } });
  return found.map((job) => ({ title: job.name, kind: `job ${job.id}, ${job.status}`, address: href("jobs", `?job=${job.id}`) }));
}

async function tenants(): Promise<Target[]> {
  const found = await call("GET /api/tenants", {});
  return found.map((tenant) => ({ title: tenant.name, kind: "tenant", address: href("tenants", `?tenant=${tenant.id}`) }));
}
