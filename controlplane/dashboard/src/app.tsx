/** The shell: navigation, top bar, the tab in view, and what lies over it. */
import { effect, signal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { reachable } from "./api/client";
import { key, refused } from "./api/session";
import { Confirmations, Toasts } from "./components/dialog";
import { goToFilter } from "./components/filter";
import { Icon } from "./components/icon";
import { Secrets } from "./components/new-key";
import { Palette } from "./components/palette";
import { Account, learnWho, SignIn } from "./components/signin";
import { DemoMark, Skeleton, Unauthorised } from "./components/states";
import { useBadges } from "./state/badges";
import { palette } from "./state/dialogs";
import { link } from "./state/link";
import { asked, beyond, known, LIMITS } from "./state/targets";
import { TABS, type Module, type Tab } from "./tabs";
import { switchTheme, theme } from "./theme/theme";
import { href, tabName } from "./url/route";

effect(() => {
  void key.value;
  if (!refused.value) void learnWho();
});

// the others come while nothing else is to be done
addEventListener("load", () => setTimeout(() => TABS.forEach((tab) => void fetchModule(tab).catch(() => {})), 2000));

export function App() {
  const tab = TABS.find((each) => each.name === tabName.value);
  useEffect(() => {
    document.title = tab ? `${tab.title} · GPUForge` : "GPUForge";
  }, [tab]);
  const { shown, lost } = useModule(tab);
  return (
    <div class="app">
      <a class="skip" href="#main">Skip to content</a>
      <Navigation current={tab} />
      <main id="main" tabIndex={-1}>
        <TopBar tab={tab} Tools={shown?.Tools} />
        {refused.value ? <Unauthorised /> : !tab ? <Nowhere /> : shown ? <shown.View key={tab.name} /> : <Fetching lost={lost} />}
      </main>
      <SignIn />
      <Palette known={known} asked={asked} beyond={beyond} note={LIMITS} />
      <Confirmations />
      <Secrets />
      <Toasts />
    </div>
  );
}

function Navigation({ current }: { current: Tab | undefined }) {
  useBadges();
  const bar = useRef<HTMLElement>(null);
  useEffect(() => bar.current?.querySelector("[aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" }), [current]);
  return (
    <nav aria-label="Main" ref={bar}>
      <a class="logo" href={href("")}>
        <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 4h7v3H7v10h10v-4h-4v-3h7v10H4z" /></svg>
        <span>GPUForge</span>
      </a>
      <div class="nav-tabs">
        {TABS.map((tab) => (
          <a key={tab.name} class="nav-item" href={href(tab.name)} aria-current={tab === current ? "page" : undefined}>
            <Icon name={tab.icon} />
            <span>{tab.title}</span>
            {tab.badge?.value ? <em aria-label={`${tab.badge.value} ${tab.badgeWords ?? ""}`}>{tab.badge.value}</em> : null}
          </a>
        ))}
      </div>
      <div class="grow" />
      <button class="nav-item theme" onClick={switchTheme}>
        <Icon name="theme" />
        <span>{theme.value === "dark" ? "Light theme" : "Dark theme"}</span>
      </button>
      <Account />
    </nav>
  );
}

/** The tab in view, as early as can be: the fleet is on its way meanwhile. */
export const fetchFirst = (): void => TABS.filter((tab) => tab.name === tabName.peek()).forEach((tab) => void fetchModule(tab).catch(() => {}));

const modules = signal<ReadonlyMap<Tab, Module>>(new Map());
async function fetchModule(tab: Tab): Promise<void> {
  const module = await tab.load();
  if (!modules.peek().has(tab)) modules.value = new Map([...modules.peek(), [tab, module]]);
}

/** The tab's module, and whether it can't be had. */
function useModule(tab: Tab | undefined): { shown: Module | undefined; lost: boolean } {
  const [lost, setLost] = useState<Tab | null>(null);
  useEffect(() => {
    if (tab) fetchModule(tab).catch(() => setLost(tab));
  }, [tab]);
  return { shown: tab && modules.value.get(tab), lost: !!tab && lost === tab };
}

/** While a tab's script is on its way. It is gone where the control plane was upgraded since this page was loaded. */
const Fetching = ({ lost }: { lost: boolean }) =>
  lost ? (
    <div class="notice">
      <h2>This part of the dashboard can't be loaded</h2>
      <p>The control plane is away, or was upgraded since this page was opened.</p>
      <button class="button primary" onClick={() => location.reload()}>Load the page again</button>
    </div>
  ) : <Skeleton lines={8} />;

function TopBar({ tab, Tools }: { tab: Tab | undefined; Tools: ComponentType | undefined }) {
  return (
    <div class="top">
      <h1>{tab?.title ?? "Not found"}</h1>
      {Tools && <Tools />}
      <div class="grow" />
      <DemoMark />
      <button class="search" onClick={() => (palette.value = true)}>
        <Icon name="search" />
        <span>Search nodes, jobs, tenants</span>
        <kbd>Ctrl K</kbd>
      </button>
      <LinkState />
    </div>
  );
}

/** Whether what is on the page is what is. */
function LinkState() {
  const state = reachable.value ? link.value : { kind: "away", words: "Reconnecting" };
  return <span class={`link ${state.kind}`} role="status"><i />{state.words}</span>;
}

const Nowhere = () => (
  <div class="notice">
    <h2>There is no such page</h2>
    <p>The address names no tab of this dashboard.</p>
    <a class="button" href={href("")}>Go to the overview</a>
  </div>
);

/** Ctrl K and `/`, from wherever on the page. */
export function onKey(event: KeyboardEvent): void {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    palette.value = !palette.value;
    return;
  }
  const typing = (event.target as Element).closest("input, textarea, select, [contenteditable], dialog");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  goToFilter();
}
