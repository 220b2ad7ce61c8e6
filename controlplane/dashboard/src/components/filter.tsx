/** The field that narrows what a tab shows: `/` goes there. */
import { palette } from "../state/dialogs";
import { stillness } from "../theme/theme";

interface FilterProps {
  label: string;
  placeholder: string;
  value: string;
  onInput: (typed: string) => void;
}

export const Filter = ({ label, placeholder, value, onInput }: FilterProps) => (
  <input type="search" class="filter" aria-label={label} placeholder={placeholder} value={value} onInput={(event) => onInput(event.currentTarget.value)} />
);

/** Go to the tab's filter, or to the palette where it has none: as soon as that is known, since a tab's script and many
 *  a filter's rows are still on their way when the page shows its title. */
export function goToFilter(): void {
  stopWaiting();
  if (document.querySelector("dialog[open]")) return;
  const field = document.querySelector<HTMLInputElement>("main .filter");
  if (field) {
    field.focus();
    field.scrollIntoView({ block: "nearest", behavior: stillness.matches ? "auto" : "smooth" });
  } else if (document.querySelector("main [aria-busy]")) {
    changes.observe(document.querySelector("main")!, { childList: true, subtree: true });
    addEventListener("pointerdown", stopWaiting); // who goes on with the mouse has lost interest
  } else palette.value = true;
}

const changes = new MutationObserver(goToFilter);
function stopWaiting(): void {
  changes.disconnect();
  removeEventListener("pointerdown", stopWaiting);
}
