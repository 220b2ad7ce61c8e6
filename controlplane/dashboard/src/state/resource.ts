/** Polled answers of the API, shared by all who show them, kept while they are being asked for again. */
import { effect, signal, type Signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { Problem } from "../api/client";
import { key } from "../api/session";

export interface Resource<T> {
  /** The newest answer; it stays when a later request fails. */
  data: Signal<T | null>;
  error: Signal<Problem | null>;
  /** When `data` was answered, in ms since 1970; 0 before. */
  at: Signal<number>;
  refresh(): Promise<void>;
}

interface Entry extends Resource<unknown> {
  users: number;
  everyMs: number;
  timer: number;
  busy: Promise<void> | null;
  fetch: () => Promise<unknown>;
}

const entries = new Map<string, Entry>();

/**
 * The answer of `fetch`, asked again every `everyMs` while somebody shows it and the page is visible. `name` tells
 * equal questions apart from others; begin it with the path, which is what `touch` looks for. The hook is given the
 * same name for as long as the question is the same: put filters into it.
 */
export function useResource<T>(name: string, fetch: () => Promise<T>, everyMs = 10_000): Resource<T> {
  const entry = entryOf(name);
  entry.fetch = fetch;
  useEffect(() => {
    entry.users++;
    entry.everyMs = everyMs;
    if (Date.now() - entry.at.value > 1000) void ask(entry);
    else plan(entry);
    return () => {
      if (--entry.users === 0) clearTimeout(entry.timer);
    };
  }, [entry, everyMs]);
  return entry as unknown as Resource<T>;
}

const PATIENCE_MS = 2000;

/**
 * Ask again at once for all that begins with one of these: after a write, or when the stream tells of a change. Ends when
 * it is all there, so that a dialog closes on what it did; no slow figure beside it holds that up for long.
 */
export function touch(...prefixes: string[]): Promise<void> {
  const found = [...entries].filter(([name]) => prefixes.some((prefix) => name.startsWith(prefix)));
  for (const [, entry] of found) if (!entry.users) entry.at.value = 0;
  const all = Promise.all(found.filter(([, entry]) => entry.users).map(([, entry]) => ask(entry, true)));
  return Promise.race([all, new Promise((late) => setTimeout(late, PATIENCE_MS))]).then(() => {});
}

function entryOf(name: string): Entry {
  let entry = entries.get(name);
  if (!entry) {
    const made: Entry = {
      data: signal(null), error: signal(null), at: signal(0),
      users: 0, everyMs: 10_000, timer: 0, busy: null,
      fetch: () => Promise.resolve(null),
      refresh: () => ask(made, true),
    };
    entries.set(name, (entry = made));
  }
  return entry;
}

async function ask(entry: Entry, again = false): Promise<void> {
  if (entry.busy) {
    await entry.busy;
    if (!again) return; // what a write changed may be missing from an answer that was already on its way
  }
  clearTimeout(entry.timer);
  const asked = key.value;
  entry.busy = (async () => {
    try {
      const data = await entry.fetch();
      if (asked !== key.value) return;
      entry.data.value = data;
      entry.error.value = null;
      entry.at.value = Date.now();
    } catch (error) {
      if (asked !== key.value) return;
      entry.error.value = error instanceof Problem ? error : new Problem(0, String(error));
    }
  })();
  await entry.busy;
  entry.busy = null;
  plan(entry);
}

function plan(entry: Entry): void {
  clearTimeout(entry.timer);
  if (!entry.users || !entry.everyMs) return;
  const wait = Math.max(entry.everyMs, 1000 * (entry.error.value?.retryAfter ?? 0));
  entry.timer = window.setTimeout(() => (document.hidden ? plan(entry) : void ask(entry)), wait);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) for (const entry of entries.values()) if (entry.users && entry.everyMs) void ask(entry);
});

// Another key sees other things: nothing of the last one's may stay on the page.
let shownTo = key.value;
effect(() => {
  if (key.value === shownTo) return;
  shownTo = key.value;
  for (const entry of entries.values()) {
    entry.data.value = null;
    entry.error.value = null;
    entry.at.value = 0;
    if (entry.users) void ask(entry, true);
  }
});
