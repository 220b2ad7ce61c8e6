/** What the scheduler did, cycle by cycle. */
import { call } from "../../api/client";
import type { SchedulerLog } from "../../api/schema";
import { Panel } from "../../components/parts";
import { Empty, Loaded } from "../../components/states";
import { Table, type Column } from "../../components/table";
import { ago, counted, stamp } from "../../format";
import { useResource } from "../../state/resource";
import { folded, inAll } from "./words";

export function Log() {
  const cycles = useResource("/api/scheduler/logs", () => call("GET /api/scheduler/logs", { query: { limit: 100 } }), 5_000);
  return (
    <Panel title="Scheduler's log" class="fills" note="A cycle every half minute and whenever something changes, newest first; the quiet ones are one line.">
      <Loaded of={cycles} skeleton={9}>
        {(rows) => rows.length
          ? <Table label="Scheduler's log" columns={COLUMNS} rows={folded(rows)} rowKey={({ row }) => row.id} />
          : <Empty title="The scheduler has had nothing to do yet" command="curl -H &quot;Authorization: Bearer $GPUFORGE_API_KEY&quot; $GPUFORGE_URL/api/scheduler/logs">A cycle is noted as soon as a job is submitted.</Empty>}
      </Loaded>
    </Panel>
  );
}

type Line = ReturnType<typeof folded<SchedulerLog>>[number];
const number = (id: "processed" | "started" | "blocked" | "unblocked", title: string): Column<Line> => ({
  id, title, numeric: true, cell: ({ row }) => (row[id] ? <b>{row[id]}</b> : <span class="faint">0</span>),
});
const COLUMNS: Column<Line>[] = [
  { id: "at", title: "When", cell: ({ row }) => <time title={ago(row.started_at)}>{stamp(row.started_at)}</time> },
  number("processed", "Looked at"),
  number("started", "Started"),
  number("blocked", "Newly blocked"),
  number("unblocked", "Unblocked"),
  { id: "reasons", title: "Why the others wait", wide: true, cell: ({ row, cycles }) => inAll(row.reasons) || <span class="faint">nothing waits{cycles > 1 && `, nor did it in ${counted(cycles - 1, "cycle")} before`}</span> },
  { id: "took", title: "Took", cell: ({ row }) => `${Math.round(row.duration_ms)} ms`, numeric: true },
  { id: "hash", title: "Input", cell: ({ row }) => <code title="The same input always leads to the same decisions.">{row.input_hash.slice(0, 10)}</code> },
];
