/** What needs a human, dearest first: faults, lent GPUs that idle, gaps in billing, active alerts, blocked jobs. */
import { call } from "../api/client";
import type { BillingGap, EventRecord } from "../api/schema";
import { counted, duration, money, percent, roughMoney, since } from "../format";
import { fleet, now, State, tick, type Fleet } from "../state/fleet";
import { idleJobs, useLeakage, type IdleJob } from "../state/leakage";
import { priceOf } from "../state/rates";
import { useResource } from "../state/resource";
import { href } from "../url/route";
import { brief, named, plain } from "./brief";
import { Mark, type MarkKind } from "./parts";
import { Empty, Skeleton } from "./states";

interface Item {
  key: string;
  kind: MarkKind;
  title: string;
  text: string;
  when: string;
  to: string;
  /** $/h, or how urgent it is where that can't be said. */
  weight: number;
}

const MOST = 12;
const FAULT = 1000; // before whatever only costs money
const UNKNOWN_COST = 1; // $/h, where there is no rate

export function Attention({ tenants }: { tenants: readonly { tenant_id: number; name: string }[] }) {
  const alerts = useResource("/api/alerts/events?limit=20", () => call("GET /api/alerts/events", { query: { limit: 20 } }), 10_000);
  const blocked = useResource("/api/jobs?status=blocked", () => call("GET /api/jobs", { query: { status: "blocked", limit: 20 } }), 10_000);
  const leaks = useLeakage().data.value;
  void tick.value;
  const all = fleet.value;
  if (!all || (!alerts.data.value && !alerts.error.value)) return <Skeleton lines={5} />;
  const active = (alerts.data.value ?? []).filter((event) => event.state === "firing");
  const names = tenants.map(({ tenant_id: id, name }) => ({ id, name }));
  const items: Item[] = [
    ...faults(all, active),
    ...idleJobs(leaks?.idle_gpus ?? []).map(idling),
    ...(leaks?.billing_gaps ?? []).filter((gap) => gap.flagged).map(unbilled),
    ...active.filter((event) => !toldOtherwise(all, event)).map(alarm),
    ...(blocked.data.value ?? []).map((job) => ({
      key: `job ${job.id}`, kind: "dash" as const, title: job.name, text: named(plain(job.block_reason ?? "blocked"), names), when: since(job.submitted_at), to: href("jobs", `?job=${job.id}`), weight: 0.1,
    })),
  ];
  items.sort((a, b) => b.weight - a.weight);
  if (!items.length) return <Empty title="Nothing needs you">No GPU is faulty, none that is lent has idled for half an hour, no alert is active, no job is blocked.</Empty>;
  return (
    <ul class="attention">
      {items.slice(0, MOST).map((item) => (
        <li key={item.key}>
          <a href={item.to} title={`${item.title}: ${item.text}`}><Mark kind={item.kind} /><span><b>{item.title}</b> <span>{item.text}</span></span><span class="cost">{item.when}</span></a>
        </li>
      ))}
    </ul>
  );
}

/** Faulty and silent GPUs by node, in the words of the alert if there is one. */
function faults(all: Fleet, active: readonly EventRecord[]): Item[] {
  const said = new Map(active.filter((event) => event.rule_type === "gpu_fault").map((event) => [nodeOf(all, event), brief(event)]));
  return all.nodes.flatMap((node) => {
    const faulty = node.gpus.filter((gpu) => now.state[gpu] === State.fault);
    const silent = node.gpus.filter((gpu) => now.state[gpu] === State.offline);
    if (!faulty.length && !silent.length) return [];
    const prices = [...faulty, ...silent].map(priceOf);
    const cost = prices.reduce<number>((sum, price) => sum + (price ?? UNKNOWN_COST), 0);
    const counts = faulty.length ? `${counted(faulty.length, "faulty GPU")}${faulty.length === 1 ? `, index ${all.gpuIndex[faulty[0]]}` : ""}` : `offline with ${counted(silent.length, "GPU")}`;
    return [{
      key: `node ${node.id}`, kind: "solid" as const, title: node.hostname, text: said.get(node.id) ?? counts,
      when: prices.includes(null) ? "now" : perHour(cost), to: href("fleet", `?node=${node.id}`), weight: FAULT + cost,
    }];
  });
}

const idling = (job: IdleJob): Item => ({
  key: `idle ${job.id}`, kind: "ring", title: job.tenant ?? job.name,
  text: `${counted(job.gpus, "lent GPU")} idle for ${duration(60 * job.minutes)}${job.tenant ? ` on ${job.name}` : ""}`,
  when: job.perHour === null ? "unrated" : perHour(job.perHour), to: href("allocation", `?job=${job.id}`), weight: job.perHour ?? UNKNOWN_COST * job.gpus,
});

const unbilled = (gap: BillingGap): Item => ({
  key: `gap ${gap.tenant_id}`, kind: "ring", title: gap.tenant_name,
  text: `Metered ${money(gap.metered)}, billed ${money(gap.billed)} (${percent(gap.gap_percentage)} %)`,
  when: roughMoney(gap.gap), to: href("billing", "?view=leakage"), weight: Math.abs(gap.gap) / 24,
});

const alarm = (event: EventRecord): Item => ({
  key: `alert ${event.id}`, kind: "tri", title: event.subject, text: brief(event), when: since(event.fired_at), to: href("alerts", `?event=${event.id}`), weight: event.severity === "critical" ? 3 : 0.5,
});

/** Whether another line says the same: that a node is out, or that what a job holds lies idle. */
function toldOtherwise(all: Fleet, event: EventRecord): boolean {
  if (event.rule_type === "idle_allocated") return true;
  const node = all.nodes.find((each) => each.id === nodeOf(all, event));
  return !!node?.gpus.some((gpu) => now.state[gpu] === State.fault || now.state[gpu] === State.offline);
}

function nodeOf(all: Fleet, event: EventRecord): number | null {
  if (event.subject_type !== "gpu") return event.subject_type === "node" ? event.subject_id : null;
  const place = all.gpuId.indexOf(event.subject_id);
  return place < 0 ? null : all.nodes[all.node[place]].id;
}

const perHour = (cost: number): string => `${roughMoney(cost)}/h`;
