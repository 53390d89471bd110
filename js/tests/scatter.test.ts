import assert from "node:assert/strict";
import { test } from "node:test";
import { Grid } from "../src/scatter/grid";
import { bitmap, rectangle, select } from "../src/scatter/lasso";
import { boxOf, fitted, panned, resized, toMap, toPixel, zoomed } from "../src/scatter/view";

/** Numbers in [0, 1), the same in every run. */
function random(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 16807) % 2147483647) / 2147483647;
}

function cloud(count: number, seed = 7): Float32Array {
  const next = random(seed);
  return Float32Array.from({ length: 2 * count }, (_, i) => (i % 2 ? 30 * next() - 50 : 100 * next() ** 2));
}

const points = cloud(3000);
const all = fitted(boxOf(points), 640, 480);
const near = (a: number, b: number) => assert.ok(Math.abs(a - b) < 1e-6, `${a} is not ${b}`);

test("all points fit on the canvas, up is up, and pixels and places round trip", () => {
  for (let i = 0; i < points.length; i += 2) {
    const [column, row] = toPixel(all, points[i]!, points[i + 1]!);
    assert.ok(column > 30 && column < 610 && row > 20 && row < 460);
    const [x, y] = toMap(all, column, row);
    near(x, points[i]!);
    near(y, points[i + 1]!);
  }
  assert.ok(toPixel(all, 0, 1)[1] < toPixel(all, 0, 0)[1]);
});

test("the map follows the pointer, and a zoom keeps what is under it", () => {
  const place = toMap(all, 100, 300);
  const moved = toPixel(panned(all, 25, -40), ...place);
  near(moved[0], 125);
  near(moved[1], 260);
  const closer = zoomed(all, 3, 100, 300, all);
  near(closer.scale, 3 * all.scale);
  near(toPixel(closer, ...place)[0], 100);
  near(toPixel(closer, ...place)[1], 300);
  assert.ok(zoomed(all, 1e-9, 0, 0, all).scale > 0.4 * all.scale, "it does not vanish");
  assert.ok(Number.isFinite(zoomed(all, 1e99, 0, 0, all).scale));
});

test("another size of canvas shows the same middle, and no less of the map", () => {
  const view = resized(zoomed(all, 2, 10, 10, all), 320, 480);
  assert.deepEqual(toMap(view, 160, 240).map(Math.fround), toMap(zoomed(all, 2, 10, 10, all), 320, 240).map(Math.fround));
  near(view.scale, all.scale);
});

test("one point or none have a view", () => {
  for (const few of [new Float32Array(0), Float32Array.of(3, 4)]) {
    const view = fitted(boxOf(few), 100, 100);
    assert.ok(Object.values(view).every(Number.isFinite));
    assert.equal(new Grid(few).nearest(3, 4, 1), few.length ? 0 : -1);
  }
});

test("the nearest point, against a search of all", () => {
  const grid = new Grid(points);
  const next = random(3);
  for (let k = 0; k < 300; k++) {
    const [x, y, radius] = [140 * next() - 20, 50 * next() - 60, 6 * next()];
    let best = -1;
    let least = radius ** 2;
    for (let i = 0; i < points.length / 2; i++) {
      const squared = (points[2 * i]! - x) ** 2 + (points[2 * i + 1]! - y) ** 2;
      if (squared < least) [best, least] = [i, squared];
    }
    assert.equal(grid.nearest(x, y, radius), best);
  }
});

test("of points at one place the first is found", () => {
  assert.equal(new Grid(Float32Array.of(1, 1, 5, 5, 5, 5, 5, 5)).nearest(5, 5, 1), 1);
  assert.equal(new Grid(new Float32Array(2000)).nearest(0.5, 0, 1), 0);
});

test("the points in a box, against a search of all", () => {
  const grid = new Grid(points);
  const boxes = [
    { left: 10, right: 30, bottom: -45, top: -30 },
    { left: -1e9, right: 1e9, bottom: -1e9, top: 1e9 },
    { left: 200, right: 300, bottom: -40, top: -30 },
    { left: 30, right: 10, bottom: -45, top: -30 },
  ];
  const counts = boxes.map((box) => {
    const expected: number[] = [];
    for (let i = 0; i < points.length / 2; i++) {
      const [x, y] = [points[2 * i]!, points[2 * i + 1]!];
      if (x >= box.left && x <= box.right && y >= box.bottom && y <= box.top) expected.push(i);
    }
    assert.deepEqual(grid.within(box), expected);
    return expected.length;
  });
  assert.ok(counts[0]! > 50);
  assert.deepEqual(counts.slice(1), [3000, 0, 0]);
});

/** Whether a place is inside a polygon, by the even-odd rule, edge by edge. */
function within(polygon: number[], x: number, y: number): boolean {
  let inside = false;
  for (let i = 0, j = polygon.length - 2; i < polygon.length; j = i, i += 2) {
    const [x1, y1, x2, y2] = [polygon[j]!, polygon[j + 1]!, polygon[i]!, polygon[i + 1]!];
    if (y1 <= y !== y2 <= y && x < x1 + ((y - y1) / (y2 - y1)) * (x2 - x1)) inside = !inside;
  }
  return inside;
}

test("the bitmap of a polygon that crosses itself and leaves the canvas, pixel by pixel", () => {
  const next = random(11);
  const polygon = Array.from({ length: 22 }, (_, i) => (i % 2 ? 70 : 90) * (1.4 * next() - 0.2));
  const drawn = bitmap(polygon, 90, 70);
  let count = 0;
  for (let row = 0; row < 70; row++) {
    for (let column = 0; column < 90; column++) {
      const expected = within(polygon, column + 0.5, row + 0.5);
      assert.equal(drawn[row * 90 + column], expected ? 1 : 0, `${column}, ${row}`);
      count += expected ? 1 : 0;
    }
  }
  assert.ok(count > 500 && count < 5800);
  assert.ok(!bitmap([], 9, 9).includes(1) && !bitmap([3, 3, 8, 8], 9, 9).includes(1), "no area");
});

test("a lasso replaces, shift adds, alt removes", () => {
  const selection = new Uint8Array(3000);
  const column = (i: number) => toPixel(all, points[2 * i]!, points[2 * i + 1]!)[0];
  const half = rectangle(-10, -10, 320, 490);
  const left = select(selection, points, all, half, "replace");
  assert.ok(left > 1000 && left < 3000);
  selection.forEach((value, i) => assert.equal(value, column(i) < 320 ? 1 : 0));
  assert.equal(select(selection, points, all, rectangle(320, -10, 700, 490), "add"), 3000);
  assert.equal(select(selection, points, all, half, "remove"), 3000 - left);
  selection.forEach((value, i) => assert.equal(value, column(i) < 320 ? 0 : 1));
  assert.equal(select(selection, points, all, rectangle(0, 0, 0, 0), "replace"), 0);
});
