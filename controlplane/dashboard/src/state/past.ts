/** How the fleet did since the page was opened: what sparks are drawn of, and the live end of a day's chart. */
import { jobs, summary, State, measuredAt } from "./fleet";

const MOST = 900;
export interface Moment {
  at: number;
  utilization: number | null;
  /** Percent of all GPUs. */
  allocated: number;
  used: number;
  healthy: number;
  idle: number;
  /** Jobs. */
  running: number;
}
export const past: Moment[] = [];

export function note(): void {
  const now = summary.peek();
  if (!now?.gpus || past.at(-1)?.at === measuredAt.peek()) return;
  const share = (count: number): number => (100 * count) / now.gpus;
  past.push({
    at: measuredAt.peek(),
    utilization: now.utilization,
    allocated: share(now.allocated),
    used: share(now.allocated - now.states[State.idle]),
    healthy: 100 - share(now.states[State.fault] + now.states[State.offline]),
    idle: now.states[State.idle],
    running: jobs.peek().length,
  });
  if (past.length > MOST) past.shift();
}

export const restart = (): void => void (past.length = 0);
