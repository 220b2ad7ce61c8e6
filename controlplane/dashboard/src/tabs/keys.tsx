/** API keys: made and shown once, listed, revoked by typing the label. */
import { Filter } from "../components/filter";
import { useState } from "preact/hooks";
import { call, demo } from "../api/client";
import { present } from "../api/clock";
import type { KeyRecord } from "../api/schema";
import { key, may, mayOperate, who, type Scope } from "../api/session";
import { Dialog, Fault, useWrite } from "../components/dialog";
import { Icon } from "../components/icon";
import { showKey } from "../components/new-key";
import { Field, Panel, Segments, Status } from "../components/parts";
import { Empty, Loaded } from "../components/states";
import { Table, type Column } from "../components/table";
import { ago, stamp } from "../format";
import { confirm } from "../state/dialogs";
import { nameOf, useClusters, useTenants } from "../state/names";
import { touch, useResource } from "../state/resource";
import { oneOf, order, text } from "../url/codec";
import { parameters } from "../url/route";

const LIST = "/api/api-keys";
const SHOWN = [["valid", "Valid"], ["revoked", "Revoked"], ["all", "All"]] as const;
const at = parameters("keys", {
  show: oneOf(["valid", "revoked", "all"], "valid"),
  q: text(),
  sort: order(["label", "used", "made"], "-made"),
});

export function View() {
  const [making, setMaking] = useState(false);
  const keys = useResource(LIST, () => call("GET /api/api-keys"), 15_000);
  const columns = columnsOf(useTenants().data.value, useClusters().data.value);
  const { show, q, sort } = at.values.value;
  return (
    <>
      <div class="toolbar">
        <Filter label="Filter keys" placeholder="Filter by label or prefix" value={q} onInput={(typed) => at.set({ q: typed })} />
        <Segments label="Which keys" options={SHOWN} value={show} onChange={(value) => at.set({ show: value })} />
        <div class="grow" />
        {may("admin") && <button class="button primary" onClick={() => setMaking(true)}><Icon name="plus" />Generate key</button>}
      </div>
      <Panel title="API keys" note="A raw key is shown once, when it is made. Revoking works on the very next request.">
        <Loaded of={keys} skeleton={8}>
          {(all) => {
            const rows = all.filter((each) => fits(each, show, q));
            return rows.length ? (
              <Table label="API keys" columns={columns} rows={rows} rowKey={(row) => row.id} order={sort} onOrder={(wanted) => at.set({ sort: wanted })} />
            ) : (
              <Empty title={all.length ? "No key fits this filter" : "No keys yet"}
                {...(all.length ? {} : { command: "gpuforge-controlplane create-key --label me --permissions read,write,admin" })} />
            );
          }}
        </Loaded>
      </Panel>
      {making && <Generate onClose={() => setMaking(false)} />}
    </>
  );
}

function fits(row: KeyRecord, show: "valid" | "revoked" | "all", typed: string): boolean {
  const wanted = show === "all" || (show === "valid") === isValid(row);
  return wanted && `${row.label} ${row.key_prefix}`.toLowerCase().includes(typed.toLowerCase());
}
const isExpired = (row: KeyRecord): boolean => row.expires_at !== null && Date.parse(row.expires_at) <= present();
const isValid = (row: KeyRecord): boolean => row.revoked_at === null && !isExpired(row);

type Named = readonly { id: number; name: string }[] | null;
const columnsOf = (tenants: Named, clusters: Named): Column<KeyRecord>[] => [
  { id: "label", title: "Label", cell: (row) => <b>{row.label}</b>, by: (row) => row.label },
  { id: "prefix", title: "Prefix", cell: (row) => <code>{row.key_prefix}…</code> },
  { id: "permissions", title: "Permissions", cell: (row) => <span class="tags">{row.permissions.map((each) => <i key={each} class={each === "admin" ? "tag strong" : "tag"}>{each}</i>)}</span> },
  { id: "bound", title: "Belongs to", cell: (row) => belongsTo(row, tenants, clusters) },
  { id: "made", title: "Made", cell: (row) => <time title={stamp(row.created_at)}>{ago(row.created_at)}</time>, by: (row) => Date.parse(row.created_at) },
  { id: "used", title: "Last used", cell: (row) => (row.last_used_at ? <time title={stamp(row.last_used_at)}>{ago(row.last_used_at)}</time> : <span class="faint">never</span>), by: (row) => (row.last_used_at ? Date.parse(row.last_used_at) : null) },
  { id: "state", title: "State", cell: state },
  { id: "revoke", title: "Revoke", quiet: true, cell: (row) => (isValid(row) && may("admin") ? <button class="button small" onClick={() => revoke(row)}>Revoke</button> : null) },
];

