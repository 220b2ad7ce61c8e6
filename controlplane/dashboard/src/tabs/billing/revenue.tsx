/** What was used and what that brings, by day, tenant and family, whether invoiced or not. */
import { call } from "../../api/client";
import { DayBars } from "../../components/daybars";
import { Bar, Panel, Segments } from "../../components/parts";
import { Empty, Loaded } from "../../components/states";
import { hours, money, roughMoney } from "../../format";
import { useResource } from "../../state/resource";
import { href } from "../../url/route";
import type { BillingPlace } from ".";

const MOST = 6;

export function RevenuePanel({ at }: { at: BillingPlace }) {
  const { days } = at.values.value;
  const revenue = useResource(`/api/dashboard/revenue?${days}`, () => call("GET /api/dashboard/revenue", { query: { days: Number(days) } }), 30_000);
  const total = revenue.data.value;
  return (
    <Panel title="Revenue" note={total && <><b class="strong">{money(total.total_revenue)}</b> for {hours(total.total_gpu_hours)} of GPU time</>}
      actions={<Segments label="Over how long" options={[["7", "7 days"], ["30", "30 days"], ["90", "90 days"]]} value={days} onChange={(value) => at.set({ days: value })} />}>
      <Loaded of={revenue} skeleton={7}>
        {(told) => told.by_day.length && told.total_gpu_hours ? (
          <>
            <DayBars label="Revenue by day" days={told.by_day.map((each) => ({ date: each.date, dollars: each.revenue }))} />
            <div class="two">
              <Shares title="By tenant" of={told.tenants.map((each) => ({ id: each.tenant_id, name: each.tenant_name, dollars: each.revenue, note: hours(each.gpu_hours) }))} />
              <Shares title="By GPU type" of={told.by_gpu_type.map((each) => ({ id: null, name: each.gpu_type, dollars: each.revenue, note: each.unrated_gpu_seconds ? `${hours(each.unrated_gpu_seconds / 3600)} unrated` : hours(each.gpu_hours) }))} />
            </div>
          </>
        ) : <Empty title={`Nothing was used in these ${told.days} days`}>Revenue appears while jobs run, to the second.</Empty>}
      </Loaded>
    </Panel>
  );
}

interface Share {
  id: number | null;
  name: string;
  dollars: number;
  note: string;
}

function Shares({ title, of: all }: { title: string; of: Share[] }) {
  const most = Math.max(...all.map((each) => each.dollars));
  const shown = [...all].sort((a, b) => b.dollars - a.dollars).slice(0, MOST);
  return (
    <div>
      <h3 class="pad-x">{title}</h3>
      <ul class="shares">
        {shown.map((each) => (
          <li key={`${each.id} ${each.name}`}>
            <span>{each.id === null ? each.name : <a href={href("tenants", `?tenant=${each.id}`)}>{each.name}</a>} <span class="muted">{each.note}</span></span>
            <b>{roughMoney(each.dollars)}</b>
            <Bar label={`${each.name}: revenue beside the most by one`} value={each.dollars} most={most || 1} warmFrom={2} />
          </li>
        ))}
        {all.length > MOST && <li class="muted">and {all.length - MOST} more</li>}
      </ul>
    </div>
  );
}
