import { page } from "./page";
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { layerText, NeuronPicker } from "../src/parts/picker/neuron-picker";
import type { Unit } from "../src/protocol";
import { JUDGE, setupMessage } from "./kernel";

type Request = [layer: string, query: string, offset: number, limit: number];
const UNITS: Unit[] = Array.from({ length: 1600 }, (_, i) => ({ key: `k${i}`, label: String(i), name: i === 12 ? "a dozen" : "" }));

let picker: NeuronPicker;
let selections: { layer?: string; neurons?: string[] }[];
let requests: Request[];
let deeds: string[];
let pages: unknown[];

beforeEach(() => {
  [selections, requests, deeds, pages] = [[], [], [], []];
  picker?.close();
  picker = new NeuronPicker("p", { select: (selection) => selections.push(selection), units: (...request) => requests.push(request), act: (what) => deeds.push(what), about: (what) => pages.push(what) });
  document.body.replaceChildren(picker.element);
  picker.setup(setupMessage());
});

const input = () => picker.element.querySelector<HTMLInputElement>("[role=combobox]")!;
const options = () => [...picker.element.querySelectorAll("[role=option]")];
const chips = () => [...picker.element.querySelectorAll(".ldam-chip-text")].map((chip) => chip.textContent);
const button = (name: string) =>
  [...picker.element.querySelectorAll("button")].find((each) => (each.getAttribute("aria-label") ?? each.textContent) === name)!;
const key = (name: string) => input().dispatchEvent(new page.window.KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }) as never);
const type = (text: string) => {
  input().value = text;
  input().dispatchEvent(new page.window.Event("input") as never);
  page.pass(200);
};
/** Answers the newest request as the kernel does. */
const answer = (units = UNITS) => {
  const [layer, query, offset, limit] = requests.at(-1)!;
  const found = units.filter(({ label, name }) => `${label} ${name}`.includes(query));
  picker.units({ kind: "units", layer, query, offset, total: found.length, units: found.slice(offset, offset + limit) });
};

test("layers are written as in the table", () => {
  const select = picker.element.querySelector("select")!;
  assert.deepEqual([...select.options].map(({ text }) => text), ["conv2 · Conv2d → 16×10×10", "fc3 · Linear → 10"]);
  assert.equal(select.value, "fc3");
  select.value = "conv2";
  select.dispatchEvent(new page.window.Event("change") as never);
  assert.deepEqual(selections, [{ layer: "conv2" }]);
  assert.equal(layerText({ name: "", type: "Linear", shape: [3], units: 3 }), " · Linear → 3");
});

test("chips remove their neuron, but never the last", () => {
  for (const name of ["remove 1 one", "remove 0 zero", "remove 3 three"]) button(name).click();
  assert.deepEqual(selections.at(-1), { neurons: ["k2"] });
  assert.deepEqual(chips(), ["2 two"]);
  assert.equal(button("remove 2 two").disabled, true);
});

test("none clears the selection, until one is chosen or the last ones are kept after all", () => {
  button("none").click();
  assert.deepEqual([selections, chips()], [[], []]);
  assert.equal(document.activeElement, input());
  assert.equal(button("none").disabled, true);
  picker.setup(setupMessage()); // the kernel says once more what it runs
  assert.deepEqual(chips(), []);
  button("keep the last ones").click();
  assert.deepEqual([selections, chips().length], [[], 4]);
  button("none").click();
  type("dozen");
  answer();
  key("Enter");
  assert.deepEqual([selections, chips()], [[{ neurons: ["k12"] }], ["12 a dozen"]]);
  page.pass(4000);
  button("none").click();
  picker.setup(setupMessage({ gen: 2, neurons: UNITS.slice(5, 7) })); // Python's choice
  assert.deepEqual(chips(), ["5", "6"]);
});

