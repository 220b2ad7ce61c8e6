import { describe, expect, it } from "vitest";
import { flag, format, oneOf, order, parse, text, whole } from "../src/url/codec";

const FIELDS = { q: text(), show: oneOf(["a", "b"], "a"), job: whole(), wide: flag(), sort: order(["util", "name"], "-util") };
const INITIAL = { q: "", show: "a", job: null, wide: false, sort: "-util" };

describe("a tab's parameters", () => {
  it.each([
    ["", INITIAL],
    ["?show=b&job=7&wide=1&sort=name", { q: "", show: "b", job: 7, wide: true, sort: "name" }],
    ["?show=c&job=-7&wide=yes&sort=temp", INITIAL],
    ["?job=99999999999999999999", INITIAL],
    ["?q=a%20%26%3D%3F%23%2Bb&unknown=1", { ...INITIAL, q: "a &=?#+b" }],
    ["?job=1&job=2", { ...INITIAL, job: 1 }],
    ["?q=%E0%A4%A", { ...INITIAL, q: "\ufffd%A" }],
  ])("reads %s", (search, expected) => expect(parse(FIELDS, search)).toEqual(expected));

  it("leaves out what is as it is at first", () => {
    expect(format(FIELDS, parse(FIELDS, ""))).toBe("");
    expect(format(FIELDS, { show: "b", q: "" })).toBe("?show=b");
  });

  it("holds no key, whatever is pasted", () => {
    const key = `gfk_${"0123456789abcdef".repeat(4)}`;
    expect(format(FIELDS, { q: `${key} ${key}` })).toBe("?q=gfk_01234567+gfk_01234567");
    expect(format(FIELDS, { q: "gfk_0123" })).toBe("?q=gfk_0123");
  });

  it("comes back the same, whatever the text", () => {
    for (const q of ["&", "=", "#", "%", "+", " ", "ä€𝄞", "?", "<script>", "a\nb", "null"]) {
      const values = { ...INITIAL, q, job: 3, show: "b" } as ReturnType<typeof parse<typeof FIELDS>>;
      expect(parse(FIELDS, format(FIELDS, values))).toEqual(values);
    }
  });
});
