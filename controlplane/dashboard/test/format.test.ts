import { describe, expect, it } from "vitest";
import { ago, count, counted, duration, gigabytes, money, percent, roughMoney, shortModel } from "../src/format";

describe("numbers", () => {
  it.each([
    [count(10000), "10,000"], [count(null), "–"], [count(Number.NaN), "–"], [count(0), "0"],
    [percent(86.66), "86.7"], [percent(0), "0.0"], [percent(undefined), "–"],
    [money(8770.25), "$8,770.25"], [money(-3.5), "-$3.50"], [roughMoney(1696.4), "$1,696"], [roughMoney(4.76), "$4.76"],
    [gigabytes(81920), "80.0 GB"], [counted(1, "node"), "1 node"], [counted(1250, "node"), "1,250 nodes"],
    [shortModel("NVIDIA H100 80GB HBM3"), "H100 80GB HBM3"], [shortModel(null), "–"],
  ])("%s", (shown, expected) => expect(shown).toBe(expected));
});

describe("durations", () => {
  it.each([
    [0, "0 s"], [59.4, "59 s"], [60, "1 min"], [3599, "1 h"], [3600, "1 h"], [12000, "3 h 20 min"],
    [86400, "1 d"], [187200, "2 d 4 h"], [-5, "0 s"], [null, "–"],
  ])("%s s", (seconds, expected) => expect(duration(seconds)).toBe(expected));

  const now = Date.parse("2026-05-09T12:00:00Z");
  it.each([
    ["2026-05-09T11:59:58Z", "now"], ["2026-05-09T11:55:00Z", "5 min ago"], ["2026-05-09T08:30:00Z", "3 h ago"],
    ["2026-05-06T10:00:00Z", "3 d ago"], ["2026-05-09T12:05:00Z", "in 5 min"], [null, "–"],
  ])("%s", (time, expected) => expect(ago(time, now)).toBe(expected));
});
