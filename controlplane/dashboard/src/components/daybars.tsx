/** Money by day: a bar for each, its figure under the pointer. */
import { useEffect, useRef } from "preact/hooks";
import type uPlot from "uplot";
import { money, roughMoney } from "../format";
import { theme, token } from "../theme/theme";
import { drawn } from "./plot";

export interface Day {
  /** `2026-05-09`. */
  date: string;
  dollars: number;
}

const HALF_DAY_S = 43_200;

export function DayBars({ label, days }: { label: string; days: readonly Day[] }) {
  const box = useRef<HTMLDivElement>(null);
  const told = useRef<HTMLOutputElement>(null);
  useEffect(() => drawn(box.current!, (UPlot, element) => new UPlot(options(UPlot, days, element, (place) => {
    told.current!.textContent = place === null ? "" : `${days[place].date}: ${money(days[place].dollars)}`;
  }), [days.map((day) => at(day.date)), days.map((day) => day.dollars)], element)), [theme.value, JSON.stringify(days)]);
  const sum = days.reduce((all, day) => all + day.dollars, 0);
  return (
    <div class="daybars">
      <div class="daybars-box" ref={box} role="img" aria-label={`${label}: ${money(sum)} in ${days.length} days, ${money(days.at(-1)?.dollars)} on the last`} />
      <output ref={told} />
    </div>
  );
}

function options(UPlot: typeof uPlot, days: readonly Day[], element: HTMLElement, tell: (place: number | null) => void): uPlot.Options {
  const axis = { stroke: token("--muted"), ticks: { show: false }, font: "11px InterVar" };
  return {
    width: element.clientWidth,
    height: element.clientHeight,
    padding: [10, 10, 0, 0],
    legend: { show: false },
    cursor: { points: { show: false }, y: false, drag: { setScale: false } },
    hooks: { setCursor: [(plot) => tell(plot.cursor.idx ?? null)] },
    scales: {
      x: { range: () => [at(days[0].date) - HALF_DAY_S, at(days.at(-1)!.date) + HALF_DAY_S] },
      y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.12 : 1] },
    },
    axes: [
      { ...axis, grid: { show: false }, size: 24, space: 58, incrs: [1, 2, 7, 14].map((count) => count * 2 * HALF_DAY_S), values: (_plot, times) => times.map(shortDay) },
      { ...axis, grid: { stroke: token("--line"), width: 1 }, size: 62, space: 34, values: (_plot, values) => values.map((value) => (value ? roughMoney(value) : "$0")) },
    ],
    series: [{}, { width: 0, fill: token("--accent"), points: { show: false }, paths: UPlot.paths.bars!({ size: [0.62, 44], radius: 0.12 }) }],
  };
}

/** The local midnight at which a day of the calendar is drawn. */
const at = (date: string): number => Date.parse(`${date}T00:00`) / 1000;
function shortDay(time: number): string {
  return new Date(time * 1000).toLocaleDateString("en-US", { month: "short", day: "numeric" });
}
