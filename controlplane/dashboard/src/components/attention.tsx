/** What needs a human, dearest first: faults, lent GPUs that idle, active alerts, blocked jobs. */
import { call } from "../api/client";
import { ago, counted, roughMoney } from "../format";
import { fleet, jobOf, now, State, tick, type Fleet } from "../state/fleet";
import { costOf, priceOf } from "../state/rates";
import { useResource } from "../state/resource";
import { href } from "../url/route";
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

export function Attention() {
  const alerts = useResource("/api/alerts/events?limit=20", () => call("GET /api/alerts/events", { query: { limit: 20 } }), 10_000);
  const blocked = useResource("/api/jobs?status=blocked", () => call("GET /api/jobs", { query: { status: "blocked", limit: 20 } }), 10_000);
  void tick.value;
  const all = fleet.value;
  if (!all || (!alerts.data.value && !alerts.error.value)) return <Skeleton lines={5} />;
  const items: Item[] = [
    ...faults(all),
    ...idling(all),
    ...(alerts.data.value ?? []).filter((event) => event.state === "firing").map((event) => ({
      key: `alert ${event.id}`, kind: "tri" as const, title: event.subject, text: event.message,
      when: ago(event.fired_at), to: href("alerts", `?event=${event.id}`), weight: event.severity === "critical" ? 3 : 0.5,
    })),
    ...(blocked.data.value ?? []).map((job) => ({
      key: `job ${job.id}`, kind: "dash" as const, title: job.name, text: job.block_reason ?? "blocked", when: ago(job.submitted_at), to: href("jobs", `?job=${job.id}`), weight: 0.1,
    })),
  ];
  items.sort((a, b) => b.weight - a.weight);
  if (!items.length) return <Empty title="Nothing needs you">Every GPU that is lent works, no alert is active, no job is blocked.</Empty>;
  return (
    <ul class="attention">
      {items.slice(0, MOST).map((item) => (
        <li key={item.key}>
          <a href={item.to}><Mark kind={item.kind} /><span><b>{item.title}</b> <span>{item.text}</span></span><time>{item.when}</time></a>
        </li>
      ))}
    </ul>
  );
}

/** Faulty and silent GPUs by node. */
function faults(all: Fleet): Item[] {
  return all.nodes.flatMap((node) => {
    const faulty = node.gpus.filter((gpu) => now.state[gpu] === State.fault);
    const silent = node.gpus.filter((gpu) => now.state[gpu] === State.offline);
    if (!faulty.length && !silent.length) return [];
    const cost = [...faulty, ...silent].reduce((sum, gpu) => sum + (priceOf(gpu) ?? 1), 0);
    return [{
      key: `node ${node.id}`, kind: "solid" as const, title: node.hostname,
      text: faulty.length ? `${counted(faulty.length, "faulty GPU")}${faulty.length === 1 ? `, index ${all.gpuIndex[faulty[0]]}` : ""}` : `offline with ${counted(silent.length, "GPU")}`,
      when: perHour(cost), to: href("fleet", `?node=${node.id}`), weight: 1000 + cost,
    }];
  });
}

/** Lent GPUs that do nothing, by job. */
function idling(all: Fleet): Item[] {
  const byJob = new Map<number, number[]>();
  for (let gpu = 0; gpu < all.gpus; gpu++)
    if (now.state[gpu] === State.idle && now.holder[gpu]) byJob.set(now.holder[gpu], [...(byJob.get(now.holder[gpu]) ?? []), gpu]);
  return [...byJob.values()].map((gpus) => {
    const job = jobOf(gpus[0]);
    const cost = gpus.reduce((sum, gpu) => sum + (costOf(gpu) ?? 1), 0);
    return {
      key: `idle ${job?.id}`, kind: "ring" as const, title: job?.name ?? "a job", text: `${counted(gpus.length, "lent GPU")} idle`, when: perHour(cost),
      to: href("allocation", `?job=${job?.id ?? ""}`), weight: cost,
    };
  });
}

const perHour = (cost: number): string => (priceKnown() ? `${roughMoney(cost)}/h` : "now");
const priceKnown = (): boolean => !!fleet.value?.gpus && priceOf(0) !== null;
