// The map's pixels, colours, messages and gestures, without a browser.
import assert from "node:assert/strict";
import { test } from "node:test";
import { page } from "./page";
import { classColour, mixed, NONE, numberColour, palette, type Rgb } from "../src/scatter/colours";
import { type Gestures, HELP, listen, modeOf, type Tool } from "../src/scatter/gestures";
import { ChainTrails } from "../src/scatter/overlay";
import { paint, type Scene, spacing, styleOf } from "../src/scatter/painter";
import { fromBits, positions, spread, toBits } from "../src/scatter/unpack";
import { fitted, type View } from "../src/scatter/view";

const VIEW: View = { x: 0, y: 0, scale: 1, width: 20, height: 10 };
const BACKGROUND: Rgb = [250, 240, 230];
const RED: Rgb = [200, 0, 0];
const BLUE: Rgb = [0, 0, 200];

function scene(points: number[], levels: number[], more: Partial<Scene> = {}): Scene {
  const table = new Uint8Array(3 * 256);
  table.set([...RED, ...BLUE]);
  const selection = more.selection ?? new Uint8Array(levels.length);
  return {
    points: Float32Array.from(points), levels: Uint8Array.from(levels), palette: table, shown: new Uint8Array(256).fill(1), background: BACKGROUND,
    selected: selection.reduce((sum, each) => sum + each, 0), ...more, selection,
  }; // prettier-ignore
}

function painted(what: Scene, style: Parameters<typeof paint>[3], radius = 0, view = VIEW): (column: number, row: number) => Rgb {
  const pixels = new Uint32Array(view.width * view.height);
  paint(pixels, view, what, style, radius);
  return (column, row) => {
    const value = pixels[row * view.width + column]!;
    assert.equal(value >>> 24, 255, "opaque");
    return [value & 255, (value >> 8) & 255, (value >> 16) & 255];
  };
}

const close = (a: Rgb, b: Rgb, within = 1) => a.forEach((value, i) => assert.ok(Math.abs(value - b[i]!) <= within, `${a} is not ${b}`));

test("dots lie where the view has them, the last on top, and nothing elsewhere", () => {
  const at = painted(scene([0, 0, -9.5, 4.5, 5, -3, 5, -3, 99, 0, 0, 99], [0, 1, 0, 1, 0, 0]), "dots");
  close(at(10, 5), RED, 0);
  close(at(0, 0), BLUE, 0);
  close(at(15, 8), BLUE, 0);
  let others = 0;
  for (let row = 0; row < 10; row++) for (let column = 0; column < 20; column++) others += at(column, row).join() === BACKGROUND.join() ? 1 : 0;
  assert.equal(others, 200 - 3);
});

test("densities have the mean colour and the opacity 1 − ½ⁿ", () => {
  const at = painted(scene([0.5, 0.5, 3.5, 0.5, 3.5, 0.5, 3.5, 0.5], [0, 0, 1, 1]), "density");
  close(at(10, 4), mixed(BACKGROUND, RED, 0.5));
  close(at(13, 4), mixed(BACKGROUND, [200 / 3, 0, 400 / 3], 7 / 8), 2);
  close(at(0, 0), BACKGROUND, 0);
});

test("hidden classes are not painted, in any style", () => {
  const shown = new Uint8Array(256).fill(1);
  shown[1] = 0;
  for (const style of ["dots", "density", "discs"] as const) {
    const at = painted(scene([0.5, 0.5, 5.5, 0.5], [0, 1], { shown }), style, 2);
    close(at(15, 4), BACKGROUND, 0);
    assert.notDeepEqual(at(10, 4), BACKGROUND);
  }
});

test("selected points are strong and on top, others pale", () => {
  const selection = Uint8Array.of(1, 0, 0);
  for (const style of ["dots", "discs"] as const) {
    const at = painted(scene([0.5, 0.5, 0.5, 0.5, 6.5, 0.5], [0, 1, 1], { selection }), style, 1.5);
    const [red, , blue] = at(10, 4);
    assert.ok(red > 190 && blue < 60, `${style}: the selected point is below: ${at(10, 4)}`);
    close(at(16, 4), mixed(BACKGROUND, BLUE, style === "dots" ? 0.3 : 0.255), 2);
  }
  const many = painted(scene([...Array(40).fill(0.5), 6.5, 0.5], [...Array(20).fill(1), 0], { selection: Uint8Array.from([...Array(20).fill(0), 1]) }), "density");
  close(many(10, 4), mixed(BACKGROUND, BLUE, 0.35), 2); // however many there are
  close(many(16, 4), mixed(BACKGROUND, RED, 0.5), 2);
});

