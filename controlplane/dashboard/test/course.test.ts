import { describe, expect, it } from "vitest";
import { course } from "../src/state/course";

const at = (minute: number): number => Date.parse(`2026-05-09T12:${String(minute).padStart(2, "0")}:00Z`);
const told = {
  step_s: 300,
  timestamps: [0, 5, 10, 15].map((minute) => new Date(at(minute)).toISOString()),
  total_gpus: [null, 200, null, 100], allocated_gpus: [null, 100, null, 50], used_gpus: [null, 50, null, 40],
};
const moment = (minute: number) => ({ at: at(minute), utilization: 1, allocated: 60, used: 30, healthy: 100, idle: 3, running: 2 });

describe("allocated against used", () => {
  it("begins with what was counted first, and shows where nobody did", () => {
    expect(course(told, [])).toEqual({ times: [7.5, 12.5, 17.5].map((minute) => at(0) / 1000 + 60 * minute), allocated: [50, null, 50], used: [25, null, 40] });
  });
  it("goes on with what the page heard", () => {
    const { times, allocated } = course(told, [moment(14), moment(16)]);
    expect(times.slice(-2)).toEqual([at(14) / 1000, at(16) / 1000]);
    expect(allocated).toEqual([50, null, 60, 60]);
  });
  it("is the live part alone where nothing was counted", () => expect(course(null, [moment(3)]).used).toEqual([30]));
});
