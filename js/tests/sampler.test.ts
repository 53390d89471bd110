// What the kernel says of its sampler: which one, how warm it runs, its scales, its heat, whether its chains agree.
import { page } from "./page";
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import widget from "../src/widget";
import type { Frame, Setup } from "../src/protocol";
import { FakeModel, NAMES, parameter, RICH, setupMessage } from "./kernel";

let model: FakeModel;
let root: HTMLElement;
let close: () => void = () => {};
let seq = 0;

const HEAT = parameter({ name: "heat", label: "heat", low: 1, high: 100, default: 1, log: true });
const WITH_HEAT: Partial<Setup> = { parameters: [...setupMessage().parameters, HEAT], params: { ...setupMessage().params, heat: 1 } };

beforeEach(() => {
  close();
  [page.observers, page.intersection, seq] = [[], [], 0];
  model = new FakeModel();
  const el = document.createElement("div");
  document.body.replaceChildren(el);
  close = widget.render({ model: model as never, el });
  root = el.querySelector(".ldam")!;
  model.rich(WITH_HEAT);
  page.resize(700);
  model.sent = [];
});

const find = <T extends Element = HTMLElement>(selector: string) => root.querySelector<T>(selector)!;
const select = (name: string) => find<HTMLSelectElement>(`select[aria-label="${name}"]`);
const button = (name: string) =>
  [...root.querySelectorAll("button")].find((each) => (each.getAttribute("aria-label") ?? each.textContent) === name)!;
const slider = (name: string) => find<HTMLInputElement>(`#${[...root.querySelectorAll("label")].find((label) => label.textContent === name)!.htmlFor}`);
const parameterOf = (name: string) => slider(name).closest<HTMLElement>(".ldam-parameter")!;
const aside = (name: string) => parameterOf(name).querySelector<HTMLElement>(".ldam-aside")!;
const box = (name: string) => find<HTMLInputElement>(`[aria-label="${name} value"]`);
const fire = (element: Element, type: string) => element.dispatchEvent(new page.window.Event(type, { bubbles: true }) as never);
const choose = (element: HTMLSelectElement, value: string) => {
  element.value = value;
  fire(element, "change");
};
const state = (changes: object) => model.post({ kind: "state", params: {}, playing: true, recording: false, ...changes });
const frame = (changes: Partial<Frame>, gen = 1) => model.frame(++seq, { gen, ...changes });
const law = () => find(".ldam-law");
const kernel = (changes: Partial<Setup["kernel"]> = {}) => ({ ...RICH.kernel!, ...changes });

test("the kernel stands in the heading of the sampler group, as a box", () => {
  const group = select("kernel").closest("[role=group]")!;
  assert.equal(find(`#${group.getAttribute("aria-labelledby")}`).textContent, "sampler");
  assert.deepEqual([...select("kernel").options].map(({ text }) => text), ["Algorithm 1", "BAOAB", "MALA"]);
  assert.equal(select("kernel").value, "BAOAB");
  choose(select("kernel"), "MALA");
  assert.deepEqual(model.take("select"), [{ kind: "select", kernel: "MALA" }]);
});

test("another kernel brings its own sliders, and the box keeps the focus", () => {
  select("kernel").focus();
  choose(select("kernel"), "MALA");
  const friction = parameter({ name: "friction", label: "friction" });
  model.rich({ gen: 2, kernel: kernel({ name: "MALA" }), parameters: [friction], params: { friction: 1.5 } });
  assert.deepEqual([...root.querySelectorAll(".ldam-label")].map((label) => label.textContent), ["friction"]);
  assert.equal(box("friction").value, "1.5");
  assert.equal(select("kernel").value, "MALA");
  assert.equal(document.activeElement, select("kernel"));
});

test("quick choices are not undone by the answers to earlier ones; a refusal and Python's choice count", () => {
  choose(select("kernel"), "MALA");
  choose(select("kernel"), "Algorithm 1");
  model.rich({ gen: 2, kernel: kernel({ name: "MALA" }) });
  assert.equal(select("kernel").value, "Algorithm 1");
  model.rich({ gen: 3, kernel: kernel({ name: "Algorithm 1" }) });
  model.rich({ gen: 4, kernel: kernel({ name: "BAOAB" }) });
  assert.equal(select("kernel").value, "BAOAB");
  choose(select("kernel"), "MALA");
  model.post({ kind: "error", error: { message: "no", hint: "" } });
  assert.equal(select("kernel").value, "BAOAB");
});

