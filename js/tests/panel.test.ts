import { page } from "./page";
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import widget from "../src/widget";
import { FakeModel, frameMessage, NAMES, setupMessage } from "./kernel";

let model: FakeModel;
let root: HTMLElement;
let close: () => void = () => {};

function show(): void {
  close();
  page.observers = [];
  page.intersection = [];
  model = new FakeModel();
  const el = document.createElement("div");
  document.body.replaceChildren(el);
  close = widget.render({ model: model as never, el });
  root = el.querySelector(".ldam")!;
}

beforeEach(() => {
  page.reducedMotion = false;
  show();
  model.post(setupMessage());
  page.resize(700);
});

const all = <T extends HTMLElement = HTMLElement>(selector: string) => [...root.querySelectorAll<T>(selector)];
/** The accessible name, as far as this panel uses the rules. */
function nameOf(element: Element): string {
  const label = element.getAttribute("aria-label");
  if (label !== null) return label;
  if (element.id) {
    const text = root.querySelector(`label[for="${element.id}"]`)?.textContent;
    if (text) return text;
  }
  const copy = element.cloneNode(true) as Element;
  for (const hidden of copy.querySelectorAll("[aria-hidden=true]")) hidden.remove();
  return copy.textContent!.trim();
}
const named = <T extends HTMLElement>(selector: string, name: string): T => {
  const found = all<T>(selector).filter((element) => nameOf(element) === name);
  assert.equal(found.length, 1, `${found.length} × ${selector} named "${name}"`);
  return found[0]!;
};
const button = (name: string) => named<HTMLButtonElement>("button", name);
const slider = (name: string) => named<HTMLInputElement>("input[type=range]", name);
const box = (name: string) => named<HTMLInputElement>("input[type=number]", `${name} value`);
const canvas = () => all<HTMLCanvasElement>("canvas")[0]!;
const key = (element: Element, name: string) => {
  const event = new page.window.KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true, composed: true });
  element.dispatchEvent(event as never);
  return event;
};
const fire = (element: Element, type: string) => element.dispatchEvent(new page.window.Event(type, { bubbles: true }) as never);
const state = (changes: object) => model.post({ kind: "state", params: {}, playing: true, recording: false, ...changes });

test("accessible names of the contract", () => {
  for (const name of ["pause", "step", "restart", "reset average", "snapshot", "record", "all", "none", "first 10"]) button(name);
  for (const name of ["step size", "temperature", "L2", "average"]) {
    assert.equal(slider(name).type, "range");
    assert.equal(box(name).type, "number");
  }
  named("select", "layer");
  assert.equal(named("[role=combobox]", "search units").tagName, "INPUT");
  for (const [i, name] of NAMES.entries()) button(`remove ${i} ${name}`);
  assert.equal(slider("average").getAttribute("aria-valuetext"), "200 frames");
});

test("one button plays and pauses, one records and stops", () => {
  button("pause").click();
  state({ playing: false });
  button("play").click();
  button("record").click();
  state({ playing: false, recording: true });
  page.pass(3000);
  const recording = () => button("stop recording");
  assert.match(recording().textContent!, /paused/);
  assert.match(recording().title, /nothing is recorded while paused/);
  state({ playing: true, recording: true });
  page.pass(3000);
  assert.match(recording().textContent!, /3 s/, "it counts what is recorded");
  page.pass(100_000);
  assert.match(recording().textContent!, /60 s/, "the limit");
  recording().click();
  for (const name of ["step", "restart", "reset average", "snapshot"]) button(name).click();
  assert.deepEqual(
    model.take("do").map(({ what }) => what),
    ["pause", "play", "record", "stop_record", "step", "restart", "reset_average", "snapshot"],
  );
});

test("the picture is the first canvas, and says neurons and activations", () => {
  assert.equal(canvas().getAttribute("role"), "application", "it takes arrow keys, which are not handed to an image");
  assert.equal(canvas().tabIndex, 0);
  assert.equal(canvas().getAttribute("aria-label"), "samples of layer fc3, 4 neurons: 0 zero; 1 one; 2 two; 3 three");
  model.frame(1);
  page.animate();
  page.pass(1000);
  assert.equal(canvas().getAttribute("aria-label"), "samples of layer fc3, 4 neurons: 0 zero 20.0; 1 one 21.0; 2 two 22.0; 3 three 23.0");
});

