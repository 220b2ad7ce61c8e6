/** A node in a drawer: what it is, its GPUs one by one, how they did, and what an operator can do with it. */
import { useEffect, useState } from "preact/hooks";
import { call } from "../api/client";
import type { GpuCondition, GpuRecord, NodeCondition } from "../api/schema";
import { mayOperate } from "../api/session";
import { Dialog } from "../components/dialog";
import { Facts, Status, type MarkKind } from "../components/parts";
import { Loaded } from "../components/states";
import { ago, celsius, count, gigabytes, percent, shortModel, stamp, watts } from "../format";
import { confirm } from "../state/dialogs";
import { jobs } from "../state/fleet";
import { touch, useResource } from "../state/resource";
import { href } from "../url/route";
import { GpuTrouble, NodeTrouble } from "./faults";
import { History, type Look } from "./history";

interface DrawerProps {
  id: number;
  /** The GPU that is looked at; null: the whole node. */
  gpu: number | null;
  look: Look;
  onClose: () => void;
  onGpu: (gpu: number | null) => void;
  onLook: (change: Partial<Look>) => void;
}

export function NodeDrawer({ id, onClose, ...rest }: DrawerProps) {
  const node = useResource(`/api/clusters/nodes/${id}`, () => call("GET /api/clusters/nodes/{node_id}", { path: { node_id: id } }), 5_000);
  return (
    <Dialog title={node.data.value?.hostname ?? `Node ${id}`} onClose={onClose} side>
      <Loaded of={node} skeleton={10}>{(told) => <Details node={told} {...rest} />}</Loaded>
    </Dialog>
  );
}

const MARKS: Record<NodeCondition["status"], MarkKind> = { active: "dot", cordoned: "dash", draining: "dash", offline: "solid", retired: "dash" };

function Details({ node, gpu, look, onGpu, onLook }: { node: NodeCondition } & Omit<DrawerProps, "id" | "onClose">) {
  const offset = node.clock_offset_s;
  return (
    <>
      <div class="node-head">
        <Status kind={MARKS[node.status]}>{node.status}</Status>
        <div class="grow" />
        <Actions node={node} />
      </div>
      <NodeTrouble node={node} />
      <Facts of={[
        ["Heartbeat", <Ticking time={node.last_heartbeat_at} />],
        ["Address", node.ip_address ?? "–"],
        ["Host", `${count(node.cpu_cores)} cores, ${count(node.ram_gb)} GB RAM`],
        ["Agent", node.agent_version ?? "–"],
        ...(node.host?.driver_version ? [["Driver", node.host.driver_version] as const] : []),
        ...(node.clock_is_off && offset !== null ? [["Clock", <b class="warm">{offset.toFixed(1)} s off</b>] as const] : []),
        ...(node.dropped_samples ? [["Lost samples", <b class="warm">{count(node.dropped_samples)}</b>] as const] : []),
      ]} />
      <History key={gpu ?? 0} node={node} gpu={node.gpus.find((each) => each.id === gpu) ?? null} look={look} onLook={onLook} />
      <div class="gpus" role="list" aria-label="GPUs of this node">
        {node.gpus.map((each) => <Gpu key={each.id} gpu={each} host={node.hostname} chosen={each.id === gpu} onChoose={() => onGpu(each.id === gpu ? null : each.id)} />)}
      </div>
    </>
  );
}

const GPU_MARKS: Record<GpuRecord["status"], MarkKind> = { active: "dot", idle: "free", unhealthy: "solid", offline: "solid" };

