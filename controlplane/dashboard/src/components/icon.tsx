/** Line icons, one path each. */
const PATHS = {
  overview: "M3 3h8v8H3zM13 3h8v5h-8zM13 10h8v11h-8zM3 13h8v8H3z",
  fleet: "M4 4h16v6H4zM4 14h16v6H4zM8 7h.01M8 17h.01",
  allocation: "M4 4h4v4H4zM10 4h4v4h-4zM16 4h4v4h-4zM4 10h4v4H4zM10 10h4v4h-4zM16 16h4v4h-4z",
  jobs: "M4 6h16M4 12h10M4 18h13",
  tenants: "M8 11a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM2 21c0-4 3-6 6-6s6 2 6 6M17 11a3 3 0 1 0 0-6M22 20c0-3-2-5-5-5",
  billing: "M3 6h18v12H3zM3 10h18",
  alerts: "M12 3a6 6 0 0 0-6 6c0 6-2 7-2 7h16s-2-1-2-7a6 6 0 0 0-6-6zM10 20h4",
  keys: "M13.5 8a5 5 0 1 1-10 0 5 5 0 0 1 10 0M12 11.6l8.5 8.4M16.5 16l2.6-2.6",
  reference: "M8 6l-5 6 5 6M16 6l5 6-5 6",
  theme: "M12 3v18a9 9 0 0 0 0-18zM12 3a9 9 0 0 0 0 18",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4.5 4.5",
  close: "M6 6l12 12M18 6L6 18",
  copy: "M8 8h12v12H8zM4 16V4h12",
  check: "M5 12.5l4.5 4.5L19 7.5",
  warn: "M12 4L2.5 20h19zM12 10v4.5M12 17.2h.01",
  plus: "M12 5v14M5 12h14",
  out: "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
  save: "M12 4v11M7.5 11l4.5 4.5 4.5-4.5M4 20h16",
  up: "M7 14l5-5 5 5",
  down: "M7 10l5 5 5-5",
  lock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
} as const;

export type IconName = keyof typeof PATHS;

export const Icon = ({ name }: { name: IconName }) => (
  <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
    <path d={PATHS[name]} />
  </svg>
);
