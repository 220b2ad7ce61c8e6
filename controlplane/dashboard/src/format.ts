/** Numbers, money and times as people read them. A missing value is an en dash, never a zero. */

import { present } from "./api/clock";

export const NONE = "–";
const LOCALE = "en-US";
const whole = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat(LOCALE, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const dollars = new Intl.NumberFormat(LOCALE, { style: "currency", currency: "USD" });
const roundDollars = new Intl.NumberFormat(LOCALE, { style: "currency", currency: "USD", maximumFractionDigits: 0 });

type Maybe = number | null | undefined;

export const count = (value: Maybe): string => (known(value) ? whole.format(value) : NONE);
/** `86.7`, without the sign. */
export const percent = (value: Maybe): string => (known(value) ? tenth.format(value) : NONE);
export const money = (value: Maybe): string => (known(value) ? dollars.format(value) : NONE);
/** Without cents from 100 dollars on: for figures at a glance, never for invoices. */
export const roughMoney = (value: Maybe): string =>
  known(value) ? (Math.abs(value) < 100 ? dollars : roundDollars).format(value) : NONE;
export const hours = (value: Maybe): string => (known(value) ? `${tenth.format(value)} h` : NONE);
export const celsius = (value: Maybe): string => (known(value) ? `${whole.format(value)} °C` : NONE);
export const watts = (value: Maybe): string => (known(value) ? `${whole.format(value)} W` : NONE);
/** MiB as GiB. */
export const gigabytes = (mb: Maybe): string => (known(mb) ? `${tenth.format(mb / 1024)} GB` : NONE);

/** `1 node`, `2 nodes`. */
export const counted = (value: number, noun: string): string => `${whole.format(value)} ${noun}${value === 1 ? "" : "s"}`;

/** How long, in two units at most: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`. */
export function duration(seconds: Maybe): string {
  if (!known(seconds)) return NONE;
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const m = Math.round(s / 60);
  if (m < 60) return `${m} min`;
  const h = Math.floor(m / 60);
  if (h < 24) return m % 60 ? `${h} h ${m % 60} min` : `${h} h`;
  return h % 24 ? `${Math.floor(h / 24)} d ${h % 24} h` : `${Math.floor(h / 24)} d`;
}

/** How long ago: `now`, `5 min ago`, `3 d ago`; a later time is `in 5 min`. */
export function ago(time: string | number | null | undefined, now = present()): string {
  if (time === null || time === undefined) return NONE;
  const seconds = (now - moment(time)) / 1000;
  if (Math.abs(seconds) < 5) return "now";
  const words = duration(Math.abs(seconds)).replace(/^(\d+ (?:d|h)) .*/, "$1");
  return seconds < 0 ? `in ${words}` : `${words} ago`;
}

/** How long it has been so: `now`, `45 s`, `3 d`. */
export const since = (time: string | null, now = present()): string => ago(time, now).replace(/ ago$/, "");

/** Local date and time to the second: `2026-05-09 14:30:05`. */
export function stamp(time: string | number | null | undefined): string {
  if (time === null || time === undefined) return NONE;
  const at = new Date(moment(time));
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock(time, true)}`;
}
export function day(time: string | number | null | undefined): string {
  return time === null || time === undefined ? NONE : stamp(time).slice(0, 10);
}
/** A period in days of UTC, by which it was asked for and is printed: west of Greenwich October would begin in September. */
export const period = (start: string, end: string): string => [start, end].map((time) => new Date(time).toISOString().slice(0, 10)).join(" to ");
export function clock(time: string | number, withSeconds = false): string {
  const at = new Date(moment(time));
  return `${two(at.getHours())}:${two(at.getMinutes())}${withSeconds ? `:${two(at.getSeconds())}` : ""}`;
}

/** `NVIDIA H100 80GB HBM3` as `H100 80GB HBM3`. */
export const shortModel = (model: string | null | undefined): string => (model ? model.replace(/^NVIDIA /, "") : NONE);

const moment = (time: string | number): number => (typeof time === "number" ? time : Date.parse(time));
const two = (value: number): string => String(value).padStart(2, "0");
function known(value: Maybe): value is number {
  return value !== null && value !== undefined && Number.isFinite(value);
}
