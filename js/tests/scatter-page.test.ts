// The map's page without a browser: its conversation with a kernel in the test's hands.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import Ajv2020 from "ajv/dist/2020";
import { page } from "./page";
import type { Colours, Frame, FromKernel, Pictures, Setup, ToKernel } from "../src/scatter/protocol";
import { showScatter } from "../src/scatter/scatter";
import { Thumbnails } from "../src/scatter/thumbnails";
import { toBits } from "../src/scatter/unpack";
import { typescript } from "../protocol.mjs";

const schema = JSON.parse(readFileSync("src/scatter/protocol.schema.json", "utf8"));
const ajv = new Ajv2020({ allowUnionTypes: true, strictTuples: false, strictTypes: false });
const conforms = (name: string) => ajv.compile({ $defs: schema.$defs, $ref: `#/$defs/${name}` });
const [toKernel, fromKernel] = [conforms("ToKernel"), conforms("FromKernel")];

const FINISHED = { running: false, done: 0, steps: 0 };
const STATE = { view: "", rev: 0, colours: ["label", "<i>size</i>"], colour: "label", busy: "", run: FINISHED };
const SETUP: Setup = { kind: "setup", title: "<b>map</b>", notes: ["<i>note</i>"], error: null, count: 4, has_pictures: true, follows: true, ...STATE };
const COLOURS: Colours = { kind: "colours", name: "label", type: "classes", classes: [{ name: "<u>cat</u>", count: 2 }, { name: "dog", count: 1 }], low: null, high: null }; // prettier-ignore
const BOX = { left: 0, right: 1, bottom: 0, top: 1 };
const CORNERS = Uint16Array.of(0, 0, 65535, 0, 0, 65535, 65535, 65535);

/** A view of four points in the corners of a square, and the kernel's side of its conversation. */
class Talk {
  said: ToKernel[] = [];
  buffers: ArrayBuffer[][] = [];
  root: HTMLElement;
  #handlers: ((content: unknown, buffers?: ArrayBuffer[]) => void)[] = [];
  #end = new AbortController();

