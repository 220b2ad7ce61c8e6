/** Dark by default, light where the system or the person wants it. */
import { effect, signal } from "@preact/signals";
import type { Theme } from "./colours";

const STORED = "gpuforge.theme";

export const theme = signal<Theme>(chosen() ?? (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark"));
export const stillness = matchMedia("(prefers-reduced-motion: reduce)");

effect(() => {
  document.documentElement.dataset.theme = theme.value;
});
matchMedia("(prefers-color-scheme: light)").addEventListener("change", (event) => {
  if (!chosen()) theme.value = event.matches ? "light" : "dark";
});

export function switchTheme(): void {
  theme.value = theme.value === "dark" ? "light" : "dark";
  try {
    localStorage.setItem(STORED, theme.value);
  } catch {
    /* not kept then */
  }
}

/** The value of a custom property of the theme, for canvases. */
export function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function chosen(): Theme | null {
  try {
    const kept = localStorage.getItem(STORED);
    return kept === "dark" || kept === "light" ? kept : null;
  } catch {
    return null;
  }
}
