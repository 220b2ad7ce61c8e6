/** Alert events: active first; acknowledged here, silenced from here. */
import { Filter } from "../../components/filter";
import { useState } from "preact/hooks";
import { call } from "../../api/client";
import { present } from "../../api/clock";
import type { EventRecord, RuleRecord } from "../../api/schema";
import { mayOperate } from "../../api/session";
import { brief } from "../../components/brief";
import { Dialog, Fault, useWrite } from "../../components/dialog";
import { Facts, Field, Figure, Panel, Segments, Select, Status } from "../../components/parts";
import { Empty, Loaded, sentence } from "../../components/states";
import { Table, type Column } from "../../components/table";
import { ago, count, counted, duration, stamp } from "../../format";
import { tell } from "../../state/dialogs";
import { fleet } from "../../state/fleet";
import { touch, useResource } from "../../state/resource";
import { href } from "../../url/route";
import type { AlertsPlace } from ".";
import { patternOf, placeOf, ruleName, SEVERITIES, SEVERITY_MARKS, urgency, withUnit } from "./words";

const FEW = 100;
export const useRules = () => useResource("/api/alerts/rules", () => call("GET /api/alerts/rules"), 15_000);
export const useEvents = () => useResource(`/api/alerts/events?${FEW}`, () => call("GET /api/alerts/events", { query: { limit: FEW } }), 10_000);

export function Events({ at }: { at: AlertsPlace }) {
  const { state, severity, rule, q, event } = at.values.value;
  const events = useEvents();
  const rules = useRules().data.value;
  return (
    <>
      {events.data.value && <Sums of={events.data.value} rules={rules} />}
      <div class="toolbar">
        <Filter label="Filter events" placeholder="Filter by subject or message" value={q} onInput={(typed) => at.set({ q: typed })} />
        <Segments label="State" options={[["active", "Active"], ["resolved", "Resolved"], ["all", "All"]]} value={state} onChange={(value) => at.set({ state: value })} />
        <Select label="Severity" options={[["all", "All severities"], ...SEVERITIES.map((each) => [each, each] as const)]} value={severity} onChange={(value) => at.set({ severity: value })} />
        <Select label="Rule" options={[["", "All rules"], ...(rules ?? []).map((each) => [String(each.id), ruleName(each.rule_type)] as const)]} value={String(rule ?? "")} onChange={(value) => at.set({ rule: value ? Number(value) : null })} />
      </div>
      <Panel title="Events" class="fills" note="What is active comes first, and of that what nobody has acknowledged.">
        <Loaded of={events} skeleton={9}>
          {(all) => {
            const rows = all.filter((row) => (state === "all" || (row.state === "resolved") === (state === "resolved")) && (severity === "all" || row.severity === severity)
              && (rule === null || row.rule_id === rule) && `${row.subject} ${row.message}`.toLowerCase().includes(q.toLowerCase())).sort(urgency);
            if (rows.length) return <Table label="Events" columns={columns(at, rules)} rows={rows} rowKey={(row) => row.id} onOpen={(row) => at.set({ event: row.id })} marked={(row) => row.id === event} />;
            if (severity !== "all" || rule !== null || q) return <Empty title="No event fits this filter" />;
            return <Empty title={state === "active" ? "Nothing needs you" : "No events yet"}>{rules ? `${counted(rules.filter((each) => each.enabled).length, "rule")} watch over the fleet, every half minute.` : ""}</Empty>;
          }}
        </Loaded>
      </Panel>
    </>
  );
}

function Sums({ of: all, rules }: { of: EventRecord[]; rules: RuleRecord[] | null }) {
  const firing = all.filter((each) => each.state === "firing");
  const bad = firing.filter((each) => each.severity === "critical").length;
  const unseen = firing.filter((each) => !each.acknowledged_at).length;
  const today = all.filter((each) => each.resolved_at && present() - Date.parse(each.resolved_at) < 86_400_000);
  return (
    <div class="kpis">
      <Figure title="Firing" value={count(firing.length)} warm={firing.length > 0} note={`${count(all.filter((each) => each.state === "pending").length)} pending: watched, not told yet`} />
      <Figure title="Critical" value={count(bad)} warm={bad > 0} note="of what fires" />
      <Figure title="Not acknowledged" value={count(unseen)} warm={unseen > 0} note="nobody says that they see to it" />
      <Figure title="Resolved in 24 h" value={count(today.length)} note="among the newest events" />
      <Figure title="Rules" value={rules ? count(rules.filter((each) => each.enabled).length) : "–"} note={rules ? `enabled of ${rules.length}` : ""} />
    </div>
  );
}

const stateWords = (event: EventRecord) => (event.acknowledged_at && event.state !== "resolved" ? `acknowledged by ${event.acknowledged_by ?? "somebody"}` : event.state);

