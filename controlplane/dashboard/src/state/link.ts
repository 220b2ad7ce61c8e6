/** How the page hears from the control plane, in a word for the top bar. */
import { signal } from "@preact/signals";

export interface Link {
  kind: "live" | "wait" | "away";
  words: string;
}

export const link = signal<Link>({ kind: "wait", words: "Connecting" });
