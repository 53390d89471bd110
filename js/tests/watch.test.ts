// A model that is followed while it trains: how far it is, its checkpoints, and what that costs.
import { page } from "./page";
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import widget from "../src/widget";
import type { Watch } from "../src/protocol";
import { FakeModel, setupMessage } from "./kernel";

const WATCH: Watch = { iteration: 1234, kept: [0, 300, 600, 1200], shown: 1234, following: true, source: "weights", sources: ["weights", "average"], cost: null, snapshot_ms: null };

let model: FakeModel;
let root: HTMLElement;
let close: () => void = () => {};
let seq = 0;

beforeEach(() => {
  close();
  page.setHidden(false);
  [page.observers, page.intersection, seq] = [[], [], 0];
  model = new FakeModel();
  const el = document.createElement("div");
  document.body.replaceChildren(el);
  close = widget.render({ model: model as never, el });
  root = el.querySelector(".ldam")!;
  model.post(setupMessage({ watch: WATCH }));
  page.resize(700);
  model.sent = [];
});

const find = <T extends Element = HTMLElement>(selector: string) => root.querySelector<T>(selector)!;
const bar = () => find(".ldam-watch");
const text = () => find(".ldam-watch-text").textContent;
const cost = () => find(".ldam-watch-cost");
const slider = () => find<HTMLInputElement>("input[aria-label=checkpoint]");
const weights = () => find<HTMLSelectElement>("select[aria-label=weights]");
const follow = () => [...root.querySelectorAll("button")].find((each) => each.textContent === "follow")!;
const fire = (element: Element, type: string) => element.dispatchEvent(new page.window.Event(type, { bubbles: true }) as never);
const state = (watch: Partial<Watch> | null) => model.post({ kind: "state", params: {}, playing: true, recording: false, watch: watch && { ...WATCH, ...watch } });
const frame = (watch: Partial<Watch>) => model.frame(++seq, { watch: { ...WATCH, ...watch } });
const drag = (index: number) => {
  slider().value = String(index);
  fire(slider(), "input");
};
const now = () => [slider().value, slider().getAttribute("aria-valuetext"), follow().getAttribute("aria-pressed")];

test("what is counted may be an optimiser's steps", () => {
  state({ counted: "optimiser step" });
  assert.equal(text(), "optimiser step 1,234 · showing 1,234");
  assert.equal(slider().getAttribute("aria-valuetext"), "optimiser step 1,200");
});

test("how far the training is, what is shown, and what it costs", () => {
  assert.equal(bar().hidden, false);
  assert.equal(text(), "iteration 1,234 · showing 1,234");
  assert.deepEqual(now(), ["3", "iteration 1,200", "true"]);
  assert.equal(slider().max, "3");
  assert.equal(cost().textContent, "cost not measured yet");
  frame({ iteration: 1300, shown: 1290, cost: 0.118, snapshot_ms: 0.31 });
  assert.equal(text(), "iteration 1,300 · showing 1,290");
  assert.equal(cost().textContent, "training 12 % slower with the picture");
  assert.match(cost().title, /0\.310 ms/);
  state({ shown: null, cost: 0.001 });
  assert.equal(text(), "iteration 1,234");
  assert.equal(cost().textContent, "training less than 1 % slower with the picture");
});

test("scrubbing sends the newest place once an animation frame", () => {
  for (const index of [2, 0, 1]) drag(index);
  assert.deepEqual(model.take("scrub"), []);
  page.animate();
  assert.deepEqual(model.take("scrub"), [{ kind: "scrub", index: 1 }]);
  assert.deepEqual(now(), ["1", "iteration 300", "false"]);
  page.animate();
  assert.deepEqual([model.take("scrub"), model.take("set")], [[], []]);
});

test("an older answer does not move the slider; a lost one, in the end, does", () => {
  drag(0);
  page.animate();
  drag(1);
  page.animate();
  frame({}); // still following
  frame({ following: false, shown: 0 });
  assert.deepEqual(now(), ["1", "iteration 300", "false"]);
  frame({ following: false, shown: 300 });
  frame({ following: false, shown: 600 }); // Python's choice
  assert.deepEqual(now(), ["2", "iteration 600", "false"]);
  drag(0);
  page.animate();
  frame({ following: false, shown: 600 });
  assert.equal(slider().value, "0");
  page.pass(3500);
  assert.equal(slider().value, "2");
});

