/** Typed calls of the public REST API: `await call("GET /api/jobs/{job_id}", { path: { job_id: 7 } })`. */
import { signal } from "@preact/signals";
import { hearDate, present } from "./clock";
import type { Operations, Problem as ProblemBody } from "./schema";
import { key, refused } from "./session";

export type Operation = keyof Operations;
export type Answer<O extends Operation> = Operations[O]["answer"];

type Part<Name extends string, T> = T extends undefined
  ? unknown
  : T extends Record<string, never>
    ? unknown
    : Record<string, never> extends T
      ? { [N in Name]?: T }
      : { [N in Name]: T };
export type Arguments<O extends Operation> = Part<"path", Operations[O]["path"]> &
  Part<"query", Partial<Operations[O]["query"]>> &
  Part<"body", Operations[O]["body"]> & { signal?: AbortSignal };

/** Which demo answered last: null with a key. */
export const demo = signal<"sample" | "live" | null>(null);
/** Whether the control plane could be reached at the last try. */
export const reachable = signal(true);

/** Why a call failed. `status` 0: the control plane could not be reached. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code = "",
    readonly fields: { path: string; message: string }[] = [],
    readonly requestId = "",
    readonly retryAfter = 0,
  ) {
    super(message);
  }
  /** What is wrong with the field of that name, if anything. */
  of(field: string): string | undefined {
    return this.fields.find((each) => each.path === field)?.message;
  }
}

export interface Loose {
  path?: Record<string, number | string>;
  query?: Record<string, unknown>;
  body?: unknown;
  signal?: AbortSignal;
}

/** The answer of an operation. Throws Problem. */
export async function call<O extends Operation>(operation: O, ...args: Optional<Arguments<O>>): Promise<Answer<O>> {
  return (await exchange(operation, (args[0] ?? {}) as Loose)).json() as Promise<Answer<O>>;
}
type Optional<T> = Record<string, never> extends T ? [T?] : [T];

/** All pages of a list, by way of its Link headers. Throws Problem. */
export async function pages<O extends Operation>(operation: O, ...args: Optional<Arguments<O>>): Promise<Answer<O>[]> {
  const loose = (args[0] ?? {}) as Loose;
  const found: Answer<O>[] = [];
  let query = loose.query;
  for (;;) {
    const response = await exchange(operation, { ...loose, query });
    found.push((await response.json()) as Answer<O>);
    const next = /<([^>]*)>; *rel="next"/.exec(response.headers.get("Link") ?? "")?.[1];
    if (!next) return found;
    query = Object.fromEntries(new URL(next, document.baseURI).searchParams);
  }
}

export function authorization(): Record<string, string> {
  return key.value ? { Authorization: `Bearer ${key.value}` } : {};
}

/** The path of an operation, relative to the page, so that it works under any path of a proxy. */
export function address(operation: string, args: Pick<Loose, "path" | "query">): string {
  const template = operation.slice(operation.indexOf(" ") + 2);
  const path = template.replace(/{(\w+)}/g, (_, name: string) => encodeURIComponent(args.path?.[name] ?? ""));
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(args.query ?? {}))
    if (value !== undefined && value !== null) query.set(name, String(value));
  return query.size ? `${path}?${query}` : path;
}

/** The Idempotency-Keys of what was asked for and not answered: whoever asks for it again means the same, and the control
 *  plane may have made that job or invoice already. */
const unanswered = new Map<string, string>();
const SAME_FOR_MS = 600_000; // who comes back later means another

function settle(request: string, idempotencyKey: string | undefined, answered: boolean): void {
  if (answered) unanswered.delete(request);
  else if (idempotencyKey && !unanswered.has(request)) {
    unanswered.set(request, idempotencyKey);
    setTimeout(() => unanswered.delete(request), SAME_FOR_MS);
  }
}

/** The response itself, for what is no JSON. Throws Problem. */
export async function exchange(operation: string, args: Loose, more: Record<string, string> = {}): Promise<Response> {
  const method = operation.slice(0, operation.indexOf(" "));
  const used = key.value;
  const headers: Record<string, string> = { ...authorization(), ...more };
  const path = address(operation, args);
  const body = args.body === undefined ? null : JSON.stringify(args.body);
  const request = `${used} ${method} ${path} ${body}`;
  if (body !== null) headers["Content-Type"] = "application/json";
  if (method === "POST") headers["Idempotency-Key"] = unanswered.get(request) ?? crypto.randomUUID?.() ?? String(Math.random()).slice(2);
  const asked = Date.now();
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body,
      signal: args.signal ?? null,
      cache: "no-store",
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    reachable.value = false;
    settle(request, headers["Idempotency-Key"], false);
    throw new Problem(0, "The control plane can't be reached.");
  }
  reachable.value = true;
  hearDate(response.headers.get("Date"), asked);
  settle(request, headers["Idempotency-Key"], response.status < 500);
  if (used === key.value) note(response, used);
  if (!response.ok) throw await problem(response);
  return response;
}

function note(response: Response, used: string): void {
  const mark = response.headers.get("X-GPUForge-Demo");
  if (mark === "sample" || mark === "live") demo.value = mark;
  else if (used) demo.value = null; // what is open to all, such as the API's description, bears no mark
  if (response.status === 401) refused.value = true;
  else if (response.ok) refused.value = false;
}

async function problem(response: Response): Promise<Problem> {
  const told = (await response.json().catch(() => ({}))) as Partial<ProblemBody>;
  const wait = secondsOf(response.headers.get("Retry-After"));
  const words = told.detail ?? told.error ?? `the control plane answered ${response.status}`;
  return new Problem(response.status, words, told.code, told.errors, told.request_id, wait);
}

/** Of a Retry-After, which a proxy may write as a date. A browser's timer that is given too much runs out at once. */
function secondsOf(given: string | null): number {
  const seconds = Number(given ?? 0);
  const wanted = Number.isNaN(seconds) ? (Date.parse(given!) - present()) / 1000 : seconds;
  return Math.max(0, Math.min(wanted, LONGEST_WAIT_S)) || 0;
}
const LONGEST_WAIT_S = 3600;
