import assert from "node:assert/strict";
import { test } from "node:test";
import { acceptanceOf, temperatureOf } from "../src/parts/controls/gauges";

const UNITS = ["zero", "one", "two"].map((name, i) => ({ key: `k${i}`, label: String(i), name }));
const temperature = (asked: number, ...measured: (number | null)[]) => temperatureOf({ asked, measured }, UNITS);

test("the thermometer reads the mean over the neurons that are known", () => {
  assert.deepEqual(temperature(2, 2.1, null, 1.94), {
    text: "measured 1.01 T",
    each: ["0 zero: 1.05 T", "1 one: not yet known", "2 two: 0.97 T"],
    warns: false,
  });
  assert.equal(temperature(1, null, null), null);
  assert.equal(temperature(1), null);
  assert.equal(temperatureOf(null, UNITS), null);
  assert.equal(temperatureOf(undefined, UNITS), null);
  assert.equal(temperature(1, 1, 1, 1, 1)!.each[3], "3: 1.00 T", "more numbers than neurons");
});

test("more than 5 % off is a warning, with a sign", () => {
  for (const [value, warns] of [[1, false], [1.049, false], [0.951, false], [1.06, true], [0.94, true], [0, true]] as const) {
    const reading = temperature(3, 3 * value)!;
    assert.equal(reading.warns, warns, String(value));
    assert.equal(reading.text.includes("⚠"), warns);
  }
  assert.match(temperature(1, 250)!.text, /measured 250 T$/);
});

test("a negative measurement has a minus as wide as a digit, like all other numbers", () => {
  assert.match(temperature(1, -57.26)!.text, /measured −57\.26 T$/);
  assert.match(temperature(0, -0.0128)!.text, /measured −0\.013$/);
});

test("asked for 0, it reads absolute numbers and does not warn", () => {
  assert.deepEqual([temperature(0, 0.0128)!.text, temperature(0, 0.0128)!.warns], ["measured 0.013", false]);
  assert.equal(temperature(0, 0)!.text, "measured 0");
});

test("acceptance in per cent", () => {
  assert.deepEqual(acceptanceOf([0.9, 0.84, null], UNITS), { text: "accepts 87 %", each: ["0 zero: 90 %", "1 one: 84 %", "2 two: not yet known"], warns: false });
  for (const nothing of [null, undefined, [], [null]]) assert.equal(acceptanceOf(nothing, UNITS), null);
});
