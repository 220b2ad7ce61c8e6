/** The key: in memory and sessionStorage, never in a URL; what it may do is the server's to say. */
import { signal } from "@preact/signals";
import type { WhoAmI } from "./schema";

const STORED = "gpuforge.key";
const FORM = /^gfk_[0-9a-f]{64}$/;

export const key = signal<string>(read());
/** The server said 401: without a key that demo mode is off, with one that it is not (any more) valid. */
export const refused = signal(false);
export const who = signal<WhoAmI | null>(null);

export type Scope = "read" | "write" | "admin";

/** Whether controls of that scope are shown. The server decides what is allowed. */
export function may(scope: Scope): boolean {
  return !!key.value && !!who.value && who.value.kind !== "anonymous" && who.value.scopes.includes(scope);
}
/** The same of what is the operators': a tenant's key changes no fleet, tenant, invoice, rate or rule. */
export const mayOperate = (scope: Scope = "write"): boolean => may(scope) && who.value?.kind === "key";
/** Whether it is a tenant that is signed in: it sees what is its own. */
export const isTenant = (): boolean => who.value?.kind === "tenant key";

/** What is wrong with a pasted key before it is even tried; "" when nothing is. */
export function keyFault(raw: string): string {
  if (!raw) return "Paste a key first.";
  if (/^Bearer\s/i.test(raw)) return "Paste the key alone, without “Bearer”.";
  if (!raw.startsWith("gfk_")) return "A key begins with gfk_.";
  if (!FORM.test(raw)) return `A key has 64 hex digits after gfk_; this one has ${raw.length - 4} characters.`;
  return "";
}

export function signIn(raw: string): void {
  who.value = null;
  try {
    sessionStorage.setItem(STORED, raw);
  } catch {
    /* storage may be off: the key then lives as long as this page */
  }
  key.value = raw;
  refused.value = false;
}

export function signOut(): void {
  try {
    sessionStorage.removeItem(STORED);
  } catch {
    /* nothing was stored then */
  }
  who.value = null;
  key.value = "";
  refused.value = false;
}

function read(): string {
  try {
    return sessionStorage.getItem(STORED) ?? "";
  } catch {
    return "";
  }
}
