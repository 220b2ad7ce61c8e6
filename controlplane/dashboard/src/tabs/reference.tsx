/** The API reference, drawn from the route table's own description; a pasted key fills every curl, here alone. */
import { Filter } from "../components/filter";
import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { call } from "../api/client";
import { rawGet } from "../api/raw";
import { key, keyFault } from "../api/session";
import { CopyButton } from "../components/copy";
import { Field, Panel } from "../components/parts";
import { Empty, Loaded } from "../components/states";
import { useResource } from "../state/resource";
import { text } from "../url/codec";
import { BASE, parameters } from "../url/route";
import { curl, fieldsOf, readDocument, sample, written, type Document, type Endpoint } from "./openapi";
import "../style/reference.css";

const at = parameters("reference", { q: text() });
/** In memory only; it survives leaving the tab, not the page. */
const pasted = signal("");
const scopeOfPasted = signal("");

export function View() {
  const document = useResource("/api/openapi.json", async () => readDocument(await call("GET /api/openapi.json")), 0);
  return <Loaded of={document} skeleton={12}>{(read) => <Reference document={read} />}</Loaded>;
}

function Reference({ document }: { document: Document }) {
  const typed = at.values.value.q.toLowerCase();
  const found = document.endpoints.filter((each) => `${each.method} ${each.path} ${each.summary}`.toLowerCase().includes(typed));
  const tags = [...new Set(found.map((each) => each.tag))];
  return (
    <div class="reference">
      <div class="toolbar">
        <Filter label="Filter endpoints" placeholder="Filter endpoints" value={at.values.value.q} onInput={(typed) => at.set({ q: typed })} />
        <span class="muted">{found.length} of {document.endpoints.length} endpoints</span>
        <div class="grow" />
        <a class="link-text" href="api/openapi.json" target="_blank" rel="noreferrer">OpenAPI 3.1 document</a>
      </div>
      <PasteKey />
      {tags.map((tag) => (
        <Panel key={tag} title={tag}>
          {found.filter((each) => each.tag === tag).map((each) => <Row key={each.method + each.path} endpoint={each} document={document} />)}
        </Panel>
      ))}
      {!found.length && <Empty title="No endpoint fits this filter" />}
    </div>
  );
}

function PasteKey() {
  const fault = pasted.value ? keyFault(pasted.value.trim()) : "";
  const paste = (raw: string) => {
    pasted.value = raw;
    scopeOfPasted.value = "";
    if (raw && !keyFault(raw.trim())) void learnScope(raw.trim());
  };
  return (
    <Panel title="Authentication" note="Authorization: Bearer <key> in every request. Without the header: demo mode, read-only.">
      <div class="paste">
        <Field label="Paste a key to fill in every curl below" fault={fault || undefined}
          hint={scopeOfPasted.value === "admin"
            ? <b class="warned">This is an admin key: whoever sees your screen or shell history with it can mint keys. A read key is enough to try things.</b>
            : "It stays in this page's memory: stored nowhere, gone with the page. This control plane alone is asked what it may do."}>
          <input type="password" class="mono" autocomplete="off" spellcheck={false} placeholder="gfk_…" value={pasted.value} onInput={(event) => paste(event.currentTarget.value)} />
        </Field>
        {pasted.value && <button class="button" onClick={() => paste("")}>Forget it</button>}
      </div>
    </Panel>
  );
}

async function learnScope(raw: string): Promise<void> {
  const answer = await rawGet("api/whoami", raw).catch(() => null);
  if (answer?.status !== 200 || raw !== pasted.value.trim()) return;
  scopeOfPasted.value = (JSON.parse(answer.text) as { scopes: string[] }).scopes.at(-1) ?? "";
}

function Row({ endpoint, document }: { endpoint: Endpoint; document: Document }) {
  const [open, setOpen] = useState(false);
  return (
    <details class="endpoint" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <i class={`method ${endpoint.method.toLowerCase()}`}>{endpoint.method}</i>
        <code>{endpoint.path}</code>
        <span class="muted"><Words of={endpoint.summary} /></span>
        {endpoint.scope && <i class={endpoint.scope === "admin" ? "tag strong" : "tag"}>{endpoint.scope}</i>}
      </summary>
      {open && <Details endpoint={endpoint} document={document} />}
    </details>
  );
}

