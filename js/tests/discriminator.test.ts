// What the panel says of the discriminator: D of the samples, and how it trains.
import { page } from "./page";
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import widget from "../src/widget";
import { MOST, TrainingPlot } from "../src/parts/controls/training-plot";
import type { Frame, Setup } from "../src/protocol";
import { FakeModel, JUDGE, NAMES, parameter, setupMessage } from "./kernel";

let model: FakeModel;
let root: HTMLElement;
let close: () => void = () => {};
let seq = 0;

const SLIDER = parameter({ name: "discriminator", label: "discriminator", group: "image prior", low: 1e-3, high: 10, log: true, zero: true });
const PARAMETERS = setupMessage().parameters.flatMap((each) => (each.name === "l2" ? [each, SLIDER] : [each]));
const CURVE = { rounds: [], accuracy: [], gap: [] };

beforeEach(() => {
  close();
  [page.observers, page.intersection, seq] = [[], [], 0];
  model = new FakeModel();
  const el = document.createElement("div");
  document.body.replaceChildren(el);
  close = widget.render({ model: model as never, el });
  root = el.querySelector(".ldam")!;
  setup();
  page.resize(700);
  model.sent = [];
});

const setup = (changes: Partial<Setup> = {}) => model.post(setupMessage({ parameters: PARAMETERS, discriminator: JUDGE, training_trace: CURVE, ...changes }));
const state = (changes: object) => model.post({ kind: "state", params: {}, playing: true, recording: false, ...changes });
const frame = (changes: Partial<Frame> & { average?: boolean } = {}) => model.frame(++seq, changes);
const find = <T extends Element = HTMLElement>(selector: string) => root.querySelector<T>(selector)!;
const all = (selector: string) => [...root.querySelectorAll<HTMLElement>(selector)];
const canvas = () => find<HTMLCanvasElement>(".ldam-canvas");
const heads = () => all(".ldam-head .ldam-score").map((each) => each.textContent);
const scores = (...chains: (number | null)[]) => NAMES.map((_, i) => chains.map((value) => value && value + i / 100));
const button = (name: string) => all("button").find((each) => (each.getAttribute("aria-label") ?? each.textContent) === name)!;
const deeds = () => model.take("do").map(({ what }) => what);
const status = () => find(".ldam-training-status");
const plot = () => find<HTMLCanvasElement>(".ldam-training-plot canvas");
const training = (round: number, changes: object = {}) => ({ training: { round, accuracy: 0.74, gap: 1.84, real: 0.81, generated: 0.224, ...changes } });
const rows = (count: number) => {
  const pane = { name: "sample", encoding: "raw" as const, range: [0, 1] as [number, number], labels: Array.from({ length: count }, (_, i) => `sample\nchain ${i + 1}`) };
  return { pane: { ...pane, shape: [count, NAMES.length, 2, 2, 1] as [number, number, number, number, number] }, bytes: new ArrayBuffer(count * NAMES.length * 4) };
};
/** A frame that shows the first `count` chains. */
const show = (count: number, changes: Partial<Frame>) => {
  const { pane, bytes } = rows(count);
  const activation = NAMES.map(() => Array(4).fill(20));
  const average = { ...pane, name: "average", labels: ["average"], shape: [1, NAMES.length, 2, 2, 1] as typeof pane.shape };
  const content = { kind: "frame", gen: 1, seq: ++seq, steps: seq, panes: [pane, average], activation, burned_in: [], burn_in_step: null };
  model.post({ ...content, stats: {}, ...changes }, [bytes, new ArrayBuffer(NAMES.length * 4)]);
  page.animate();
  page.pass(1000);
};

test("each column has its score, which stays until there is a newer one", () => {
  frame({ score: scores(0.93) });
  page.animate();
  assert.deepEqual(heads(), ["D .93", "D .94", "D .95", "D .96"]);
  frame();
  page.animate();
  page.pass(1000);
  assert.equal(heads()[0], "D .93");
  assert.equal(canvas().getAttribute("aria-label"), "samples of layer fc3, 4 neurons: 0 zero 20.0 D .93; 1 one 21.0 D .94; 2 two 22.0 D .95; 3 three 23.0 D .96");
  frame({ score: scores(0.0456) });
  page.pass(1000);
  assert.equal(heads()[0], "D .0456");
  frame({ score: null });
  page.pass(1000);
  assert.deepEqual(heads(), ["", "", "", ""]);
  assert.match(canvas().getAttribute("aria-label")!, /: 0 zero 20\.0; 1 one/);
});

test("a score draws no picture, and is written at most four times a second", () => {
  frame();
  page.animate();
  page.drawn = [];
  const seen = new Set<string | null>();
  for (let i = 0; i < 40; i++) {
    model.frame(1, { score: scores(0.1 + i / 50) });
    page.pass(50);
    seen.add(heads()[0]!);
  }
  assert.equal(page.drawn.length, 0);
  assert.ok(seen.size > 5 && seen.size <= 9, String(seen.size)); // in two seconds
});

