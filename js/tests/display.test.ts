// What is shown of the pictures: contrast, bands, receptive fields; and the larger views.
import { page } from "./page";
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import widget from "../src/widget";
import type { Display, Pane, Setup } from "../src/protocol";
import { FakeModel, frameMessage, NAMES, parameter } from "./kernel";

let model: FakeModel;
let root: HTMLElement;
let close: () => void = () => {};

const PLAIN: Display = { contrast: "as it is", bands: [0], band_count: 1, cropped: false, field: null, window: null, picture: [32, 32] };
const FIELD: Partial<Display> = { field: [7, 7], window: [7, 7], cropped: true };

beforeEach(() => {
  close();
  [page.observers, page.intersection] = [[], []];
  model = new FakeModel();
  const el = document.createElement("div");
  document.body.replaceChildren(el);
  close = widget.render({ model: model as never, el });
  root = el.querySelector(".ldam")!;
});

const find = <T extends Element = HTMLElement>(selector: string) => root.querySelector<T>(selector)!;
const select = (name: string) => find<HTMLSelectElement>(`select[aria-label="${name}"]`);
const button = (name: string) => find<HTMLButtonElement>(`button[aria-label="${name}"]`);
const crop = () => find<HTMLInputElement>("input[type=checkbox]");
const hidden = (element: Element) => element.closest("[hidden]") !== null;
const begin = (display: Partial<Display> = {}, changes: Partial<Setup> = {}) => {
  model.rich({ display: { ...PLAIN, ...display }, ...changes });
  page.resize(700);
  model.sent = [];
};
const state = (display: Partial<Display>) =>
  model.post({ kind: "state", params: {}, playing: true, recording: false, display: { ...PLAIN, ...display } });
const choose = (box: HTMLSelectElement, value: string) => {
  box.value = value;
  box.dispatchEvent(new page.window.Event("change", { bubbles: true }) as never);
};
const press = (element: Element, key: string) => {
  const event = new page.window.KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
  element.dispatchEvent(event as never);
  return event;
};
/** Lets awaited promises go on. */
const settle = () => new Promise<void>((done) => setImmediate(done));
/** A frame of 2 × 2 pixels; the description of its panes is changed by `alter`. */
const frame = (alter: (pane: Pane) => Pane = (pane) => pane) => {
  const { content, buffers } = frameMessage(1, { level: 51 });
  model.post({ ...content, panes: content.panes.map(alter) }, buffers);
  page.animate();
};
const hover = (x: number, y: number) => {
  const event = new page.window.Event("pointermove", { bubbles: true });
  Object.assign(event, { offsetX: x, offsetY: y });
  find("canvas").dispatchEvent(event as never);
  return find(".ldam-readout").textContent!;
};

test("contrast is a box among the settings of the picture, and explains itself", () => {
  begin();
  const box = select("contrast");
  assert.equal(box.closest("[role=group]")!.querySelector(".ldam-group-name")!.textContent, "picture");
  assert.match(box.title, /tiles cannot be compared/);
  choose(box, "stretched");
  assert.deepEqual(model.take("display"), [{ kind: "display", contrast: "stretched" }]);
  state({ contrast: "stretched" });
  page.pass(1100);
  assert.equal(box.value, "stretched");
  assert.match(find("canvas").getAttribute("aria-label")!, /each tile stretched to its own darkest and lightest pixel/);
});

test("a refusal shows the kernel's values again", () => {
  begin(FIELD);
  choose(select("contrast"), "stretched");
  crop().click();
  model.post({ kind: "error", error: { message: "no", hint: "" } });
  assert.deepEqual([select("contrast").value, crop().checked], ["as it is", true]);
});

test("a stretched tile says what its black and white are, and its pixels keep their values", () => {
  begin();
  frame((pane) => ({ ...pane, ranges: [NAMES.map((_, i): [number, number] => [i, i + 1])] }));
  const head = find<HTMLElement>(".ldam-head").style;
  const [left, top] = [parseFloat(head.left) + parseFloat(head.width) / 2, parseFloat(head.height) + 10];
  const text = hover(left, top);
  assert.match(text, /pixel \(\d, \d\) = 0\.20 · stretched: black 0, white 1\.00/);
});