test("discs are round, of their radius, and cut at the edges", () => {
  const view = { ...VIEW, width: 41, height: 41 };
  const at = painted(scene([0, 0], [0]), "discs", 8, view);
  let area = 0;
  for (let row = 0; row < 41; row++) {
    for (let column = 0; column < 41; column++) {
      const cover = (BACKGROUND[1] - at(column, row)[1]) / (BACKGROUND[1] * 0.85);
      area += cover;
      const distance = Math.hypot(column - 20, row - 20);
      if (distance > 8.6) close(at(column, row), BACKGROUND, 0);
      if (distance < 7.4) close(at(column, row), mixed(BACKGROUND, RED, 0.85));
    }
  }
  assert.ok(Math.abs(area - Math.PI * 64) < 3, `${area}`);
  for (const [x, y] of [[-10, 5], [10, 5], [10, -5], [-10, -5], [-14, 0], [300, 300]] as const) painted(scene([x, y], [0]), "discs", 3);
});

test("far out there are densities, nearer discs that grow up to a limit", () => {
  assert.equal(styleOf(0.5, 1e6, 1).style, "density");
  const radii = [4, 8, 16, 64, 1000].map((apart) => styleOf(apart, 1000, 1).radius);
  assert.deepEqual(radii, [...radii].sort((a, b) => a - b));
  assert.ok(radii[0]! >= 1 && radii.at(-1) === 6);
  assert.equal(styleOf(1000, 1000, 2).radius, 12);
  assert.equal(styleOf(64, 1e7, 1).style, "density", "too many discs");
  for (const [width, height, count] of [[0, 0, 1], [1, 0, 5], [0, 3, 1e6], [4, 4, 0]] as const) assert.ok(spacing(width, height, count) > 0);
});

test("colours: twenty classes apart, numbers of rising lightness, nothing in grey", () => {
  const lightness = ([r, g, b]: Rgb) => 0.2126 * r + 0.7152 * g + 0.0722 * b;
  for (const dark of [false, true]) {
    const classes = Array.from({ length: 20 }, (_, level) => classColour(level, dark));
    for (const [i, a] of classes.entries()) for (const b of classes.slice(0, i)) assert.ok(Math.hypot(...a.map((each, k) => each - b[k]!)) > 20, `${a} and ${b}`);
    const numbers = Array.from({ length: 50 }, (_, i) => lightness(numberColour(i / 49, dark)));
    assert.deepEqual(numbers, [...numbers].sort((a, b) => a - b));
    const table = palette("numbers", dark);
    assert.deepEqual([...table.slice(3 * 254, 3 * 255)], numberColour(1, dark));
    const [red, green, blue] = table.slice(3 * NONE) as unknown as Rgb;
    assert.ok(Math.max(red, green, blue) - Math.min(red, green, blue) < 20);
    assert.deepEqual([...palette("one", dark).slice(0, 3)], classes[0]);
  }
});

test("positions come in pairs of uint16 in a box; a selection as bits", () => {
  const view = new DataView(new ArrayBuffer(13)); // at an odd place of a larger buffer, as JupyterLab passes it
  [0, 65535, 65535, 0, 32768, 1].forEach((value, i) => view.setUint16(1 + 2 * i, value, true));
  const found = positions(new Uint8Array(view.buffer, 1, 12), { left: -10, right: 30, bottom: 5, top: 7 });
  assert.deepEqual([...found.slice(0, 4)], [-10, 7, 30, 5]);
  assert.ok(Math.abs(found[4]! - 10) < 1e-3);
  assert.deepEqual([...positions(new Uint8Array(4), { left: 3, right: 3, bottom: 4, top: 4 })], [3, 4]); // a single point
  const selection = Uint8Array.from({ length: 21 }, (_, i) => (i % 3 === 0 || i > 18 ? 1 : 0));
  const bits = toBits(selection);
  assert.deepEqual([...bits.slice(0, 1)], [0b01001001]);
  assert.deepEqual(fromBits(bits, 21), selection);
});

test("a gallery is spread over the selection", () => {
  const selection = Uint8Array.from({ length: 1000 }, (_, i) => i % 2);
  const found = spread(selection, 500, 100);
  assert.equal(found.length, 100);
  assert.ok(found.every((i) => i % 2 === 1) && new Set(found).size === 100);
  assert.ok(found[0]! < 10 && found.at(-1)! > 980);
  assert.deepEqual(spread(selection, 500, 500).length, 500);
  assert.deepEqual(spread(Uint8Array.of(0, 1, 1), 2, 100), [1, 2]);
  assert.deepEqual(spread(new Uint8Array(5), 0, 100), []);
});

function chains(rows: number[][]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Float32Array.from(rows.flat()).buffer);
}

test("chains leave trails, which begin anew when told; the nearest one is clicked", () => {
  const trails = new ChainTrails();
  const view = fitted({ left: 0, right: 10, bottom: 0, top: 10 }, 100, 100);
  trails.take({ count: 2, neurons: ["<b>3</b>", "7"], colours: [3, 7], fresh: true }, chains([[5, 5, 0, 1], [NaN, 0, 1, 0]])); // prettier-ignore
  assert.equal(trails.place(1), null);
  assert.equal(trails.at(view, 50, 50, 1), 0);
  assert.equal(trails.at(view, 90, 90, 1), -1);
  trails.take({ count: 2, neurons: ["<b>3</b>", "7"], colours: [3, 7], fresh: false }, chains([[6, 5, 0, 0], [5.5, 5, 1, 1]])); // prettier-ignore
  assert.deepEqual([trails.neuron(0), trails.isSolid(0), trails.neuron(1), trails.isSolid(1)], ["<b>3</b>", false, "7", true]);
  assert.equal(trails.at(view, 54, 50, 1), 1);
  assert.deepEqual(trails.place(0), { x: 6, y: 5 });
  trails.take({ count: 0, neurons: [], colours: [], fresh: true }, chains([]));
  assert.equal(trails.count, 0);
});

