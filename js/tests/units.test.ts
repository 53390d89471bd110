// The table of a layer's units: thousands of rows of which few exist, sorting, search, keys, and nothing becomes markup.
import { page } from "./page";
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import widget from "../src/widget";
import type { UnitColumns, UnitTable } from "../src/protocol";
import { rowsOf } from "../src/parts/units/columns";
import { parse } from "../src/validate";
import { FakeModel, setupMessage } from "./kernel";

const MANY = 2048;
const EVIL = "<img src=x onerror=alert(1)>";

function columns(count = MANY): UnitColumns {
  const list = <T>(of: (i: number) => T) => Array.from({ length: count }, (_, i) => of(i));
  return {
    unit: list((i) => i),
    dead: list((i) => i === 5),
    mean: list((i) => (i * 37) % 101),
    max: list((i) => (i % 7 === 0 ? null : i / 10)),
    zero_share: list(() => 0.25),
    best_class: list((i) => (i % 2 ? "cat" : EVIL)),
    selectivity: list((i) => i / count),
    partner: list((i) => (i ? i - 1 : null)),
    correlation: list(() => -0.5),
    change: list(() => null),
    kept: list(() => null),
  };
}

const BARS = { low: -1, high: 2, counts: [0, 1, 4, 2] };
let model: FakeModel;
let root: HTMLElement;
let close: () => void = () => {};

beforeEach(() => {
  close();
  model = new FakeModel();
  const el = document.createElement("div");
  document.body.replaceChildren(el);
  close = widget.render({ model: model as never, el });
  root = el.querySelector(".ldam")!;
  model.post(setupMessage({ open_unit: null }));
  Object.defineProperty(find(".ldam-units-rows"), "clientHeight", { value: 266 });
  table();
  model.sent = [];
});

const table = (changes: Partial<UnitTable> = {}) =>
  model.post({ kind: "unit_table", layer: "layer3", images: 1500, columns: columns(), activations: BARS, weights: null, ...changes });
const find = <T extends Element = HTMLElement>(selector: string) => root.querySelector<T>(selector)!;
const all = (selector: string) => [...root.querySelectorAll<HTMLElement>(selector)];
const rows = () => all(".ldam-units tbody tr[aria-rowindex]");
const units = () => rows().map((row) => Number(row.firstChild!.textContent));
const grid = () => find<HTMLTableElement>("[role=grid]");
const search = () => find<HTMLInputElement>(".ldam-units-head input");
const head = (column: string) => find(`.ldam-units th[data-column="${column}"]`);
const button = (name: string) => all("button").find((each) => each.textContent === name)!;
const key = (element: Element, name: string) => element.dispatchEvent(new page.window.KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }) as never);
const type = (text: string) => {
  search().value = text;
  search().dispatchEvent(new page.window.Event("input", { bubbles: true }) as never);
};
const current = () => find(`#${grid().getAttribute("aria-activedescendant")}`).firstChild!.textContent;

test("few rows exist, and all are counted", () => {
  assert.ok(rows().length < 40);
  assert.equal(grid().getAttribute("aria-rowcount"), String(MANY + 1));
  assert.equal(rows()[0]!.getAttribute("aria-rowindex"), "2");
  assert.ok(find(".ldam-units-head").textContent!.includes("2,048 units"));
  key(grid(), "End");
  assert.equal(current(), "2047");
  assert.ok(rows().length < 40);
  assert.equal(find(".ldam-units-rows").scrollTop, MANY * 22 - (266 - 22));
  key(grid(), "PageUp");
  assert.equal(current(), "2037");
  key(grid(), "Home");
  key(grid(), "ArrowUp");
  assert.equal(current(), "0");
});

test("a heading sorts, unknown values last, and again the other way", () => {
  head("max").querySelector("button")!.click();
  assert.equal(head("max").getAttribute("aria-sort"), "descending");
  assert.deepEqual(units().slice(0, 2), [2047, 2046]);
  key(grid(), "End");
  assert.equal(units().at(-1), 2044); // null, as every seventh
  head("max").querySelector("button")!.click();
  assert.equal(head("max").getAttribute("aria-sort"), "ascending");
  assert.deepEqual(units().slice(0, 2), [1, 2]);
  key(grid(), "End");
  assert.equal(units().at(-1), 2044);
  assert.equal(all(".ldam-units [aria-sort]").length, 1);
  head("mean").querySelector("button")!.click();
  const means = columns().mean as number[];
  const expected = means.map((_, i) => i).sort((a, b) => means[b]! - means[a]! || a - b);
  assert.deepEqual(units(), expected.slice(0, units().length));
});