test("under the hand neither the place nor what the slider runs over changes", () => {
  fire(slider(), "pointerdown");
  drag(1);
  page.animate();
  model.take("scrub");
  const kept = [0, 600, 900, 1200, 1300]; // thinned, and gone on
  frame({ following: false, shown: 600, kept });
  page.pass(4000);
  frame({ following: false, shown: 600, kept });
  assert.deepEqual([slider().value, slider().max], ["1", "3"]);
  drag(2);
  page.animate();
  assert.deepEqual(model.take("scrub"), [{ kind: "scrub", index: 1 }], "iteration 600 is the second one now");
  fire(slider(), "pointerup");
  assert.deepEqual([slider().value, slider().max, slider().getAttribute("aria-valuetext")], ["1", "4", "iteration 600"]);
});

test("follow leads back to the newest weights, pressed again it stays with these", () => {
  state({ following: false, shown: 300 });
  assert.deepEqual(now(), ["1", "iteration 300", "false"]);
  drag(0);
  follow().click();
  page.animate();
  assert.deepEqual(model.take("do"), [{ kind: "do", what: "follow" }]);
  assert.deepEqual(model.take("scrub"), [], "an older place would undo it");
  assert.equal(follow().getAttribute("aria-pressed"), "true");
  state({ following: true });
  follow().click();
  page.animate();
  assert.deepEqual(model.take("scrub"), [{ kind: "scrub", index: 3 }]);
  assert.equal(follow().getAttribute("aria-pressed"), "false");
});

test("a refusal shows what the kernel has", () => {
  drag(0);
  weights().value = "average";
  fire(weights(), "change");
  model.post({ kind: "error", error: { message: "no", hint: "" } });
  assert.deepEqual([...now(), weights().value], ["3", "iteration 1,200", "true", "weights"]);
});

test("the weights are those of the training or their running average", () => {
  assert.deepEqual([...weights().options].map(({ text }) => text), ["weights", "running average"]);
  weights().value = "average";
  fire(weights(), "change");
  assert.deepEqual(model.take("show"), [{ kind: "show", what: "average" }]);
  frame({});
  assert.equal(weights().value, "average", "an older answer undid the choice");
  frame({ source: "average" });
  frame({ source: "weights" });
  assert.equal(weights().value, "weights");
  state({ sources: ["weights"] });
  assert.equal(weights().hidden, true);
});

test("before the first checkpoint there is nothing to choose from", () => {
  state({ kept: [], shown: null, iteration: 0 });
  assert.equal(slider().disabled, true);
  assert.equal(slider().getAttribute("aria-valuetext"), "no checkpoint yet");
  follow().click();
  page.animate();
  assert.deepEqual(model.take("scrub"), []);
});

test("a place that was asked for in a page that is hidden now is sent all the same", () => {
  drag(1);
  page.setHidden(true);
  assert.deepEqual(model.take("scrub"), [{ kind: "scrub", index: 1 }]);
});

test("without training there is no bar; hostile words are text", () => {
  state(null);
  assert.equal(bar().hidden, true);
  state({ source: "<img src=x>", sources: ["<img src=x>", "constructor"] });
  assert.equal(root.querySelector("img"), null);
  assert.equal(weights().value, "<img src=x>");
  model.post(setupMessage({ gen: 2 }));
  assert.equal(bar().hidden, true);
  model.frame(1, { gen: 2 });
  assert.equal(bar().hidden, true);
});

test("training that has ended is not said to be slower", () => {
  frame({ iteration: 1300, cost: 0.34 });
  assert.match(cost().textContent!, /34 % slower/);
  page.pass(31_000);
  frame({ iteration: 1300, cost: 0.34 });
  assert.equal(cost().textContent, "");
  frame({ iteration: 1301, cost: 0.34 });
  assert.match(cost().textContent!, /34 % slower/);
});