test("the room for scores is kept before they come, and not without a discriminator", () => {
  frame();
  page.animate();
  const before = [canvas().style.height, find(".ldam-side").style.top];
  frame({ score: scores(0.5) });
  page.animate();
  page.pass(500);
  assert.deepEqual([canvas().style.height, find(".ldam-side").style.top], before);
  state({ discriminator: null });
  assert.equal(parseFloat(find(".ldam-side").style.top), parseFloat(before[1]!) - 14);
  assert.deepEqual([heads().length, all(".ldam-score-label").length], [0, 0]);
  state({ discriminator: { ...JUDGE, form: "log" } });
  assert.equal(find(".ldam-side").style.top, before[1]);
  assert.deepEqual(heads()[0], "D .50");
});

test("the line of scores says what D is, and what R takes of it, in each block of columns", () => {
  frame();
  page.animate();
  const label = () => find(".ldam-score-label");
  assert.match(label().title, /real picture\nR\(x\) = logit D\(x\)$/);
  state({ discriminator: { ...JUDGE, form: "probability" } });
  assert.match(label().title, /\nR\(x\) = D\(x\)$/);
  state({ discriminator: { ...JUDGE, form: "constructor" } });
  assert.match(label().title, /\nconstructor$/);
  page.resize(240);
  assert.equal(all(".ldam-score-label").length, new Set(all(".ldam-head").map(({ style }) => style.top)).size);
  assert.ok(all(".ldam-score-label").length > 1);
});

test("a column shows the mean over the chains that are shown, the cursor that of its tile", () => {
  show(2, { score: scores(0.2, 0.4, 0.9, 0.9) });
  assert.deepEqual(heads()[1], "D .31");
  const readout = () => find(".ldam-readout").textContent!;
  const key = (name: string) => canvas().dispatchEvent(new page.window.KeyboardEvent("keydown", { key: name, bubbles: true }) as never);
  canvas().focus();
  assert.match(readout(), /^0 zero · sample, chain 1 · activation 20\.0 · D \.20$/);
  key("ArrowDown");
  key("ArrowDown");
  assert.match(readout(), /^0 zero · average · activation 20\.0 · mean D \.30$/);
  key("ArrowUp");
  assert.match(readout(), /sample, chain 2 .* · D \.40$/);
  page.pass(1000);
  assert.match(find(".ldam > .ldam-hidden").textContent!, /^0 zero, sample, chain 2, activation 20\.0, D \.40$/);
  key("Enter");
  assert.deepEqual(heads(), ["D .40", "mean D .30"]);
  key("Escape");
  show(2, { score: scores(0.2, null) });
  assert.equal(heads()[0], "D –", "a chain that diverged is not a zero");
});

test("scores of other neurons are not shown", () => {
  frame({ score: scores(0.93) });
  page.animate();
  setup({ gen: 2 });
  frame({ gen: 2 });
  page.animate();
  page.pass(1000);
  assert.deepEqual(heads(), ["", "", "", ""]);
  assert.doesNotMatch(canvas().getAttribute("aria-label")!, /D /);
});

test("without a discriminator there is none of this", () => {
  for (const nothing of [{ discriminator: null }, { discriminator: undefined as never }, { discriminator: "yes" as never }]) {
    setup({ ...nothing, gen: 2 });
    frame({ gen: 2, score: scores(0.5), ...training(3) });
    page.animate();
    page.pass(1000);
    assert.equal(heads().length, 0);
    assert.ok(button("train").hidden && button("discriminator only").hidden);
    assert.ok(status().closest("[hidden]"));
    assert.doesNotMatch(canvas().getAttribute("aria-label")!, /D /);
    frame({ gen: 2 });
    page.animate();
    canvas().focus();
    assert.doesNotMatch(find(".ldam-readout").textContent!, /D /);
  }
});

test("train stands at the slider of the discriminator, and its figures under it", () => {
  assert.equal(button("train").closest(".ldam-parameter"), find("[aria-label='discriminator value']").closest(".ldam-parameter"));
  assert.equal(find(".ldam-training").previousElementSibling, button("train").closest(".ldam-parameter"));
  setup({ parameters: setupMessage().parameters.filter(({ name }) => name !== "l2") });
  const group = button("train").closest("[role=group]")!;
  assert.equal(find(`#${group.getAttribute("aria-labelledby")}`).textContent, "image prior", "without any slider of that group");
});

test("the train button keeps its focus when other parameters are declared", () => {
  button("train").focus();
  setup({ parameters: [...PARAMETERS, parameter({ name: "friction", label: "friction" })] });
  assert.equal(document.activeElement, button("train"));
});

test("one button trains and stops", () => {
  assert.deepEqual([button("train").getAttribute("aria-pressed"), button("train").getAttribute("aria-disabled")], ["false", "false"]);
  button("train").click();
  assert.equal(button("stop training").getAttribute("aria-pressed"), "true");
  state({ discriminator: JUDGE }); // said before the click arrived
  assert.ok(button("stop training"));
  state({ discriminator: { ...JUDGE, training: true, trainable: false, why: "it is being trained" } });
  assert.equal(button("stop training").getAttribute("aria-disabled"), "false", "stopping is always possible");
  button("stop training").click();
  assert.deepEqual(deeds(), ["train", "stop_train"]);
  state({ discriminator: JUDGE });
  button("train").click();
  model.post({ kind: "error", error: { message: "no data", hint: "" } });
  assert.equal(button("train").getAttribute("aria-pressed"), "false");
});

