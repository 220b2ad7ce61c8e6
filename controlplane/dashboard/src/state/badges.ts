/** The numbers beside the tabs' names: jobs that wait, alerts that are active. */
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { call } from "../api/client";
import { useResource } from "./resource";

export const badges = { waiting: signal(0), alerts: signal(0) };

/** Keeps the numbers true for as long as the navigation is shown. */
export function useBadges(): void {
  const kpis = useResource("/api/dashboard/kpis", () => call("GET /api/dashboard/kpis"), 15_000).data.value;
  const rules = useResource("/api/alerts/rules", () => call("GET /api/alerts/rules"), 15_000).data.value;
  useEffect(() => {
    badges.waiting.value = kpis ? kpis.active_jobs.queued + kpis.active_jobs.blocked : 0;
    badges.alerts.value = rules?.reduce((sum, rule) => sum + rule.active_events, 0) ?? 0;
  }, [kpis, rules]);
}