test("a diverged chain is not a zero", () => {
  const { content, buffers } = frameMessage(1);
  content.activation[1] = [null];
  content.stats = { frames_per_second: null, steps_per_second: 3, round_trip_ms: null };
  content.execution = "plain; 1 thread";
  model.post(content, buffers);
  page.animate();
  page.pass(1000);
  assert.match(canvas().getAttribute("aria-label")!, /0 zero 20\.0; 1 one; 2 two 22\.0/);
  assert.match(root.querySelector(".ldam-speed")!.textContent!, /^– frames\/s · 3\.0 steps\/s · cpu$/);
  assert.equal(root.querySelector<HTMLElement>(".ldam-speed")!.title, "network run: plain; 1 thread");
});

test("the label follows at most once a second, and at once on pause", () => {
  model.frame(1);
  page.animate();
  page.pass(1000);
  const before = canvas().getAttribute("aria-label");
  model.frame(50);
  page.animate();
  assert.equal(canvas().getAttribute("aria-label"), before);
  state({ playing: false });
  assert.match(canvas().getAttribute("aria-label")!, /0 zero 20\.5/);
});

test("each painted frame draws every tile, and nothing is drawn without one", () => {
  model.frame(1);
  page.animate();
  page.drawn = [];
  model.frame(2);
  page.animate();
  assert.equal(page.drawn.filter((draw) => draw.canvas === canvas()).length, 2 * NAMES.length);
  page.drawn = [];
  page.pass(5000);
  page.animate();
  assert.equal(page.drawn.length, 0);
});

test("tiles of panes that did not come stay on the canvas as they are", () => {
  const drawn = () => page.drawn.filter((draw) => draw.canvas === canvas()).length;
  model.frame(1);
  page.animate();
  page.drawn = [];
  model.frame(2, { average: false });
  page.animate();
  assert.equal(drawn(), NAMES.length);
  page.resize(650); // an empty canvas, on which all of them are needed
  assert.equal(drawn(), 3 * NAMES.length);
});

test("an ArrayBuffer, and a DataView with an offset, are the same frame", () => {
  const { content } = frameMessage(1, { average: false });
  const bytes = new Uint8Array(20).fill(255, 4);
  model.post(content, [new DataView(bytes.buffer, 4, 16)]);
  page.animate();
  const values = () => hover();
  assert.match(values(), /= 1\.00/);
  model.post({ ...content, seq: 2 }, [new Uint8Array(16).buffer]);
  page.animate();
  assert.match(values(), /= −1\.00/);
});

function hover(): string {
  const event = new page.window.MouseEvent("pointermove", { bubbles: true });
  const head = root.querySelector<HTMLElement>(".ldam-head")!;
  const middle = parseFloat(head.style.left) + parseFloat(head.style.width) / 2;
  Object.defineProperties(event, { offsetX: { value: middle }, offsetY: { value: parseFloat(head.style.height) + 4 } });
  canvas().dispatchEvent(event as never);
  return root.querySelector(".ldam-readout")!.textContent!;
}

test("hover reads neuron, pixel and value", () => {
  model.frame(1, { level: 51 });
  page.animate();
  assert.match(hover(), /^0 zero · sample, chain 1 of 1 · pixel \(0, 1\) = −0\.60$/);
});

test("where pixels ran off to infinity, hover reads no value", () => {
  const { content, buffers } = frameMessage(1);
  model.post({ ...content, panes: content.panes.map((pane) => ({ ...pane, range: [null, null] })) }, buffers);
  page.animate();
  assert.match(hover(), /pixel \(0, 1\) = –$/);
});

test("arrow keys choose a tile, Enter enlarges it, Escape goes back", () => {
  model.frame(1);
  page.animate();
  canvas().focus();
  assert.equal(key(canvas(), "ArrowRight").defaultPrevented, true);
  key(canvas(), "ArrowDown");
  assert.match(root.querySelector(".ldam-readout")!.textContent!, /^1 one · average/);
  key(canvas(), "Enter");
  assert.ok(root.querySelector(".ldam-zoomed"));
  page.drawn = [];
  model.frame(2);
  page.animate();
  assert.equal(page.drawn.filter((draw) => draw.canvas === canvas()).length, 2, "the sample and its average");
  key(canvas(), "Escape");
  assert.equal(root.querySelector(".ldam-zoomed"), null);
});