test("where it cannot be trained, the button says why, and does nothing", () => {
  const why = "no real pictures were given: <b>data=</b>";
  setup({ discriminator: { ...JUDGE, trainable: false, why } });
  assert.deepEqual([button("train").getAttribute("aria-disabled"), button("train").title, button("train").hasAttribute("disabled")], ["true", why, false]);
  const note = find(".ldam-training [role=status]");
  assert.equal(note.textContent, "", "said before anybody asked");
  button("train").click();
  assert.deepEqual([deeds(), note.textContent, button("train").getAttribute("aria-pressed")], [[], why, "false"]);
  state({ discriminator: { ...JUDGE, trainable: false, why: "another reason" } });
  assert.equal(note.textContent, "another reason");
  state({ discriminator: JUDGE });
  assert.equal(note.textContent, "");
  button("train").click();
  assert.deepEqual(deeds(), ["train"]);
});

test("figures come with training, stay after it, and are not read out four times a second", () => {
  assert.ok(status().closest("[hidden]"));
  button("train").click();
  page.pass(250);
  assert.equal(status().closest("[hidden]"), null);
  assert.equal(status().textContent, "training begins…");
  frame(training(340));
  page.pass(250);
  assert.equal(status().textContent, "round 340 · accuracy 74 % · gap 1.8");
  assert.match(status().title, /real pictures \.81, of generated ones \.22$/);
  assert.equal(plot().getAttribute("role"), "img");
  assert.match(plot().getAttribute("aria-label")!, /^training of the discriminator: round 340, accuracy 74 %, gap 1\.8, /);
  frame({ training: null });
  state({ discriminator: JUDGE });
  page.pass(3000);
  assert.equal(status().textContent, "round 340 · accuracy 74 % · gap 1.8");
  frame(training(12341, { accuracy: null, gap: null, real: null, generated: null }));
  page.pass(250);
  assert.equal(status().textContent, "round 12,341 · accuracy – · gap –");
  assert.equal(status().closest("[aria-live], [role=status]"), null);
});

test("a view that comes late has the curve so far; one of another discriminator is forgotten", () => {
  setup({ discriminator: { ...JUDGE, training: true }, training_trace: { rounds: [1, 5, 9], accuracy: [0.5, null, 0.6], gap: [-1, 0.25, 3] } });
  assert.equal(status().textContent, "round 9 · accuracy 60 % · gap 3.0");
  assert.match(find(".ldam-training-legend").textContent!, /accuracy.*logit gap −1\.0 … 3\.0/);
  frame(training(10, { gap: 5 }));
  page.pass(250);
  assert.match(find(".ldam-training-legend").textContent!, /−1\.0 … 5\.0/);
  setup({ training_trace: { rounds: [1], accuracy: [], gap: [2] } });
  assert.equal(status().textContent, "round 1 · accuracy – · gap 2.0");
  assert.match(find(".ldam-training-legend").textContent!, /2\.0 … 2\.0/);
  setup();
  assert.ok(status().closest("[hidden]"));
  frame(training(20));
  page.pass(250);
  assert.match(find(".ldam-training-legend").textContent!, /1\.8 … 1\.8/, "the old curve goes on");
});

test("a long training keeps a bounded curve from its first round to the newest", () => {
  const curve = new TrainingPlot();
  for (let round = 1; round <= 5000; round++) {
    curve.push(round, round / 5000, null);
    assert.ok(curve.history.steps.length <= MOST);
  }
  const { steps, values } = curve.history;
  assert.ok(steps.length > MOST / 3);
  assert.deepEqual([MOST, steps[0], steps.at(-1)], [300, 1, 5000]);
  assert.ok(values.every(([accuracy, gap], i) => accuracy === steps[i]! / 5000 && Number.isNaN(gap)));
});

test("the curves are drawn at most four times a second, and again in another theme", () => {
  let drawn = 0;
  (plot().getContext("2d") as unknown as Record<string, unknown>)["clearRect"] = () => drawn++;
  state({ discriminator: { ...JUDGE, training: true } });
  page.pass(1000);
  drawn = 0;
  for (let i = 1; i <= 40; i++) {
    frame(training(i));
    page.pass(50);
  }
  assert.ok(drawn >= 6 && drawn <= 9, String(drawn)); // in two seconds
  page.pass(1000);
  drawn = 0;
  page.pass(5000);
  assert.equal(drawn, 0);
  page.resize(300);
  assert.equal(drawn, 1);
});

test("a closed view leaves no timer behind", () => {
  button("train").click();
  state({ discriminator: JUDGE });
  frame({ score: scores(0.5), ...training(1) });
  frame(training(2));
  close();
  let drawn = 0;
  (plot().getContext("2d") as unknown as Record<string, unknown>)["clearRect"] = () => drawn++;
  const text = button("stop training");
  page.pass(5000);
  assert.equal(drawn, 0);
  assert.equal(text.textContent, "stop training");
});
