/** A tenant's fields: to create one, or to change one. */
import { useState } from "preact/hooks";
import { call } from "../../api/client";
import type { TenantCreate, TenantRecord } from "../../api/schema";
import { Dialog, Fault, useWrite } from "../../components/dialog";
import { Field } from "../../components/parts";
import { tell } from "../../state/dialogs";
import { touch } from "../../state/resource";
import { effectOf } from "./words";

interface FormProps {
  /** To be changed; without it one is created. */
  tenant?: TenantRecord;
  onClose: () => void;
  onDone: () => void;
}

export function TenantForm({ tenant, onClose, onDone }: FormProps) {
  const [name, setName] = useState(tenant?.name ?? "");
  const [quota, setQuota] = useState(String(tenant?.gpu_quota ?? 8));
  const [email, setEmail] = useState(tenant?.contact_email ?? "");
  const [plan, setPlan] = useState<TenantRecord["plan_tier"]>(tenant?.plan_tier ?? "starter");
  const [status, setStatus] = useState<TenantRecord["status"]>(tenant?.status ?? "active");
  const [before] = useState(tenant);
  const write = useWrite();
  const submit = (event: Event) => {
    event.preventDefault();
    const body: TenantCreate = { name, gpu_quota: Number(quota), contact_email: email.trim() || null, plan_tier: plan, status };
    void write.run(async () => {
      // what was changed alone: the rest may be another's by now
      const changed = Object.fromEntries(Object.entries(body).filter(([field, value]) => value !== before?.[field as keyof TenantCreate]));
      if (tenant) await call("PUT /api/tenants/{tenant_id}", { path: { tenant_id: tenant.id }, body: changed });
      else await call("POST /api/tenants", { body });
      await touch("/api/tenants", "/api/dashboard/", "/api/jobs");
      tell(tenant ? `${name} was changed.` : `${name} was created.`);
      onDone();
    });
  };
  return (
    <Dialog title={tenant ? `Edit ${tenant.name}` : "Create tenant"} onClose={onClose}>
      <form onSubmit={submit}>
        <Field label="Name" fault={write.at("name")}>
          <input autofocus required maxLength={255} value={name} placeholder="NovAI Labs" onInput={(event) => setName(event.currentTarget.value)} />
        </Field>
        <div class="two">
          <Field label="Quota, GPUs" hint={tenant ? effectOf(Number(quota), tenant.gpus_in_use) : "In use at one time."} fault={write.at("gpu_quota")}>
            <input type="number" required min={1} value={quota} onInput={(event) => setQuota(event.currentTarget.value)} />
          </Field>
          <Field label="Plan">
            <select value={plan} onChange={(event) => setPlan(event.currentTarget.value as TenantRecord["plan_tier"])}>
              {["starter", "pro", "growth", "enterprise"].map((each) => <option key={each}>{each}</option>)}
            </select>
          </Field>
          <Field label="Contact e-mail" hint="Invoices name it." fault={write.at("contact_email")}>
            <input type="email" maxLength={255} value={email} placeholder="billing@example.com" onInput={(event) => setEmail(event.currentTarget.value)} />
          </Field>
          <Field label="Status" hint="An inactive tenant starts no jobs.">
            <select value={status} onChange={(event) => setStatus(event.currentTarget.value as TenantRecord["status"])}>
              <option>active</option><option>inactive</option>
            </select>
          </Field>
        </div>
        <Fault text={write.fault} />
        <footer>
          <button type="button" class="button" onClick={onClose}>Cancel</button>
          <button class="button primary" disabled={write.busy || !name.trim()}>{write.busy ? "Saving …" : tenant ? "Save changes" : "Create tenant"}</button>
        </footer>
      </form>
    </Dialog>
  );
}
