/** What GPUs cost an hour, by the rate card. */
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { call } from "../api/client";
import { fleet, now } from "./fleet";
import { useResource } from "./resource";

/** Dollars an hour by family; null: unrated. */
export const rates = signal<Map<string, number | null>>(new Map());

/** Ask for the list prices again whenever they may have changed. */
export function useRates(): void {
  const card = useResource("/api/rates", () => call("GET /api/rates"), 60_000).data.value;
  useEffect(() => {
    if (card) rates.value = new Map(card.map((rate) => [rate.family, rate.rate_per_hour]));
  }, [card]);
}

/** The rate of a model, by whole words, the longest family first; null where there is none. */
export function rateOf(model: string, card: ReadonlyMap<string, number | null>): number | null {
  const words = model.toUpperCase().split(/[^A-Z0-9]+/);
  const fits = [...card.keys()].filter((family) => family.toUpperCase().split(/\s+/).every((word) => words.includes(word)));
  fits.sort((a, b) => b.length - a.length);
  return fits.length ? (card.get(fits[0]) ?? null) : null;
}

/** What a GPU costs its tenant now, in dollars an hour; null where it is free or unrated. */
export function costOf(gpu: number): number | null {
  return now.holder[gpu] ? priceOf(gpu) : null;
}

/** What lending a GPU brings, in dollars an hour. */
export function priceOf(gpu: number): number | null {
  const all = fleet.value;
  return all && all.model[gpu] >= 0 ? byModel(all.models)[all.model[gpu]] : null;
}

let known: { models: string[]; card: ReadonlyMap<string, number | null>; prices: (number | null)[] } | null = null;
function byModel(models: string[]): (number | null)[] {
  if (known?.models !== models || known.card !== rates.value)
    known = { models, card: rates.value, prices: models.map((model) => rateOf(model, rates.value)) };
  return known.prices;
}