  constructor(setup: Partial<Setup> = {}) {
    const place = document.createElement("div");
    document.body.replaceChildren(place);
    const send = (message: ToKernel, _: unknown, buffers: ArrayBuffer[] = []) => {
      assert(toKernel(message), JSON.stringify(toKernel.errors));
      this.said.push(message);
      this.buffers.push(buffers);
    };
    showScatter({ on: (_, handle) => this.#handlers.push(handle as never), off: () => (this.#handlers = []), send }, place, this.#end.signal);
    this.root = place.querySelector(".ldam-sc")!;
    this.tell({ ...SETUP, ...setup });
    this.tell(COLOURS, [Uint8Array.of(0, 0, 1, 255).buffer]);
    this.select([], "");
    this.frame(1);
    page.animate();
    page.resize(400);
    page.animate();
  }

  tell(message: FromKernel, buffers: ArrayBuffer[] = []): void {
    assert(fromKernel(message), JSON.stringify(fromKernel.errors));
    for (const handle of this.#handlers) handle(message, buffers);
  }

  select(indices: number[], view: string, rev = 0): void {
    const selection = Uint8Array.from({ length: 4 }, (_, i) => (indices.includes(i) ? 1 : 0));
    this.tell({ kind: "selected", view, rev, count: indices.length }, [toBits(selection).buffer]);
  }

  frame(seq: number, more: Partial<Frame> = {}, buffers: ArrayBuffer[] = [CORNERS.buffer]): void {
    this.tell({ kind: "frame", seq, map: BOX, chains: null, run: FINISHED, ...more }, buffers);
  }

  of<K extends ToKernel["kind"]>(kind: K): Extract<ToKernel, { kind: K }>[] {
    return this.said.filter((message): message is Extract<ToKernel, { kind: K }> => message.kind === kind);
  }

  /** The bits of the last selection that was sent. */
  get sent(): number {
    const at = this.said.findLastIndex(({ kind }) => kind === "select");
    return new Uint8Array(this.buffers[at]![0]!)[0]!;
  }

  get canvas(): HTMLCanvasElement {
    return this.root.querySelector("canvas.ldam-sc-map")!;
  }

  button(name: string): HTMLButtonElement {
    const found = Array.from(this.root.querySelectorAll("button")).find((each) => (each.getAttribute("aria-label") ?? each.textContent) === name);
    assert(found, name);
    return found;
  }

  press(key: string, more: KeyboardEventInit = {}): void {
    this.canvas.dispatchEvent(new window.KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
  }

  close(): void {
    this.#end.abort();
  }
}

test("the types are those of the schema", () => {
  assert.equal(readFileSync("src/scatter/protocol.ts", "utf8"), typescript(schema));
});

test("names are text", () => {
  const talk = new Talk();
  talk.tell({ kind: "error", error: { message: "<s>wrong</s>", hint: "" } });
  for (const text of ["<u>cat</u>", "<i>note</i>", "<s>wrong</s>", "<i>size</i>"]) assert(talk.root.textContent!.includes(text), text);
  assert.equal(talk.root.querySelector("b b, i, u, s"), null);
  assert(talk.canvas.getAttribute("aria-label")!.includes("map of 4 points, coloured by label, 0 selected"));
  assert.equal(talk.canvas.getAttribute("role"), "application");
  talk.close();
});

test("frames are acknowledged when painted, the newest wins; hidden ones at once", () => {
  const talk = new Talk();
  assert.deepEqual(talk.of("ack").map(({ seq, visible }) => [seq, visible]), [[1, true]]);
  talk.frame(2);
  talk.frame(3, { map: null, chains: { count: 0, neurons: [], colours: [], fresh: true } }, [new ArrayBuffer(0)]);
  page.animate();
  assert.deepEqual(talk.of("ack").map(({ seq }) => seq), [1, 3]);
  page.setHidden(true);
  talk.frame(4);
  assert.deepEqual(talk.of("ack").slice(-1).map(({ seq, visible }) => [seq, visible]), [[4, false]]);
  page.setHidden(false);
  page.animate();
  assert.equal(talk.of("ack").at(-1)!.seq, 4);
  talk.close();
  assert.equal(talk.said.at(-1)!.kind, "bye");
});

test("Enter picks the nearest to the middle, a everything in view; hidden classes are left out", () => {
  const talk = new Talk();
  talk.press("a");
  assert.equal(talk.sent, 0b1111);
  talk.button("<u>cat</u>, 2 points").click();
  talk.press("a");
  assert.equal(talk.sent, 0b1100);
  talk.press("Enter", { altKey: true });
  assert.ok([0b1000, 0b0100].includes(talk.sent));
  talk.press("Escape");
  assert.equal(talk.sent, 0);
  const before = talk.of("select").length;
  talk.press("Escape");
  assert.equal(talk.of("select").length, before, "there was nothing to clear");
  assert.deepEqual(talk.of("select").map(({ rev }) => rev), [1, 2, 3, 4]);
  talk.close();
});

test("own selections stay while older answers come; Python's and other views' are taken", () => {
  const talk = new Talk();
  const view = talk.of("hello")[0]!.view;
  const count = () => talk.root.querySelector(".ldam-sc-side b")!.textContent;
  talk.press("a");
  talk.press("Escape");
  talk.select([0, 1, 2, 3], view, 1);
  assert.equal(count(), "nothing selected");
  talk.select([0], ""); // sent before the kernel heard of the Escape
  talk.select([], view, 2);
  assert.equal(count(), "nothing selected");
  talk.select([1, 2], "");
  assert.equal(count(), "2 selected");
  talk.select([1], "another", 7);
  assert.equal(count(), "1 selected");
  assert.equal(talk.button("start chains here").closest<HTMLElement>(".ldam-sc-actions")!.hidden, false);
  talk.button("start chains here").click();
  assert.deepEqual(talk.of("do").map(({ what }) => what), ["start_chains"]);
  talk.close();
});

test("pictures in view are asked for once, and shown beside the map when selected", async () => {
  const talk = new Talk();
  assert.deepEqual(talk.of("pictures").map(({ indices }) => indices), [[0, 1, 2, 3]]); // prettier-ignore
  talk.tell({ kind: "pictures", indices: [0, 1, 2, 3], captions: ["<b>a</b>", "b", "c", "d"], shape: [4, 2, 2, 1], encoding: "raw" }, [new ArrayBuffer(16)]);
  await Promise.resolve();
  await Promise.resolve();
  talk.select([0, 3], "");
  page.animate();
  page.pass(200);
  page.animate();
  assert.equal(talk.of("pictures").length, 1);
  const gallery = talk.root.querySelector("canvas.ldam-sc-gallery")!;
  assert.equal(gallery.getAttribute("aria-label"), "pictures of the selection: <b>a</b>, d");
  talk.close();
});

test("pictures are asked for a hundred at a time, one message after the other, the most urgent first", async () => {
  const asked: number[][] = [];
  const thumbnails = new Thumbnails((indices) => asked.push(indices), () => {}); // prettier-ignore
  const answer = async (indices: number[]) => {
    const message: Pictures = { kind: "pictures", indices, captions: indices.map(String), shape: [indices.length, 1, 1, 1], encoding: "raw" };
    await thumbnails.take(message, new Uint8Array(indices.length));
  };
  const upTo = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
  thumbnails.want("map", upTo(0, 250));
  thumbnails.want("gallery", [300]);
  thumbnails.want("hover", [5, 400]);
  assert.deepEqual(asked, [upTo(0, 100)]); // it waits for the answer
  await answer(asked[0]!);
  await answer(asked[1]!);
  await answer(asked[2]!);
  assert.deepEqual(asked.slice(1), [[400], [300], upTo(100, 200)]);
  assert.equal(thumbnails.get(300)!.caption, "300");
  page.pass(6000); // the answer is lost
  thumbnails.want("map", upTo(150, 160));
  assert.deepEqual(asked.at(-1), upTo(150, 160));
  for (let sheet = 0; sheet < 70; sheet++) await answer([1000 + sheet]);
  assert.equal(thumbnails.get(300), undefined, "the oldest are forgotten");
  assert.equal(thumbnails.get(1069)!.caption, "1069");
});

test("the run is stopped and continued; what is finished has no button", () => {
  const talk = new Talk({ run: { running: true, done: 3, steps: 750 } });
  talk.frame(2, { run: { running: true, done: 4, steps: 750 } });
  page.animate();
  assert(talk.root.textContent!.includes("step 4 of 750 · 4 points"));
  talk.button("stop").click();
  talk.tell({ kind: "state", ...STATE, run: { running: false, done: 5, steps: 750 } });
  talk.button("run").click();
  assert.deepEqual(talk.of("do").map(({ what }) => what), ["stop", "run"]);
  talk.tell({ kind: "state", ...STATE, run: { running: false, done: 750, steps: 750 } });
  assert.equal(talk.button("run").hidden, true);
  talk.close();
});

test("colours are chosen, numbers have a bar", () => {
  const talk = new Talk();
  const box = talk.root.querySelector<HTMLSelectElement>("select[aria-label='colour by']")!;
  assert.deepEqual(Array.from(box.options, ({ value }) => value), ["", "label", "<i>size</i>"]);
  box.value = "<i>size</i>";
  box.dispatchEvent(new window.Event("change"));
  assert.deepEqual(talk.of("colour").map(({ name, rev }) => [name, rev]), [["<i>size</i>", 1]]);
  talk.press("a"); // a later selection does not make the answer to the choice an old one
  talk.tell({ kind: "state", ...STATE, view: talk.of("hello")[0]!.view, rev: 1, colour: "label", colours: ["label", "<i>size</i>", "new"] });
  assert.equal(box.value, "label");
  assert.equal(box.options.length, 4);
  talk.tell({ kind: "colours", name: "<i>size</i>", type: "numbers", classes: [], low: -1.5, high: 200 }, [Uint8Array.of(0, 100, 254, 255).buffer]);
  const legend = talk.root.querySelector(".ldam-sc-legend")!;
  assert.equal(legend.querySelector("[role=img]")!.getAttribute("aria-label"), "<i>size</i>, from -1.5 to 200");
  assert.equal(legend.querySelectorAll("button").length, 1, "points without a number");
  talk.tell({ kind: "colours", name: "", type: "one", classes: [], low: null, high: null }, [new Uint8Array(4).buffer]);
  assert.equal((legend as HTMLElement).hidden, true);
  talk.close();
});

test("a table is downloaded", () => {
  const talk = new Talk();
  const before = page.urls.length;
  talk.button("save csv").click();
  assert.deepEqual(talk.of("do").map(({ what }) => what), ["csv"]);
  talk.tell({ kind: "download", filename: "map.csv", mime: "text/csv" }, [new ArrayBuffer(3)]);
  assert.equal(page.urls.length, before + 1);
  talk.close();
});

test("one point, and a map without pictures", () => {
  const talk = new Talk({ count: 1, has_pictures: false, follows: false });
  talk.tell(COLOURS, [Uint8Array.of(1).buffer]);
  talk.frame(2, { map: { left: 3, right: 3, bottom: 4, top: 4 } }, [new ArrayBuffer(4)]);
  talk.select([], "");
  page.animate();
  talk.press("Enter");
  assert.equal(talk.sent, 1);
  for (const key of ["+", "-", "ArrowLeft", "0"]) talk.press(key);
  page.animate();
  assert.equal(talk.of("pictures").flatMap(({ indices }) => indices).join(), "0", "the caption of what was picked");
  talk.close();
});

test("classes that were hidden are shown again with other classes of that name", () => {
  const talk = new Talk();
  talk.button("<u>cat</u>, 2 points").click();
  talk.tell(COLOURS, [Uint8Array.of(0, 0, 1, 255).buffer]);
  talk.press("a");
  assert.equal(talk.sent, 0b1100);
  talk.tell({ ...COLOURS, classes: [{ name: "ship", count: 2 }, { name: "dog", count: 1 }] }, [Uint8Array.of(0, 0, 1, 255).buffer]);
  talk.press("a");
  assert.equal(talk.sent, 0b1111);
  talk.close();
});

test("c and a click enlarge a chain's tile; with Shift, a click selects the point there", () => {
  const talk = new Talk();
  const chains = (places: number[]) => talk.frame(2, { map: null, chains: { count: places.length / 4, neurons: ["3", "5"], colours: [0, 1], fresh: false } }, [Float32Array.from(places).buffer]);
  talk.press("c");
  assert.equal(talk.of("chain").length, 0, "there is none");
  chains([0, 0, 0, 1, 0.4, 0.6, 1, 0, NaN, NaN, 1, 0]);
  page.animate();
  talk.press("c");
  assert.deepEqual(talk.of("chain").map(({ index }) => index), [1]);
  const [width, height] = [parseFloat(talk.canvas.style.width), parseFloat(talk.canvas.style.height)];
  const half = 0.45 * Math.min(width, height);
  const corner = { clientX: width / 2 - half, clientY: height / 2 + half, bubbles: true, button: 0 }; // where point 0 is
  const click = (more: MouseEventInit) => {
    for (const kind of ["pointerdown", "pointerup"]) talk.canvas.dispatchEvent(Object.assign(new window.MouseEvent(kind, { ...corner, ...more }), { pointerId: 1 }));
  };
  click({});
  assert.deepEqual(talk.of("chain").map(({ index }) => index), [1, 0]);
  assert.equal(talk.of("select").length, 0);
  click({ shiftKey: true });
  assert.equal(talk.sent, 0b0001);
  assert.equal(talk.of("chain").length, 2);
  talk.close();
});

test("a silent kernel is told, and asked again", () => {
  const talk = new Talk();
  talk.press("a");
  talk.root.querySelector<HTMLSelectElement>("select[aria-label='colour by']")!.dispatchEvent(new window.Event("change"));
  page.pass(9000);
  assert(talk.of("hello").length > 1);
  assert(talk.root.querySelector(".ldam-silence")!.textContent!.includes("no answer from the kernel"));
  talk.frame(2);
  assert.equal(talk.root.querySelector(".ldam-silence")!.textContent, "");
  talk.close();
});