test("chips are one tab stop: arrow keys lead from one to the next, Delete removes", () => {
  document.body.append(picker.element);
  const removes = () => [...picker.element.querySelectorAll<HTMLButtonElement>(".ldam-remove")];
  const stops = () => removes().filter(({ tabIndex }) => tabIndex === 0).map((each) => each.getAttribute("aria-label"));
  const press = (name: string) => document.activeElement!.dispatchEvent(new page.window.KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }) as never);
  const focused = () => document.activeElement!.getAttribute("aria-label");
  assert.deepEqual(stops(), ["remove 0 zero"]);
  removes()[0]!.focus();
  press("ArrowRight");
  press("ArrowRight");
  assert.deepEqual([focused(), stops()], ["remove 2 two", ["remove 2 two"]]);
  press("Home");
  assert.equal(focused(), "remove 0 zero");
  press("ArrowLeft");
  assert.equal(focused(), "remove 0 zero");
  press("Delete");
  assert.deepEqual([chips(), focused()], [["1 one", "2 two", "3 three"], "remove 1 one"]);
  press("End");
  press("Backspace");
  assert.deepEqual([chips(), focused()], [["1 one", "2 two"], "remove 2 two"]);
});

test("more than twenty chips fold", () => {
  picker.setup(setupMessage({ gen: 2, layer: "conv2", neurons: UNITS.slice(0, 20) }));
  assert.equal(chips().length, 20);
  picker.setup(setupMessage({ gen: 3, layer: "conv2", neurons: UNITS.slice(0, 40) }));
  assert.equal(chips().length, 16);
  button("and 24 more").click();
  assert.equal(chips().length, 40);
  assert.equal(document.activeElement!.getAttribute("aria-label"), "remove 16");
  assert.equal(button("show fewer").getAttribute("aria-expanded"), "true");
  button("show fewer").click();
  assert.equal(chips().length, 16);
});

test("all and first 10 ask for the units first", () => {
  button("all").click();
  assert.deepEqual(requests.at(-1), ["fc3", "", 0, 10]);
  answer(UNITS.slice(0, 10));
  assert.equal(selections.at(-1)!.neurons!.length, 10);
  assert.equal(button("all").disabled, false);
  picker.setup(setupMessage({ layer: "conv2", neurons: UNITS.slice(0, 1) }));
  assert.equal(button("all").disabled, true);
  assert.match(button("all").title, /1,600 units: more than 64/);
  button("first 10").click();
  answer();
  assert.deepEqual(selections.at(-1)!.neurons, UNITS.slice(0, 10).map((unit) => unit.key));
});

test("the list opens in pages and asks for more near its end", () => {
  picker.setup(setupMessage({ layer: "conv2", neurons: UNITS.slice(0, 2) }));
  input().click();
  assert.deepEqual(requests.at(-1), ["conv2", "", 0, 50]);
  assert.equal(input().getAttribute("aria-expanded"), "true");
  answer();
  assert.deepEqual(options().slice(0, 3).map((option) => option.getAttribute("aria-selected")), ["true", "true", "false"]);
  assert.equal(options()[0]!.getAttribute("aria-setsize"), "1600");
  while (requests.at(-1)![2] === 0 && options().length === 50) {
    const before = input().getAttribute("aria-activedescendant");
    key("ArrowDown");
    if (input().getAttribute("aria-activedescendant") === before) break;
  }
  assert.deepEqual(requests.at(-1), ["conv2", "", 50, 50]);
  answer();
  assert.equal(options().length, 100);
  assert.equal(new Set(options().map(({ id }) => id)).size, 100);
});

test("arrow keys and Enter toggle, by number or name; Escape closes", () => {
  type("dozen");
  assert.equal(requests.at(-1)![1], "dozen");
  answer();
  assert.deepEqual(options().map((option) => option.textContent), ["12 a dozen"]);
  key("Enter");
  assert.deepEqual(selections.at(-1), { neurons: ["k0", "k1", "k2", "k3", "k12"] });
  assert.equal(options()[0]!.getAttribute("aria-selected"), "true");
  key("Enter");
  assert.deepEqual(selections.at(-1), { neurons: ["k0", "k1", "k2", "k3"] });
  type("1");
  answer();
  key("ArrowDown");
  key("ArrowDown");
  key("ArrowUp");
  key("Enter");
  assert.deepEqual(selections.at(-1)!.neurons!.at(-1), "k10");
  key("Escape");
  assert.equal(input().getAttribute("aria-expanded"), "false");
});