test("a pixel of a cropped tile has its place in the whole picture", () => {
  begin(FIELD);
  frame((pane) => ({ ...pane, corners: NAMES.map((): [number, number] => [12, 20]) }));
  const head = find<HTMLElement>(".ldam-head").style;
  const text = hover(parseFloat(head.left) + parseFloat(head.width) / 2, parseFloat(head.height) + 10);
  assert.match(text, /pixel \(1[23], 2[01]\) = /);
});

test("bands are chosen where there are other than one or three", () => {
  begin();
  assert.ok(hidden(select("band of 12") ?? find(".ldam-bands")));
  begin({ band_count: 3, bands: [0, 1, 2] });
  assert.ok(hidden(find(".ldam-bands")));
  begin({ band_count: 12 });
  const band = select("band of 12");
  assert.deepEqual([band.options.length, band.value, hidden(band)], [12, "0", false]);
  choose(band, "7");
  state({ band_count: 12, bands: [7] });
  choose(select("colours of the bands"), "colour");
  assert.deepEqual(model.take("display"), [{ kind: "display", bands: [7] }, { kind: "display", bands: [0, 1, 2] }]);
  state({ band_count: 12, bands: [3, 2, 1] });
  assert.deepEqual(["red", "green", "blue"].map((name) => select(`${name} band`).value), ["3", "2", "1"]);
  choose(select("green band"), "9");
  assert.deepEqual(model.take("display"), [{ kind: "display", bands: [3, 9, 1] }]);
  begin({ band_count: 2 });
  assert.ok(hidden(select("colours of the bands")));
  begin({ band_count: 3, bands: [2] });
  assert.ok(!hidden(select("band of 3")), "one channel of an RGB image can be given up again");
});

test("the receptive field is stated, and can be left", () => {
  begin();
  assert.ok(hidden(crop()));
  begin(FIELD);
  const label = crop().closest("label")!;
  assert.equal(label.textContent, "only the receptive field, 7×7 of 32×32");
  assert.ok(crop().checked);
  crop().click();
  assert.deepEqual(model.take("display"), [{ kind: "display", cropped: false }]);
  state({ ...FIELD, cropped: false });
  assert.ok(!crop().checked);
  state({ ...FIELD, window: [13, 13] });
  assert.match(label.textContent!, /7×7 of 32×32; 13×13 with its shifts/);
});

test("the slice of a volume comes first in its group, and a box keeps its focus when sliders change", () => {
  const slice = parameter({ name: "slice", label: "slice", group: "picture", low: 0, high: 9, integer: true });
  const average = parameter({ name: "average", label: "average", group: "picture" });
  begin({}, { parameters: [average, slice], params: { average: 1, slice: 4 } });
  assert.deepEqual([...root.querySelectorAll(".ldam-label")].map((label) => label.textContent), ["slice", "average"]);
  select("contrast").focus();
  begin({}, { parameters: [average], params: { average: 1 } });
  assert.equal(document.activeElement, select("contrast"));
});

test("an older kernel says nothing of it, a newer one may say what does not fit", () => {
  begin({}, { display: undefined } as never);
  assert.ok(hidden(select("contrast")));
  model.post({ kind: "state", params: {}, playing: true, recording: false, display: { contrast: "loud" } });
  assert.ok(hidden(select("contrast")));
});

// ---- larger views ----------------------------------------------------------------------------------------------------

test("full width is a toggle, and makes tiles larger", () => {
  begin();
  frame();
  Object.assign(page.window, { innerHeight: 2000 });
  const width = () => parseFloat(find<HTMLElement>(".ldam-ring").style.width || "0");
  find<HTMLElement>("canvas").focus();
  const before = width();
  button("full width").click();
  assert.equal(button("full width").getAttribute("aria-pressed"), "true");
  assert.ok(root.classList.contains("ldam-wide"));
  assert.ok(width() > before, `${before} → ${width()}`);
  button("full width").click();
  assert.ok(!root.classList.contains("ldam-wide"));
  assert.equal(width(), before);
});

