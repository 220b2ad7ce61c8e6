/** Submitting a job: while it is filled in, a dry run says what would become of it. */
import { useEffect, useState } from "preact/hooks";
import { call, Problem } from "../../api/client";
import type { DryRun, JobCreate, JobRecord, TenantRecord } from "../../api/schema";
import { who } from "../../api/session";
import { named } from "../../components/brief";
import { Dialog, Fault, useWrite } from "../../components/dialog";
import { Field } from "../../components/parts";
import { sentence } from "../../components/states";
import { tell } from "../../state/dialogs";
import { useClusters, useTenants } from "../../state/names";
import { touch } from "../../state/resource";
import { forecast } from "./words";

const PAUSE_MS = 350;

interface Form {
  name: string;
  cluster: string;
  tenant: string;
  gpus: string;
  type: string;
  priority: string;
  estimate: string;
  limit: string;
  loss: "requeue" | "fail";
}

interface SubmitProps {
  cluster: number | null;
  onClose: () => void;
  onMade: (job: number) => void;
}

export function Submit({ cluster, onClose, onMade }: SubmitProps) {
  const clusters = useClusters().data.value;
  const tenants = useTenants().data.value;
  const own = who.value?.tenant_id ?? null;
  const [form, setForm] = useState<Form>({ name: "", cluster: String(cluster ?? ""), tenant: String(own ?? ""), gpus: "1", type: "", priority: "5", estimate: "", limit: "", loss: "requeue" });
  const write = useWrite();
  const wanted = { ...form, cluster: form.cluster || String(clusters?.[0]?.id ?? "") };
  const would = useDryRun(wanted);
  const field = <N extends keyof Form>(name: N) => ({
    name,
    value: wanted[name],
    onInput: (event: { currentTarget: { value: string } }) => setForm({ ...wanted, [name]: event.currentTarget.value }),
  });
  const fault = (name: string): string | undefined => write.at(name) ?? (would instanceof Problem ? would.of(name) : undefined);
  const submit = (event: Event) => {
    event.preventDefault();
    void write.run(async () => {
      const made = (await call("POST /api/jobs", { body: bodyOf(wanted) })) as JobRecord;
      tell(`${made.name} was submitted as job ${made.id}.`);
      onMade(made.id);
      await touch("/api/jobs", "/api/tenants", "/api/dashboard/");
    });
  };
  return (
    <Dialog title="Submit job" onClose={onClose}>
      <form onSubmit={submit}>
        <Field label="Name" fault={fault("name")}>
          <input autofocus required maxLength={255} placeholder="llama-3-70b-finetune" {...field("name")} />
        </Field>
        <div class="two">
          <Field label="Cluster" fault={fault("cluster_id")}>
            <select required {...field("cluster")}>{(clusters ?? []).map((each) => <option key={each.id} value={String(each.id)}>{each.name}</option>)}</select>
          </Field>
          <Field label="Tenant" hint="Whose quota and bill it is on." fault={fault("tenant_id")}>
            <select disabled={own !== null} {...field("tenant")}>
              <option value="">none</option>
              {(tenants ?? []).map((each) => <option key={each.id} value={String(each.id)}>{each.name}</option>)}
            </select>
          </Field>
          <Field label="GPUs" fault={fault("gpu_count")}><input type="number" required min={1} {...field("gpus")} /></Field>
          <Field label="GPU type" hint="Such as H100; empty: any." fault={fault("gpu_type")}><input maxLength={255} {...field("type")} /></Field>
          <Field label="Priority" hint="1 goes first, 10 last." fault={fault("priority")}><input type="number" required min={1} max={10} {...field("priority")} /></Field>
          <Field label="If a node is lost">
            <select {...field("loss")}><option value="requeue">back to the queue, once</option><option value="fail">the job fails</option></select>
          </Field>
          <Field label="Expected minutes" hint="A short job may fit in sooner." fault={fault("estimated_duration_min")}><input type="number" min={1} {...field("estimate")} /></Field>
          <Field label="Time limit, minutes" hint="Empty: none." fault={fault("time_limit_min")}><input type="number" min={1} {...field("limit")} /></Field>
        </div>
        <Verdict would={would} ready={isComplete(wanted)} tenants={tenants} />
        <Fault text={write.fault} />
        <footer>
          <button type="button" class="button" onClick={onClose}>Cancel</button>
          <button class="button primary" disabled={write.busy || !isComplete(wanted)}>{write.busy ? "Submitting …" : "Submit job"}</button>
        </footer>
      </form>
    </Dialog>
  );
}

function Verdict({ would, ready, tenants }: { would: DryRun | Problem | null; ready: boolean; tenants: TenantRecord[] | null }) {
  if (!ready) return <p class="verdict" role="status">Name it, and a dry run says here what would become of it.</p>;
  if (!would) return <p class="verdict" role="status">Asking the scheduler …</p>;
  if (would instanceof Problem) return <p class="verdict block" role="status">{sentence(would.message)}</p>;
  const told = forecast(would);
  return <p class={`verdict ${told.kind}`} role="status">{named(told.words, tenants)}</p>;
}

/** What would become of it: asked again when the form rests. The last answer stays meanwhile. */
function useDryRun(form: Form): DryRun | Problem | null {
  const [would, setWould] = useState<DryRun | Problem | null>(null);
  const asked = isComplete(form) ? JSON.stringify(bodyOf(form)) : "";
  useEffect(() => {
    if (!asked) return setWould(null);
    const abort = new AbortController();
    const timer = setTimeout(() => {
      call("POST /api/jobs", { query: { dry_run: true }, body: JSON.parse(asked) as JobCreate, signal: abort.signal })
        .then((told) => setWould(told as DryRun), (error) => error instanceof Problem && setWould(error));
    }, PAUSE_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [asked]);
  return would;
}

const isComplete = (form: Form): boolean => !!form.name.trim() && !!form.cluster && Number(form.gpus) >= 1 && Number(form.priority) >= 1;

function bodyOf(form: Form): JobCreate {
  return {
    cluster_id: Number(form.cluster),
    name: form.name.trim(),
    gpu_count: Number(form.gpus),
    priority: Number(form.priority),
    on_node_loss: form.loss,
    ...(form.type.trim() ? { gpu_type: form.type.trim() } : {}),
    ...(form.tenant ? { tenant_id: Number(form.tenant) } : {}),
    ...(form.estimate ? { estimated_duration_min: Number(form.estimate) } : {}),
    ...(form.limit ? { time_limit_min: Number(form.limit) } : {}),
  };
}
