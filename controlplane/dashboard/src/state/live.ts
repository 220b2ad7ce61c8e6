/** What the messages of the stream do to the page. */
import { touch } from "./resource";
import { forget, takeAllocation, takeFrame, takeSnapshot } from "./fleet";
import { link } from "./link";
import { note, restart } from "./past";
import { follow, type Message } from "./stream";

// What shows such objects is asked for again. A busy fleet tells of many at once: they are gathered for a while.
const SHOWN_BY: Record<string, string[]> = {
  job: ["/api/jobs", "/api/tenants", "/api/dashboard/", "/api/scheduler"],
  node: ["/api/clusters", "/api/dashboard/"],
  gpu: ["/api/clusters"],
  cluster: ["/api/clusters", "/api/dashboard/"],
  invoice: ["/api/invoices", "/api/billing", "/api/tenants", "/api/dashboard/"],
  alert: ["/api/alerts"],
  tenant: ["/api/tenants", "/api/dashboard/", "/api/billing"],
  api_key: ["/api/api-keys"],
  rate: ["/api/rates", "/api/dashboard/"],
};
const GATHER_MS = 700;

const stale = new Set<string>();
let timer = 0;
let connectedBefore = false;

export function goLive(): void {
  follow(take, () => {
    connectedBefore = false;
    forget();
    restart();
  });
}

function take({ event, data }: Message): void {
  const told = JSON.parse(data);
  link.value = { kind: "live", words: "Live" };
  if (event === "snapshot") takeSnapshot(told);
  else if (event === "allocation") takeAllocation(told);
  else if (event === "frame") (takeFrame(told), note());
  else if (event === "hello") hello(told.resumed);
  else outdate(SHOWN_BY[event === "change" ? told.object_type : event] ?? (event === "change" ? ["/api/alerts"] : []));
}

/** Back after a while in which who knows what happened: ask for everything that is shown. */
function hello(resumed: boolean): void {
  if (connectedBefore && !resumed) outdate(["/api/"]);
  connectedBefore = true;
}

function outdate(prefixes: string[]): void {
  for (const prefix of prefixes) stale.add(prefix);
  timer ||= window.setTimeout(() => {
    timer = 0;
    void touch(...stale);
    stale.clear();
  }, GATHER_MS);
}
