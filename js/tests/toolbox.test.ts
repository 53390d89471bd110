// The toolbox's page without a browser: keys, the grid of tiles, and the conversation with a kernel in the test's hands.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import Ajv2020 from "ajv/dist/2020";
import { page } from "./page";
import { after } from "../src/toolbox/controls";
import { packed } from "../src/toolbox/files";
import { deedOf, KEYS } from "../src/toolbox/keys";
import type { Frame, FromKernel, Setup, State, ToKernel } from "../src/toolbox/protocol";
import { gridOf } from "../src/toolbox/tiles";
import { showToolbox } from "../src/toolbox/toolbox";
import { typescript } from "../protocol.mjs";

const schema = JSON.parse(readFileSync("src/toolbox/protocol.schema.json", "utf8"));
const ajv = new Ajv2020({ allowUnionTypes: true, strictTuples: false, strictTypes: false, keywords: ["addedLater"] });
ajv.addSchema(JSON.parse(readFileSync("src/protocol.schema.json", "utf8")), "../protocol.schema.json");
const conforms = (name: string) => ajv.compile({ $defs: schema.$defs, $ref: `#/$defs/${name}` });
const [toKernel, fromKernel] = [conforms("ToKernel"), conforms("FromKernel")];

const CHOICE = { layer: "conv1", unit: [2], shape: [6, 4, 4], rule: "off", view: "raw", show: "activations", boost: 0, gamma: 1, fit: "crop", frozen: false, pinned: null };
const PICTURE = { source: "images", sources: ["images"], index: 0, count: 3, name: "a.png" };
const SETUP: Setup = {
  kind: "setup", title: "net", device: "cpu", notes: [], error: null, view: "", rev: 0, takes_files: true, input_shape: [3, 8, 8],
  layers: [{ name: "conv1", type: "Conv2d", units: 6 }, { name: "fc", type: "Linear", units: 3 }],
  rules: ["off", "gradient", "guided", "deconv"], views: ["raw", "norm"], shown: ["activations", "backward"], classifies: true, picture: PICTURE, choice: CHOICE, unit_shown: null,
}; // prettier-ignore

/** A view and the kernel's side of its conversation. */
class Talk {
  said: ToKernel[] = [];
  root: HTMLElement;
  #handlers: ((content: unknown, buffers?: ArrayBuffer[]) => void)[] = [];
  #end = new AbortController();