test("the kernel enlarges a tile, as soon as its chain is shown, and all are shown again", () => {
  model.frame(1);
  page.animate();
  const enlarged = () => (root.querySelector(".ldam-zoomed") ? all(".ldam-head").map(({ textContent }) => textContent) : null);
  model.post({ kind: "enlarge", neuron: "k1", chain: 0, model: 0 });
  assert.match(enlarged()![0]!, /sample/);
  model.post({ kind: "enlarge", neuron: null, chain: 0, model: 0 });
  assert.equal(enlarged(), null);
  for (const wrong of [{ neuron: "unknown" }, { chain: 7 }, { neuron: 3 }, { chain: "0" }]) {
    model.post({ kind: "enlarge", neuron: "k1", chain: 0, model: 0, ...wrong } as never);
    assert.equal(enlarged(), null);
  }
  model.post({ kind: "enlarge", neuron: "k1", chain: 1, model: 0 });
  assert.equal(enlarged(), null, "its row is not there yet");
  const { content, buffers } = frameMessage(2);
  const sample = content.panes[0]!;
  const rest = content.panes.slice(1);
  const [rows, ...shape] = sample.shape;
  const twice = { ...sample, shape: [2 * rows, ...shape] as typeof sample.shape, labels: ["chain 1", "chain 2"] };
  const bytes = new Uint8Array(buffers[0]!.byteLength * 2);
  model.post({ ...content, panes: [twice, ...rest] }, [bytes.buffer, ...buffers.slice(1)]);
  page.animate();
  assert.match(enlarged()![0]!, /chain 2/);
  key(canvas(), "Escape");
  model.frame(3);
  page.animate();
  assert.equal(enlarged(), null, "once is enough");
});

test("keys do not reach a notebook that listens while they bubble", () => {
  let heard = 0;
  const listen = () => heard++;
  document.addEventListener("keydown", listen);
  for (const element of [slider("temperature"), canvas(), button("step"), box("L2"), root]) for (const name of ["ArrowUp", "b", "d"]) key(element, name);
  document.removeEventListener("keydown", listen);
  assert.equal(heard, 0);
});

test("whatever has the focus tells a notebook that listens first to leave its keys alone", () => {
  model.post({ kind: "error", error: { message: "no such layer", hint: "" } }); // brings a button that was not there before
  const focusable = all("button:enabled, input, select, [tabindex]").filter((element) => !element.closest("[hidden]"));
  assert.deepEqual([...new Set(focusable.map(({ tagName }) => tagName))].sort(), ["BUTTON", "CANVAS", "INPUT", "SELECT"]);
  for (const element of [root, ...focusable]) {
    element.focus();
    assert.equal(document.activeElement, element);
    assert.ok(element.hasAttribute("data-lm-suppress-shortcuts"), element.outerHTML);
  }
});

test("a slider sends its value, shows it in the box, and ignores its own echo", () => {
  const range = slider("step size");
  range.value = "100";
  fire(range, "input");
  assert.equal(box("step size").value, "1");
  page.animate();
  range.value = "150";
  fire(range, "input");
  page.animate();
  const [first, second] = model.take("set");
  assert.deepEqual([first!.params, second!.params], [{ step_size: 1 }, { step_size: 1.5 }]);
  state({ view: first!.view, rev: first!.rev, params: { step_size: 1, temperature: 2 } });
  assert.equal(range.value, "150", "jumped back to its own echo");
  assert.equal(box("temperature").value, "2");
  state({ view: second!.view, rev: second!.rev, params: { step_size: 1.5 } });
  state({ view: "another", rev: 9, params: { step_size: 0.3 } });
  assert.equal(range.value, "30");
});

test("a slider under the hand and a box being typed in are left alone", () => {
  const range = slider("step size");
  fire(range, "pointerdown");
  state({ params: { step_size: 2 } });
  assert.equal(range.value, "50");
  fire(range, "pointerup");
  assert.equal(range.value, "200");
  box("L2").value = "0.7";
  fire(box("L2"), "input");
  state({ params: { l2: 5 } });
  assert.equal(box("L2").value, "0.7");
  key(box("L2"), "Escape");
  assert.equal(box("L2").value, "5");
});

