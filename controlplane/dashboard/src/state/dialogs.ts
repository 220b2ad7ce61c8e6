/** What lies over the page: one dialog at a time, and toasts. */
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";

export interface Confirmation {
  title: string;
  /** What will happen, in words. */
  body: ComponentChildren;
  /** What the button says: the verb and the noun. */
  action: string;
  danger?: boolean;
  /** Destructive: this has to be typed first. */
  typed?: string;
  /** Does it; throws Problem. What it answers is shown as a toast. */
  run: () => Promise<string | void>;
}

/** A secret that was just made. */
export interface OneTime {
  title: string;
  body: ComponentChildren;
  label: string;
  text: string;
  /** What to do with it. */
  after?: ComponentChildren;
}

export interface Toast {
  id: number;
  text: string;
  kind: "good" | "bad";
}

export const signingIn = signal(false);
export const confirmation = signal<Confirmation | null>(null);
export const palette = signal(false);
export const secrets = signal<readonly OneTime[]>([]);
export const toasts = signal<Toast[]>([]);

export const askToSignIn = (): void => void (signingIn.value = true);
/** Ask before a write. */
export const confirm = (wanted: Confirmation): void => void (confirmation.value = wanted);

/** Show what can be shown this once, wherever the page is gone to by now; after the form has closed that it was made in,
 *  and has given the focus back. */
export const showOnce = (made: OneTime): void => void setTimeout(() => (secrets.value = [...secrets.value, made]));

let lastToast = 0;
/** Say what a write did. Errors stay until they are closed. */
export function tell(text: string, kind: Toast["kind"] = "good"): void {
  const toast = { id: ++lastToast, text, kind };
  toasts.value = [...toasts.value.slice(-3), toast];
  if (kind === "good") setTimeout(() => dismiss(toast.id), 6000);
}
export function dismiss(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}