  constructor(setup: Partial<Setup> = {}) {
    const place = document.createElement("div");
    document.body.replaceChildren(place);
    const send = (message: ToKernel) => (assert(toKernel(message), JSON.stringify(toKernel.errors)), this.said.push(message));
    showToolbox({ on: (_, handle) => this.#handlers.push(handle as never), off: () => (this.#handlers = []), send }, place, this.#end.signal);
    this.root = place.querySelector(".ldam-tb")!;
    this.tell({ ...SETUP, ...setup });
  }

  tell(message: FromKernel | { kind: "error"; error: unknown }, buffers: ArrayBuffer[] = []): void {
    assert(fromKernel(message), JSON.stringify(fromKernel.errors));
    for (const handle of this.#handlers) handle(message, buffers);
  }

  frame(seq: number, changes: Partial<Frame> = {}): void {
    const pane = (name: "picture" | "tiles" | "unit", shape: [number, number, number, number]) => ({ name, encoding: "raw" as const, shape, signed: false });
    const panes = [pane("picture", [1, 8, 8, 3]), pane("tiles", [6, 4, 4, 1]), pane("unit", [1, 4, 4, 1])];
    const frame: Frame = {
      kind: "frame", seq, answers: null, name: "a.png", panes, layer: "conv1", unit: [2], show: "activations", value: 1.5, scale: 3, ms: 9,
      classes: [{ number: 1, name: "<b>cat</b>", probability: 0.75 }], other_classes: [], remark: "", reading: null, stats: { frames_per_second: 10, round_trip_ms: 4 }, ...changes,
    }; // prettier-ignore
    this.tell(frame, panes.map(({ shape }) => new ArrayBuffer(shape.reduce((a, b) => a * b))));
  }

  of<K extends ToKernel["kind"]>(kind: K): Extract<ToKernel, { kind: K }>[] {
    return this.said.filter((message): message is Extract<ToKernel, { kind: K }> => message.kind === kind);
  }

  press(key: string, shiftKey = false): void {
    this.root.querySelector(".ldam-tb-grid")!.dispatchEvent(new window.KeyboardEvent("keydown", { key, shiftKey, bubbles: true, cancelable: true }));
  }

  close(): void {
    this.#end.abort();
  }
}

test("the types are those of the schema", () => {
  assert.equal(readFileSync("src/toolbox/protocol.ts", "utf8"), typescript(schema));
});

test("tiles are as large as fits, and all of them are there", () => {
  for (const [tiles, aspect, width, height] of [[64, 1, 600, 420], [3, 1, 600, 420], [512, 1, 300, 420], [4096, 1, 500, 420], [20, 2, 400, 300], [1, 0.5, 90, 90]] as const) {
    const grid = gridOf(tiles, aspect, width, height);
    assert(grid.columns >= 1 && grid.columns <= tiles);
    assert(grid.columns * (grid.width + 2) <= width + 1e-9, "they overflow");
    assert(Math.abs(grid.width / grid.height - aspect) < 1e-9);
    const rows = Math.ceil(tiles / grid.columns);
    assert(grid.width === 9 || rows * (grid.height + 2) <= height + 1e-9);
    for (let columns = 1; columns <= tiles; columns++) {
      const wide = Math.min(width / columns - 2, (height / Math.ceil(tiles / columns) - 2) * aspect, aspect >= 1 ? 96 : 96 * aspect);
      assert(wide <= Math.max(grid.width, 9) + 1e-9, `${columns} columns would be better`);
    }
  }
});

test("every key asks for one thing, and none while the user types", () => {
  const all = KEYS.flatMap(({ keys }) => keys);
  assert.equal(new Set(all).size, all.length);
  const key = (key: string, more = {}) => ({ key, shiftKey: false, altKey: false, ctrlKey: false, metaKey: false, ...more });
  for (const { keys, deeds } of KEYS) for (const each of keys) assert(deeds.includes(deedOf(key(each), null)!));
  assert.equal(deedOf(key("ArrowLeft", { shiftKey: true }), null), "far-left");
  assert.equal(deedOf(key("c", { ctrlKey: true }), null), null);
  assert.equal(deedOf(key("x"), null), null);
  const [box, list] = [document.createElement("select"), document.createElement("select")];
  list.size = 9;
  assert.equal(deedOf(key("b"), box), null);
  assert.equal(deedOf(key("b"), list), "rule");
  assert.equal(deedOf(key("ArrowDown"), list), null);
});

test("the value after another one", () => {
  assert.equal(after([1, 0.7, 0.5], 0.5), 1);
  assert.equal(after([1, 0.7, 0.5], 1, -1), 0.5);
  assert.equal(after([1, 0.7, 0.5], 0.123), 1); // set in Python
});

test("the newest frame is painted and acknowledged; hidden ones are acknowledged at once", () => {
  const talk = new Talk();
  talk.frame(1);
  talk.frame(2);
  assert.deepEqual(talk.of("ack"), []);
  page.animate();
  assert.deepEqual(talk.of("ack").map(({ seq, visible }) => [seq, visible]), [[2, true]]);
  page.setHidden(true);
  talk.frame(3);
  assert.deepEqual(talk.of("ack").map(({ seq, visible }) => [seq, visible]), [[2, true], [3, false]]);
  page.setHidden(false);
  assert.equal(talk.of("ack").at(-1)!.visible, true);
  page.animate();
  assert.equal(talk.of("ack").at(-1)!.seq, 3);
  talk.close();
  assert.equal(talk.said.at(-1)!.kind, "bye");
  assert.equal(document.querySelector(".ldam-tb"), null);
});

test("the page of the chosen channel opens by its button and its key, and closes by the key", () => {
  const talk = new Talk();
  talk.frame(1);
  page.animate();
  const opener = [...talk.root.querySelectorAll("button")].find((each) => each.textContent === "about unit 2 of conv1")!;
  opener.click();
  talk.press("p");
  assert.deepEqual(talk.of("unit"), [{ kind: "unit", layer: "conv1", unit: 2 }, { kind: "unit", layer: "conv1", unit: 2 }]);
  const subject = { key: "2", layer: "conv1", unit: 2, units: 6, name: "<b>cat</b>", back: false, networks: [""] };
  talk.tell({ kind: "unit", id: 4, card: 0, subject });
  const histogram = { low: 0, high: 5, counts: [1, 2], below: 0, above: 0 };
  const top = [{ value: 5, name: "<i>a</i>", place: [] }];
  talk.tell({ kind: "unit", id: 4, card: 0, seen: { images: 50, of: 50, final: true, map: [], dead: false, silent: 0, mean: 1, histogram, top, boxes: [] } });
  const shown = talk.root.querySelector<HTMLElement>(".ldam-page")!;
  assert(!shown.hidden && opener.hidden);
  assert.equal(shown.getAttribute("aria-label"), "unit 2 of conv1 · <b>cat</b>");
  talk.frame(2, { reading: { id: 4, values: [2.5], ranks: [40] } });
  page.animate();
  talk.frame(3, { reading: { id: 3, values: [9], ranks: [99] } }); // of an earlier page
  page.animate();
  assert.equal(talk.root.querySelector(".ldam-page-standing")!.textContent, "picture 2.50: stronger than 40.0 % of 50 real images");
  talk.press("p");
  assert.equal(talk.of("do").at(-1)!.what, "close_unit");
  talk.press("]");
  assert.equal(talk.of("do").at(-1)!.what, "next_unit");
  const before = talk.of("do").length;
  talk.tell({ kind: "state", view: "", rev: 0, picture: PICTURE, choice: CHOICE, unit_shown: null });
  talk.press("]"); // nothing to step through
  assert.equal(talk.of("do").length, before);
  assert(shown.hidden && !opener.hidden);
  talk.close();
});

test("names are text", () => {
  const talk = new Talk({ notes: ["<i>note</i>"], picture: { ...PICTURE, name: "<u>x</u>" } });
  talk.frame(1);
  page.animate();
  talk.tell({ kind: "error", error: { message: "<s>wrong</s>", hint: "" } });
  for (const text of ["<b>cat</b>", "<i>note</i>", "<u>x</u>", "<s>wrong</s>"]) assert(talk.root.textContent!.includes(text));
  assert.equal(talk.root.querySelector(".ldam-tb-classes b, i, u, s"), null);
  talk.close();
});

test("own changes show at once, and an older answer does not undo them", () => {
  const talk = new Talk();
  const view = talk.of("hello")[0]!.view;
  const rule = talk.root.querySelector<HTMLSelectElement>("select[aria-label=backward]")!;
  talk.press("b");
  talk.press("b");
  assert.equal(rule.value, "guided");
  assert.deepEqual(talk.of("change").map(({ rev, choice }) => [rev, choice.rule]), [[1, "gradient"], [2, "guided"]]);
  const state = (rule: string, rev: number, from = view): State => ({ kind: "state", view: from, rev, picture: PICTURE, choice: { ...CHOICE, rule }, unit_shown: null });
  talk.tell(state("gradient", 1));
  assert.equal(rule.value, "guided");
  talk.tell(state("guided", 2));
  talk.tell(state("deconv", 2)); // by Python
  assert.equal(rule.value, "deconv");
  talk.press("b");
  assert.equal(rule.value, "off");
  talk.tell(state("deconv", 3)); // refused
  assert.equal(rule.value, "deconv");
  talk.close();
});

test("another layer keeps the channel as far as there is one; channels end where the layer ends", () => {
  const talk = new Talk({ choice: { ...CHOICE, unit: [5] } });
  talk.press("ArrowRight");
  assert.deepEqual(talk.of("change"), []);
  talk.press("o");
  assert.deepEqual(talk.of("change").at(-1)!.choice, { layer: "fc", unit: [2] });
  talk.press("o");
  assert.equal(talk.of("change").length, 1);
  talk.close();
});

test("what the network cannot take is not offered", () => {
  const talk = new Talk({ takes_files: false, shown: ["activations", "backward"], picture: { ...PICTURE, count: 1 } });
  for (const name of ["camera", "freeze", "open"]) assert(talk.root.querySelector<HTMLElement>(`button[aria-label=${name}]`)!.hidden);
  assert(talk.root.querySelector<HTMLButtonElement>("button[aria-label='next picture']")!.disabled);
  talk.press("c");
  talk.press("0");
  talk.press("y");
  talk.press("f");
  assert.deepEqual(talk.of("change"), []);
  talk.close();
});

test("a kernel that is silent is reported, and asked again", () => {
  const talk = new Talk();
  talk.press("b");
  page.pass(9000);
  assert(talk.of("hello").length > 1);
  assert(talk.root.querySelector(".ldam-silence")!.textContent!.includes("no answer from the kernel"));
  talk.frame(1);
  assert.equal(talk.root.querySelector(".ldam-silence")!.textContent, "");
  talk.close();
});

test("small files travel unchanged", async () => {
  const file = new File([new Uint8Array([1, 2, 3])], "x.bin");
  const { name, bytes } = await packed(file);
  assert.equal(name, "x.bin");
  assert.deepEqual([...new Uint8Array(bytes)], [1, 2, 3]);
});
