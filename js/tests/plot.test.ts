import "./page";
import assert from "node:assert/strict";
import { test } from "node:test";
import { holes, line } from "../src/ui/plot";

/** "M0 L1 L2": where the pen was set down and where it went. */
function drawn(xs: number[], ys: number[], breaks?: Set<number>): string {
  const moves: string[] = [];
  const pen = { beginPath() {}, stroke() {}, moveTo: (x: number) => moves.push(`M${x}`), lineTo: (x: number) => moves.push(`L${x}`) };
  line(pen as never, xs, ys, breaks);
  return moves.join(" ");
}

const even = (from: number, count: number, by: number) => Array.from({ length: count }, (_, i) => from + by * i);

test("a line is broken where that is asked for, and where values are not finite", () => {
  assert.equal(drawn([0, 10, 20], [1, 1, 1]), "M0 L10 L20");
  assert.equal(drawn([0, 10, 20, 30], [1, 1, 1, 1], new Set([2])), "M0 L10 M20 L30");
  assert.equal(drawn([0, 10, 20, 30, 40], [1, 1, NaN, 1, 1]), "M0 L10 M30 L40");
});

test("a point between two breaks is a dot", () => {
  assert.equal(drawn([0, 10, 20, 30], [1, 1, 1, 1], new Set([1, 2])), "M0 L1 M10 L11 M20 L30");
  assert.equal(drawn([0, 10, 20], [NaN, 1, NaN]), "M10 L11");
});

test("holes: steps without frames, at any pace", () => {
  assert.deepEqual([...holes(even(2, 50, 2))], []);
  assert.deepEqual([...holes([...even(2, 20, 2), ...even(3000, 20, 2)])], [20]);
  assert.deepEqual([...holes([...even(2, 20, 2), 5000])], [20], "the newest point");
  assert.deepEqual([...holes([0])], []);
  assert.deepEqual([...holes([0, 5000])], []);
});

test("another pace is no hole, nor are pictures that a slow link loses now and then", () => {
  assert.deepEqual([...holes([...even(0, 100, 160), ...even(16_000, 100, 2)])], [], "a thinned past");
  assert.deepEqual([...holes([...even(0, 20, 2), ...even(140, 20, 100)])], [], "more steps a frame");
  assert.deepEqual([...holes([0, 30, 60, 90].flatMap((from) => even(from, 6, 2)))], []);
});