test("without a choice the kernel is a name; one of the user's own is among the choices", () => {
  for (const choices of [["BAOAB"], []]) {
    model.rich({ kernel: kernel({ choices }) });
    assert.equal(select("kernel"), null);
    assert.equal(find(".ldam-kernel").textContent, "BAOAB");
  }
  model.rich({ kernel: kernel({ name: "Mine" }) });
  assert.equal(select("kernel").value, "Mine");
  assert.equal(select("kernel").options.length, 4);
});

test("the badge says in words what is known of the law, the note follows the state", () => {
  assert.equal(law().textContent, "samples p ∝ exp(E/T) elastic walls");
  state({ kernel_note: "diverging" });
  assert.equal(law().textContent, "samples p ∝ exp(E/T) diverging");
  state({});
  assert.match(law().textContent!, /diverging/, "a state without a note took it away");
  model.rich({ kernel: kernel({ calibrated: false, note: "heuristic (no law)" }) });
  assert.equal(law().textContent, "heuristic (no law)");
  assert.equal(find(".ldam-badge").textContent, "heuristic");
  state({ kernel_note: "plain gradients" });
  assert.equal(law().textContent, "heuristic plain gradients");
  model.rich({ kernel: kernel({ calibrated: true, note: "samples p ∝ exp(E/T) at T = 2, exactly" }) });
  assert.equal(law().textContent, "samples p ∝ exp(E/T) at T = 2, exactly");
});

test("an older kernel shows none of this", () => {
  model.post(setupMessage({ gen: 2 }));
  frame({}, 2);
  page.pass(1000);
  assert.equal(select("kernel"), null);
  assert.equal(find(".ldam-badge").hidden, true);
  assert.equal(find(".ldam-scales").hidden, true);
  assert.ok(select("strongest inputs of").closest("[hidden]"));
  assert.equal(button("heat pulse"), undefined);
  assert.equal(button("each neuron").hidden, true);
  assert.equal(find(".ldam-verdict").textContent, "");
  assert.deepEqual([...root.querySelectorAll(".ldam-aside")].map((each) => each.textContent).join(""), "");
});

test("the thermometer stands beside the temperature, and each neuron's in the tooltip and the text", () => {
  frame({ temperature: { asked: 2, measured: [2, 2.04, null, 2.02] } });
  assert.equal(aside("temperature").textContent, "measured 1.01 T");
  assert.equal(aside("temperature").classList.contains("ldam-warns"), false);
  assert.equal(aside("temperature").title.split("\n")[1], "1 one: 1.02 T");
  assert.match(parameterOf("temperature").querySelector(".ldam-hidden")!.textContent!, /1 one: 1\.02 T; 2 two: not yet known/);
  assert.equal(aside("temperature").closest("[aria-live], [role=status]"), null);
  assert.doesNotMatch(find(`#${box("temperature").getAttribute("aria-describedby")}`).textContent!, /one/, "a number box that reads out all neurons");
  page.pass(250);
  frame({ temperature: { asked: 1, measured: [1.3, 1.4, 1.3, 1.36] } });
  assert.match(aside("temperature").textContent!, /^⚠.* measured 1\.34 T$/);
  assert.equal(aside("temperature").classList.contains("ldam-warns"), true);
  page.pass(250);
  frame({ temperature: null });
  assert.deepEqual([aside("temperature").textContent, aside("temperature").title, aside("temperature").classList.contains("ldam-warns")], ["", "", false]);
});

test("the thermometer is read at most four times a second, and the last reading is not lost", () => {
  const seen = new Set<string>();
  for (let i = 0; i < 40; i++) {
    frame({ temperature: { asked: 1, measured: [1 + i / 50] } });
    page.pass(25);
    seen.add(aside("temperature").textContent! + aside("temperature").title);
  }
  assert.ok(seen.size <= 5, `${seen.size} readings in a second`);
  frame({ temperature: { asked: 1, measured: [1.02] } });
  frame({}); // one that does not measure takes nothing away
  page.pass(250);
  assert.equal(aside("temperature").textContent, "measured 1.02 T");
});

test("acceptance stands beside the step size, and goes with its kernel", () => {
  frame({ acceptance: [0.9, 0.84, null, 0.87], temperature: { asked: 1, measured: [1] } });
  assert.equal(aside("step size").textContent, "accepts 87 %");
  assert.match(aside("step size").title, /^0 zero: 90 %\n/);
  model.rich({ ...WITH_HEAT, gen: 2 });
  assert.deepEqual([aside("step size").textContent, aside("temperature").textContent], ["", ""]);
});

