/** Alerts: what is active first; rules, silences, and where notifications go. */
import { isTenant, mayOperate } from "../../api/session";
import { Segments } from "../../components/parts";
import { flag, oneOf, text, whole } from "../../url/codec";
import { parameters } from "../../url/route";
import { Channels } from "./channels";
import { EventDrawer, Events } from "./events";
import { Rules } from "./rules";
import { Silence, Silences } from "./silences";
import { SEVERITIES } from "./words";

const VIEWS = [["events", "Events"], ["rules", "Rules"], ["silences", "Silences"], ["channels", "Channels"]] as const;
const at = parameters("alerts", {
  view: oneOf(["events", "rules", "silences", "channels"], "events"),
  state: oneOf(["active", "resolved", "all"], "active"),
  severity: oneOf(["all", ...SEVERITIES], "all"),
  rule: whole(),
  q: text(),
  event: whole(),
  /** The pattern that the form for a silence begins with. */
  silence: text(),
  ended: flag(),
});
export type AlertsPlace = typeof at;

export const Tools = () => (
  <Segments label="What to show" options={isTenant() ? VIEWS.slice(0, 2) : VIEWS} value={at.values.value.view} onChange={(view) => at.set({ view })} />
);

export function View() {
  const { view, event, silence } = at.values.value;
  return (
    <>
      {view === "events" ? <Events at={at} /> : view === "rules" ? <Rules at={at} /> : view === "silences" ? <Silences at={at} /> : <Channels />}
      {event !== null && <EventDrawer key={event} id={event} at={at} onClose={() => at.set({ event: null })} />}
      {silence && mayOperate() && <Silence pattern={silence} onClose={() => at.set({ silence: "" })} onDone={() => at.set({ silence: "", event: null, view: "silences" })} />}
    </>
  );
}
