/** What the scheduler did, cycle by cycle. */
import { call } from "../../api/client";
import type { SchedulerLog } from "../../api/schema";
import { Panel } from "../../components/parts";
import { Empty, Loaded } from "../../components/states";
import { Table, type Column } from "../../components/table";
import { ago, stamp } from "../../format";
import { useResource } from "../../state/resource";
import { inAll } from "./words";

export function Log() {
  const cycles = useResource("/api/scheduler/logs", () => call("GET /api/scheduler/logs", { query: { limit: 100 } }), 5_000);
  return (
    <Panel title="Scheduler's log" class="fills" note="A line for each cycle that had something to look at, newest first.">
      <Loaded of={cycles} skeleton={9}>
        {(rows) => rows.length
          ? <Table label="Scheduler's log" columns={COLUMNS} rows={rows} rowKey={(row) => row.id} />
          : <Empty title="The scheduler has had nothing to do yet" command="curl -H &quot;Authorization: Bearer $GPUFORGE_API_KEY&quot; $GPUFORGE_URL/api/scheduler/logs">A cycle is noted as soon as a job is submitted.</Empty>}
      </Loaded>
    </Panel>
  );
}

const number = (id: "processed" | "started" | "blocked" | "unblocked", title: string): Column<SchedulerLog> => ({
  id, title, numeric: true, cell: (row) => (row[id] ? <b>{row[id]}</b> : <span class="faint">0</span>),
});
const COLUMNS: Column<SchedulerLog>[] = [
  { id: "at", title: "When", cell: (row) => <time title={ago(row.started_at)}>{stamp(row.started_at)}</time> },
  number("processed", "Looked at"),
  number("started", "Started"),
  number("blocked", "Blocked"),
  number("unblocked", "Unblocked"),
  { id: "reasons", title: "Why the others wait", wide: true, cell: (row) => inAll(row.reasons) || <span class="faint">nothing waits</span> },
  { id: "took", title: "Took", cell: (row) => `${Math.round(row.duration_ms)} ms`, numeric: true },
  { id: "hash", title: "Input", cell: (row) => <code title="The same input always leads to the same decisions.">{row.input_hash.slice(0, 10)}</code> },
];
