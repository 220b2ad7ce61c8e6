/** One line out of what the control plane counted and what the page has heard since. */
import type { AllocationHistory } from "../api/schema";
import type { Moment } from "./past";

export interface Course {
  /** Seconds since 1970. */
  times: number[];
  /** Percent of all GPUs; null where nobody counted. */
  allocated: (number | null)[];
  used: (number | null)[];
}

/** What was counted up to where the page began to listen, then what it heard. */
export function course(told: AllocationHistory | null, live: readonly Moment[]): Course {
  const made: Course = { times: [], allocated: [], used: [] };
  const add = (time: number, allocated: number | null, used: number | null) => {
    made.times.push(time);
    made.allocated.push(allocated);
    made.used.push(used);
  };
  const until = live.length ? live[0].at / 1000 : Infinity;
  told?.timestamps.forEach((start, at) => {
    const [middle, all, held, used] = [Date.parse(start) / 1000 + told.step_s / 2, told.total_gpus[at], told.allocated_gpus[at], told.used_gpus[at]];
    if (middle >= until || (!all && !made.times.length)) return; // a fleet that is new has no empty hours before
    add(middle, all ? (100 * (held ?? 0)) / all : null, all ? (100 * (used ?? 0)) / all : null);
  });
  for (const each of live) add(each.at / 1000, each.allocated, each.used);
  return made;
}
