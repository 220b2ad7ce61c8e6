/** Clusters and tenants, for lists that only bear their ids. */
import { pages } from "../api/client";
import { useResource } from "./resource";

export const useClusters = () => useResource("/api/clusters?names", async () => (await pages("GET /api/clusters")).flat(), 30_000);
export const useTenants = () => useResource("/api/tenants?names", async () => (await pages("GET /api/tenants")).flat(), 15_000);

/** The name of that id; `kind 7` where it is not, or no longer, among them. */
export function nameOf(all: readonly { id: number; name: string }[] | null, id: number | null, kind: string): string {
  if (id === null) return "";
  return all?.find((each) => each.id === id)?.name ?? `${kind} ${id}`;
}
