/** Small parts that every tab is made of. */
import type { ComponentChildren, JSX } from "preact";
import { useId } from "preact/hooks";
import { NONE } from "../format";

interface PanelProps {
  title: string;
  /** Beside the title, in a quieter voice. */
  note?: ComponentChildren;
  /** At the right end of the header. */
  actions?: ComponentChildren;
  class?: string;
  children: ComponentChildren;
}

export function Panel({ title, note, actions, children, class: extra = "" }: PanelProps) {
  const id = useId();
  return (
    <section class={`panel ${extra}`} aria-labelledby={id}>
      <header>
        <h2 id={id}>{title}</h2>
        {note && <span class="muted note">{note}</span>}
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </section>
  );
}

interface FieldProps {
  label: string;
  hint?: ComponentChildren;
  /** What the server (or the form) says is wrong with it. */
  fault?: string | undefined;
  children: JSX.Element;
}

/** A label around its control, with a hint or what is wrong below. */
export const Field = ({ label, hint, fault, children }: FieldProps) => (
  <label class={fault ? "field bad" : "field"}>
    <span>{label}</span>
    {children}
    {fault ? <small role="alert">{fault}</small> : hint && <small>{hint}</small>}
  </label>
);

interface ChoiceProps<T extends string> {
  label: string;
  options: readonly (readonly [T, string])[];
  value: T;
  onChange: (value: T) => void;
}

/** A few choices side by side. */
export const Segments = <T extends string>({ label, options, value, onChange }: ChoiceProps<T>) => (
  <div class="segments" role="group" aria-label={label}>
    {options.map(([id, title]) => (
      <button type="button" key={id} aria-pressed={id === value} onClick={() => onChange(id)}>{title}</button>
    ))}
  </div>
);

/** A choice out of a list. */
export const Select = <T extends string>({ label, options, value, onChange }: ChoiceProps<T>) => (
  <select class="select" aria-label={label} value={value} onChange={(event) => onChange(event.currentTarget.value as T)}>
    {options.map(([id, title]) => <option key={id} value={id}>{title}</option>)}
  </select>
);

interface BarProps {
  label: string;
  value: number;
  most: number;
  /** From this share on it is drawn warm. */
  warmFrom?: number;
}

export const Bar = ({ label, value, most, warmFrom = 0.9 }: BarProps) => {
  const share = most > 0 ? Math.min(1, value / most) : 0;
  return (
    <i class={share >= warmFrom ? "bar warm" : "bar"} role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={most} aria-valuenow={value}>
      <i style={{ width: `${100 * share}%` }} />
    </i>
  );
};

interface FigureProps {
  title: string;
  value: ComponentChildren;
  unit?: string | undefined;
  note?: ComponentChildren;
  warm?: boolean;
  /** Where more of it is told. */
  to?: string;
}

/** One number that matters, among others of its kind in a `.kpis`. */
export function Figure({ title, value, unit, note, warm = false, to }: FigureProps) {
  const Box = to ? "a" : "div";
  return (
    <Box class="kpi" {...(to ? { href: to } : {})}>
      <span class="kpi-title">{title}</span>
      <span class={warm ? "kpi-value warm" : "kpi-value"}>{value}{unit && value !== NONE && <small>{unit}</small>}</span>
      <span class="kpi-note">{note || "\u00a0"}</span>
    </Box>
  );
}

/** A mark whose shape says what its colour says: ring idle, solid fault, dash drained, tri attention, dot fine. */
export type MarkKind = "ring" | "solid" | "dash" | "tri" | "dot" | "free";
export const Mark = ({ kind }: { kind: MarkKind }) => <i class={`mark ${kind}`} aria-hidden="true" />;

/** A word for a state with its mark. */
export const Status = ({ kind, children }: { kind: MarkKind; children: ComponentChildren }) => (
  <span class="status"><Mark kind={kind} />{children}</span>
);

/** Names and values, two columns. */
export const Facts = ({ of }: { of: readonly (readonly [string, ComponentChildren])[] }) => (
  <dl class="facts">
    {of.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}
  </dl>
);