test("a number box takes any value in range, and explains what it corrects", () => {
  const number = box("temperature");
  const type = (text: string) => {
    number.value = text;
    fire(number, "input");
    key(number, "Enter");
    page.animate();
    return model.take("set").at(-1)?.params["temperature"];
  };
  assert.equal(type("1.2345678"), 1.2345678);
  assert.equal(number.value, "1.2345678");
  assert.equal(type("99999"), 1e4);
  assert.equal(number.title, "at most 10000");
  assert.equal(type("0"), 0);
  assert.equal(slider("temperature").value, "0");
  assert.equal(type(""), undefined);
  assert.equal(number.value, "0");
});

test("page keys move ten ticks, a double click resets", () => {
  const range = slider("step size");
  key(range, "PageUp");
  assert.equal(range.value, "60");
  fire(root.querySelector(`label[for="${range.id}"]`)!, "dblclick");
  assert.equal(range.value, "50");
});

test("names are text, whatever is in them", () => {
  const evil = "<img src=x onerror=alert(1)>";
  model.post(
    setupMessage({
      gen: 2,
      title: evil,
      neurons: [{ key: "a", label: "0", name: evil }, { key: "b", label: evil, name: "" }],
      layers: [{ name: evil, type: evil, shape: [2], units: 2 }],
      layer: evil,
      notes: [evil],
      error: { message: evil, hint: evil },
      kernel: { name: evil, note: evil },
    }),
  );
  const { content, buffers } = frameMessage(1, { gen: 2 });
  content.panes = content.panes.map((pane) => ({ ...pane, shape: [1, 2, 2, 2, 1], labels: [`${evil}\n${evil}`] }));
  model.post(content, buffers);
  page.animate();
  page.pass(1000);
  named<HTMLInputElement>("[role=combobox]", "search units").click();
  const { layer, query, offset } = model.take("units")[0]!;
  model.post({ kind: "units", layer, query, offset, total: 1, units: [{ key: "a", label: evil, name: evil }] });
  assert.equal(root.querySelector("img"), null);
  assert.ok(root.querySelector("[role=option]")!.textContent!.includes(evil));
  assert.ok(canvas().getAttribute("aria-label")!.includes(evil));
});

test("an error is an alert with a hint, dismissed here and in the kernel", () => {
  const alert = root.querySelector("[role=alert]")!;
  model.post({ kind: "error", error: { message: "no unit 12", hint: "choose 0 … 9" } });
  assert.match(alert.textContent!, /no unit 12.*choose 0 … 9/);
  button("dismiss error").click();
  assert.equal(alert.textContent, "");
  assert.deepEqual(model.take("do"), [{ kind: "do", what: "dismiss_error" }]);
  model.post({ kind: "error", error: { message: "again", hint: "" } });
  model.post({ kind: "error", error: null });
  assert.equal(alert.textContent, "");
});

test("notes are dismissed for good", () => {
  model.post(setupMessage({ notes: ["sampled in eval mode"] }));
  button("dismiss note: sampled in eval mode").click();
  model.post(setupMessage({ notes: ["sampled in eval mode"] }));
  assert.equal(root.querySelectorAll(".ldam-notes li").length, 0);
});

/** How often the picture was painted since last asked. */
const paints = () => {
  page.animate();
  const count = page.drawn.filter((each) => each.canvas === canvas()).length / (2 * NAMES.length);
  page.drawn = [];
  return count;
};

test("reduced motion: the first picture, and then that at the end of burn-in, which stays; a note says so", () => {
  page.reducedMotion = true;
  show();
  page.resize(700);
  model.post(setupMessage());
  model.post(setupMessage());
  const counts = [1, 2, 3].map((seq) => (model.frame(seq), paints()));
  assert.deepEqual(counts, [1, 0, 0]);
  assert.deepEqual(model.take("do"), []);
  assert.match(root.querySelector(".ldam-notes")!.textContent!, /reduced motion/);
  model.frame(4, { burn_in_step: 30 });
  assert.equal(paints(), 1);
  assert.deepEqual(model.take("do"), [{ kind: "do", what: "pause" }]);
  state({ playing: false });
  state({ playing: true }); // by the reader's own hand
  assert.deepEqual([5, 6].map((seq) => (model.frame(seq, { burn_in_step: 30 }), paints())), [1, 1]);
  assert.deepEqual(model.take("do"), []);
});