/** A canvas of 200 × 100, and what is asked for on it. */
function gestures(tool: Tool = "move"): { said: unknown[][]; press: (key: string, more?: object) => boolean; drag: (path: number[][], more?: object) => void; canvas: HTMLElement } {
  const canvas = document.createElement("canvas");
  document.body.replaceChildren(canvas);
  canvas.tabIndex = 0;
  Object.defineProperties(canvas, { clientWidth: { value: 200 }, clientHeight: { value: 100 } });
  const said: unknown[][] = [];
  const names = ["pan", "zoom", "fit", "draw", "enclose", "pick", "all", "hover", "chain", "clear", "use", "help"] as const;
  const on = Object.fromEntries(names.map((name) => [name, (...what: unknown[]) => said.push([name, ...what])])) as unknown as Gestures;
  listen(canvas, on, () => tool, new AbortController().signal);
  const pointer = (type: string, [clientX, clientY]: number[], more: object) =>
    canvas.dispatchEvent(Object.assign(new page.window.MouseEvent(type, { clientX: clientX!, clientY: clientY!, bubbles: true, cancelable: true, ...more }), { pointerId: 1 }) as never);
  return {
    said,
    canvas,
    press: (key, more = {}) => !canvas.dispatchEvent(new page.window.KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }) as never),
    drag: (path, more = {}) => {
      pointer("pointerdown", path[0]!, more);
      for (const place of path.slice(1)) pointer("pointermove", place, more);
      pointer("pointerup", path.at(-1)!, more);
    },
  };
}

const PATH = [[10, 10], [60, 10], [60, 50]]; // prettier-ignore

test("a drag moves, or encloses, as the tool and the modifiers say", () => {
  const move = gestures();
  move.drag(PATH);
  assert.deepEqual(move.said.filter(([what]) => what !== "draw"), [["pan", 50, 0], ["pan", 0, 40]]); // prettier-ignore
  const shift = gestures();
  shift.drag(PATH, { shiftKey: true });
  assert.deepEqual(shift.said.at(-1), ["enclose", [10, 10, 60, 10, 60, 50], "add"]);
  const rectangle = gestures("rectangle");
  rectangle.drag(PATH, { altKey: true });
  assert.deepEqual(rectangle.said.at(-1), ["enclose", [10, 10, 60, 10, 60, 50, 10, 50], "remove"]);
  const lasso = gestures("lasso");
  lasso.drag(PATH);
  assert.deepEqual(lasso.said.at(-1), ["enclose", [10, 10, 60, 10, 60, 50], "replace"]);
  const click = gestures("lasso");
  click.drag([[10, 10], [12, 11]], { shiftKey: true }); // prettier-ignore
  assert.deepEqual(click.said.filter(([what]) => what !== "draw"), [["pick", [10, 10], "add"]]);
});

test("Escape gives up a shape, then clears", () => {
  const { said, press, drag, canvas } = gestures("lasso");
  canvas.addEventListener("pointermove", () => press("Escape"));
  drag(PATH.slice(0, 2));
  assert.deepEqual(said.map(([what]) => what), ["draw", "draw"]);
  assert.deepEqual(said.at(-1), ["draw", []]);
  press("Escape");
  assert.deepEqual(said.at(-1), ["clear"]);
});

test("keys: everything the pointer can do, and no more", () => {
  const { said, press } = gestures();
  const asked = (key: string, more?: object) => (press(key, more), said.at(-1));
  assert.deepEqual(asked("ArrowLeft"), ["pan", 20, 0]);
  assert.deepEqual(asked("ArrowDown", { shiftKey: true }), ["pan", 0, -50]);
  assert.deepEqual(asked("+"), ["zoom", 1.4, 100, 50]);
  assert.deepEqual(asked("-"), ["zoom", 1 / 1.4, 100, 50]);
  for (const key of ["0", "Home"]) assert.deepEqual(asked(key), ["fit"]);
  assert.deepEqual(asked("Enter"), ["pick", null, "replace"]);
  assert.deepEqual(asked("Enter", { shiftKey: true }), ["pick", null, "add"]);
  assert.deepEqual(asked("å", { altKey: true, code: "KeyA" }), ["all", "remove"]); // on a Mac
  assert.deepEqual(asked("r"), ["use", "rectangle"]);
  assert.deepEqual(asked("?"), ["help"]);
  const count = said.length;
  for (const key of ["x", "Tab", "b"]) assert.equal(press(key), false);
  assert.equal(press("a", { ctrlKey: true }), false);
  assert.equal(said.length, count);
  assert.ok(HELP.length > 9);
  assert.equal(modeOf({ shiftKey: true, altKey: true }), "remove");
});
