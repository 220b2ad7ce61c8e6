import { describe, expect, it } from "vitest";
import { PALETTES, shades, TENANTS, type Theme } from "../src/theme/colours";
import { contrast, distance, type Vision } from "../src/theme/vision";

const THEMES: Theme[] = ["dark", "light"];
const VISIONS: Vision[] = ["normal", "protan", "deutan", "tritan"];
const PANEL = { dark: "#10141c", light: "#ffffff" };

describe.each(THEMES)("the %s palette", (theme) => {
  const { ramp, idle, fault, drained } = PALETTES[theme];

  it.each(VISIONS)("keeps what needs a human apart from load, for %s", (vision) => {
    for (const step of ramp) {
      expect(distance(idle, step, vision), `idle and ${step}`).toBeGreaterThan(12);
      expect(distance(fault, step, vision), `fault and ${step}`).toBeGreaterThan(10);
    }
    expect(distance(idle, fault, vision)).toBeGreaterThan(10);
  });

  it.each(VISIONS)("climbs in steps that %s tells apart", (vision) => {
    ramp.slice(1).forEach((step, at) => expect(distance(ramp[at], step, vision)).toBeGreaterThan(7));
  });

  it("marks stand out from the panel", () => {
    for (const mark of [idle, fault]) expect(contrast(mark, PANEL[theme])).toBeGreaterThan(2.5);
    expect(contrast(drained, PANEL[theme])).toBeGreaterThan(2.5);
  });

  it("tells eight tenants apart", () => {
    TENANTS[theme].forEach((a, i) => TENANTS[theme].slice(i + 1).forEach((b) => expect(distance(a, b), `${a} ${b}`).toBeGreaterThan(9)));
  });
});

describe("distance", () => {
  // pairs of Sharma, Wu, Dalal 2005 are in Lab; these are anchors in sRGB
  it("is 100 from black to white and 0 to itself", () => {
    expect(distance("#000000", "#ffffff")).toBeCloseTo(100, 3);
    expect(distance("#1d3a66", "#1d3a66")).toBe(0);
  });
  it("does not tell red from green as deutans don't", () => {
    expect(distance("#c8501e", "#7a7a1e", "deutan")).toBeLessThan(distance("#c8501e", "#7a7a1e") / 2);
  });
});

describe("shades", () => {
  it("begins and ends with the stops", () => {
    const made = shades(["#000000", "#0000ff", "#ffffff"], 33);
    expect(made).toHaveLength(33);
    expect([made[0], made[16], made[32]]).toEqual(["rgb(0,0,0)", "rgb(0,0,255)", "rgb(255,255,255)"]);
  });
});
