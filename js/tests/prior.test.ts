// The prior and its box, the badge of the law, goals, and how strong activations are among those of real images.
import { page } from "./page";
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import widget from "../src/widget";
import type { Frame, Prior, Setup, Standing } from "../src/protocol";
import { FakeModel, NAMES, parameter, RICH, setupMessage } from "./kernel";

let model: FakeModel;
let root: HTMLElement;
let close: () => void = () => {};
let seq = 0;

const NATURAL: Prior = { name: "natural", choices: [["natural", "natural: 204 photographs"], ["pixels", "pixels"]] };
const GOAL = parameter({ name: "goal", label: "goal", low: 1e-6, high: 1e6, default: 0, log: true, zero: true });
const LAW = "samples p(z) ∝ N(z; 0, 0.5²·I) · exp(E/T) at T = 0.009, exactly";

beforeEach(() => {
  close();
  [page.observers, page.intersection, seq] = [[], [], 0];
  model = new FakeModel();
  const el = document.createElement("div");
  document.body.replaceChildren(el);
  close = widget.render({ model: model as never, el });
  root = el.querySelector(".ldam")!;
});

const find = <T extends Element = HTMLElement>(selector: string) => root.querySelector<T>(selector)!;
const box = () => find<HTMLSelectElement>('select[aria-label="prior"]');
const begin = (changes: Partial<Setup> = {}, width = 700) => {
  model.rich({ prior: NATURAL, ...changes });
  page.resize(width);
  model.sent = [];
};
const choose = (value: string) => {
  box().value = value;
  box().dispatchEvent(new page.window.Event("change", { bubbles: true }) as never);
};
const state = (changes: object) => model.post({ kind: "state", params: {}, playing: true, recording: false, ...changes });
const frame = (changes: Partial<Frame>, gen = 1) => {
  model.frame(++seq, { gen, ...changes });
  page.animate();
  page.pass(1000);
};

test("the prior stands above the law, says what it was measured on, and is chosen in a box", () => {
  begin();
  assert.deepEqual([...box().options].map(({ text }) => text), ["natural: 204 photographs", "pixels"]);
  assert.equal(box().value, "natural");
  assert.match(box().title, /^natural: 204 photographs\n/);
  assert.equal(box().closest("[role=group]"), find(".ldam-law").closest("[role=group]"));
  assert.ok(box().compareDocumentPosition(find(".ldam-law")) & page.window.Node.DOCUMENT_POSITION_FOLLOWING);
  choose("pixels");
  assert.deepEqual(model.take("select"), [{ kind: "select", prior: "pixels" }]);
});

test("another prior brings other sliders, and the box keeps the focus", () => {
  begin();
  box().focus();
  choose("pixels");
  const l2 = parameter({ name: "l2", label: "L2", group: "image prior" });
  model.rich({ gen: 2, prior: { ...NATURAL, name: "pixels" }, parameters: [parameter(), l2], params: { l2: 0 } });
  assert.deepEqual([...root.querySelectorAll(".ldam-label")].map((label) => label.textContent), ["step size", "L2"]);
  assert.equal(box().value, "pixels");
  assert.equal(document.activeElement, box());
});

test("a refusal and Python's choice count; an older answer does not undo a newer choice", () => {
  begin();
  choose("pixels");
  model.rich({ prior: NATURAL });
  assert.equal(box().value, "pixels");
  model.post({ kind: "error", error: { message: "no", hint: "" } });
  assert.equal(box().value, "natural");
  model.rich({ gen: 2, prior: { ...NATURAL, name: "pixels" } });
  assert.equal(box().value, "pixels");
});

test("without a choice, and with an older kernel, there is no box", () => {
  for (const prior of [null, "natural", { name: "natural" }, { name: "natural", choices: [["natural"]] }]) {
    model.post({ ...setupMessage(), prior });
    assert.ok(box().closest("[hidden]"));
  }
  model.post(setupMessage());
  assert.ok(box().closest("[hidden]"));
});

test("the badge shows the law from the message, and is not green where there is none", () => {
  const badge = () => find(".ldam-badge");
  begin({ kernel: { ...RICH.kernel!, note: LAW } });
  assert.equal(badge().textContent, "samples p(z) ∝ N(z; 0, 0.5²·I) · exp(E/T)");
  assert.equal(find(".ldam-law").textContent, LAW);
  assert.equal(badge().classList.contains("ldam-calibrated"), true);
  state({ kernel_note: "no law: nothing confines unbounded pixels", calibrated: false });
  assert.deepEqual([badge().textContent, find(".ldam-law").textContent], ["no law", "no law nothing confines unbounded pixels"]);
  assert.equal(badge().classList.contains("ldam-calibrated"), false);
  state({ kernel_note: "no law at T = 0: the chains climb" });
  assert.equal(find(".ldam-law").textContent, "no law at T = 0: the chains climb");
  state({ kernel_note: "heuristic (unit)" });
  assert.equal(badge().textContent, "heuristic");
  state({ kernel_note: LAW, calibrated: true });
  assert.equal(badge().classList.contains("ldam-calibrated"), true);
});

