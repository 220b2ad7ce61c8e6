/** A job: why it is where it is, what it holds, what happened to it. */
import { call } from "../../api/client";
import type { AllocatedGpu, JobDetail, JobEvent } from "../../api/schema";
import { may } from "../../api/session";
import { named, plain } from "../../components/brief";
import { Dialog } from "../../components/dialog";
import { Facts, Mark, Status } from "../../components/parts";
import { Loaded, sentence } from "../../components/states";
import { ago, counted, duration, shortModel, stamp } from "../../format";
import { confirm } from "../../state/dialogs";
import { nameOf, useClusters, useTenants } from "../../state/names";
import { touch, useResource } from "../../state/resource";
import { href } from "../../url/route";
import { gpusOf, isOver, MARKS, reasonOf, standing } from "./words";

export function JobDrawer({ id, onClose }: { id: number; onClose: () => void }) {
  const job = useResource(`/api/jobs/${id}`, () => call("GET /api/jobs/{job_id}", { path: { job_id: id } }), 5_000);
  return (
    <Dialog side title={job.data.value?.name ?? `Job ${id}`} onClose={onClose}>
      <Loaded of={job} skeleton={10}>{(found) => <Inside job={found} />}</Loaded>
    </Dialog>
  );
}

function Inside({ job }: { job: JobDetail }) {
  const clusters = useClusters().data.value;
  const tenants = useTenants().data.value;
  return (
    <>
      <div class="toolbar">
        <Status kind={MARKS[job.status]}><b>{job.status}</b></Status>
        <span class="muted">job {job.id}, submitted {ago(job.submitted_at)}</span>
        <div class="grow" />
        {may("write") && !isOver(job) && <button class="button" onClick={() => cancel(job)}>Cancel job</button>}
      </div>
      <Why job={job} />
      <Facts of={[
        ["Tenant", job.tenant_id === null ? "none" : <a class="link-text" href={href("tenants", `?tenant=${job.tenant_id}`)}>{nameOf(tenants, job.tenant_id, "tenant")}</a>],
        ["Cluster", nameOf(clusters, job.cluster_id, "cluster")],
        ["GPUs", gpusOf(job)],
        ["Priority", `${job.priority} of 10, 1 goes first`],
        ["Submitted by", job.submitted_by ?? "–"],
        ["Expected to run", job.estimated_duration_min === null ? "–" : duration(60 * job.estimated_duration_min)],
        ["Time limit", job.time_limit_min === null ? "none" : duration(60 * job.time_limit_min)],
        ["If a node is lost", job.on_node_loss === "requeue" ? "goes back to the queue" : "fails"],
        ...(job.started_at ? [["Started", stamp(job.started_at)] as const] : []),
        ...(job.ended_at ? [["Ended", stamp(job.ended_at)] as const] : []),
      ]} />
      {job.allocation.length > 0 && <Allocation gpus={job.allocation} />}
      <History events={job.history} />
    </>
  );
}

/** What it waits for and for how long; how it ended. */
function Why({ job }: { job: JobDetail }) {
  const tenants = useTenants().data.value;
  return job.status === "queued" ? <Waiting id={job.id} /> : reasonOf(job) ? <p class={job.status === "blocked" || job.status === "failed" ? "verdict block" : "verdict"}>{sentence(named(reasonOf(job), tenants))}</p> : null;
}

function Waiting({ id }: { id: number }) {
  const tenants = useTenants().data.value;
  const told = useResource(`/api/jobs/${id}/explain`, () => call("GET /api/jobs/{job_id}/explain", { path: { job_id: id } }), 5_000);
  return (
    <Loaded of={told} skeleton={2}>
      {(now) => <p class="verdict wait"><b>{standing(now)}.</b> {sentence(named(plain(now.reason), tenants))}</p>}
    </Loaded>
  );
}

function Allocation({ gpus }: { gpus: AllocatedGpu[] }) {
  const nodes = [...new Map(gpus.map((gpu) => [gpu.node_id, gpus.filter((each) => each.node_id === gpu.node_id)]))];
  const held = gpus.some((gpu) => gpu.ended_at === null);
  return (
    <section>
      <h3>{held ? "Holds" : "Last held"} {counted(gpus.length, "GPU")}</h3>
      <ul class="lines">
        {nodes.map(([id, own]) => (
          <li key={id}>
            <a class="link-text" href={href("fleet", `?node=${id}`)}>{own[0].hostname}</a>
            <span>{shortModel(own[0].model)}</span>
            <span class="muted">index {own.map((gpu) => gpu.gpu_index ?? "?").join(", ")}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

const History = ({ events }: { events: JobEvent[] }) => (
  <section>
    <h3>History</h3>
    <ol class="history">
      {events.map((event, place) => (
        <li key={place}>
          <time class="muted">{stamp(event.at)}</time>
          <span>
            <Mark kind={MARKS[event.to_status]} /> <b>{event.to_status}</b> <span class="faint">by {event.actor}</span>
            {event.reason && <small>{sentence(plain(event.reason))}</small>}
          </span>
        </li>
      ))}
    </ol>
  </section>
);

function cancel(job: JobDetail): void {
  const runs = job.status === "running";
  confirm({
    title: "Cancel this job?",
    body: <p><b class="quoted">{job.name}</b> {runs ? `stops running: its ${counted(job.gpu_count, "GPU")} go to whoever is next, and what it has not saved is lost.` : "leaves the queue."} A cancelled job does not come back; it can be submitted again.</p>,
    action: "Cancel job",
    danger: true,
    ...(runs ? { typed: job.name } : {}),
    run: async () => {
      await call("PATCH /api/jobs/{job_id}", { path: { job_id: job.id }, body: { status: "cancelled" } });
      await touch("/api/jobs", "/api/tenants", "/api/dashboard/");
      return `${job.name} was cancelled.`;
    },
  });
}
