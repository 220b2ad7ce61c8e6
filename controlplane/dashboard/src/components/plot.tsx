/** A chart over time: uPlot in our colours. */
import { useEffect, useRef } from "preact/hooks";
import type uPlot from "uplot";
import { clock, day } from "../format";
import { theme, token } from "../theme/theme";

export interface Line {
  title: string;
  values: (number | null)[];
  colour: "accent" | "muted" | "warn" | "good";
  dashed?: boolean;
}

interface PlotProps {
  label: string;
  /** Seconds since 1970. */
  times: number[];
  lines: Line[];
  unit?: string;
  /** Fixed ends of the scale; what is left out follows the values. */
  from?: number;
  to?: number;
  /** Shade between the first two lines. */
  gap?: boolean;
}

export function Plot(props: PlotProps) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const newest = useRef(props);
  newest.current = props;
  const shape = `${theme.value} ${props.lines.length} ${props.unit} ${props.gap} ${props.from} ${props.to}`;
  useEffect(() => drawn(box.current!, (UPlot, element) => (chart.current = new UPlot(options(newest.current, element), columns(newest.current), element))), [shape]);
  useEffect(() => chart.current?.setData(columns(props)), [props.times, props.lines]);
  return <div class="plot" ref={box} role="img" aria-label={`${props.label}. ${inWords(props)}`} />;
}

const columns = ({ times, lines }: PlotProps): uPlot.AlignedData => [times, ...lines.map((line) => line.values)] as uPlot.AlignedData;

/** Draw into a box and keep to its size until the answer is called. The library comes when it is first needed: the map does not wait for it. */
export function drawn(element: HTMLElement, make: (UPlot: typeof uPlot, element: HTMLElement) => uPlot): () => void {
  let plot: uPlot | undefined;
  let gone = false;
  const watch = new ResizeObserver(([entry]) => plot?.setSize(sizeOf(entry.contentRect)));
  import("uplot").then(({ default: UPlot }) => {
    if (gone) return;
    plot = make(UPlot, element);
    watch.observe(element);
  }, () => {});
  return () => {
    gone = true;
    watch.disconnect();
    plot?.destroy();
  };
}

const [MINUTE, HOUR] = [60, 3600];
/** Between two times on the axis: never less than the second that they are written with. */
const STEPS_S = [1, 5, 15, 30, MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR];

function options({ lines, unit = "", from, to, gap }: PlotProps, element: HTMLElement): uPlot.Options {
  const axis = { stroke: token("--muted"), ticks: { show: false }, font: "11px InterVar" };
  return {
    width: element.clientWidth,
    height: element.clientHeight,
    padding: [8, 28, 0, 0], // room for half of the last time
    cursor: { points: { size: 6 }, y: false, drag: { setScale: false } },
    legend: { show: false },
    scales: { y: { range: (_plot, low, high) => [from ?? Math.min(0, low), to ?? (high > 0 ? high * 1.08 : 1)] } },
    axes: [
      { ...axis, grid: { show: false }, size: 24, space: 64, incrs: STEPS_S, values: (_plot, at) => timeLabels(at) },
      { ...axis, grid: { stroke: token("--line"), width: 1 }, size: 46, space: 30, values: (_plot, at) => at.map((value) => `${value}${unit}`) },
    ],
    series: [{}, ...lines.map((line) => ({
      label: line.title, stroke: token(`--${line.colour}`), width: line.dashed ? 1.25 : 1.75, points: { show: false }, ...(line.dashed ? { dash: [4, 3] } : {}),
    }))],
    ...(gap ? { bands: [{ series: [1, 2] as [number, number], fill: token("--warn-soft") }] } : {}),
  };
}

/** Whole pixels of the box without its padding: a chart of the padding's size more would make its box grow. */
const sizeOf = ({ width, height }: DOMRectReadOnly) => ({ width: Math.floor(width), height: Math.floor(height) });

function timeLabels(at: number[]): string[] {
  const span = (at.at(-1) ?? 0) - (at[0] ?? 0);
  return at.map((time) => (span > 172_800 ? day(time * 1000).slice(5) : clock(time * 1000, span < 300)));
}

function inWords({ lines, unit = "" }: PlotProps): string {
  return lines.map((line) => {
    const last = line.values.findLast((value) => value !== null);
    return `${line.title}: ${last === undefined || last === null ? "nothing yet" : `${Math.round(last * 10) / 10}${unit}`}`;
  }).join(", ");
}
