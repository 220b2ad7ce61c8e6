/** What is lost and why, as the control plane reckons it: whoever shows a cost of idle GPUs shows this one. */
import { call } from "../api/client";
import type { IdleGpu, Leakage } from "../api/schema";
import { useResource, type Resource } from "./resource";

export const useLeakage = (): Resource<Leakage> => useResource("/api/dashboard/leakage", () => call("GET /api/dashboard/leakage"), 20_000);

export interface IdleJob {
  id: number;
  name: string;
  tenant: string | null;
  gpus: number;
  /** Of the GPU that idles longest. */
  minutes: number;
  /** Dollars an hour of those that have a rate; null where none has. */
  perHour: number | null;
}

/** The jobs that hold the idle GPUs, dearest first. */
export function idleJobs(idle: readonly IdleGpu[]): IdleJob[] {
  const found = new Map<number, IdleJob>();
  for (const gpu of idle) {
    const job = found.get(gpu.job_id) ?? { id: gpu.job_id, name: gpu.job_name, tenant: gpu.tenant_name, gpus: 0, minutes: 0, perHour: null };
    job.gpus++;
    job.minutes = Math.max(job.minutes, gpu.idle_minutes);
    if (gpu.rate_per_hour !== null) job.perHour = (job.perHour ?? 0) + gpu.rate_per_hour;
    found.set(gpu.job_id, job);
  }
  return [...found.values()].sort((a, b) => (b.perHour ?? 0) - (a.perHour ?? 0) || b.gpus - a.gpus);
}
