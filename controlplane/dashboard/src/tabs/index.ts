/**
 * The nine tabs, in the order of the navigation.
 *
 * A tab is one file here (a folder, if it outgrows 300 lines) and one line below:
 *
 *  - `export const View = () => …` draws it; `Tools`, if there is one, stands beside the title in the top bar.
 *  - Data: `useResource("/api/jobs" + query, () => call("GET /api/jobs", { query }), 5_000)` in the component, shown by
 *    `<Loaded of={jobs}>{(data) => …}</Loaded>`: loading, stale, error, unauthorised come with it. Nothing there:
 *    `<Empty title command>`. Calls and answers are typed by the route table (`make types`).
 *  - Filters: `const at = parameters("jobs", { status: oneOf(STATUSES, "all"), job: whole() })`; read `at.values.value`,
 *    change with `at.set({ status: "queued" })`; what opens a drawer is a parameter too, so that it has an address.
 *  - Writes: `confirm({ title, body, action, danger, typed, run })` with `run` calling the API, then
 *    `await touch("/api/jobs", "/api/tenants")`, and answering the words of the toast. Forms: `useWrite()`, `Field`,
 *    `write.problem?.of("gpu_count")` puts the server's words under the field. Show a control only if `may("write")`.
 *  - Looks: `components/parts.tsx` and the classes of `style/parts.css`; a style sheet of its own is imported by the tab.
 *  - Text from others (names, reasons) is put into JSX as text: never `dangerouslySetInnerHTML`, never into a `href`.
 *  - Its browser test is `tests/browser/test_<name>_tab.py`.
 */
import type { ReadonlySignal } from "@preact/signals";
import type { ComponentType } from "preact";
import type { IconName } from "../components/icon";
import { badges } from "../state/badges";

export interface Module {
  View: ComponentType;
  Tools?: ComponentType;
}

export interface Tab {
  /** In the URL; "" is the overview. The control plane serves these paths: see api/ui.py. */
  name: string;
  title: string;
  icon: IconName;
  /** A tab is fetched when it is wanted, or when there is time. */
  load: () => Promise<Module>;
  badge?: ReadonlySignal<number>;
  badgeWords?: string;
}

export const TABS: Tab[] = [
  { name: "", title: "Overview", icon: "overview", load: () => import("./overview") },
  { name: "fleet", title: "Fleet", icon: "fleet", load: () => import("./fleet") },
  { name: "allocation", title: "Allocation", icon: "allocation", load: () => import("./allocation") },
  { name: "jobs", title: "Jobs", icon: "jobs", badge: badges.waiting, badgeWords: "waiting", load: () => import("./jobs") },
  { name: "tenants", title: "Tenants", icon: "tenants", load: () => import("./tenants") },
  { name: "billing", title: "Billing", icon: "billing", load: () => import("./billing") },
  { name: "alerts", title: "Alerts", icon: "alerts", badge: badges.alerts, badgeWords: "active", load: () => import("./alerts") },
  { name: "keys", title: "API keys", icon: "keys", load: () => import("./keys") },
  { name: "reference", title: "API reference", icon: "reference", load: () => import("./reference") },
];
