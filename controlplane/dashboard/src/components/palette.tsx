/** Ctrl K: go to a tab, a node, a job or a tenant by a few letters. */
import type { ReadonlySignal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { palette } from "../state/dialogs";
import { go } from "../url/route";
import { Dialog } from "./dialog";

export interface Target {
  title: string;
  kind: string;
  address: string;
}

const MOST = 12;

interface PaletteProps {
  known: ReadonlySignal<readonly Target[]>;
  /** What is looked for beside them, when it opens. */
  asked: () => Promise<Target[]>[];
  /** Where to go on with what is typed, below what was found. */
  beyond: (typed: string) => Target[];
  /** What is not found by itself. */
  note: string;
}

export const Palette = (props: PaletteProps) => (palette.value ? <Open {...props} /> : null);

function Open({ known, asked, beyond, note }: PaletteProps) {
  const [typed, setTyped] = useState("");
  const [at, setAt] = useState(0);
  const [more, setMore] = useState<readonly Target[]>([]);
  const list = useRef<HTMLUListElement>(null);
  useEffect(() => {
    for (const answer of asked()) void answer.then((found) => setMore((before) => merged(before, found)), () => {});
  }, []);
  useEffect(() => list.current?.children[at]?.scrollIntoView({ block: "nearest" }), [at]);
  const targets = useMemo(() => merged(known.value, more), [known.value, more]);
  const found = [...matches(targets, typed), ...beyond(typed)];
  const close = () => (palette.value = false);
  const open = (target: Target | undefined) => {
    if (!target) return;
    close();
    go(target.address, "push");
  };
  const onKey = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter") open(found[at]);
    else if (step && found.length) setAt((at + step + found.length) % found.length);
    else return;
    event.preventDefault();
  };
  return (
    <Dialog title="Go to" onClose={close}>
      <input autofocus class="palette-input" role="combobox" aria-expanded="true" aria-controls="palette-list" aria-label="Search tabs, nodes, jobs, tenants"
        aria-activedescendant={found[at] ? `palette-${at}` : undefined} placeholder="Search tabs, nodes, jobs, tenants" value={typed}
        onInput={(event) => (setTyped(event.currentTarget.value), setAt(0))} onKeyDown={onKey} />
      <ul class="palette-list" id="palette-list" role="listbox" aria-label="Matches" ref={list}>
        {found.map((target, place) => (
          <li key={target.address} id={`palette-${place}`} role="option" aria-selected={place === at}
            onMouseMove={() => setAt(place)} onClick={() => open(target)}>
            <span>{target.title}</span><small>{target.kind}</small>
          </li>
        ))}
      </ul>
      <p class="faint palette-note">{note}</p>
    </Dialog>
  );
}

/** A job that runs is among the newest, too. */
function merged(known: readonly Target[], more: readonly Target[]): Target[] {
  const there = new Set(known.map((each) => each.address));
  return [...known, ...more.filter((each) => !there.has(each.address))];
}

/** Those that hold all the words; those that begin with them first. */
export function matches(targets: readonly Target[], typed: string): Target[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const rank = (target: Target): number => {
    const title = target.title.toLowerCase();
    if (!words.every((word) => title.includes(word) || target.kind.toLowerCase().includes(word))) return -1;
    return words.length && title.startsWith(words[0]) ? 1 : 0;
  };
  return targets.map((target) => ({ target, rank: rank(target) })).filter((each) => each.rank >= 0)
    .sort((a, b) => b.rank - a.rank).slice(0, MOST).map((each) => each.target);
}