/** What stands between backticks is code. */
const Words = ({ of: text }: { of: string }) => <>{text.split("`").map((part, place) => (place % 2 ? <code key={place}>{part}</code> : part))}</>;

function Details({ endpoint, document }: { endpoint: Endpoint; document: Document }) {
  const valid = pasted.value && !keyFault(pasted.value.trim()) ? pasted.value.trim() : "";
  const body = endpoint.body ? sample(document, endpoint.body, true) : undefined;
  const line = (bearer: string) => curl(endpoint, body, BASE, bearer);
  return (
    <div class="endpoint-body">
      <Parameters title="Path and query parameters" rows={endpoint.parameters} />
      {endpoint.body && <Parameters title="Request body" rows={fieldsOf(document, endpoint.body)} />}
      <div class="code-block">
        <header><span>curl</span><CopyButton text={line(valid || "YOUR_KEY")} /></header>
        {/* the key itself is copied, never drawn: people share screens */}
        <pre tabIndex={0} role="region" aria-label={`curl for ${endpoint.method} ${endpoint.path}`}>{line(valid ? `${valid.slice(0, 12)}…` : "YOUR_KEY")}</pre>
      </div>
      {endpoint.answer && (
        <div class="code-block">
          <header><span>Answer, {endpoint.statuses.join(" or ")}</span></header>
          <pre tabIndex={0} role="region" aria-label="Example of the answer">{written(sample(document, endpoint.answer), endpoint.tag, 2)}</pre>
        </div>
      )}
      {endpoint.method === "GET" && (endpoint.streams ? <p class="muted">This page listens to it all the time; to see it, run the curl line above with -N.</p> : <TryIt endpoint={endpoint} bearer={valid || key.value} />)}
    </div>
  );
}

interface ParameterRow {
  name: string;
  type: string;
  required: boolean;
  words: string;
}

const Parameters = ({ title, rows }: { title: string; rows: ParameterRow[] }) =>
  rows.length ? (
    <div class="table-box">
      <table>
        <thead><tr><th scope="col">{title}</th><th scope="col">Type</th><th scope="col">Description</th></tr></thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.name}>
              <td><code>{row.name}</code>{row.required && <i class="tag strong">required</i>}</td>
              <td class="muted">{row.type}</td>
              <td class="wraps"><Words of={row.words} /></td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  ) : null;

function TryIt({ endpoint, bearer }: { endpoint: Endpoint; bearer: string }) {
  const [path, setPath] = useState(endpoint.path.replace(/{\w+}/g, "1"));
  const [answer, setAnswer] = useState<{ status: number; text: string; ms: number } | null>(null);
  const [busy, setBusy] = useState(false);
  const send = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setAnswer(await rawGet(path, bearer).catch(() => ({ status: 0, text: "The control plane can't be reached.", ms: 0 })));
    setBusy(false);
  };
  const allowed = path.startsWith(endpoint.path.split("{")[0]);
  return (
    <form class="code-block" onSubmit={(event) => void send(event)}>
      <header>
        <span>Try it</span>
        <input class="mono" aria-label="Path to ask for" value={path} onInput={(event) => setPath(event.currentTarget.value)} />
        <button class="button small primary" disabled={busy || !allowed}>{busy ? "Asking …" : "Send GET"}</button>
      </header>
      {answer && (
        <>
          <p class="muted pad" role="status">{answer.status ? `${answer.status} in ${Math.round(answer.ms)} ms` : "No answer"}, {bearer ? "with your key" : "without a key"}</p>
          <pre tabIndex={0} role="region" aria-label="The answer">{pretty(answer.text)}</pre>
        </>
      )}
    </form>
  );
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2).slice(0, 20_000);
  } catch {
    return text.slice(0, 20_000);
  }
}
