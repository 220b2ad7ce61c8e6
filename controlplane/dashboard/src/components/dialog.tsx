/** Dialogs on the browser's own <dialog>: it keeps the focus inside, closes on Esc and gives the focus back. */
import type { ComponentChildren, TargetedEvent } from "preact";
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

export function Dialog({ title, onClose, closable = true, side = false, children }: DialogProps) {
  const box = useRef<HTMLDialogElement>(null);
  // before the next key press is told of, not after the next paint: who types at once after Ctrl K loses nothing
  useLayoutEffect(() => {
    const opener = document.activeElement;
    box.current?.showModal();
    toasts.value = [...toasts.peek()]; // what was just told stays above this
    const wanted = box.current?.querySelector<HTMLElement>("[autofocus]");
    wanted?.focus();
    return () => (opener as HTMLElement | null)?.focus?.();
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
    </dialog>
  );
}

/** A write under way: `run` does it once at a time, `fault` says in words what went wrong. */
export function useWrite() {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const run = async (work: () => Promise<void>) => {
    if (busy) return;
    setBusy(true);
    setProblem(null);
    try {
      await work();
    } catch (error) {
      setProblem(error instanceof Problem ? error : new Problem(0, String(error)));
    }
    setBusy(false);
  };
  return { busy, problem, fault: problem ? sentence(problem.message) : "", run };
}

export const Fault = ({ text }: { text: string }) => (text ? <p class="fault" role="alert"><Icon name="warn" />{text}</p> : null);

function Confirm({ wanted }: { wanted: Confirmation }) {
  const [typed, setTyped] = useState("");
  const write = useWrite();
  const close = () => (confirmation.value = null);
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

/** Above whatever is open: what a write did is often told over the drawer that it was made in. */
export function Toasts() {
  const box = useRef<HTMLDivElement>(null);
  const shown = toasts.value;
  useLayoutEffect(() => {
    box.current?.hidePopover();
    if (shown.length) box.current?.showPopover(); // the last one that is shown lies on top
  }, [shown]);
  return (
    <div class="toasts" popover="manual" ref={box} role="region" aria-label="Messages">
      <div aria-live="polite">
        {shown.map((toast) => (
          <div key={toast.id} class={`toast ${toast.kind}`}>
            <Icon name={toast.kind === "good" ? "check" : "warn"} />
            <span>{toast.text}</span>
            <button class="button ghost" aria-label="Dismiss" onClick={() => dismiss(toast.id)}><Icon name="close" /></button>
          </div>
        ))}
      </div>
    </div>
  );
}
