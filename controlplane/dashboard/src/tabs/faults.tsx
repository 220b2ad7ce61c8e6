/** What is wrong with a GPU and with its node, in words; and the operator's word that it is well again. */
import { useState } from "preact/hooks";
import { call } from "../api/client";
import type { FaultRecord, GpuCondition, NodeCondition } from "../api/schema";
import { mayOperate } from "../api/session";
import { Dialog, Fault, useWrite } from "../components/dialog";
import { Field, Mark } from "../components/parts";
import { sentence } from "../components/states";
import { ago, counted, stamp } from "../format";
import { tell } from "../state/dialogs";
import { touch } from "../state/resource";
import { advice, conditions, reasonWords, xidWords } from "./condition";

/** Why no GPU of a node can be read, and which of its agent's collectors fail. */
export function NodeTrouble({ node }: { node: NodeCondition }) {
  const failing = node.collectors.filter((each) => each.succeeded === false);
  if (!node.driver_fault && !failing.length) return null;
  return (
    <div class="verdict block" role="note">
      {node.driver_fault && <p><b>No GPU of this node can be read.</b> {sentence(reasonWords(node.driver_fault.reason))} <span class="muted">{node.driver_fault.detail}</span></p>}
      {failing.length > 0 && <p>The agent could not look at: {failing.map((each) => each.name).join(", ")}.</p>}
    </div>
  );
}

/** Faults first, then what only slows it down, then the driver's newest errors. */
export function GpuTrouble({ gpu, host }: { gpu: GpuCondition; host: string }) {
  const [clearing, setClearing] = useState(false);
  const waits = gpu.faults.filter((fault) => fault.needs_operator);
  const slight = conditions(gpu.health);
  const xids = gpu.xids.slice(-3).reverse();
  return (
    <>
      {gpu.faults.length > 0 && (
        <ul class="faults" aria-label="Faults">
          {gpu.faults.map((fault) => <Line key={fault.id} fault={fault} />)}
        </ul>
      )}
      {waits.length > 0 && mayOperate() && <button class="button small" onClick={() => setClearing(true)}>Clear {waits.length === 1 ? "fault" : "faults"}</button>}
      {slight.map((words) => <p key={words} class="muted"><Mark kind="tri" /> {words}</p>)}
      {xids.length > 0 && <p class="faint">{gpu.xids.length > 3 ? "Newest of its Xids" : counted(gpu.xids.length, "Xid").replace(/^\d+ /, "")}: {xids.map((xid) => `${xidWords(xid.code)}, ${ago(xid.seen_at)}`).join("; ")}</p>}
      {clearing && <Clear gpu={gpu} host={host} faults={waits} onClose={() => setClearing(false)} />}
    </>
  );
}

/** An unreadable GPU's message ends with the agent's code: that in words. */
const wordsOf = (fault: FaultRecord): string => (fault.kind === "unreadable" ? `${fault.message.replace(/: \w+$/, "")}: ${reasonWords(fault.code)}` : fault.message);

const Line = ({ fault }: { fault: FaultRecord }) => (
  <li>
    <Mark kind="solid" />
    <span><b>{sentence(wordsOf(fault))}</b> <time class="muted" title={stamp(fault.seen_at)}>{ago(fault.seen_at)}</time><small>{advice(fault)}</small></span>
  </li>
);

interface ClearProps {
  gpu: GpuCondition;
  host: string;
  faults: readonly FaultRecord[];
  onClose: () => void;
}

function Clear({ gpu, host, faults, onClose }: ClearProps) {
  const [note, setNote] = useState("");
  const write = useWrite();
  const name = `GPU ${gpu.gpu_index ?? gpu.id} of ${host}`;
  const submit = (event: Event) => {
    event.preventDefault();
    void write.run(async () => {
      const told = await call("POST /api/gpus/{gpu_id}/clear-fault", { path: { gpu_id: gpu.id }, body: { note: note.trim() || null } });
      await touch("/api/clusters", "/api/alerts", "/api/dashboard/");
      tell(told.open.length ? `${name}: your word is noted; ${told.open.length} other ${told.open.length === 1 ? "fault" : "faults"} must end first.` : `${name} takes jobs again.`);
      onClose();
    });
  };
  return (
    <Dialog title={`Declare ${name} well?`} onClose={onClose}>
      <form onSubmit={submit}>
        <div class="prose">
          <p>{faults.map((fault) => sentence(fault.message)).join(" ")} No reading says when that is over: the scheduler starts jobs on this GPU again because you say so.</p>
        </div>
        <Field label="What was done about it" hint="For the audit log." fault={write.at("note")}>
          <input autofocus maxLength={255} value={note} placeholder="replaced the card" onInput={(event) => setNote(event.currentTarget.value)} />
        </Field>
        <Fault text={write.fault} />
        <footer>
          <button type="button" class="button" onClick={onClose}>Keep it out</button>
          <button class="button primary" disabled={write.busy}>{write.busy ? "Clearing …" : faults.length === 1 ? "Clear fault" : "Clear faults"}</button>
        </footer>
      </form>
    </Dialog>
  );
}