test("full screen by button and by key, and back", async () => {
  begin();
  const calls: string[] = [];
  let element: Element | null = null;
  const change = (to: Element | null, call: string) => {
    calls.push(call);
    element = to;
    root.dispatchEvent(new page.window.Event("fullscreenchange") as never);
    return Promise.resolve();
  };
  Object.defineProperty(document, "fullscreenElement", { get: () => element, configurable: true });
  root.requestFullscreen = () => change(root, "enter");
  document.exitFullscreen = () => change(null, "leave");
  button("full screen").click();
  await settle();
  assert.ok(root.classList.contains("ldam-full"));
  assert.equal(button("full screen").getAttribute("aria-pressed"), "true");
  assert.ok(press(find("canvas"), "f").defaultPrevented);
  await settle();
  assert.ok(!root.classList.contains("ldam-full"));
  press(find("input[type=range]"), "F");
  await settle();
  change(null, "Escape, which the browser handles");
  assert.ok(!root.classList.contains("ldam-full"));
  for (const place of [find("input[type=number]"), find("input[type=text], .ldam-search"), select("contrast")]) press(place, "f");
  await settle();
  assert.deepEqual(calls, ["enter", "leave", "enter", "Escape, which the browser handles"]);
  delete (document as { fullscreenElement?: unknown }).fullscreenElement;
});

test("where full screen is forbidden, the panel fills the window, says so, and Escape leaves", async () => {
  begin();
  root.requestFullscreen = () => Promise.reject(new TypeError("not allowed"));
  button("full screen").click();
  await settle();
  assert.ok(root.classList.contains("ldam-full"));
  page.pass(1100);
  assert.match(root.lastElementChild!.textContent!, /not available here.*Escape leaves/);
  press(find("canvas"), "Escape");
  assert.ok(!root.classList.contains("ldam-full"));
});

test("receptive fields are outlined in an enlarged tile, and in all of them if asked", () => {
  const fields = NAMES.map((_, i) => [0, 0, 1, i ? 1 : 2] as [number, number, number, number]); // of 2 × 2 pixels
  begin({ field: [1, 2], window: [1, 2], fields });
  frame();
  const outlines = () => [...root.querySelectorAll<HTMLElement>(".ldam-field")];
  assert.equal(outlines().length, 0);
  const box = [...root.querySelectorAll<HTMLInputElement>("input[type=checkbox]")].find((each) => each.closest("label")!.textContent === "outline the receptive field in every tile")!;
  box.click();
  const tiles = outlines();
  assert.ok(tiles.length >= NAMES.length);
  const sizes = tiles.slice(0, 2).map(({ style }) => [parseFloat(style.width), parseFloat(style.height)] as const);
  assert.ok(Math.abs(sizes[0]![0] - 2 * sizes[0]![1]) < 1e-6); // both columns, one row
  assert.ok(Math.abs(sizes[1]![0] - sizes[1]![1]) < 1e-6);
  assert.deepEqual(model.take("display"), []); // of this view alone
  box.click();
  assert.equal(outlines().length, 0);
  find("canvas").focus();
  press(find("canvas"), "Enter");
  assert.ok(outlines().length > 0);
  state({ field: [2, 2], window: [2, 2], fields: NAMES.map(() => [0, 0, 2, 2]) });
  assert.equal(outlines().length, 0); // all that is shown
  state({});
  assert.equal(outlines().length, 0);
  assert.ok(hidden(box));
});

test("a cropped tile shows the part of a receptive field that is in it", () => {
  begin({ ...FIELD, fields: NAMES.map(() => [3, 4, 5, 5]) });
  frame((pane) => ({ ...pane, corners: NAMES.map(() => [4, 4]) }));
  press(find("canvas"), "Enter");
  const { left, top, width, height } = root.querySelector<HTMLElement>(".ldam-field")!.style;
  const tile = root.querySelector<HTMLElement>(".ldam-head")!.style;
  assert.ok(Math.abs(parseFloat(width) - parseFloat(height)) < 1e-6); // one pixel, the first
  assert.ok(Math.abs(parseFloat(left) - parseFloat(tile.left)) < 2);
  assert.ok(parseFloat(top) > 0);
});
