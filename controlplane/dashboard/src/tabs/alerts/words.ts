/** Alerts in words: rules' names, values with their units, where a subject is shown. */
import type { EventRecord, RuleRecord } from "../../api/schema";
import type { MarkKind } from "../../components/parts";
import { duration } from "../../format";

const NAMES: Record<RuleRecord["rule_type"], string> = {
  idle_gpu: "Cluster little used", quota_breach: "Quota nearly full", health_degraded: "Node degraded", gpu_fault: "GPU fault",
  gpu_thermal: "GPU too hot", node_offline: "Node offline", idle_allocated: "Lent and idle", queue_wait: "Long wait in the queue",
  budget: "Budget nearly spent", invoice_overdue: "Invoice overdue", metering_gap: "Gap in metering",
};
export const ruleName = (type: RuleRecord["rule_type"]): string => NAMES[type] ?? type;

export const SEVERITIES = ["critical", "warning", "info"] as const;
export const SEVERITY_MARKS: Record<EventRecord["severity"], MarkKind> = { critical: "solid", warning: "ring", info: "tri" };

/** `12 %`, `90 s`, `91 degrees C` as `91 °C`. */
export function withUnit(value: number, unit: string): string {
  const shown = Math.round(value * 10) / 10;
  if (unit === "s") return duration(value);
  if (unit === "min") return duration(60 * value);
  return `${shown} ${unit === "degrees C" ? "°C" : shown === 1 ? unit.replace(/s$/, "") : unit}`;
}

/** The tab and the query that show what an event is about; null where nothing does. */
export function placeOf(event: Pick<EventRecord, "subject_type" | "subject_id">, nodeOfGpu: (gpu: number) => number | null): [string, string] | null {
  const id = event.subject_id;
  switch (event.subject_type) {
    case "node": return ["fleet", `?node=${id}`];
    case "gpu": {
      const node = nodeOfGpu(id);
      return ["fleet", node === null ? `?gpu=${id}` : `?node=${node}&gpu=${id}`];
    }
    case "cluster": return ["fleet", `?cluster=${id}`];
    case "tenant": return ["tenants", `?tenant=${id}`];
    case "invoice": return ["billing", `?invoice=${id}`];
    default: return null;
  }
}

/** Whether a silence's pattern matches `type/name`, as the control plane sees it: `*`, `?`, `[1-6]` and `[!1-6]`, letters as they are. */
export function matches(pattern: string, name: string): boolean {
  const source = pattern.replace(/\[(!?)(\]?[^\]]*)\]|[\s\S]/g, (each, not?: string, set?: string) =>
    set !== undefined ? `[${not ? "^" : ""}${set.replace(/[\\\]^[]/g, "\\$&")}]` : each === "*" ? "[^]*" : each === "?" ? "[^]" : each.replace(/[\\^$.|+()[\]{}/]/, "\\$&"));
  try {
    return new RegExp(`^${source}$`).test(name);
  } catch {
    return false; // a range that runs backwards holds nothing
  }
}

/** What silences' patterns are held against. */
export const nameOf = (event: Pick<EventRecord, "subject_type" | "subject">): string => `${event.subject_type}/${event.subject}`;

/** The pattern that silences exactly this subject: in brackets, what a pattern means something by stands for itself. */
export const patternOf = (event: Pick<EventRecord, "subject_type" | "subject">): string => nameOf(event).replace(/[[*?]/g, "[$&]");

/** Firing before pending before resolved, what nobody has seen to first, severe first, newest first. */
export function urgency(a: EventRecord, b: EventRecord): number {
  const rank = (event: EventRecord): number[] => [
    ["firing", "pending", "resolved"].indexOf(event.state), event.acknowledged_at ? 1 : 0, SEVERITIES.indexOf(event.severity), -Date.parse(event.started_at),
  ];
  const [left, right] = [rank(a), rank(b)];
  const at = left.findIndex((value, place) => value !== right[place]);
  return at < 0 ? 0 : left[at] - right[at];
}
