/** The control plane's time: it decides what is valid and until when, and a browser's clock may be hours off. */

const TOLERATED_MS = 30_000; // answers bear whole seconds
let ahead = 0;

/** In ms since 1970. By the browser's clock, unless that is far off. */
export const present = (): number => Date.now() + ahead;

/** Note the Date of an answer to what was asked at that time by the browser's clock. */
export function hearDate(date: string | null, asked: number): void {
  const told = Date.parse(date ?? "");
  if (Number.isNaN(told)) return;
  // an answer that took long was not late: only what lies outside of that time tells of the clock
  const off = told < asked ? told - asked : Math.max(0, told - Date.now());
  ahead = Math.abs(off) > TOLERATED_MS ? off : 0;
}