test("columns without anything are left out", () => {
  assert.deepEqual(all(".ldam-units th").map(({ dataset }) => dataset["column"]), ["unit", "dead", "mean", "max", "zero_share", "best_class", "selectivity", "partner", "correlation"]);
  const none = { ...columns(3), dead: [false, false, false], best_class: ["", "", ""], change: [null, -1.234, 0] };
  table({ columns: none });
  assert.deepEqual(all(".ldam-units th").map(({ dataset }) => dataset["column"]), ["unit", "mean", "max", "zero_share", "selectivity", "partner", "correlation", "change"]);
  assert.deepEqual(rows().map((row) => row.lastChild!.textContent), ["–", "−1.2", "0"]);
});

test("the search box filters by number, class and death", () => {
  type("17");
  assert.deepEqual(units(), [17]);
  type("DEAD");
  assert.deepEqual(units(), [5]);
  type("cat 7");
  assert.deepEqual(units(), [7]);
  type("nothing");
  assert.deepEqual(units(), []);
  assert.equal(grid().getAttribute("aria-activedescendant"), null);
  key(search(), "Enter");
  assert.deepEqual(model.sent, []);
  key(search(), "Escape");
  assert.equal(search().value, "");
  assert.ok(units().length > 20);
});

test("a click, Enter, and Enter in the search box open a unit", () => {
  rows()[3]!.querySelector("td")!.click();
  key(grid(), "ArrowDown");
  key(grid(), "Enter");
  type("99");
  key(search(), "Enter");
  assert.deepEqual(model.take("open_unit").map(({ unit }) => unit), [3, 4, 99]);
});

test("what is typed in the table goes into the search box, and stays in the panel", () => {
  const heard: string[] = [];
  document.body.addEventListener("keydown", (event) => heard.push(event.key));
  grid().focus();
  key(grid(), "7");
  assert.equal(document.activeElement, search());
  assert.equal(search().value, "7");
  assert.deepEqual(units(), [7]);
  key(search(), "ArrowDown");
  assert.equal(document.activeElement, grid());
  assert.deepEqual(heard, []);
});

test("files are asked for as the table is shown", () => {
  head("selectivity").querySelector("button")!.click();
  type("cat");
  button("save csv").click();
  button("save sheet").click();
  const asked = { column: "selectivity", ascending: false, query: "cat" };
  assert.deepEqual(model.take("export_units"), ["csv", "sheet"].map((what) => ({ kind: "export_units", what, ...asked })));
});

test("names stay text", () => {
  assert.equal(root.querySelector("img"), null);
  assert.equal(rows()[0]!.children[5]!.textContent, EVIL);
  table({ layer: EVIL });
  assert.equal(root.querySelector("img"), null);
});

test("the panel appears once a unit is open, and the table says which", () => {
  assert.ok(root.classList.contains("ldam-unopened"));
  model.post({ kind: "state", params: {}, playing: true, recording: false, open_unit: 1000 });
  assert.ok(!root.classList.contains("ldam-unopened"));
  assert.equal(all(".ldam-units-open").length, 0); // out of sight
  table(); // as to a new view
  assert.equal(current(), "1000");
  assert.equal(find(".ldam-units-open").firstChild!.textContent, "1000");
  model.post({ kind: "unit_bars", unit: 1000, activations: BARS, weights: null });
  const shown = all(".ldam-bars").filter((each) => !each.hidden).map((each) => each.querySelector("svg")!.getAttribute("aria-label"));
  assert.deepEqual(shown, ["activations of the layer: from −1.00 to 2.00, most at 0.875", "activations of unit 1000: from −1.00 to 2.00, most at 0.875"]);
});

test("a panel without a table looks as ever", () => {
  model.post(setupMessage({}));
  assert.ok(root.classList.contains("ldam-unopened")); // this one has a table
  close();
  const el = document.createElement("div");
  document.body.replaceChildren(el);
  model = new FakeModel();
  close = widget.render({ model: model as never, el });
  model.post(setupMessage({}));
  root = el.querySelector(".ldam")!;
  assert.ok(find(".ldam-units").hidden);
  assert.ok(!root.classList.contains("ldam-unopened"));
});

test("columns of different lengths are refused", () => {
  const message = { kind: "unit_table", layer: "a", images: 1, columns: columns(3), activations: null, weights: null };
  assert.ok(parse(message));
  assert.equal(parse({ ...message, columns: { ...columns(3), mean: [1] } }), null);
  assert.equal(parse({ ...message, columns: [] }), null);
  assert.deepEqual((parse({ ...message, weights: "heavy" }) as UnitTable).weights, null);
});

test("rows sort as in Python", () => {
  const few = { ...columns(4), mean: [2, null, 1, 2] };
  const order = (ascending: boolean) => rowsOf(few, "a", "", { id: "mean", ascending });
  assert.deepEqual(order(false), [0, 3, 2, 1]);
  assert.deepEqual(order(true), [2, 0, 3, 1]);
  assert.deepEqual(rowsOf(few, "a", "", { id: "dead", ascending: false }), [0, 1, 2, 3]);
});
