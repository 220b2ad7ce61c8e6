/** What the scheduler says of a job, as people say it. */
import { present } from "../../api/clock";
import type { DryRun, JobExplanation, JobRecord } from "../../api/schema";
import { plain } from "../../components/brief";
import type { MarkKind } from "../../components/parts";
import { duration } from "../../format";

export const STATUSES = ["queued", "running", "blocked", "completed", "failed", "cancelled"] as const;
export type JobStatus = (typeof STATUSES)[number];
export const MARKS: Record<JobStatus, MarkKind> = {
  queued: "free", running: "dot", blocked: "tri", completed: "dash", failed: "solid", cancelled: "dash",
};

export const isOver = (job: Pick<JobRecord, "status">): boolean => !["queued", "running", "blocked"].includes(job.status);

/** Why it is as it is: what blocks it, what it waits for, how it ended; "" where there is nothing to say. */
export const reasonOf = (job: JobRecord): string => plain(job.block_reason ?? job.pending_reason ?? job.end_reason ?? "");

/** A reason beside the count of GPUs that it is about: `needs 2 GPUs; 0 of 32 idle` as `0 of 32 GPUs idle`. */
export const inShort = (reason: string): string => reason.replace(/^needs \d+ GPUs?; /, "").replace(/\b(\d+ of \d+) idle\b/, "$1 GPUs idle");

export interface Forecast {
  kind: "start" | "wait" | "block";
  words: string;
}

/** `Would start now on gpu-07.`, `Would wait about 40 min because it needs 8 GPUs; 2 of 16 idle.` */
export function forecast(dry: DryRun, now = present()): Forecast {
  if (dry.status === "blocked") return { kind: "block", words: `Would be blocked: ${plain(dry.reason)}.` };
  if (dry.status === "running") return { kind: "start", words: `Would start now on ${several(dry.would_start_on)}.` };
  return { kind: "wait", words: `Would wait ${howLong(dry.estimated_start, now)} because ${asCause(dry.reason)}.` };
}

/** `Next in line, starts in about 40 min`: where a queued job stands. */
export function standing(told: JobExplanation, now = present()): string {
  const place = told.jobs_ahead === null ? "" : told.jobs_ahead === 0 ? "Next in line" : `${ordinal(told.jobs_ahead + 1)} in line`;
  const start = told.estimated_start ? `starts in about ${duration((Date.parse(told.estimated_start) - now) / 1000)}` : "no start in sight yet";
  return place ? `${place}, ${start}` : start;
}

const CODES: Record<string, string> = {
  NEVER_FITS_CLUSTER: "larger than the cluster", NO_SUCH_GPU_TYPE: "no such GPU type", EXCEEDS_TENANT_QUOTA: "larger than the quota", TENANT_INACTIVE: "tenant inactive",
  QUOTA_FULL: "quota full", WAITING_CAPACITY: "waiting for GPUs", FRAGMENTED: "free GPUs too scattered", RESERVED_FOR: "GPUs kept for a job ahead",
};
/** `2 × waiting for GPUs, 1 × quota full`: what a cycle of the scheduler met. */
export function inAll(reasons: Record<string, number>): string {
  return Object.entries(reasons).sort((a, b) => b[1] - a[1]).map(([code, times]) => `${times} × ${CODES[code] ?? code.toLowerCase().replaceAll("_", " ")}`).join(", ");
}

/** Cycles, newest first, with those that had nothing to look at folded into the newest of each such run. */
export function folded<C extends { processed: number }>(cycles: readonly C[]): { row: C; cycles: number }[] {
  const found: { row: C; cycles: number }[] = [];
  for (const row of cycles) {
    const last = found.at(-1);
    if (last && !row.processed && !last.row.processed) last.cycles++;
    else found.push({ row, cycles: 1 });
  }
  return found;
}

/** `8 × H100`, or without a type `8`. */
export const gpusOf = (job: Pick<JobRecord, "gpu_count" | "gpu_type">): string =>
  job.gpu_type ? `${job.gpu_count} × ${job.gpu_type.replace(/^NVIDIA /, "")}` : String(job.gpu_count);

function howLong(start: string | null, now: number): string {
  return start === null ? "for nobody knows how long" : `about ${duration(Math.max(60, (Date.parse(start) - now) / 1000))}`;
}
const asCause = (reason: string): string => plain(reason).replace(/^needs /, "it needs ");
function several(names: string[]): string {
  return names.length > 4 ? `${names.slice(0, 3).join(", ")} and ${names.length - 3} more nodes` : names.join(", ") || "the cluster";
}
export function ordinal(place: number): string {
  const ending = place % 100 >= 11 && place % 100 <= 13 ? "th" : (["th", "st", "nd", "rd"][place % 10] ?? "th");
  return `${place}${ending}`;
}
