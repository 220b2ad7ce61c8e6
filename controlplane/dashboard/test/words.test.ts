import { brief, named, plain } from "../src/components/brief";
import { describe, expect, it } from "vitest";
import type { DryRun, EventRecord, JobExplanation } from "../src/api/schema";
import { matches, patternOf, placeOf, urgency, withUnit } from "../src/tabs/alerts/words";
import { folded, forecast, inAll, inShort, ordinal, standing } from "../src/tabs/jobs/words";
import { budgetWords, effectOf } from "../src/tabs/tenants/words";

const NOW = Date.parse("2026-05-09T12:00:00Z");
const dry: DryRun = { job_id: null, status: "queued", code: null, reason: "WAITING_CAPACITY: needs 8 H100 GPUs; 2 of 16 idle", position: 2, jobs_ahead: 1, estimated_start: "2026-05-09T12:40:00Z", dry_run: true, would_start_on: [] };

describe("a dry run", () => {
  it.each<[string, Partial<DryRun>, string]>([
    ["waits", {}, "Would wait about 40 min because it needs 8 H100 GPUs; 2 of 16 idle."],
    ["waits for what nobody can tell", { estimated_start: null }, "Would wait for nobody knows how long because it needs 8 H100 GPUs; 2 of 16 idle."],
    ["is due already", { estimated_start: "2026-05-09T11:00:00Z" }, "Would wait about 1 min because it needs 8 H100 GPUs; 2 of 16 idle."],
    ["starts", { status: "running", would_start_on: ["gpu-07"] }, "Would start now on gpu-07."],
    ["starts on many", { status: "running", would_start_on: ["a", "b", "c", "d", "e"] }, "Would start now on a, b, c and 2 more nodes."],
    ["is blocked", { status: "blocked", reason: "EXCEEDS_TENANT_QUOTA: needs 16 GPUs; the quota of tenant 1 is 10" }, "Would be blocked: needs 16 GPUs; the quota of tenant 1 is 10."],
  ])("%s", (_, change, words) => expect(forecast({ ...dry, ...change }, NOW).words).toBe(words));
});

describe("reasons", () => {
  it.each([["QUOTA_FULL: full", "full"], ["held by sam: ask", "held by sam: ask"], ["", ""]])("%s", (given, shown) => expect(plain(given)).toBe(shown));
  it("name tenants", () => {
    const tenants = [{ id: 1, name: "NovAI $& Labs" }];
    expect(named("the quota of tenant 1 is 10, of tenant 12 more", tenants)).toBe("the quota of NovAI $& Labs is 10, of tenant 12 more");
    expect(named("tenant 1", null)).toBe("tenant 1");
  });
  it.each([[1, "1st"], [2, "2nd"], [3, "3rd"], [4, "4th"], [11, "11th"], [13, "13th"], [21, "21st"], [112, "112th"]])("place %s", (place, shown) => expect(ordinal(place)).toBe(shown));
  it.each<[Partial<JobExplanation>, string]>([
    [{}, "2nd in line, starts in about 40 min"],
    [{ jobs_ahead: 0 }, "Next in line, starts in about 40 min"],
    [{ jobs_ahead: null, estimated_start: null }, "no start in sight yet"],
  ])("standing", (change, words) => expect(standing({ ...dry, ...change }, NOW)).toBe(words));
  it.each([["needs 2 GPUs; 0 of 32 idle", "0 of 32 GPUs idle"], ["needs 1 GPU; Acme ML uses 4 of its quota of 4", "Acme ML uses 4 of its quota of 4"], ["", ""]])("in short %s", (given, shown) => expect(inShort(given)).toBe(shown));
  it("in all", () => expect(inAll({ QUOTA_FULL: 1, WAITING_CAPACITY: 3 })).toBe("3 × waiting for GPUs, 1 × quota full"));
  it("in all, of a code that is newer than this page", () => expect(inAll({ ASKED_FOR_REST: 1 })).toBe("1 × asked for rest"));
});

describe("a silence's pattern", () => {
  it.each<[string, string, boolean]>([
    ["node/gpu-07", "node/gpu-07", true], ["node/gpu-07", "node/gpu-0", false], ["node/*", "node/gpu-07", true], ["*", "node/gpu-07", true],
    ["node/gpu-0?", "node/gpu-07", true], ["node/gpu-0[1-6]", "node/gpu-07", false], ["node/gpu-0[!1-6]", "node/gpu-07", true],
    ["gpu/gpu-07/*", "gpu/gpu-07/3", true], ["tenant/a.c", "tenant/abc", false], ["tenant/[", "tenant/[", true], ["node/GPU*", "node/gpu-07", false],
  ])("%s of %s: %s", (pattern, name, held) => expect(matches(pattern, name)).toBe(held));
  it.each(["Acme [EU]", "a*", "who?", "[", "]x["])("of exactly %s", (subject) => {
    const pattern = patternOf({ subject_type: "tenant", subject });
    expect(matches(pattern, `tenant/${subject}`)).toBe(true);
    expect(matches(pattern, `tenant/${subject.replace(/[*?]/, "b")}`)).toBe(!/[*?]/.test(subject));
  });
});

