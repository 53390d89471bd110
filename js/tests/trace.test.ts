import assert from "node:assert/strict";
import { test } from "node:test";
import { TraceHistory, MOST } from "../src/ui/history";

test("short histories are kept whole", () => {
  const history = new TraceHistory();
  for (let step = 1; step <= MOST; step++) history.push(step, [step]);
  assert.deepEqual(history.steps, Array.from({ length: MOST }, (_, i) => i + 1));
});

test("long histories stay bounded, even, in order, and end now", () => {
  const history = new TraceHistory();
  for (let step = 1; step <= 20_000; step++) {
    history.push(step, [2 * step]);
    assert.ok(history.steps.length <= MOST);
    assert.equal(history.steps.at(-1), step);
  }
  assert.equal(history.steps[0], 1);
  const gaps = history.steps.slice(1, -1).map((step, i) => step - history.steps[i]!);
  assert.equal(new Set(gaps).size, 1, "unevenly thinned");
  assert.ok(history.values.every(([value], i) => value === 2 * history.steps[i]!));
});

test("a history can be limited to fewer points", () => {
  const history = new TraceHistory(300);
  for (let step = 1; step <= 300; step++) history.push(step, [step]);
  assert.equal(history.steps.length, 300);
  history.push(301, [301]);
  assert.equal(history.steps.length, 151);
  assert.deepEqual([history.steps[0], history.steps[1], history.steps.at(-1)], [1, 3, 301]);
});

test("the same step again replaces, an earlier one cuts back, a restart starts over", () => {
  const history = new TraceHistory();
  for (const step of [1, 2, 3, 3, 4]) history.push(step, [step]);
  history.push(4, [40]);
  assert.deepEqual([history.steps, history.values.at(-1)], [[1, 2, 3, 4], [40]]);
  history.push(3, [30]);
  assert.deepEqual(history.steps, [1, 2, 3]);
  history.push(0, [0]);
  assert.deepEqual(history.steps, [0]);
});
