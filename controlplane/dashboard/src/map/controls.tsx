/** What stands above a map: which GPUs stand out, by which figure they are coloured, and what the colours mean. */
import { Mark, Segments, type MarkKind } from "../components/parts";
import { count } from "../format";
import { State, statesOf, summary } from "../state/fleet";
import type { Colouring, Highlight } from "./paint";

const FIGURES = [["utilization", "Util"], ["memory", "Memory"], ["temperature", "Temp"], ["power", "Power"]] as const;
const ENDS: Record<Colouring, [string, string]> = {
  utilization: ["0%", "100%"], memory: ["0%", "100%"], temperature: ["25 °C", "90 °C"], power: ["0 W", "750 W"], tenant: ["", ""],
};

type Figure = (typeof FIGURES)[number][0];

export function MapControls({ value, onChange }: { value: Figure; onChange: (value: Figure) => void }) {
  return (
    <>
      <Legend of={value} />
      <Segments label="Colour by" options={FIGURES} value={value} onChange={onChange} />
    </>
  );
}

export const Legend = ({ of }: { of: Colouring }) =>
  of === "tenant" ? null : <div class="legend"><span>{ENDS[of][0]}</span><i class="ramp" aria-hidden="true" /><span>{ENDS[of][1]}</span></div>;

type Shown = Exclude<Highlight, "drained">;
const CHIPS: [Shown, string, MarkKind | null, State[]][] = [
  ["all", "All GPUs", null, []],
  ["idle", "Allocated but idle", "ring", [State.idle]],
  ["fault", "Faulty or offline", "solid", [State.fault, State.offline]],
  ["free", "Free", "free", [State.free]],
];

interface ChipsProps {
  value: Shown;
  /** The GPUs that are counted: those in view, null for all. */
  of: readonly number[] | null;
  onChange: (value: Shown) => void;
}

export function Chips({ value, of, onChange }: ChipsProps) {
  const all = summary.value;
  const counts = all && (of ? statesOf(of) : all.states);
  return (
    <div class="chips" role="group" aria-label="Highlight">
      {CHIPS.map(([id, title, mark, states]) => (
        <button type="button" key={id} class="chip" aria-pressed={id === value} onClick={() => onChange(id === value ? "all" : id)}>
          {mark && <Mark kind={mark} />}{of && id === "all" ? "In view" : title}{" "}
          <b>{counts ? count(sum(states.length ? states.map((state) => counts[state]) : counts)) : "–"}</b>
        </button>
      ))}
    </div>
  );
}

const sum = (of: readonly number[]): number => of.reduce((total, each) => total + each, 0);