const columns = (at: AlertsPlace, rules: RuleRecord[] | null): Column<EventRecord>[] => [
  { id: "severity", title: "Severity", cell: (row) => <Status kind={row.state === "resolved" ? "dash" : SEVERITY_MARKS[row.severity]}>{row.severity}</Status> },
  { id: "subject", title: "Subject", cell: (row) => <Subject event={row} /> },
  { id: "rule", title: "Rule", cell: (row) => ruleName(row.rule_type) },
  { id: "message", title: "What is wrong", wide: true, cell: (row) => <a href={href("alerts", `?event=${row.id}`)} title={row.message} onClick={(event) => (event.preventDefault(), at.set({ event: row.id }, "push"))}>{brief(row)}</a> },
  { id: "value", title: "Value", cell: (row) => withUnit(row.value, unitOf(row, rules)), numeric: true },
  { id: "state", title: "State", cell: (row) => <>{stateWords(row)}{row.silenced && <i class="tag">silenced</i>}</> },
  { id: "since", title: "Since", cell: (row) => <time title={stamp(row.started_at)}>{row.resolved_at ? `${ago(row.resolved_at)}, for ${lasted(row)}` : ago(row.started_at)}</time>, numeric: true },
  ...(mayOperate() ? [{ id: "act", title: "Acknowledge", quiet: true, cell: (row: EventRecord) => (row.state !== "resolved" && !row.acknowledged_at ? <button class="button small" onClick={() => at.set({ event: row.id })}>Acknowledge</button> : null) }] : []),
];

const unitOf = (event: EventRecord, rules: RuleRecord[] | null): string => rules?.find((each) => each.id === event.rule_id)?.unit ?? "";
const lasted = (event: EventRecord): string => duration((Date.parse(event.resolved_at!) - Date.parse(event.started_at)) / 1000);

/** The node that a GPU is in, as far as the fleet is known here. */
function nodeOfGpu(gpu: number): number | null {
  const all = fleet.value;
  const place = all ? all.gpuId.indexOf(gpu) : -1;
  return all && place >= 0 ? all.nodes[all.node[place]].id : null;
}

function Subject({ event }: { event: EventRecord }) {
  const place = placeOf(event, nodeOfGpu);
  return place ? <a class="link-text" href={href(...place)}>{event.subject}</a> : <>{event.subject}</>;
}

export function EventDrawer({ id, at, onClose }: { id: number; at: AlertsPlace; onClose: () => void }) {
  const events = useEvents();
  const rules = useRules().data.value;
  const event = events.data.value?.find((each) => each.id === id);
  return (
    <Dialog side title={event ? ruleName(event.rule_type) : `Event ${id}`} onClose={onClose}>
      <Loaded of={events} skeleton={8}>
        {() => event ? <Inside event={event} rule={rules?.find((each) => each.id === event.rule_id)} at={at} /> : <Empty title="This event is not among the newest">Filter the list for it.</Empty>}
      </Loaded>
    </Dialog>
  );
}

function Inside({ event, rule, at }: { event: EventRecord; rule: RuleRecord | undefined; at: AlertsPlace }) {
  const unit = rule?.unit ?? "";
  const open = event.state !== "resolved";
  return (
    <>
      <div class="toolbar">
        <Status kind={open ? SEVERITY_MARKS[event.severity] : "dash"}><b>{event.severity}</b></Status>
        <span class="muted">{event.resolved_at ? `resolved ${ago(event.resolved_at)}` : `${event.state} since ${stamp(event.fired_at ?? event.started_at)}`}</span>
        <div class="grow" />
        {mayOperate() && <button class="button" onClick={() => at.set({ silence: patternOf(event) })}>Silence</button>}
      </div>
      <p class={open ? "verdict block" : "verdict"}>{sentence(event.message)}</p>
      <Facts of={[
        ["Subject", <Subject event={event} />],
        ["Value", `${withUnit(event.value, unit)}, threshold ${withUnit(event.threshold, unit)}`],
        ["Began", stamp(event.started_at)],
        ["Fired", stamp(event.fired_at)],
        ["Resolved", event.resolved_at ? `${stamp(event.resolved_at)}${event.reason ? `: ${event.reason.replaceAll("_", " ")}` : ""}` : "–"],
        ["Acknowledged", event.acknowledged_at ? `${stamp(event.acknowledged_at)} by ${event.acknowledged_by ?? "somebody"}` : "by nobody"],
        ...(event.note ? [["Note", event.note] as const] : []),
      ]} />
      {rule && <><section><h3>What it means</h3><p class="muted">{rule.meaning}</p></section><section><h3>What to do</h3><p class="muted">{rule.what_to_do}</p></section></>}
      {open && !event.acknowledged_at && mayOperate() && <AcknowledgeForm event={event} />}
    </>
  );
}

function AcknowledgeForm({ event }: { event: EventRecord }) {
  const [note, setNote] = useState("");
  const write = useWrite();
  const submit = (submitted: Event) => {
    submitted.preventDefault();
    void write.run(async () => {
      await call("POST /api/alerts/events/{event_id}/acknowledge", { path: { event_id: event.id }, body: { note: note.trim() || null } });
      await touch("/api/alerts");
      tell("It is acknowledged: it is not repeated while it lasts.");
    });
  };
  return (
    <form onSubmit={submit}>
      <Field label="Note" hint="What you found or do, for the others. Acknowledging holds back repeats, not the alert." fault={write.at("note")}>
        <input maxLength={1000} value={note} onInput={(input) => setNote(input.currentTarget.value)} />
      </Field>
      <Fault text={write.fault} />
      <footer><button class="button primary" disabled={write.busy}>{write.busy ? "Acknowledging …" : "Acknowledge"}</button></footer>
    </form>
  );
}
