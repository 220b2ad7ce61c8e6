/** Text that is meant to be copied. */
import { useRef, useState } from "preact/hooks";
import { tell } from "../state/dialogs";
import { Icon } from "./icon";

export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const [done, setDone] = useState(false);
  const copy = async (button: HTMLElement) => {
    if (!(await toClipboard(text, button))) return tell("This browser copies nothing by a button: select the text and press Ctrl C.", "bad");
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return (
    <button type="button" class="button small" onClick={(event) => void copy(event.currentTarget)}>
      <Icon name={done ? "check" : "copy"} />
      <span aria-live="polite">{done ? "Copied" : label}</span>
    </button>
  );
}

/** One line of a shell, with its button. */
export const CopyLine = ({ text }: { text: string }) => (
  <div class="copy-line" role="group" aria-label="Command">
    <pre><code>{text}</code></pre>
    <CopyButton text={text} />
  </div>
);

/** A secret shown once: selected as soon as it appears, so that Ctrl C copies it. */
export function Secret({ text, label }: { text: string; label: string }) {
  const field = useRef<HTMLInputElement>(null);
  return (
    <div class="secret">
      <input ref={field} class="mono" readOnly value={text} aria-label={label} autofocus spellcheck={false}
        onFocus={(event) => event.currentTarget.select()} />
      <CopyButton text={text} />
    </div>
  );
}

/** Whether it worked: outside of HTTPS and localhost browsers offer only the old way. What is copied stands beside the
 *  button meanwhile: anywhere else an open dialog makes it inert, and "copied" would be nothing at all. */
async function toClipboard(text: string, button: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    button.after(field);
    field.select();
    const worked = document.activeElement === field && document.execCommand("copy");
    field.remove();
    button.focus();
    return worked;
  }
}