test("why a typed value was corrected is not covered by a measurement at once", () => {
  box("temperature").value = "99999";
  fire(box("temperature"), "input");
  fire(box("temperature"), "blur");
  frame({ temperature: { asked: 1, measured: [1] } });
  assert.equal(aside("temperature").textContent, "at most 10000");
  page.pass(6000);
  frame({ temperature: { asked: 1, measured: [1] } });
  page.pass(250);
  assert.equal(aside("temperature").textContent, "measured 1.00 T");
  assert.equal(parameterOf("temperature").classList.contains("ldam-corrected"), false);
  assert.equal(box("temperature").title, "");
});

const scales = () => find(".ldam-scales");

test("scales: means in a line, all in the tooltip, measured again by a button", () => {
  assert.equal(scales().firstChild!.textContent, "scales: neuron 6.51 · L2 28.1");
  assert.match(find(".ldam-scales span").title, /^neuron: 0 zero 6\.00, 1 one 7\.00, .*\nL2: 0 zero 28\.0, /);
  button("measure scales").click();
  assert.deepEqual(model.take("do"), [{ kind: "do", what: "measure_scales" }]);
  state({ warming: true });
  assert.equal(scales().firstChild!.textContent, "measuring scales…");
  model.post({ kind: "state", params: {}, playing: false, recording: false, warming: true });
  assert.equal(scales().firstChild!.textContent, "scales are measured in the first steps", "nothing is measured while it stands");
  model.post({ kind: "state", params: {}, playing: true, recording: false, warming: true });
  assert.equal(button("measure scales").getAttribute("aria-disabled"), "true");
  button("measure scales").click();
  assert.deepEqual(model.take("do"), [], "asked while it measures");
  state({ warming: false, scales: { neuron: [2], total_variation: [3] } });
  assert.equal(scales().firstChild!.textContent, "scales: neuron 2.00 · total variation 3.00");
  state({});
  assert.equal(scales().hidden, false);
  state({ scales: null });
  assert.equal(scales().hidden, true);
  model.rich({ scales: null, warming: true });
  assert.equal(scales().hidden, false, "measured for the first time");
});

test("the heat pulse has its button at the slider", () => {
  const pulse = button("heat pulse");
  assert.equal(pulse.closest(".ldam-parameter"), parameterOf("heat"));
  assert.match(pulse.title, /lets chains leave their mode/);
  pulse.click();
  assert.deepEqual(model.take("do"), [{ kind: "do", what: "heat" }]);
});

test("during a pulse the slider follows the frames and sends nothing", () => {
  const before = Number(slider("heat").value);
  frame({ heat: 7.28312 });
  assert.equal(box("heat").value, "7.28");
  assert.ok(Number(slider("heat").value) > before);
  state({ params: { heat: 1, l2: 3 } });
  assert.deepEqual([box("heat").value, box("L2").value], ["7.28", "3"], "jumped back to what was set, amid the pulse");
  frame({ heat: 1 });
  assert.equal(slider("heat").value, "0");
  page.animate();
  assert.deepEqual(model.take("set"), []);
  page.pass(1000); // no frames: paused
  state({ playing: false, params: { heat: 5.1234 } });
  assert.equal(box("heat").value, "5.1234");
  frame({ heat: 5.1234 });
  assert.equal(box("heat").value, "5.1234", "rounded what was set");
});

test("a drag during a pulse is not undone by frames sent before it", () => {
  frame({ heat: 10 });
  fire(slider("heat"), "pointerdown");
  slider("heat").value = "20";
  fire(slider("heat"), "input");
  page.animate();
  const [sent] = model.take("set");
  assert.deepEqual(Object.keys(sent!.params), ["heat"]);
  fire(slider("heat"), "pointerup");
  frame({ heat: 9.5 });
  assert.equal(slider("heat").value, "20");
  state({ view: sent!.view, rev: sent!.rev, params: sent!.params });
  frame({ heat: sent!.params["heat"]! });
  assert.equal(slider("heat").value, "20");
});

const diagnosis = (changes: object = {}) => {
  const neurons = NAMES.map((name, i) => ({ label: `${i} ${name}`, text: `R-hat 1.${i}` }));
  model.post({ kind: "diagnosis", level: "warn", text: "chains disagree: R-hat 1.34", neurons, ...changes });
};
const verdict = () => find(".ldam-verdict");

