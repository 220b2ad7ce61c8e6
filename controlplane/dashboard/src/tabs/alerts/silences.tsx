/** Silences: events are kept, nobody is notified. */
import { useState } from "preact/hooks";
import { call } from "../../api/client";
import { present } from "../../api/clock";
import type { RuleRecord, SilenceRecord } from "../../api/schema";
import { mayOperate } from "../../api/session";
import { Dialog, Fault, useWrite } from "../../components/dialog";
import { Icon } from "../../components/icon";
import { Field, Panel, Segments, Status } from "../../components/parts";
import { Empty, Loaded } from "../../components/states";
import { Table, type Column } from "../../components/table";
import { ago, counted, stamp } from "../../format";
import { confirm, tell } from "../../state/dialogs";
import { touch, useResource } from "../../state/resource";
import { BASE } from "../../url/route";
import type { AlertsPlace } from ".";
import { useEvents, useRules } from "./events";
import { matches, nameOf, ruleName } from "./words";

const LONG = [["3600", "1 hour"], ["14400", "4 hours"], ["86400", "1 day"], ["604800", "1 week"]] as const;

export function Silences({ at }: { at: AlertsPlace }) {
  const { ended } = at.values.value;
  const query = ended ? {} : { active: true };
  const silences = useResource(`/api/alerts/silences?${ended}`, () => call("GET /api/alerts/silences", { query }), 15_000);
  return (
    <Panel title="Silences" class="fills" note="Events that match are kept; nobody is notified of them."
      actions={
        <>
          <Segments label="Which silences" options={[["now", "In force"], ["all", "All"]]} value={ended ? "all" : "now"} onChange={(value) => at.set({ ended: value === "all" })} />
          {mayOperate() && <button class="button primary" onClick={() => at.set({ silence: "node/*" })}><Icon name="plus" />New silence</button>}
        </>
      }>
      <Loaded of={silences} skeleton={5}>
        {(rows) => rows.length ? <Table label="Silences" columns={columns()} rows={rows} rowKey={(row) => row.id} /> : (
          <Empty title="Nothing is silenced" command={`curl -X POST ${BASE}api/alerts/silences -H "Authorization: Bearer $GPUFORGE_API_KEY" -H "Content-Type: application/json" -d '{"subject": "node/gpu-0*", "until": "${new Date(present() + 3_600_000).toISOString().slice(0, 19)}Z", "reason": "new fans"}'`}>Before you work on a node, silence what you will cause:</Empty>
        )}
      </Loaded>
    </Panel>
  );
}

const columns = (): Column<SilenceRecord>[] => [
  { id: "subject", title: "What", cell: (row) => <code>{row.subject}</code> },
  { id: "rule", title: "Rule", cell: (row) => (row.rule_type ? ruleName(row.rule_type) : <span class="muted">all</span>) },
  { id: "reason", title: "Why", wide: true, cell: (row) => <span class="wraps">{row.reason}</span> },
  { id: "by", title: "By", cell: (row) => row.created_by },
  { id: "state", title: "State", cell: (row) => <Status kind={row.active ? "dot" : "dash"}><time title={stamp(row.ended_at ?? row.until)}>{row.active ? `ends ${ago(row.until)}` : `ended ${ago(row.ended_at ?? row.until)}`}</time></Status> },
  ...(mayOperate() ? [{ id: "end", title: "End", quiet: true, cell: (row: SilenceRecord) => (row.active ? <button class="button small" onClick={() => end(row)}>End</button> : null) }] : []),
];

function end(silence: SilenceRecord): void {
  confirm({
    title: "End this silence?",
    body: <p>What matches <code class="quoted">{silence.subject}</code> and still fires is told from now on.</p>,
    action: "End silence",
    run: async () => {
      await call("DELETE /api/alerts/silences/{silence_id}", { path: { silence_id: silence.id } });
      await touch("/api/alerts");
      return "The silence has ended.";
    },
  });
}

interface SilenceProps {
  pattern: string;
  onClose: () => void;
  onDone: () => void;
}

export function Silence({ pattern, onClose, onDone }: SilenceProps) {
  const [subject, setSubject] = useState(pattern);
  const [rule, setRule] = useState("");
  const [seconds, setSeconds] = useState("3600");
  const [reason, setReason] = useState("");
  const rules = useRules().data.value;
  const active = useEvents().data.value?.filter((each) => each.state !== "resolved");
  const held = active?.filter((each) => (!rule || each.rule_type === rule) && matches(subject, nameOf(each)));
  const write = useWrite();
  const until = new Date(present() + 1000 * Number(seconds));
  const submit = (event: Event) => {
    event.preventDefault();
    void write.run(async () => {
      const rule_type = (rule || null) as RuleRecord["rule_type"] | null;
      await call("POST /api/alerts/silences", { body: { subject, until: until.toISOString(), reason, rule_type } });
      await touch("/api/alerts");
      tell(`${subject} is silenced until ${stamp(until.getTime())}.`);
      onDone();
    });
  };
  return (
    <Dialog title="New silence" onClose={onClose}>
      <form onSubmit={submit}>
        <Field label="What" hint="A pattern of type/name: node/gpu-0*, gpu/gpu-07/3, tenant/*." fault={write.at("subject")}>
          <input required autofocus={pattern.endsWith("*")} maxLength={255} class="mono" value={subject} onInput={(event) => setSubject(event.currentTarget.value)} />
        </Field>
        <div class="two">
          <Field label="For" hint={`Until ${stamp(until.getTime())}.`} fault={write.at("until")}>
            <select value={seconds} onChange={(event) => setSeconds(event.currentTarget.value)}>{LONG.map(([id, title]) => <option key={id} value={id}>{title}</option>)}</select>
          </Field>
          <Field label="Rule">
            <select value={rule} onChange={(event) => setRule(event.currentTarget.value)}>
              <option value="">all rules</option>
              {(rules ?? []).map((each) => <option key={each.id} value={each.rule_type}>{ruleName(each.rule_type)}</option>)}
            </select>
          </Field>
        </div>
        <Field label="Why, for whoever wonders later" fault={write.at("reason")}>
          <input autofocus={!pattern.endsWith("*")} required maxLength={255} value={reason} onInput={(event) => setReason(event.currentTarget.value)} />
        </Field>
        {active && held && <p class="muted">Holds back {held.length || "none"} of the {counted(active.length, "active alert")}.</p>}
        <Fault text={write.fault} />
        <footer>
          <button type="button" class="button" onClick={onClose}>Cancel</button>
          <button class="button primary" disabled={write.busy || !reason.trim() || !subject.trim()}>{write.busy ? "Silencing …" : "Silence"}</button>
        </footer>
      </form>
    </Dialog>
  );
}
