/** The built-in rules: switched on and off, thresholds changed. */
import { useState } from "preact/hooks";
import { call } from "../../api/client";
import type { RuleRecord } from "../../api/schema";
import { mayOperate } from "../../api/session";
import { Dialog, Fault, useWrite } from "../../components/dialog";
import { Field, Panel, Status } from "../../components/parts";
import { Empty, Loaded } from "../../components/states";
import { Table, type Column } from "../../components/table";
import { counted, duration } from "../../format";
import { confirm, tell } from "../../state/dialogs";
import { touch } from "../../state/resource";
import type { AlertsPlace } from ".";
import { useRules } from "./events";
import { ruleName, SEVERITY_MARKS, withUnit } from "./words";

export function Rules({ at }: { at: AlertsPlace }) {
  const [editing, setEditing] = useState<RuleRecord | null>(null);
  const rules = useRules();
  return (
    <Panel title="Rules" class="fills" note="They come with GPUForge. A rule that is off tells nothing, and its events are resolved.">
      <Loaded of={rules} skeleton={11}>
        {(rows) => rows.length ? <Table label="Rules" columns={columns(setEditing, at)} rows={rows} rowKey={(row) => row.id} /> : <Empty title="No rules" command="gpuforge-controlplane migrate" />}
      </Loaded>
      {editing && <Edit rule={editing} onClose={() => setEditing(null)} />}
    </Panel>
  );
}

const columns = (edit: (rule: RuleRecord) => void, at: AlertsPlace): Column<RuleRecord>[] => [
  { id: "rule", title: "Rule", cell: (row) => <b title={row.what_to_do}>{ruleName(row.rule_type)}</b> },
  { id: "on", title: "On", cell: (row) => <Switch rule={row} /> },
  { id: "severity", title: "Severity", cell: (row) => <Status kind={SEVERITY_MARKS[row.severity]}>{row.severity}</Status> },
  { id: "threshold", title: "Threshold", numeric: true, cell: (row) => withUnit(row.threshold, row.unit) },
  { id: "clear", title: "Clear at", numeric: true, cell: (row) => withUnit(row.clear_threshold, row.unit) },
  { id: "for", title: "Watched for", numeric: true, cell: (row) => (row.for_seconds ? duration(row.for_seconds) : <span class="faint">at once</span>) },
  { id: "active", title: "Active", numeric: true, cell: (row) => (row.active_events ? <a class="link-text" href={at.to({ rule: row.id })}><b>{row.active_events}</b></a> : <span class="faint">0</span>) },
  { id: "meaning", title: "What it means", wide: true, cell: (row) => <span class="muted wraps">{row.meaning}</span> },
  ...(mayOperate() ? [{ id: "edit", title: "Edit", quiet: true, cell: (row: RuleRecord) => <button class="button small" aria-label={`Edit ${ruleName(row.rule_type)}`} onClick={() => edit(row)}>Edit</button> }] : []),
];

function Switch({ rule }: { rule: RuleRecord }) {
  return (
    <button class="switch" role="switch" aria-checked={rule.enabled} aria-label={ruleName(rule.rule_type)} disabled={!mayOperate()} onClick={() => flip(rule)}><i /></button>
  );
}

function flip(rule: RuleRecord): void {
  const name = ruleName(rule.rule_type);
  const off = rule.enabled;
  confirm({
    title: off ? "Switch this rule off?" : "Switch this rule on?",
    body: <p><b>{name}</b> {off ? `tells nothing any more${rule.active_events ? `, and its ${counted(rule.active_events, "active event")} ${rule.active_events === 1 ? "is" : "are"} resolved` : ""}.` : "is evaluated again from the next round on."} {rule.meaning}</p>,
    action: off ? "Switch off" : "Switch on",
    run: async () => {
      await call("PATCH /api/alerts/rules/{rule_id}", { path: { rule_id: rule.id }, body: { enabled: !off } });
      await touch("/api/alerts");
      return `${name} is ${off ? "off" : "on"}.`;
    },
  });
}

function Edit({ rule, onClose }: { rule: RuleRecord; onClose: () => void }) {
  const [threshold, setThreshold] = useState(String(rule.threshold));
  const [clear, setClear] = useState(String(rule.clear_threshold));
  const [wait, setWait] = useState(String(rule.for_seconds));
  const write = useWrite();
  const submit = (event: Event) => {
    event.preventDefault();
    void write.run(async () => {
      const body = { threshold: Number(threshold), clear_threshold: Number(clear), for_seconds: Number(wait) };
      await call("PATCH /api/alerts/rules/{rule_id}", { path: { rule_id: rule.id }, body });
      await touch("/api/alerts");
      tell(`${ruleName(rule.rule_type)} fires ${rule.clear_threshold > rule.threshold ? "below" : "from"} ${withUnit(Number(threshold), rule.unit)} on.`.replace(/(below .*) on\.$/, "$1."));
      onClose();
    });
  };
  return (
    <Dialog title={`Edit ${ruleName(rule.rule_type)}`} onClose={onClose}>
      <form onSubmit={submit}>
        <div class="prose"><p>{rule.meaning}</p></div>
        <div class="two">
          <Field label={`Threshold, ${rule.unit}`} fault={write.at("threshold")}>
            <input autofocus type="number" step="any" min="0" required value={threshold} onInput={(event) => setThreshold(event.currentTarget.value)} />
          </Field>
          <Field label={`Clear at, ${rule.unit}`} hint="So that it does not flap." fault={write.at("clear_threshold")}>
            <input type="number" step="any" min="0" required value={clear} onInput={(event) => setClear(event.currentTarget.value)} />
          </Field>
        </div>
        <Field label="Watched for, seconds" hint="How long before it is told. 0: at once." fault={write.at("for_seconds")}>
          <input type="number" min="0" max="86400" required value={wait} onInput={(event) => setWait(event.currentTarget.value)} />
        </Field>
        <Fault text={write.fault} />
        <footer>
          <button type="button" class="button" onClick={onClose}>Cancel</button>
          <button class="button primary" disabled={write.busy}>{write.busy ? "Saving …" : "Save changes"}</button>
        </footer>
      </form>
    </Dialog>
  );
}
