/** GET /api/events over fetch: EventSource can't send an Authorization header. */
import { effect } from "@preact/signals";
import { authorization, demo } from "../api/client";
import type { Operations } from "../api/schema";
import { key, refused } from "../api/session";
import { link, type Link } from "./link";

export interface Message {
  event: string;
  data: string;
}

const SILENT_MS = 15_000; // the server sends something every five seconds
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
const NOT_LIVE: Link = { kind: "wait", words: "Not live" };
const PATH: keyof Operations = "GET /api/events";

/** Cuts a stream of text into messages, wherever its pieces break. Comments and lone ids are left out. */
export function splitter(take: (message: Message, id: string) => void): (piece: string) => void {
  let rest = "";
  return (piece) => {
    rest += piece;
    for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
      const lines = rest.slice(0, end).split("\n");
      rest = rest.slice(end + 2);
      const field = (name: string): string[] => lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2));
      const data = field("data").join("\n");
      if (data) take({ event: field("event")[0] ?? "message", data }, field("id")[0] ?? "");
    }
  };
}

/** Stay connected for as long as the page lives, as whoever is signed in; anew when a key that was refused is not any more. */
export function follow(take: (message: Message) => void, reset: () => void): void {
  let stop = new AbortController();
  effect(() => {
    void key.value;
    stop.abort();
    stop = new AbortController();
    reset();
    if (refused.value) link.value = NOT_LIVE;
    else void stayConnected(take, stop.signal);
  });
}

async function stayConnected(take: (message: Message) => void, stop: AbortSignal): Promise<void> {
  let lastId = "";
  let wait = FIRST_WAIT_MS;
  link.value = { kind: "wait", words: "Connecting" };
  while (!stop.aborted) {
    const ended = await readOnce(lastId, stop, (message, id) => {
      if (id) lastId = id;
      wait = FIRST_WAIT_MS;
      take(message);
    });
    if (stop.aborted || ended === "refused") return; // another key starts anew
    link.value = { kind: "away", words: "Reconnecting" };
    await pause(wait * (0.7 + 0.6 * Math.random()), stop);
    wait = Math.min(2 * wait, LONGEST_WAIT_MS);
  }
}

async function readOnce(lastId: string, stop: AbortSignal, take: (message: Message, id: string) => void): Promise<"refused" | "broken"> {
  const silent = new AbortController();
  let timer = setTimeout(() => silent.abort(), SILENT_MS);
  try {
    const headers = { Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}), ...authorization() };
    const response = await fetch(PATH.slice(5), { headers, cache: "no-store", signal: AbortSignal.any([stop, silent.signal]) });
    if (response.status === 401 || response.status === 403) return refuse(response.status);
    if (!response.ok || !response.body) return "broken";
    const mark = response.headers.get("X-GPUForge-Demo");
    if (mark === "sample" || mark === "live") demo.value = mark;
    let closed = false;
    const split = splitter((message, id) => {
      closed ||= message.event === "closed";
      take(message, id);
    });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), SILENT_MS);
      split(part.value);
    }
    return closed ? refuse(401) : "broken";
  } catch {
    return "broken";
  } finally {
    clearTimeout(timer);
  }
}

function refuse(status: number): "refused" {
  if (status === 401) refused.value = true;
  link.value = NOT_LIVE;
  return "refused";
}

/** A while, or until the network is back. */
function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const end = () => {
      clearTimeout(timer);
      removeEventListener("online", end);
      done();
    };
    const timer = setTimeout(end, ms);
    addEventListener("online", end);
    stop.addEventListener("abort", end, { once: true });
  });
}