test("the diagnosis is a status with a sign, under the trace, and silent unless its text changes", async () => {
  assert.equal(verdict().getAttribute("role"), "status");
  assert.ok(find(".ldam-trace").compareDocumentPosition(verdict()) & 4);
  let changes = 0;
  const observer = new page.window.MutationObserver((records) => (changes += records.length));
  diagnosis();
  assert.equal(verdict().textContent, "⚠\ufe0echains disagree: R-hat 1.34");
  observer.observe(verdict() as never, { childList: true, characterData: true, subtree: true });
  for (let i = 0; i < 5; i++) {
    diagnosis({ neurons: [{ label: "0", text: String(i) }] });
    page.pass(2000);
  }
  await Promise.resolve();
  assert.equal(changes, 0);
  diagnosis({ level: "good", text: "chains agree" });
  diagnosis({ level: "wait", text: "too early" });
  page.pass(2000);
  assert.equal(verdict().textContent, "…too early");
  diagnosis({ level: "good", text: "chains agree" });
  page.pass(2000);
  assert.equal(verdict().textContent, "✓chains agree");
});

test("each neuron's remark is disclosed on demand, and updated in place", () => {
  diagnosis();
  const more = button("each neuron");
  const list = () => find(`#${more.getAttribute("aria-controls")}`);
  assert.deepEqual([more.hidden, more.getAttribute("aria-expanded"), list().hidden], [false, "false", true]);
  more.click();
  assert.deepEqual([more.getAttribute("aria-expanded"), list().hidden, list().children.length], ["true", false, 4]);
  const first = list().firstElementChild!;
  assert.equal(first.textContent, "0 zeroR-hat 1.0");
  page.pass(2000);
  diagnosis({ neurons: NAMES.map((label) => ({ label, text: "fine" })) });
  assert.equal(list().firstElementChild, first);
  assert.equal(first.textContent, "zerofine");
  more.click();
  assert.equal(list().hidden, true);
  page.pass(2000);
  diagnosis({ neurons: [] });
  assert.equal(more.hidden, true);
});

test("a diagnosis is removed with the neurons it was about", () => {
  diagnosis();
  model.rich({ ...WITH_HEAT, playing: false });
  assert.match(verdict().textContent!, /disagree/, "the same ones");
  model.rich({ ...WITH_HEAT, gen: 2 });
  assert.equal(verdict().textContent, "");
});

test("the strongest inputs of a class", () => {
  const wired = select("strongest inputs of");
  assert.equal(wired.closest("[hidden]"), null);
  assert.deepEqual([...wired.options].map(({ text }) => text), ["class …", "cat", "dog"]);
  choose(wired, "1");
  assert.deepEqual(model.take("select"), [{ kind: "select", wired_to: 1 }]);
  const units = (...keys: string[]) => keys.map((key) => ({ key, label: key, name: "" }));
  model.rich({ gen: 2, layer: "conv2", neurons: units("5", "9") });
  assert.equal(wired.selectedOptions[0]!.text, "dog", "the answer keeps it named");
  page.pass(4000);
  model.rich({ gen: 3, layer: "conv2", neurons: units("5") });
  assert.equal(wired.selectedIndex, 0, "other neurons by now");
  choose(wired, "0");
  model.rich({ gen: 4, neurons: units("5", "6") });
  button("remove 5").click();
  assert.equal(wired.selectedIndex, 0);
  model.rich({ gen: 5, wiring: null });
  assert.ok(wired.closest("[hidden]"));
});

test("whatever the kernel's name and note contain is text", () => {
  const evil = "<img src=x onerror=alert(1)>";
  model.rich({ ...WITH_HEAT, kernel: { name: evil, note: evil, calibrated: true, choices: [evil, "b"] }, scales: { [evil]: [1] }, wiring: { label: evil, classes: [evil] } });
  diagnosis({ text: evil, neurons: [{ label: evil, text: evil }] });
  button("each neuron").click();
  assert.equal(root.querySelector("img"), null);
  for (const part of [select("kernel"), law(), scales(), select("strongest inputs of"), verdict(), find(".ldam-remarks")]) assert.ok(part.textContent!.includes(evil));
});

test("malformed messages change nothing and break nothing", () => {
  frame({ temperature: { asked: 1, measured: [1] }, acceptance: [0.5], heat: 2 });
  frame({ temperature: "warm" as never, acceptance: 3 as never, heat: null as never });
  state({ scales: 3, warming: "x", kernel_note: 4 });
  model.post({ kind: "diagnosis", level: "fatal", text: 3 });
  page.pass(1000);
  assert.deepEqual([aside("temperature").textContent, aside("step size").textContent, box("heat").value], ["measured 1.00 T", "accepts 50 %", "2"]);
  assert.match(scales().textContent!, /neuron 6\.51/);
  assert.equal(law().textContent, "samples p ∝ exp(E/T) elastic walls");
  assert.equal(verdict().textContent, "");
});
