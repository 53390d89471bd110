import assert from "node:assert/strict";
import { test } from "node:test";
import { format, formatCoarse, formatCount, formatShort } from "../src/ui/format";
import { admit, makeScale, TICKS } from "../src/ui/scale";
import { parameter } from "./kernel";

const near = (a: number, b: number, relative: number) => assert.ok(Math.abs(a - b) <= relative * Math.abs(b), `${a} is not ${b}`);
const RANGES = {
  linear: parameter({ low: -1, high: 3 }),
  log: parameter({ low: 1e-3, high: 10, log: true }),
  "log with zero": parameter({ low: 1e-4, high: 1e4, log: true, zero: true }),
  "log from zero": parameter({ low: 0, high: 10, log: true, zero: true }),
  integer: parameter({ low: 1, high: 101, integer: true }),
  "wide integer": parameter({ low: 0, high: 100_000, integer: true }),
  "log integer": parameter({ low: 1, high: 1000, log: true, integer: true }),
  narrow: parameter({ low: 0.9, high: 0.999 }),
  single: parameter({ low: 1, high: 1 }),
};

for (const [name, range] of Object.entries(RANGES)) {
  test(`${name}: ticks and values round trip, increase and stay in range`, () => {
    const scale = makeScale(range);
    assert.ok(scale.last <= TICKS);
    for (let tick = 0; tick <= scale.last; tick++) {
      const value = scale.value(tick);
      assert.equal(scale.tick(value), tick);
      assert.equal(admit(range, value).value, value, "the kernel would refuse it");
      if (tick) assert.ok(value > scale.value(tick - 1));
      if (range.integer) assert.ok(Number.isInteger(value));
    }
    assert.equal(scale.value(scale.last), range.high);
    assert.equal(scale.value(0), range.zero ? 0 : range.low);
  });
}

test("linear and logarithmic ticks follow their closed forms to a tenth of a tick", () => {
  const linear = makeScale(RANGES.linear);
  const log = makeScale(RANGES.log);
  const zero = makeScale(RANGES["log with zero"]);
  for (let tick = 0; tick <= TICKS; tick++) {
    assert.ok(Math.abs(linear.value(tick) - (-1 + (4 * tick) / 200)) <= 0.1 * (4 / 200));
    near(log.value(tick), 1e-3 * 1e4 ** (tick / 200), 0.1 * (1e4 ** (1 / 200) - 1));
    if (tick) near(zero.value(tick), 1e-4 * 1e8 ** ((tick - 1) / 199), 0.1 * (1e8 ** (1 / 199) - 1));
  }
});

test("a value between ticks goes to the nearest one, on a logarithm by ratio", () => {
  const log = makeScale(parameter({ low: 1, high: 1e4, log: true }));
  const [a, b] = [log.value(100), log.value(101)];
  assert.equal(log.tick(Math.sqrt(a * b) * 0.999), 100);
  assert.equal(log.tick(Math.sqrt(a * b) * 1.001), 101);
  assert.equal(log.tick(1e9), 200);
  assert.equal(makeScale(RANGES["log with zero"]).tick(0), 0);
});

test("what is typed is kept, or corrected with a reason", () => {
  const { linear, integer } = RANGES;
  const zero = RANGES["log with zero"];
  assert.deepEqual(admit(linear, 0.123456), { value: 0.123456, why: "" });
  assert.deepEqual(admit(linear, 7), { value: 3, why: "at most 3" });
  assert.deepEqual(admit(linear, -7), { value: -1, why: "at least -1" });
  assert.deepEqual(admit(integer, 2.6), { value: 3, why: "whole numbers only" });
  assert.deepEqual(admit(zero, 0), { value: 0, why: "" });
  assert.deepEqual(admit(zero, 9e-5), { value: 1e-4, why: "0, or at least 0.0001" });
  assert.equal(admit(zero, 1e-5).value, 0);
});

test("numbers are written without noise", () => {
  assert.equal(format(0.1 + 0.2), "0.3");
  assert.equal(format(1e-4), "0.0001");
  assert.equal(formatCount(1234567), "1,234,567");
  assert.equal(formatShort(21.4321), "21.4");
  assert.equal(formatShort(-1.2345), "−1.23");
  assert.equal(formatShort(0), "0");
  assert.equal(formatShort(-1e-60), "−1.0e−60");
  assert.equal(formatShort(1e7), "1.0e7");
  assert.equal(formatShort(NaN), "–");
  assert.deepEqual([1.84, -0.31, -0.04, 123.4, NaN].map(formatCoarse), ["1.8", "−0.3", "0.0", "123", "–"]);
});
