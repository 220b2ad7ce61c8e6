/** The fleet map: a canvas, the names of its bands, and what lies under the pointer or the keyboard. */
import { effect } from "@preact/signals";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { celsius, percent, shortModel, watts } from "../format";
import { figure, jobOf, jobs, measuredAt, now, State, STATE_WORDS, tenantOf, tick, type Fleet } from "../state/fleet";
import { costOf } from "../state/rates";
import { theme } from "../theme/theme";
import { groups, hit, layOut, neighbour, type Grouping, type Layout } from "./layout";
import { Painter, type Colouring, type Highlight } from "./paint";

interface MapProps {
  fleet: Fleet;
  colouring: Colouring;
  highlight: Highlight;
  grouping?: Grouping;
  /** A place in `fleet.clusters`: that one alone. */
  cluster?: number | null;
  wanted?: ((gpu: number) => boolean) | null;
  onOpen: (gpu: number) => void;
  /** A click on a band's name: of clusters their id. */
  onBand?: (key: string) => void;
}

const narrow = matchMedia("(max-width:860px)");
const NARROW_HEIGHT = 460, HEADING = 22;
const STEPS: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function FleetMap({ fleet: all, colouring, highlight, grouping = "cluster", cluster = null, wanted = null, onOpen, onBand }: MapProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const painter = useRef<Painter | null>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  const [at, setAt] = useState(-1);
  // who holds what moves GPUs on the map only where tenants make its bands
  const holders = grouping === "tenant" ? jobs.value : null;
  const shown = useMemo(() => groups(all, grouping, cluster, wanted), [all, grouping, cluster, wanted, holders]);
  // on a narrow screen the map is as tall as it needs to be, and names stand above their bands
  const map = useMemo(() => {
    if (!size.width) return null;
    return narrow.matches ? layOut(all, shown, size.width, NARROW_HEIGHT, HEADING) : layOut(all, shown, size.width, size.height);
  }, [all, shown, size]);

  // measured and drawn before the browser paints: effects that come after it would cost the first map four frames
  useLayoutEffect(() => {
    const element = box.current!;
    const look = () => {
      const box = element.getBoundingClientRect();
      const [width, height] = [Math.floor(box.width), Math.floor(box.height)];
      setSize((known) => (known.width === width && known.height === height ? known : { width, height }));
    };
    look();
    const watch = new ResizeObserver(look);
    watch.observe(element);
    return () => watch.disconnect();
  }, []);

  useLayoutEffect(() => {
    if (!map) return;
    const brush = (painter.current ??= new Painter(canvas.current!));
    brush.fit(map);
    const draw = () => {
      brush.draw(map, colouring, highlight);
      if (measuredAt.peek() && !performance.getEntriesByName("first map").length) performance.mark("first map");
    };
    brush.wear(theme.peek());
    draw();
    let frame = 0, first = true;
    const stop = effect(() => {
      void tick.value;
      const worn = theme.value;
      if (first) return void (first = false);
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => {
        brush.wear(worn);
        draw();
      });
    });
    return () => {
      stop();
      cancelAnimationFrame(frame);
    };
  }, [map, colouring, highlight]);

  const onKey = (event: KeyboardEvent) => {
    const step = STEPS[event.key];
    if (!map) return;
    if (step) setAt(at < 0 || map.x[at] < 0 ? map.x.findIndex((x) => x >= 0) : neighbour(map, at, ...step));
    else if (event.key === "Enter" && at >= 0) onOpen(at);
    else if (event.key === "Escape" && at >= 0) setAt(-1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const under = (event: MouseEvent) => setAt(map ? hit(map, event.offsetX, event.offsetY) : -1);
  return (
    <div class="map">
      <div class="gutter">
        {map?.bands.map((band) => (
          <div key={band.group.key} class="band" style={{ top: `${band.top}px`, height: `${band.height}px` }}>
            {onBand && grouping === "cluster" ? <button onClick={() => onBand(band.group.key)}>{band.group.title}</button> : <b>{band.group.title}</b>}
            {band.group.notes.map((note) => <span key={note}>{note}</span>)}
          </div>
        ))}
      </div>
      <div class="cells" ref={box}>
        <canvas ref={canvas} tabIndex={0} role="application" aria-label="Fleet map. Arrow keys move between GPUs, Enter opens a node, Escape lets go."
          onKeyDown={onKey} onPointerMove={under} onPointerLeave={() => setAt(-1)} onClick={() => at >= 0 && onOpen(at)} />
        {map && at >= 0 && map.x[at] >= 0 && <Under map={map} gpu={at} all={all} />}
      </div>
    </div>
  );
}

/** A frame around one cell, and what there is to say of it. */
function Under({ map, gpu, all }: { map: Layout; gpu: number; all: Fleet }) {
  void tick.value;
  const x = map.x[gpu], y = map.y[gpu];
  const node = all.nodes[all.node[gpu]];
  const state: State = now.state[gpu];
  const job = jobOf(gpu);
  const cost = costOf(gpu);
  const facts: [string, string][] = [
    ["Model", shortModel(all.models[all.model[gpu]])],
    ["State", STATE_WORDS[state]],
    ["Tenant", tenantOf(gpu)?.name ?? "–"],
    ["Job", job?.name ?? "–"],
    ["Utilisation", withUnit(percent(figure("utilization", gpu)), "%")],
    ["Memory", withUnit(percent(figure("memory", gpu)), "%")],
    ["Temperature", celsius(figure("temperature", gpu))],
    ["Power", watts(figure("power", gpu))],
    ...(cost === null ? [] : [["Cost now", `$${cost.toFixed(2)}/h`] as [string, string]]),
  ];
  const left = Math.max(0, Math.min(x + map.cell + 10, map.width - 250));
  const above = y > 230;
  return (
    <>
      <i class="cell-mark" style={{ left: `${x - 2}px`, top: `${y - 2}px`, width: `${map.cell + 4}px`, height: `${map.cell + 4}px` }} />
      <div class="tip" style={{ left: `${left}px`, ...(above ? { bottom: `calc(100% - ${y - 8}px)` } : { top: `${y + map.cell + 8}px` }) }}>
        <div class="tip-head"><b>{node.hostname}</b><span>GPU {all.gpuIndex[gpu]}</span></div>
        <dl class="facts">{facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd class={name === "State" ? `state-${state}` : ""}>{value}</dd></div>)}</dl>
      </div>
      <div class="sr" aria-live="polite">{`${node.hostname} GPU ${all.gpuIndex[gpu]}, ${STATE_WORDS[state]}, ${percent(figure("utilization", gpu))} percent`}</div>
    </>
  );
}

const withUnit = (text: string, unit: string): string => (text === "–" ? text : text + unit);