function Gpu({ gpu, host, chosen, onChoose }: { gpu: GpuCondition; host: string; chosen: boolean; onChoose: () => void }) {
  const job = jobs.value.find((each) => each.id === gpu.job_id);
  const idle = gpu.status === "idle" && gpu.job_id !== null;
  return (
    <div role="listitem" class={chosen ? "gpu chosen" : "gpu"}>
      <button class="gpu-head" aria-pressed={chosen} onClick={onChoose}>
        <b>GPU {gpu.gpu_index ?? "–"}</b><span class="muted">{shortModel(gpu.model)}</span>
        <Status kind={idle ? "ring" : GPU_MARKS[gpu.status]}>{idle ? "allocated, idle" : gpu.status}</Status>
      </button>
      <dl>
        <Figure name="Util" value={gpu.utilization_pct} text={gpu.utilization_pct === null ? "–" : `${percent(gpu.utilization_pct)} %`} why={gpu.missing.utilization_pct} />
        <Figure name="Memory" value={share(gpu)} text={gigabytes(gpu.memory_used_mb)} why={gpu.missing.memory_used_mb} />
        <Figure name="Temp" value={gpu.temperature_c} text={celsius(gpu.temperature_c)} why={gpu.missing.temperature_c} />
        <Figure name="Power" value={gpu.power_draw_w === null ? null : gpu.power_draw_w / 7.5} text={watts(gpu.power_draw_w)} why={gpu.missing.power_draw_w} />
      </dl>
      <p class="muted">
        {gpu.job_id === null ? "Free" : <>Held by <a class="link-text" href={href("jobs", `?job=${gpu.job_id}`)}>{job?.name ?? `job ${gpu.job_id}`}</a></>}
        <span class="faint"> · {gpu.recorded_at ? <>measured <Ticking time={gpu.recorded_at} /></> : "never measured"}</span>
      </p>
      <GpuTrouble gpu={gpu} host={host} />
    </div>
  );
}

const share = (gpu: GpuRecord): number | null =>
  gpu.memory_used_mb === null || !gpu.memory_total_mb ? null : (100 * gpu.memory_used_mb) / gpu.memory_total_mb;

const Figure = ({ name, value, text, why }: { name: string; value: number | null; text: string; why?: string | undefined }) => (
  <div>
    <dt>{name}</dt>
    <dd title={why}>{text}{why && <small> {why.replaceAll("_", " ")}</small>}</dd>
    <i class="bar" aria-hidden="true"><i style={{ width: `${Math.min(100, value ?? 0)}%` }} /></i>
  </div>
);

/** How long ago, kept true while it is looked at. */
function Ticking({ time }: { time: string }) {
  const [, again] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => again((times) => times + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  return <time title={stamp(time)}>{ago(time)}</time>;
}

type Wanted = "active" | "cordoned" | "draining";
const ACTIONS: Record<Wanted, { title: string; words: string; done: string }> = {
  active: { title: "Put back to work", words: "The scheduler may start jobs on it again.", done: "is back at work" },
  cordoned: { title: "Cordon", words: "Nothing new starts on it. What runs there runs on.", done: "is cordoned" },
  draining: { title: "Drain", words: "Nothing new starts on it, and it is empty once the jobs that run there have ended. None is killed.", done: "is being drained" },
};

function Actions({ node }: { node: NodeCondition }) {
  if (!mayOperate() || node.status === "retired") return null;
  const busy = node.gpus.filter((gpu) => gpu.job_id !== null).length;
  const ask = (state: Wanted) => confirm({
    title: `${ACTIONS[state].title} ${node.hostname}?`,
    body: <p>{ACTIONS[state].words} {busy > 0 && `${busy} of its ${node.gpus.length} GPUs are allocated now.`}</p>,
    action: ACTIONS[state].title,
    run: async () => {
      await call("PATCH /api/clusters/nodes/{node_id}", { path: { node_id: node.id }, body: { state } });
      await touch("/api/clusters", "/api/dashboard");
      return `${node.hostname} ${ACTIONS[state].done}.`;
    },
  });
  return (
    <>
      {(["active", "cordoned", "draining"] as const).filter((state) => state !== node.state).map((state) => (
        <button key={state} class="button small" onClick={() => ask(state)}>{ACTIONS[state].title}</button>
      ))}
    </>
  );
}
