/** The rate card in force: a new rate holds from now on, what is metered keeps its own. */
import { useState } from "preact/hooks";
import { call } from "../../api/client";
import { present } from "../../api/clock";
import type { RateRecord } from "../../api/schema";
import { mayOperate } from "../../api/session";
import { Dialog, Fault, useWrite } from "../../components/dialog";
import { Icon } from "../../components/icon";
import { Field, Panel, Status } from "../../components/parts";
import { Empty, Loaded } from "../../components/states";
import { Table, type Column } from "../../components/table";
import { ago, stamp } from "../../format";
import { tell } from "../../state/dialogs";
import { useTenants } from "../../state/names";
import { touch, useResource } from "../../state/resource";
import { BASE } from "../../url/route";

const price = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD", minimumFractionDigits: 2, maximumFractionDigits: 6 });
const LATEST_MS = 3_600_000;
export function Rates() {
  const [editing, setEditing] = useState<string | null>(null);
  const rates = useResource("/api/rates", () => call("GET /api/rates"), 30_000);
  return (
    <Panel title="Rates" note="Dollars per GPU-hour" actions={mayOperate("admin") && <button class="button small" onClick={() => setEditing("")}><Icon name="plus" />Set rate</button>}>
      <Loaded of={rates} skeleton={6}>
        {(rows) => rows.length
          ? <Table label="Rates" columns={columns(setEditing)} rows={rows} rowKey={(row) => row.family} />
          : <Empty title="No rates yet" command={`curl -X PUT ${BASE}api/rates/H100 -H "Authorization: Bearer $GPUFORGE_API_KEY" -H "Content-Type: application/json" -d '{"rate_per_hour": 4.76}'`} />}
      </Loaded>
      {editing !== null && <Edit family={editing} rates={rates.data.value ?? []} onClose={() => setEditing(null)} />}
    </Panel>
  );
}

/** Ask for the card again, and once more when the new rate has come into force: the next second, as a rule. */
async function showFrom(time: string | null): Promise<void> {
  const wait = time === null ? 0 : Date.parse(time) - present();
  if (wait > 0 && wait < LATEST_MS) setTimeout(() => void touch("/api/rates"), wait + 300);
  await touch("/api/rates", "/api/dashboard/revenue");
}

const columns = (edit: (family: string) => void): Column<RateRecord>[] => [
  { id: "family", title: "GPU type", cell: (row) => <b>{row.family}</b> },
  { id: "rate", title: "Rate", numeric: true, cell: (row) => (row.rate_per_hour === null ? <Status kind="tri">unrated</Status> : price.format(row.rate_per_hour)) },
  { id: "since", title: "Since", cell: (row) => (row.effective_from ? Date.parse(row.effective_from) <= 0 ? "the beginning" : <time title={stamp(row.effective_from)}>{ago(row.effective_from)}</time> : <span class="muted">metered, not billed</span>) },
  ...(mayOperate("admin") ? [{ id: "edit", title: "Edit", quiet: true, numeric: true, cell: (row: RateRecord) => <button class="button small" aria-label={`Edit the rate of ${row.family}`} onClick={() => edit(row.family)}>Edit</button> }] : []),
];

function Edit({ family: given, rates, onClose }: { family: string; rates: RateRecord[]; onClose: () => void }) {
  const [family, setFamily] = useState(given);
  const [tenant, setTenant] = useState("");
  const now = rates.find((each) => each.family.toLowerCase() === family.trim().toLowerCase())?.rate_per_hour ?? null;
  const [rate, setRate] = useState(now === null ? "" : String(now));
  const tenants = useTenants().data.value;
  const write = useWrite();
  const ends = rate === "" && tenant !== "";
  const submit = (event: Event) => {
    event.preventDefault();
    void write.run(async () => {
      const body = { rate_per_hour: rate === "" ? null : rate, ...(tenant ? { tenant_id: Number(tenant) } : {}) };
      const set = await call("PUT /api/rates/{family}", { path: { family: family.trim() }, body });
      await showFrom(set.effective_from);
      tell(set.rate_per_hour === null ? `The list price of ${set.family} holds again.` : `${set.family} costs ${price.format(set.rate_per_hour)} an hour from ${stamp(set.effective_from)} on.`);
      onClose();
    });
  };
  return (
    <Dialog title={given ? `Rate of ${given}` : "Set rate"} onClose={onClose}>
      <form onSubmit={submit}>
        <div class="two">
          <Field label="GPU type" hint="Its family, such as H100." fault={write.at("family")}>
            <input required maxLength={64} autofocus={!given} readOnly={!!given} value={family} onInput={(event) => setFamily(event.currentTarget.value)} />
          </Field>
          <Field label="Dollars per GPU-hour" hint={tenant ? "Empty: the list price again." : "0: free."} fault={write.at("rate_per_hour")}>
            <input type="number" min="0" max="10000" step="0.000001" required={!tenant} autofocus={!!given} value={rate} onInput={(event) => setRate(event.currentTarget.value)} />
          </Field>
        </div>
        <Field label="For" fault={write.at("tenant_id")}>
          <select value={tenant} onChange={(event) => setTenant(event.currentTarget.value)}>
            <option value="">everybody: the list price</option>
            {(tenants ?? []).map((each) => <option key={each.id} value={String(each.id)}>{each.name} alone</option>)}
          </select>
        </Field>
        <p class="verdict wait">
          {ends ? "The tenant's own rate ends now." : `${now === null ? "Unrated" : price.format(now)} → ${rate === "" ? "…" : price.format(Number(rate))} an hour, from the next second on.`} What is metered until then keeps the rate it was metered at.
        </p>
        <Fault text={write.fault} />
        <footer>
          <button type="button" class="button" onClick={onClose}>Cancel</button>
          <button class="button primary" disabled={write.busy || !family.trim() || (rate === "" && !tenant)}>{write.busy ? "Saving …" : "Set rate"}</button>
        </footer>
      </form>
    </Dialog>
  );
}
