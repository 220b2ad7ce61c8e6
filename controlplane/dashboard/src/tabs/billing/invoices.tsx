/** Invoices, filtered by the address. */
import { call } from "../../api/client";
import type { InvoiceRecord } from "../../api/schema";
import { mayOperate } from "../../api/session";
import { Filter } from "../../components/filter";
import { Icon } from "../../components/icon";
import { Panel, Segments, Status, type MarkKind } from "../../components/parts";
import { Empty, Loaded } from "../../components/states";
import { Table, type Column } from "../../components/table";
import { ago, counted, hours, money, period, stamp } from "../../format";
import { nameOf, useTenants } from "../../state/names";
import { useResource } from "../../state/resource";
import { BASE, href } from "../../url/route";
import type { BillingPlace } from ".";

export const MARKS: Record<InvoiceRecord["status"], MarkKind> = { pending: "free", overdue: "tri", paid: "dot", void: "dash" };
export function Invoices({ at }: { at: BillingPlace }) {
  const { status, tenant, q, sort, invoice } = at.values.value;
  const query = { ...(status === "all" ? {} : { status }), ...(tenant === null ? {} : { tenant_id: tenant }) };
  const invoices = useResource(`/api/invoices?${JSON.stringify(query)}`, () => call("GET /api/invoices", { query }), 20_000);
  const tenants = useTenants().data.value;
  return (
    <Panel title="Invoices" class="fills" note={invoices.data.value && counted(invoices.data.value.length, "invoice")}
      actions={mayOperate() && <button class="button primary" onClick={() => at.set({ issue: tenant ?? tenants?.[0]?.id ?? 0 })}><Icon name="plus" />Issue invoice</button>}>
      <div class="toolbar pad-x">
        <Filter label="Filter invoices" placeholder="Filter by number or tenant" value={q} onInput={(typed) => at.set({ q: typed })} />
        <Segments label="Status" options={[["all", "All"], ["pending", "Pending"], ["overdue", "Overdue"], ["paid", "Paid"], ["void", "Void"]]} value={status} onChange={(value) => at.set({ status: value })} />
        {tenant !== null && <button class="chip" aria-pressed={true} onClick={() => at.set({ tenant: null })}>{nameOf(tenants, tenant, "tenant")}<Icon name="close" /></button>}
      </div>
      <Loaded of={invoices} skeleton={6}>
        {(all) => {
          const rows = all.filter((row) => `${row.number} ${row.tenant_name}`.toLowerCase().includes(q.toLowerCase()));
          if (rows.length) return <Table label="Invoices" columns={columns((id) => at.set({ invoice: id }, "push"))} rows={rows} rowKey={(row) => row.id} order={sort} onOrder={(wanted) => at.set({ sort: wanted })} onOpen={(row) => at.set({ invoice: row.id })} marked={(row) => row.id === invoice} />;
          return status !== "all" || tenant !== null || q ? <Empty title="No invoice fits this filter" /> : (
            <Empty title="No invoices yet" command={`curl -X POST "${BASE}api/tenants/${tenants?.[0]?.id ?? 1}/invoice?days=30" -H "Authorization: Bearer $GPUFORGE_API_KEY"`}>{mayOperate() ? "Issue one here, or from a shell:" : "With an operator's key that may write, from a shell:"}</Empty>
          );
        }}
      </Loaded>
    </Panel>
  );
}

const columns = (open: (id: number) => void): Column<InvoiceRecord>[] => [
  { id: "number", title: "Number", cell: (row) => <a href={href("billing", `?invoice=${row.id}`)} onClick={(event) => (event.preventDefault(), open(row.id))}><b>{row.number}</b></a>, by: (row) => row.id },
  { id: "tenant", title: "Tenant", cell: (row) => row.tenant_name, by: (row) => row.tenant_name },
  { id: "status", title: "Status", cell: (row) => <Status kind={MARKS[row.status]}>{row.status}</Status>, by: (row) => row.status },
  { id: "amount", title: "Amount", cell: (row) => money(row.total_amount), by: (row) => row.total_amount_cents, numeric: true },
  { id: "hours", title: "GPU time", cell: (row) => hours(row.total_gpu_hours), numeric: true },
  { id: "period", title: "Period", wide: true, cell: (row) => period(row.period_start, row.period_end) },
  { id: "issued", title: "Issued", cell: (row) => <time title={stamp(row.issued_at)}>{ago(row.issued_at)}</time>, by: (row) => Date.parse(row.issued_at) },
  { id: "due", title: "Due", cell: (row) => (row.status === "paid" || row.status === "void" ? <span class="faint">–</span> : <time class={row.status === "overdue" ? "warm" : ""} title={stamp(row.due_at)}>{ago(row.due_at)}</time>), by: (row) => Date.parse(row.due_at), numeric: true },
];