test("the first letter asks once: nothing empties the list again while the user types", () => {
  type("dozen");
  assert.equal(requests.length, 1);
  answer();
  page.pass(200);
  assert.equal(requests.length, 1);
  assert.equal(options().length, 1);
});

test("Enter before the answer chooses its first unit, not one of the list before", () => {
  type("1");
  answer();
  input().value = "12";
  input().dispatchEvent(new page.window.Event("input") as never);
  key("Enter"); // the list is still that of "1"
  assert.deepEqual(selections, []);
  page.pass(200);
  key("Enter"); // asked for, no answer yet
  assert.deepEqual(selections, []);
  answer();
  assert.deepEqual(selections, [{ neurons: ["k0", "k1", "k2", "k3", "k12"] }]);
  type("13");
  answer(); // typed on without Enter: nothing is chosen
  assert.equal(selections.length, 1);
});

test("an answer to an older question is not shown", () => {
  type("1");
  type("12");
  picker.units({ kind: "units", layer: "fc3", query: "1", offset: 0, total: 1, units: [UNITS[1]!] });
  assert.equal(options().length, 0);
  answer();
  assert.ok(options().length > 0);
});

test("quick choices are not undone by the answers to earlier ones", () => {
  const all = setupMessage().neurons;
  button("remove 3 three").click();
  button("remove 2 two").click();
  picker.setup(setupMessage({ gen: 2, neurons: all.slice(0, 3) })); // the answer to the first
  assert.deepEqual(chips(), ["0 zero", "1 one"]);
  picker.setup(setupMessage({ gen: 3, neurons: all.slice(0, 2) }));
  picker.setup(setupMessage({ gen: 4, neurons: all })); // and then Python chooses
  assert.equal(chips().length, 4);
});

const only = () => button("discriminator only");
const pressed = () => [only().getAttribute("aria-pressed"), picker.element.classList.contains("ldam-ignored")];

test("discriminator only: a toggle beside the sets, there only if there is a discriminator", () => {
  assert.equal(only().hidden, true);
  picker.setup(setupMessage({ discriminator: JUDGE }));
  assert.equal(only().hidden, false);
  assert.equal(only().parentElement, button("all").parentElement);
  const note = picker.element.querySelector("[role=status]")!;
  assert.deepEqual([...pressed(), note.textContent], ["false", false, ""]);
  only().click();
  assert.deepEqual([...pressed(), note.textContent], ["true", true, "neurons are ignored: the chains follow the discriminator alone"]);
  picker.state({ discriminator: { ...JUDGE, only: true } });
  picker.state({});
  assert.deepEqual(pressed(), ["true", true]);
  only().click();
  assert.deepEqual(deeds, ["discriminator_only", "with_neurons"]);
  assert.deepEqual([...pressed(), note.textContent], ["false", false, ""]);
  only().click();
  picker.setup(setupMessage());
  assert.deepEqual([only().hidden, ...pressed()], [true, "false", false]);
});

test("the toggle is not undone by an older answer, but by a refusal, by silence, and by Python", () => {
  const confirm = (now: boolean) => picker.state({ discriminator: { ...JUDGE, only: now } });
  confirm(false);
  only().click();
  confirm(false); // said before the click arrived
  picker.setup(setupMessage({ discriminator: JUDGE }));
  assert.equal(pressed()[0], "true");
  page.pass(3100);
  assert.equal(pressed()[0], "false", "the kernel kept to it");
  only().click();
  page.pass(10_000);
  assert.equal(pressed()[0], "true", "a busy kernel has not answered yet");
  confirm(true);
  confirm(false);
  assert.equal(pressed()[0], "false", "Python's choice");
  only().click();
  picker.refused();
  assert.equal(pressed()[0], "false");
});