function belongsTo(row: KeyRecord, tenants: Named, clusters: Named): string {
  if (row.tenant_id !== null) return nameOf(tenants, row.tenant_id, "tenant");
  return row.cluster_id !== null ? `agents of ${nameOf(clusters, row.cluster_id, "cluster")}` : "operators";
}

function state(row: KeyRecord) {
  if (row.revoked_at) return <Status kind="dash">revoked {ago(row.revoked_at)}</Status>;
  if (isExpired(row)) return <Status kind="dash">expired {ago(row.expires_at)}</Status>;
  return <Status kind="dot">{row.expires_at ? `until ${stamp(row.expires_at)}` : "valid"}</Status>;
}

function revoke(row: KeyRecord): void {
  const own = who.value?.key_id === row.id;
  confirm({
    title: "Revoke this key?",
    body: <p>Whoever uses <b class="quoted">{row.label}</b> ({row.key_prefix}…) is refused from the next request on, everywhere. This can't be undone.{own && <b> It is the key that you are signed in with.</b>}</p>,
    action: "Revoke key",
    danger: true,
    typed: row.label,
    run: async () => {
      await call("DELETE /api/api-keys/{key_id}", { path: { key_id: row.id } });
      await touch(LIST);
      return `${row.label} was revoked.`;
    },
  });
}

const SCOPES: readonly (readonly [Scope, string])[] = [
  ["read", "read: see everything"],
  ["write", "write: change jobs, tenants, nodes, invoices"],
  ["admin", "admin: keys, rates, audit log"],
];

function Generate({ onClose }: { onClose: () => void }) {
  const [label, setLabel] = useState("");
  const [scopes, setScopes] = useState<Scope[]>(["read", "write"]);
  const own = who.value?.tenant_id;
  const [holder, setHolder] = useState(own ? `tenant_id ${own}` : "");
  const [until, setUntil] = useState("");
  const write = useWrite();
  const tenants = useTenants().data.value;
  const clusters = useClusters().data.value;
  const [kind, id] = holder.split(" ");
  const agents = kind === "cluster_id";
  const submit = (event: Event) => {
    event.preventDefault();
    void write.run(async () => {
      const body = {
        label,
        ...(agents ? {} : { permissions: scopes }),
        ...(kind ? { [kind]: Number(id) } : {}),
        ...(until ? { expires_at: new Date(until).toISOString() } : {}),
      };
      const made = await call("POST /api/api-keys", { body });
      showKey(made.label, made.key, made.cluster_id !== null);
      onClose();
      await touch(LIST);
    });
  };
  const toggle = (scope: Scope) => setScopes(SCOPES.map(([each]) => each).filter((each) => (each === scope) !== scopes.includes(each)));
  return (
    <Dialog title="Generate key" onClose={onClose} closable={!write.busy /* the key is made, and can be shown once */}>
      <form onSubmit={submit}>
        <Field label="Label" hint="Who or what will use it." fault={write.at("label")}>
          <input autofocus required maxLength={255} value={label} placeholder="prod-metrics-ingestor" onInput={(event) => setLabel(event.currentTarget.value)} />
        </Field>
        <fieldset class="field">
          <legend>Permissions</legend>
          {SCOPES.map(([scope, words]) => (
            <label key={scope} class="check"><input type="checkbox" disabled={agents} checked={!agents && scopes.includes(scope)} onChange={() => toggle(scope)} />{words}</label>
          ))}
        </fieldset>
        <div class="two">
          <Field label="For" hint={agents ? "It does what agents do for that cluster, and no more." : kind ? "It sees and touches that tenant alone." : undefined} fault={write.at(kind)}>
            <select value={holder} disabled={!!own} onChange={(event) => setHolder(event.currentTarget.value)}>
              <option value="">an operator</option>
              {(tenants ?? []).map((each) => <option key={each.id} value={`tenant_id ${each.id}`}>{each.name}</option>)}
              {mayOperate("admin") && (clusters ?? []).map((each) => <option key={each.id} value={`cluster_id ${each.id}`}>agents of {each.name}</option>)}
            </select>
          </Field>
          <Field label="Expires" hint="Empty: never." fault={write.at("expires_at")}>
            <input type="datetime-local" value={until} onInput={(event) => setUntil(event.currentTarget.value)} />
          </Field>
        </div>
        <Fault text={write.fault} />
        <footer>
          <button type="button" class="button" disabled={write.busy} onClick={onClose}>Cancel</button>
          <button class="button primary" disabled={write.busy || !(agents || scopes.length) || !label.trim()}>{write.busy ? "Generating …" : "Generate key"}</button>
        </footer>
      </form>
    </Dialog>
  );
}

/** Shown in demo mode in place of the button: what would be there. */
export const Tools = () => (demo.value === "sample" && !key.value ? <span class="muted minor">Sample keys: none of them opens anything.</span> : null);