test("a goal that is a percentile is named beside the slider, which has its number", () => {
  begin({ parameters: [GOAL], params: { goal: 12.5 }, goal: "p99" });
  const aside = () => find(".ldam-aside").textContent;
  const number = () => find<HTMLInputElement>('[aria-label="goal value"]').value;
  assert.deepEqual([aside(), number()], ["p99 of real images", "12.5"]);
  state({ params: { goal: 12.5 }, goal: "p99", warming: true });
  assert.equal(find(".ldam-scales").firstChild!.textContent, "finding the temperature…");
  state({ params: { goal: 0 }, goal: null, warming: true });
  assert.equal(find(".ldam-scales").firstChild!.textContent, "measuring scales…");
  state({ params: { goal: 25 }, goal: null });
  assert.deepEqual([aside(), number()], ["", "25"]);
  state({ params: { goal: 0 } });
  assert.deepEqual([aside(), number()], ["none", "0"], "0 is no goal, not a goal of 0");
});

test("numbers that were found are shown in as many digits as fit, typed ones in full", () => {
  begin({ parameters: [GOAL], params: { goal: 0.21835188567638397 } });
  const number = find<HTMLInputElement>('[aria-label="goal value"]');
  assert.equal(number.value, "0.2184");
  number.value = "0.123456789";
  number.dispatchEvent(new page.window.Event("input") as never);
  number.dispatchEvent(new page.window.Event("blur") as never);
  page.animate();
  const [sent] = model.take("set");
  assert.deepEqual(sent!.params, { goal: 0.123456789 });
  state({ params: { goal: 0.123456789 }, view: sent!.view, rev: sent!.rev });
  assert.equal(number.value, "0.123456789");
});

const SENTENCE = "as strong as 99.1 % of real images";
const standing = (models = 1): Standing => Array.from({ length: models }, (_, k) => NAMES.map((_, i) => ({ text: `${SENTENCE} ${k}${i}`, short: `p${k}${i}` })));
const lines = () => [...root.querySelectorAll<HTMLElement>(".ldam-head > .ldam-standing")];

test("heads say in short how strong a neuron is, and in the tooltip in a sentence", () => {
  begin({ real_images: true }, 700);
  frame({});
  assert.deepEqual(lines().map(({ textContent }) => textContent), ["", "", "", ""], "a line is kept before anything is known");
  frame({ standing: standing() });
  assert.deepEqual(lines().map(({ textContent }) => textContent), ["p00", "p01", "p02", "p03"]);
  assert.equal(lines()[1]!.title, `${SENTENCE} 01`);
  assert.equal(lines()[1]!.previousElementSibling!.className, "ldam-activation");
  assert.equal(lines()[1]!.previousElementSibling!.textContent, "21.0", "said twice");
  frame({}); // a frame that tells nothing new takes nothing away
  assert.equal(lines()[1]!.textContent, "p01");
  frame({ standing: null });
  assert.deepEqual([lines()[1]!.textContent, lines()[1]!.title], ["", ""]);
});

test("where there is room, the sentence stands in the head; of one of several chains it is said to be of all", () => {
  begin({ real_images: true, neurons: [{ key: "k0", label: "0", name: "zero" }] }, 1400);
  frame({ standing: standing(), activation: [[20, 22]] });
  const [sample, average] = lines();
  assert.equal(average!.textContent, `${SENTENCE} 00`);
  assert.equal(sample!.textContent, "");
  find<HTMLCanvasElement>("canvas").focus();
  assert.match(find(".ldam-readout").textContent!, /· on average as strong as 99\.1 % of real images/);
});

test("what was said about other neurons is gone with them; words are text", () => {
  begin({ real_images: true });
  frame({ standing: NAMES.map(() => NAMES.map(() => ({ text: `<b>${SENTENCE}</b>`, short: "<img>" }))) });
  assert.equal(lines()[0]!.textContent, "<img>");
  assert.equal(root.querySelector(".ldam-standing *"), null);
  model.rich({ gen: 2, real_images: true });
  frame({}, 2);
  assert.equal(lines()[0]!.textContent, "");
});

test("without real images no line is kept for them", () => {
  begin();
  frame({ standing: standing() });
  assert.deepEqual(lines(), []);
});

test("of several models each activation has its standing beside it", () => {
  const models = ["a", "b"].map((name) => ({ name, note: "" }));
  begin({ real_images: true, models, show: "samples" }, 900);
  frame({ standing: standing(2), activations: [NAMES.map(() => 20), NAMES.map(() => 30)] });
  const said = [...root.querySelectorAll(".ldam-head")].map((head) => [...head.querySelectorAll(".ldam-activation")].map((each) => each.textContent));
  assert.deepEqual(said[1], ["20.0 · p01", "30.0 · p11"]);
  assert.deepEqual(lines(), []);
});
