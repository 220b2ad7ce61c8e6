/** Where the page is: a tab and the query string behind it. */
import { computed, signal } from "@preact/signals";
import { format, parse, type Fields, type Values } from "./codec";

/** The path before the tabs' names: "/" unless a proxy serves the dashboard below another one. */
export const ROOT = new URL(".", document.baseURI).pathname;
/** The same with its origin: what curl lines begin with. */
export const BASE = location.origin + ROOT;

const here = signal({ path: location.pathname, search: location.search });
addEventListener("popstate", () => (here.value = { path: location.pathname, search: location.search }));

/** The tab's name in the URL; "" is the overview. */
export const tabName = computed(() => (here.value.path.startsWith(ROOT) ? here.value.path.slice(ROOT.length) : ""));
export const search = computed(() => here.value.search);

/** The address of a tab with these parameters, for links. */
export function href(tab: string, query = ""): string {
  return ROOT + tab + query;
}

export function go(address: string, how: "push" | "replace" = "push"): void {
  if (address === location.pathname + location.search) return;
  history[how === "push" ? "pushState" : "replaceState"](null, "", address);
  here.value = { path: location.pathname, search: location.search };
}

/** A tab's parameters as a signal and a way to change some of them. `set` replaces the entry in the history. */
export function parameters<F extends Fields>(tab: string, fields: F) {
  const values = computed<Values<F>>(() => parse(fields, tabName.value === tab ? search.value : ""));
  return {
    fields,
    values,
    set(change: Partial<Values<F>>, how: "push" | "replace" = "replace"): void {
      if (tabName.peek() !== tab) return; // a late answer leads nobody back who has gone on
      go(href(tab, format(fields, { ...values.peek(), ...change })), how);
    },
    /** The address of this tab with exactly these parameters. */
    to(wanted: Partial<Values<F>>): string {
      return href(tab, format(fields, wanted));
    },
  };
}

/** Plain clicks on links of ours change the page without loading it. */
export function followLinks(): void {
  document.addEventListener("click", (event) => {
    const link = (event.target as Element).closest?.("a");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    if (link.target || link.hash || link.origin !== location.origin || link.hasAttribute("download")) return;
    if (!link.pathname.startsWith(ROOT) || link.pathname.slice(ROOT.length).includes("/")) return;
    event.preventDefault();
    go(link.pathname + link.search);
  });
}
