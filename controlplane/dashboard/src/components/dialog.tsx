/** Dialogs on the browser's own <dialog>: it keeps the focus inside, closes on Esc and gives the focus back. */
import type { ComponentChildren, TargetedEvent } from "preact";
import { signal } from "@preact/signals";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { Problem } from "../api/client";
import { confirmation, dismiss, tell, toasts, type Confirmation } from "../state/dialogs";
import { Icon } from "./icon";
import { sentence } from "./states";

interface DialogProps {
  title: string;
  onClose: () => void;
  /** Whether Esc and the cross close it (default): not where a secret would be lost. */
  closable?: boolean;
  side?: boolean;
  children: ComponentChildren;
}

/** The boxes of those that are open, the topmost last. */
const open = signal<readonly object[]>([]);

export function Dialog({ title, onClose, closable = true, side = false, children }: DialogProps) {
  const box = useRef<HTMLDialogElement>(null);
  // before the next key press is told of, not after the next paint: who types at once after Ctrl K loses nothing
  useLayoutEffect(() => {
    const opener = document.activeElement;
    box.current?.showModal();
    open.value = [...open.peek(), box];
    const wanted = box.current?.querySelector<HTMLElement>("[autofocus]");
    wanted?.focus();
    return () => {
      open.value = open.peek().filter((each) => each !== box);
      (opener as HTMLElement | null)?.focus?.();
    };
  }, []);
  const cancel = (event: TargetedEvent<HTMLDialogElement>) => {
    event.preventDefault();
    if (closable) onClose();
  };
  return (
    <dialog ref={box} class={side ? "drawer" : "dialog"} aria-label={title} onCancel={cancel}
      // Chrome closes it on a second Esc whatever cancel said
      onKeyDown={(event) => event.key === "Escape" && !closable && event.preventDefault()}
      onMouseDown={(event) => closable && event.target === box.current && onClose()}>
      <div class="dialog-box">
        <header>
          <h2>{title}</h2>
          {closable && <button type="button" class="button ghost" aria-label="Close" onClick={onClose}><Icon name="close" /></button>}
        </header>
        {children}
      </div>
      <Toasts over={box} />
    </dialog>
  );
}

/** A write under way: `run` does it once at a time, `at` says what is wrong with a field, `fault` in words what went
 *  wrong beyond the fields that were asked about. Where neither is shown any more, since its dialog was closed meanwhile, a
 *  message says it. */
export function useWrite() {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const gone = useRef(false);
  useLayoutEffect(() => () => void (gone.current = true), []);
  const run = async (work: () => Promise<void>) => {
    if (busy) return;
    setBusy(true);
    setProblem(null);
    try {
      await work();
    } catch (error) {
      const met = error instanceof Problem ? error : new Problem(0, String(error));
      if (gone.current) tell(sentence(met.message), "bad");
      else setProblem(met);
    }
    setBusy(false);
  };
  const asked = new Set<string>();
  return {
    busy,
    problem,
    run,
    at(field: string): string | undefined {
      asked.add(field);
      return problem?.of(field);
    },
    /** Ask for it below the fields. */
    get fault(): string {
      const isToldAtFields = !!problem?.fields.length && problem.fields.every((each) => asked.has(each.path));
      return problem && !isToldAtFields ? sentence(problem.message) : "";
    },
  };
}

export const Fault = ({ text }: { text: string }) => (text ? <p class="fault" role="alert"><Icon name="warn" />{text}</p> : null);

function Confirm({ wanted }: { wanted: Confirmation }) {
  const [typed, setTyped] = useState("");
  const write = useWrite();
  const close = () => {
    if (confirmation.value === wanted) confirmation.value = null; // another may be asked for by the time this one is done
  };
  const submit = (event: Event) => {
    event.preventDefault();
    void write.run(async () => {
      const told = await wanted.run();
      close();
      if (told) tell(told);
    });
  };
  return (
    <Dialog title={wanted.title} onClose={close}>
      <form onSubmit={submit}>
        <div class="prose">{wanted.body}</div>
        {wanted.typed !== undefined && (
          <label class="field">
            <span>Type <b class="quoted">{wanted.typed}</b> to go on</span>
            <input autofocus value={typed} autocomplete="off" spellcheck={false} onInput={(event) => setTyped(event.currentTarget.value)} />
          </label>
        )}
        <Fault text={write.fault} />
        <footer>
          <button type="button" class="button" onClick={close} autofocus={wanted.typed === undefined}>Keep it as it is</button>
          <button class={wanted.danger ? "button danger" : "button primary"} disabled={write.busy || (wanted.typed ?? typed) !== typed}>
            {write.busy ? "Working …" : wanted.action}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

export const Confirmations = () => (confirmation.value ? <Confirm wanted={confirmation.value} /> : null);

/** What a write did is often told over the drawer that it was made in: messages belong to the topmost dialog, since all
 *  else can be neither clicked nor read out while one is open. As a popover they lie over its contents. */
export function Toasts({ over = null }: { over?: object | null }) {
  const box = useRef<HTMLDivElement>(null);
  const onTop = (open.value.at(-1) ?? null) === over;
  useLayoutEffect(() => box.current?.showPopover(), [onTop]);
  if (!onTop) return null;
  return (
    <div class="toasts" popover="manual" ref={box} role="region" aria-label="Messages">
      <div aria-live="polite">
        {toasts.value.map((toast) => (
          <div key={toast.id} class={`toast ${toast.kind}`}>
            <Icon name={toast.kind === "good" ? "check" : "warn"} />
            <span>{toast.text}</span>
            <button type="button" class="button ghost" aria-label="Dismiss" onClick={() => dismiss(toast.id)}><Icon name="close" /></button>
          </div>
        ))}
      </div>
    </div>
  );
}
