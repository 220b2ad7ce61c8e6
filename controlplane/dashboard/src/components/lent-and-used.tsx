/** Allocated against used: a day as the control plane counted it, and the live end of it. */
import { useMemo } from "preact/hooks";
import { call } from "../api/client";
import { who } from "../api/session";
import { course } from "../state/course";
import { tick } from "../state/fleet";
import { past } from "../state/past";
import { useResource } from "../state/resource";
import { Plot } from "./plot";
import { Empty, Skeleton } from "./states";

export function LentAndUsed() {
  // a tenant's key sees its own GPUs: of these nobody kept a record
  const whole = who.value !== null && who.value.kind !== "tenant key";
  const told = useResource(`/api/dashboard/allocation-history?${whole}`, async () => (whole ? await call("GET /api/dashboard/allocation-history", { query: { hours: 24 } }) : null), 60_000);
  const history = told.data.value;
  const { times, allocated, used } = useMemo(() => course(history, past), [tick.value, history]);
  const lines = useMemo(() => [
    { title: "Allocated", values: allocated, colour: "muted" as const, dashed: true },
    { title: "Used", values: used, colour: "accent" as const },
  ], [allocated, used]);
  if (times.length < 2) return tick.value ? <Empty title="Nothing to draw yet">Two looks at the fleet make a line.</Empty> : <Skeleton lines={5} />;
  return <Plot label="Share of the fleet's GPUs over a day" times={times} lines={lines} unit="%" from={0} to={100} gap />;
}