describe("the scheduler's log", () => {
  const cycle = (id: number, processed: number) => ({ id, processed });
  it("folds what had nothing to look at", () =>
    expect(folded([cycle(9, 0), cycle(8, 2), cycle(7, 0), cycle(6, 0), cycle(5, 0), cycle(4, 1)]).map((each) => [each.row.id, each.cycles])).toEqual([[9, 1], [8, 1], [7, 3], [4, 1]]));
  it("begins with nothing", () => expect(folded([])).toEqual([]));
});

describe("quotas and budgets", () => {
  it.each([[12, 8, "room for 4 more GPUs"], [9, 8, "room for 1 more GPU"], [8, 8, "full: new jobs wait"], [6, 8, "2 over: what runs goes on, new jobs wait"], [0, 8, "1 GPU at least"], [1.5, 1, "1 GPU at least"]])(
    "%s of %s in use", (quota, used, words) => expect(effectOf(quota, used)).toBe(words));
  const budget = { month: "2026-05", budget: 1000, budget_cents: 100_000, spent: 812, spent_cents: 81_200, forecast: 1240, forecast_cents: 124_000, crossed_percent: [80] };
  it.each([
    [budget, "$812 of $1,000 spent; leads to $1,240 by the end of 2026-05, $240 over."],
    [{ ...budget, forecast: 900 }, "$812 of $1,000 spent; leads to $900 by the end of 2026-05."],
    [{ ...budget, budget: null, budget_cents: null }, "$812 spent this month; leads to $1,240 by the end of 2026-05."],
  ])("budget %#", (given, words) => expect(budgetWords(given)).toBe(words));
});

describe("alerts", () => {
  const event = { state: "firing", acknowledged_at: null, severity: "warning", started_at: "2026-05-09T12:00:00Z" } as EventRecord;
  it.each<[number, string, string]>([[90, "%", "90 %"], [90, "s", "2 min"], [87.25, "degrees C", "87.3 °C"], [1, "faults", "1 fault"], [0, "days", "0 days"], [60, "min", "1 h"]])(
    "%s %s", (value, unit, shown) => expect(withUnit(value, unit)).toBe(shown));
  it("the most urgent first", () => {
    const order = [
      { ...event, severity: "critical" as const }, { ...event, started_at: "2026-05-09T13:00:00Z" }, event,
      { ...event, severity: "critical" as const, acknowledged_at: "2026-05-09T12:30:00Z" }, { ...event, state: "pending" as const }, { ...event, state: "resolved" as const, severity: "critical" as const },
    ];
    expect([...order].reverse().sort(urgency)).toEqual(order);
    expect(urgency(event, { ...event })).toBe(0);
  });
  it.each<[EventRecord["subject_type"], [string, string] | null]>([
    ["node", ["fleet", "?node=7"]], ["gpu", ["fleet", "?node=3&gpu=7"]], ["tenant", ["tenants", "?tenant=7"]], ["invoice", ["billing", "?invoice=7"]], ["cluster", ["fleet", "?cluster=7"]], ["control_plane", null],
  ])("%s", (subject_type, place) => expect(placeOf({ subject_type, subject_id: 7 }, () => 3)).toEqual(place));
  it("a silence of one subject", () => expect(patternOf({ subject_type: "gpu", subject: "gpu-07/3" })).toBe("gpu/gpu-07/3"));
});

describe("an alert beside its subject", () => {
  it.each([
    ["tenant", "Acme ML", "tenant Acme ML uses 4 of its quota of 4", "uses 4 of its quota of 4"],
    ["cluster", "lab", "GPUs of cluster lab were used 3 % on average", "GPUs were used 3 % on average"],
    ["gpu", "gpu-01/3", "GPU gpu-01/3 has a fault: Xid 79: fallen off the bus", "GPU 3: Xid 79: fallen off the bus"],
    ["node", "gpu-01", "7 of 8 GPUs of gpu-01 healthy", "7 of 8 GPUs of gpu-01 healthy"],
  ] as const)("%s %s", (subject_type, subject, message, words) => expect(brief({ subject_type, subject, message })).toBe(words));
});
