/** Signing in: a key is pasted, tried, and kept for this browser tab alone. */
import { useState } from "preact/hooks";
import { call, Problem } from "../api/client";
import type { WhoAmI } from "../api/schema";
import { isTenant, key, keyFault, signIn, signOut, who } from "../api/session";
import { signingIn, tell } from "../state/dialogs";
import { Dialog, useWrite } from "./dialog";
import { Field } from "./parts";

export function SignIn() {
  const [raw, setRaw] = useState("");
  const [fault, setFault] = useState("");
  const write = useWrite();
  if (!signingIn.value) return null;
  const close = () => {
    signingIn.value = false;
    setRaw("");
    setFault("");
  };
  const submit = (event: Event) => {
    event.preventDefault();
    const wanted = raw.trim();
    const wrong = keyFault(wanted);
    setFault(wrong);
    if (!wrong) void write.run(() => enter(wanted, close));
  };
  return (
    <Dialog title="Sign in" onClose={close}>
      <form onSubmit={submit}>
        <Field label="API key" fault={fault || write.fault || undefined}
          hint="Kept in this browser tab alone, gone when it closes. It is sent to this control plane only, never in a URL.">
          <input type="password" class="mono" autofocus autocomplete="off" spellcheck={false} placeholder="gfk_…"
            value={raw} onInput={(event) => setRaw(event.currentTarget.value)} />
        </Field>
        <p class="muted">No key yet? On the control plane's host: <code>gpuforge-controlplane create-key --label me --permissions read,write,admin</code></p>
        <footer>
          <button type="button" class="button" onClick={close}>Cancel</button>
          <button class="button primary" disabled={write.busy}>{write.busy ? "Checking …" : "Sign in"}</button>
        </footer>
      </form>
    </Dialog>
  );
}

/** Try the key before it takes the place of the one in use. */
async function enter(raw: string, close: () => void): Promise<void> {
  const response = await fetch("api/whoami", { headers: { Authorization: `Bearer ${raw}` }, cache: "no-store" }).catch(() => null);
  if (!response) throw new Problem(0, "The control plane can't be reached");
  if (response.status === 401) throw new Problem(401, "The control plane does not know this key, or it was revoked");
  if (!response.ok) throw new Problem(response.status, `The control plane answered ${response.status}`);
  const told = (await response.json()) as WhoAmI;
  if (told.kind === "cluster key") throw new Problem(403, "This is a cluster's key: its agents use it, the dashboard needs an operator's or a tenant's");
  signIn(raw);
  who.value = told;
  close();
  tell(`Signed in as ${label()}.`);
}

/** Who is signed in, or the way in. */
export function Account() {
  if (!key.value) return <button class="nav-item" onClick={() => (signingIn.value = true)}>Sign in</button>;
  const holds = who.value ? (who.value.scopes.at(-1) ?? "no scope") : "…";
  return (
    <div class="account">
      <span><b title={label()}>{label()}</b><small>{isTenant() ? `tenant, ${holds}` : holds}</small></span>
      <button class="button ghost small" onClick={signOut}>Sign out</button>
    </div>
  );
}

/** The key's label, of `key 7 (label)`. */
const label = (): string => /\((.*)\)$/.exec(who.value?.name ?? "")?.[1] ?? who.value?.name ?? "Signed in";

/** Ask who the kept key is, once at the start and whenever it changes; again where there was no time to answer. */
export async function learnWho(): Promise<void> {
  const asked = key.value;
  while (asked === key.value) {
    try {
      const told = await call("GET /api/whoami");
      if (asked === key.value) who.value = told;
      return;
    } catch (error) {
      if (!(error instanceof Problem) || isRefusal(error)) return; // the panels say so
      await new Promise((again) => setTimeout(again, 1000 * (error.retryAfter || UNASKED_S)));
    }
  }
}
/** How long to wait where no Retry-After says it: the control plane is away. */
const UNASKED_S = 5;
const isRefusal = (error: Problem): boolean => error.status >= 400 && error.status < 500 && error.status !== 429;