test("reduced motion: chains that never burn in stand still after a minute; paused before, what there is is shown", () => {
  page.reducedMotion = true;
  show();
  page.resize(700);
  model.post(setupMessage());
  assert.deepEqual([1, 2].map((seq) => (model.frame(seq), paints())), [1, 0]);
  state({ playing: false });
  model.frame(3);
  assert.equal(paints(), 1);
  show();
  page.resize(700);
  model.post(setupMessage());
  model.take("do");
  page.pass(61_000);
  model.frame(1);
  assert.deepEqual([paints(), model.take("do")], [1, [{ kind: "do", what: "pause" }]]);
});

test("hidden page, and panel off screen: frames are acked unseen", () => {
  page.setHidden(true);
  model.frame(1);
  page.setHidden(false);
  page.intersection[0]!([{ isIntersecting: false }]);
  assert.deepEqual(model.take("ack").map(({ visible }) => visible), [false, true, false]);
});

test("files are handed over as downloads", () => {
  const clicked: string[] = [];
  const listen = (event: Event) => clicked.push((event.target as HTMLAnchorElement).download);
  page.window.HTMLAnchorElement.prototype.click = function (this: HTMLAnchorElement) {
    assert.ok(this.isConnected, "some hosts see no clicks outside the document");
    listen({ target: this } as never);
  };
  model.post({ kind: "download", filename: "x.png", mime: "image/png" }, [new Uint8Array([1, 2]).buffer]);
  assert.deepEqual(clicked, ["x.png"]);
  assert.deepEqual([page.urls.at(-1)!.type, page.urls.at(-1)!.size], ["image/png", 2]);
});

test("a kernel that has died is not shown as running: no speed, and buttons, picture and sliders are dimmed", () => {
  page.pass(600);
  model.frame(1);
  page.animate();
  page.pass(600);
  assert.match(root.textContent!, /frames\/s/);
  page.pass(4000);
  assert.doesNotMatch(root.textContent!, /frames\/s/);
  assert.match(root.textContent!, /waiting for the kernel/);
  assert.equal(root.dataset["silence"], "late");
  model.frame(2);
  assert.match(root.textContent!, /frames\/s/);
  assert.equal(root.dataset["silence"], undefined);
});

test("before the first message of the kernel there are no dead buttons", () => {
  show();
  assert.ok(root.querySelector("button")!.closest("[hidden]"));
  model.post(setupMessage());
  assert.equal(button("pause").closest("[hidden]"), null);
});

test("without a kernel a sentence explains the empty panel", () => {
  show();
  page.pass(8500);
  assert.match(root.textContent!, /kernel not running — run the cell again/);
  assert.ok(root.querySelector<HTMLElement>(".ldam-body")!.hidden);
  model.post(setupMessage());
  assert.doesNotMatch(root.textContent!, /kernel not running/);
  assert.equal(root.querySelector<HTMLElement>(".ldam-body")!.hidden, false);
});

test("a slider keeps its focus when neurons change", () => {
  slider("L2").focus();
  model.post(setupMessage({ gen: 2, neurons: [{ key: "k1", label: "1", name: "one" }] }));
  assert.equal(document.activeElement, slider("L2"));
});

test("a closed view is gone and silent", () => {
  close();
  assert.equal(document.querySelector(".ldam"), null);
  model.sent = [];
  model.frame(1);
  page.animate();
  page.pass(3000);
  assert.deepEqual(model.sent, []);
});

test("theme: the page's own declaration comes first", () => {
  document.body.dataset["jpThemeLight"] = "false";
  show();
  assert.equal(root.dataset["theme"], "dark");
  delete document.body.dataset["jpThemeLight"];
  show();
  assert.equal(root.dataset["theme"], "light");
});

test("a host that declares its theme in an attribute of its own", () => {
  document.documentElement.setAttribute("theme", "dark");
  show();
  assert.equal(root.dataset["theme"], "dark");
  document.documentElement.removeAttribute("theme");
  show();
  assert.equal(root.dataset["theme"], "light");
});

test("one frame is not read out as frames", () => {
  model.post(setupMessage({ gen: 2, params: { average: 1 } }));
  assert.equal(slider("average").getAttribute("aria-valuetext"), "1 frame");
});