test("an expression is found as a unit is, and becomes a chip", () => {
  const expression = { key: "3 - 5", label: "three - five", name: "" };
  const units = (query: string, found: Unit[], problem = "") =>
    picker.units({ kind: "units", layer: "fc3", query, offset: 0, total: found.length, units: found, problem });
  type("-5 + 3");
  assert.deepEqual(requests.at(-1), ["fc3", "-5 + 3", 0, 50]);
  key("Enter"); // before the answer
  assert.deepEqual(selections, []);
  units("-5 + 3", [expression]);
  assert.deepEqual(options().map((option) => option.textContent), ["three - five"]);
  assert.deepEqual(selections, [{ neurons: ["k0", "k1", "k2", "k3", "3 - 5"] }]);
  assert.equal(chips().at(-1), "three - five");
  assert.ok(button("remove three - five"));
  picker.setup(setupMessage({ gen: 2, neurons: [...setupMessage().neurons, expression] }));
  assert.equal(chips().length, 5);
  key("Enter");
  assert.deepEqual(chips().length, 4); // a toggle
});

test("an expression with a mistake is explained while it is typed, and Enter sends it for the kernel to refuse", () => {
  const why = "neuron '3 +', character 4: a neuron should follow";
  type("3 +");
  key("Enter");
  picker.units({ kind: "units", layer: "fc3", query: "3 +", offset: 0, total: 0, units: [], problem: why });
  assert.equal(picker.element.querySelector(".ldam-count")!.textContent, why);
  assert.deepEqual(selections, [{ neurons: ["k0", "k1", "k2", "k3", "3 +"] }]);
  assert.equal(chips().length, 4); // none for what the kernel refuses
  key("Enter");
  assert.equal(selections.length, 2);
  type("nothing");
  picker.units({ kind: "units", layer: "fc3", query: "nothing", offset: 0, total: 0, units: [] }); // an older kernel
  assert.equal(picker.element.querySelector(".ldam-count")!.textContent, "no unit found");
});

test("chips and the list lead to the pages of units, if there are any; dead units are marked", () => {
  const dead = { key: "2", label: "2", name: "two", dead: true };
  const sum = { key: "3 - 0.5*5", label: "3 - 0.5·5", name: "" };
  const setup = setupMessage();
  const units = setup.neurons.slice(0, 2).map((unit, i) => ({ ...unit, key: String(i) }));
  picker.setup({ ...setup, unit_page: "on demand", neurons: [...units, dead, sum] });
  assert.deepEqual(chips(), ["0 zero", "1 one", "2 two dead", "3 - 0.5·5"]);
  assert.equal(picker.element.querySelectorAll("button.ldam-chip-text").length, 3); // an expression has no page
  picker.element.querySelectorAll<HTMLButtonElement>("button.ldam-chip-text")[1]!.click();
  input().click();
  picker.units({ kind: "units", layer: "fc3", query: "", offset: 0, total: 3, units: [{ key: "7", label: "7", name: "" }, { ...dead, key: "8@1,2" }, sum], problem: "" });
  assert.deepEqual(options().map((option) => option.textContent), ["about7", "about2 two dead", "3 - 0.5·5"]);
  options()[0]!.querySelector<HTMLElement>(".ldam-page-link")!.click();
  input().click();
  picker.units({ kind: "units", layer: "fc3", query: "", offset: 0, total: 1, units: [{ ...dead, key: "8@1,2" }], problem: "" });
  input().dispatchEvent(new page.window.KeyboardEvent("keydown", { key: "Enter", shiftKey: true, bubbles: true }) as never);
  assert.deepEqual([pages, selections], [[{ column: 1 }, { layer: "fc3", unit: 7 }, { layer: "fc3", unit: 8 }], []]);
});
