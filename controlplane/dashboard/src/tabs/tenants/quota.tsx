/** A tenant's quota, changed where it stands. */
import { useState } from "preact/hooks";
import { call } from "../../api/client";
import type { TenantRecord } from "../../api/schema";
import { mayOperate } from "../../api/session";
import { Fault, useWrite } from "../../components/dialog";
import { count, counted } from "../../format";
import { confirm, tell } from "../../state/dialogs";
import { touch } from "../../state/resource";
import { effectOf } from "./words";

export const focus = (field: HTMLInputElement | null): void => field?.focus();

/** The quota, and in its place a field that says what another one would do. */
export function Quota({ tenant }: { tenant: TenantRecord }) {
  const [typed, setTyped] = useState<string | null>(null);
  const write = useWrite();
  if (typed === null)
    return (
      <span class="inline">
        <b>{count(tenant.gpu_quota)}</b>
        {mayOperate() && <button class="button ghost small" aria-label={`Change the quota of ${tenant.name}`} onClick={() => setTyped(String(tenant.gpu_quota))}>change</button>}
      </span>
    );
  const quota = Number(typed);
  const save = async () => {
    await call("PUT /api/tenants/{tenant_id}", { path: { tenant_id: tenant.id }, body: { gpu_quota: quota } });
    await touch("/api/tenants", "/api/jobs", "/api/dashboard/");
    setTyped(null);
    return `The quota of ${tenant.name} is ${quota}: ${effectOf(quota, tenant.gpus_in_use)}.`;
  };
  const submit = (event: Event) => {
    event.preventDefault();
    if (quota >= tenant.gpus_in_use) return void write.run(async () => tell(await save()));
    confirm({
      title: "Lower the quota below what is in use?",
      body: <p><b class="quoted">{tenant.name}</b> uses {counted(tenant.gpus_in_use, "GPU")}. With a quota of {quota}, what runs goes on; nothing new starts until {quota === 1 ? "none is" : `fewer than ${quota} are`} in use.</p>,
      action: "Lower quota",
      run: save,
    });
  };
  return (
    <form class="inline" onSubmit={submit} onKeyDown={(event) => event.key === "Escape" && setTyped(null)}>
      <input type="number" min={1} required value={typed} aria-label={`Quota of ${tenant.name}`} ref={focus} onInput={(event) => setTyped(event.currentTarget.value)} />
      <button class="button primary small" disabled={write.busy || quota < 1 || quota === tenant.gpu_quota}>{write.busy ? "Saving …" : "Save"}</button>
      <button type="button" class="button small" onClick={() => setTyped(null)}>Cancel</button>
      <span class="muted" role="status">{effectOf(quota, tenant.gpus_in_use)}</span>
      <Fault text={write.fault} />
    </form>
  );
}
