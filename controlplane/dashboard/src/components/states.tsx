/** What a panel shows before, instead of and beside its data. */
import type { ComponentChildren } from "preact";
import { demo, type Problem } from "../api/client";
import { key, signOut } from "../api/session";
import { clock } from "../format";
import { link } from "../state/link";
import type { Resource } from "../state/resource";
import { askToSignIn } from "../state/dialogs";
import { CopyLine } from "./copy";
import { Icon } from "./icon";

interface LoadedProps<T> {
  of: Resource<T>;
  /** Lines of the skeleton; or what to show instead of one. */
  skeleton?: number | ComponentChildren;
  children: (data: T) => ComponentChildren;
}

/** The data of a resource: a skeleton before the first answer, the reason without one, old values marked as such. */
export function Loaded<T>({ of, skeleton = 4, children }: LoadedProps<T>) {
  const data = of.data.value;
  const error = of.error.value;
  if (data === null)
    return error ? <Failed error={error} retry={of.refresh} /> : typeof skeleton === "number" ? <Skeleton lines={skeleton} /> : <>{skeleton}</>;
  return (
    <>
      {error && <Stale error={error} at={of.at.value} />}
      {children(data)}
    </>
  );
}

export const Skeleton = ({ lines }: { lines: number }) => (
  <div class="skeleton" role="status" aria-busy="true" aria-label="Loading">
    {Array.from({ length: lines }, (_, line) => <i key={line} />)}
  </div>
);

/** While the stream has not told of the fleet. */
export const NoFleet = ({ lines }: { lines: number }) =>
  link.value.kind === "away" ? (
    <Notice icon="warn" title="No live figures come"><p>The control plane is away or has too much to do. It is asked again every few seconds.</p></Notice>
  ) : <Skeleton lines={lines} />;

/** A skeleton of a row of figures. */
export const FiguresSkeleton = () => (
  <div class="kpis" role="status" aria-busy="true" aria-label="Loading">
    {[0, 1, 2, 3, 4].map((place) => <div key={place} class="kpi skel" />)}
  </div>
);

function Stale({ error, at }: { error: Problem; at: number }) {
  return (
    <p class="stale" role="status">
      <Icon name="warn" /> Values of {clock(at, true)}. {error.status === 0 ? "Reconnecting …" : error.message}
    </p>
  );
}

/** An error in words with the next step. */
export function Failed({ error, retry }: { error: Problem; retry?: () => Promise<void> }) {
  if (error.status === 401) return <Unauthorised />;
  if (error.status === 403)
    return (
      <Notice icon="lock" title="This key may not see that">
        <p>{sentence(error.message)}</p>
        <button class="button" onClick={askToSignIn}>Use another key</button>
      </Notice>
    );
  const offline = error.status === 0;
  return (
    <Notice icon="warn" title={offline ? "The control plane can't be reached" : "That didn't work"}>
      <p>{offline ? "It is asked again every few seconds; values appear as soon as it answers." : sentence(error.message)}</p>
      {error.requestId && <p class="faint">Request {error.requestId}, as the control plane's log has it.</p>}
      {retry && <button class="button" onClick={() => void retry()}>Try again</button>}
    </Notice>
  );
}

export function Unauthorised() {
  return key.value ? (
    <Notice icon="lock" title="This key is no longer valid">
      <p>It was revoked, has expired, or was mistyped.</p>
      <button class="button primary" onClick={askToSignIn}>Sign in with another key</button>
      <button class="button" onClick={signOut}>Sign out</button>
    </Notice>
  ) : (
    <Notice icon="lock" title="Sign in to see this fleet">
      <p>This control plane shows nothing without a key. The first one comes from its host:</p>
      <CopyLine text="gpuforge-controlplane create-key --label me --permissions read,write,admin" />
      <button class="button primary" onClick={askToSignIn}>Sign in</button>
    </Notice>
  );
}

/** Nothing there: what that means, and the exact command that changes it. */
export function Empty({ title, children, command, after }: { title: string; children?: ComponentChildren; command?: string; after?: ComponentChildren }) {
  return (
    <Notice title={title}>
      {children && <p>{children}</p>}
      {command && <CopyLine text={command} />}
      {after}
    </Notice>
  );
}

interface NoticeProps {
  icon?: "warn" | "lock";
  title: string;
  children?: ComponentChildren;
}
const Notice = ({ icon, title, children }: NoticeProps) => (
  <div class="notice">
    {icon && <Icon name={icon} />}
    <h2>{title}</h2>
    {children}
  </div>
);

/** Marks the sample fleet as made up, and the live one as seen without a key; with a way in. */
export function DemoMark() {
  if (!demo.value || key.value) return null;
  const sample = demo.value === "sample";
  return (
    <div class="demo" role="note">
      <b>{sample ? "Demo" : "Read-only"}</b>
      <span>{sample ? "A made-up fleet, read-only." : "The live fleet, without a key."}</span>
      <button class="button small" onClick={askToSignIn}>Sign in</button>
    </div>
  );
}

export function sentence(words: string): string {
  const text = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?…]$/.test(text) ? text : `${text}.`;
}
