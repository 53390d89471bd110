// The browser of an atlas without a browser: which units are listed, which tiles are in the page, keys, and addresses.
import assert from "node:assert/strict";
import { test } from "node:test";
import { page } from "./page";
import { readAddress, written } from "../src/atlas/address";
import { showAtlas } from "../src/atlas/atlas";
import type { Index, Layer, Table } from "../src/atlas/protocol";
import { placeOf, Sheets } from "../src/atlas/sheets";
import type { Listener, Source } from "../src/atlas/source";
import { caption, chosenUnits, factsOf, nameOf, ordersOf } from "../src/atlas/table";

for (const name of ["location", "history"] as const) Object.defineProperty(globalThis, name, { value: page.window[name], configurable: true });

const EVIL = "<img src=x onerror=alert(1)>";
const settle = () => new Promise((done) => setImmediate(done));

const sheet = (kind: string, tiles: number, files: string[]) => ({ kind, tiles, files, across: 8, width: 16, height: 16 });
const SHEETS = [sheet("samples", 4, ["samples.webp"]), sheet("average", 1, ["average.webp"]), sheet("top", 9, ["top-0.webp", "top-1.webp", "top-2.webp"])];
const layerOf = (name: string, units: number): Layer => ({ name, folder: name, units, rendered: units, dead: 1, failed: 1, block: 64, sheets: SHEETS });

/** Unit 5 is dead, 7 failed; activation falls with the number, so the strongest is 0. */
function tableOf(units: number): Table {
  const all = Array.from({ length: units }, (_, unit) => unit);
  return {
    kind: "table",
    names: units === 10 ? all.map((unit) => (unit === 3 ? EVIL : `class ${unit}`)) : [],
    states: all.map((unit) => (unit === 5 ? "dead" : unit === 7 ? "failed" : unit % 3 ? "good" : "warn")),
    failures: { 7: "not a number" },
    columns: [
      { name: "activation", values: all.map((unit) => (unit === 7 ? null : 100 - unit)) },
      { name: "r_hat", values: all.map((unit) => (unit === 7 ? null : 1 + (unit % 10) / 100)) },
    ],
    words: [{ name: "recognised as", texts: ["cat", "dog"], which: all.map((unit) => (unit === 7 ? -1 : unit % 2)) }],
    similar: all.map((unit) => (unit === 7 ? [] : [(unit + 2) % units, (unit + 4) % units])),
    top_values: [],
    top_images: [],
  };
}

class Fake implements Source {
  linked = true;
  told: [string, number | null][] = [];
  asked: string[] = [];
  listener!: Listener;
  index: Index;
  constructor(names = [""]) {
    const layers = [layerOf("conv1", 1000), layerOf("out/put", 10)];
    this.index = { kind: "index", format: "ldam-atlas-page-1", title: "net", atlases: names.map((name, i) => ({ name, folder: String(i), about: ["steps 200"], layers })) };
  }
  open(listener: Listener): void {
    this.listener = listener;
    listener.index(this.index);
  }
  close(): void {}
  table(atlas: number, layer: Layer): Promise<Table> {
    this.asked.push(`table ${atlas} ${layer.name}`);
    return Promise.resolve(tableOf(layer.units));
  }
  sheet(atlas: number, layer: Layer, block: number, file: string): Promise<Blob> {
    this.asked.push(`${atlas} ${layer.name} ${block} ${file}`);
    return Promise.resolve(new Blob([]));
  }
  chosen(layer: string, unit: number | null): void {
    this.told.push([layer, unit]);
  }
}

/** A browser that has room for 6 tiles side by side and 4 rows. */
class Shown {
  place = document.createElement("div");
  end = new AbortController();
  constructor(public source: Fake) {}
  static async of(source = new Fake(), hash = ""): Promise<Shown> {
    page.observers.length = 0;
    page.window.location.hash = hash;
    const shown = new Shown(source);
    document.body.replaceChildren(shown.place);
    showAtlas(source, shown.place, shown.end.signal);
    await settle();
    page.resize(8 + 6 * 112, 4 * 128);
    await shown.settle();
    return shown;
  }
  async settle(): Promise<void> {
    for (let i = 0; i < 3; i++) (await settle(), page.animate());
  }
  find(selector: string): HTMLElement {
    return this.place.querySelector<HTMLElement>(selector)!;
  }
  units(): number[] {
    const tiles = [...this.place.querySelectorAll<HTMLElement>(".ldam-at-tile")];
    return tiles.map((tile) => Number(tile.querySelector("b")!.textContent)).sort((a, b) => a - b);
  }
  tile(unit: number): HTMLElement {
    return [...this.place.querySelectorAll<HTMLElement>(".ldam-at-unit")].find((each) => each.querySelector("b")!.textContent === String(unit))!;
  }
  async key(key: string, target: Element | null = document.activeElement): Promise<void> {
    (target ?? this.find(".ldam-at")).dispatchEvent(new page.window.KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    await this.settle();
  }
  async choose(label: string, value: string): Promise<void> {
    const box = this.find(`[aria-label="${label}"]`) as HTMLSelectElement;
    box.value = value;
    assert.equal(box.value, value);
    box.dispatchEvent(new page.window.Event("change"));
    await this.settle();
  }
  async search(text: string): Promise<void> {
    const box = this.find("input") as HTMLInputElement;
    box.value = text;
    box.dispatchEvent(new page.window.Event("input"));
    page.pass(200);
    await this.settle();
  }
  get heading(): string | null {
    return this.find(".ldam-at-page").hidden ? null : this.find(".ldam-at-heading").textContent;
  }
}

test("addresses come back as they were", () => {
  for (const layer of ["conv1", "a/b", "100%", "layer1.0.conv (2)", "größe #3", "7"]) {
    for (const unit of [null, 0, 17]) assert.deepEqual(readAddress(`#${written({ layer, unit })}`), { layer, unit });
  }
  assert.deepEqual(readAddress("layer2.0/5"), { layer: "layer2.0", unit: 5 });
  assert.deepEqual(readAddress("100%"), { layer: "100%", unit: null });
  assert.deepEqual([readAddress(""), readAddress("#"), readAddress("/3")], [null, null, null]);
});

test("pictures are found in their files", () => {
  const layer = layerOf("x", 1000);
  const place = (kind: string, unit: number, i: number) => {
    const { block, file, columns, column, row } = placeOf(layer, layer.sheets.find((each) => each.kind === kind)!, unit, i);
    return [block, file, columns, column, row];
  };
  assert.deepEqual(place("average", 0, 0), [0, "average.webp", 8, 0, 0]);
  assert.deepEqual(place("average", 64 + 17, 0), [1, "average.webp", 8, 1, 2]);
  assert.deepEqual(place("samples", 9, 3), [0, "samples.webp", 32, 7, 1]);
  assert.deepEqual(place("top", 9, 4), [0, "top-1.webp", 24, 4, 1]); // 3 of the 9 tiles in each file
  const uneven = { ...layer, sheets: [sheet("top", 7, ["top-0.webp", "top-1.webp"])] };
  const last = placeOf(uneven, uneven.sheets[0]!, 10, 6);
  assert.deepEqual([last.file, last.columns, last.column, last.row], ["top-1.webp", 24, 8, 1]); // 4 and 3
});

test("units are searched, filtered and sorted", () => {
  const table = tableOf(10);
  const units = (search = "", filter = "all", order = "number", near: number | null = null) => chosenUnits(table, search, filter as never, order as never, near);
  assert.deepEqual(units(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual(units("", "dead"), [5]);
  assert.deepEqual(units("", "warn"), [0, 3, 6, 9]);
  assert.deepEqual(units("CAT"), [0, 2, 4, 6, 8]);
  assert.deepEqual(units("cat class"), [0, 2, 4, 6, 8]);
  assert.deepEqual(units("not a number"), [7]);
  assert.deepEqual(units("", "all", "r_hat"), [9, 8, 6, 5, 4, 3, 2, 1, 0, 7]); // the unknown one last
  assert.deepEqual(units("", "all", "similar", 8), [8, 0, 2]);
  assert.deepEqual(units("", "good", "similar", 8), [8, 2]);
  const many = tableOf(200);
  assert.deepEqual(chosenUnits(many, "12", "all", "activation", null).slice(0, 3), [12, 112, 120]);
  assert.deepEqual(ordersOf(table), ["number", "activation", "r_hat", "similar"]);
  assert.deepEqual([caption(table, "activation", 2), caption(table, "number", 2), caption(table, "activation", 7)], ["98.0", "", ""]);
});

test("a class that is called like its unit is not written twice", () => {
  const table = { ...tableOf(3), names: ["0", "seven", "1"] };
  assert.deepEqual([0, 1, 2, 3].map((unit) => nameOf(table, unit)), ["", "seven", "1", ""]);
});

test("numbers are put into words", () => {
  const told = (unit: number) => Object.fromEntries(factsOf(tableOf(10), unit).map(({ name, text }) => [name, text]));
  assert.equal(told(7)["failed"], "not a number");
  assert.match(told(1)["R-hat"]!, /^1\.01: the chains agree$/);
  assert.match(told(9)["R-hat"]!, /disagree/);
  assert.equal(told(1)["recognised as"], "dog");
});

test("few sheets are read at a time, and what has scrolled past is not", async () => {
  const source = new Fake();
  const waiting: (() => void)[] = [];
  source.sheet = (_, __, block) => (source.asked.push(String(block)), new Promise((done) => waiting.push(() => done(new Blob([])))));
  const sheets = new Sheets(source);
  const layer = layerOf("x", 6400);
  const want = (block: number) => sheets.url(0, layer, { block, file: "average.webp", columns: 8, column: 0, row: 0 });
  for (let block = 0; block < 20; block++) want(block);
  await settle();
  assert.deepEqual(source.asked, ["0", "1", "2", "3", "4", "5"]);
  sheets.forgetRequests();
  want(50);
  for (const done of waiting.splice(0)) done();
  await settle();
  assert.deepEqual(source.asked.slice(6), ["50"]);
  assert.notEqual(want(3), null);
  assert.equal(want(50), null);
  source.sheet = () => Promise.reject(new Error("gone"));
  want(60);
  await settle();
  assert.equal(want(60), null);
  assert.equal(sheets.error(0, layer, { block: 60, file: "average.webp", columns: 8, column: 0, row: 0 }), "gone");
});

test("only tiles in sight are in the page", async () => {
  const shown = await Shown.of();
  assert.equal(shown.units().length, 6 * (4 + 2));
  assert.deepEqual(shown.source.asked.filter((each) => each.startsWith("table")), ["table 0 conv1"]);
  const scroll = shown.find(".ldam-at-scroll");
  scroll.scrollTop = 100 * 128;
  scroll.dispatchEvent(new page.window.Event("scroll"));
  await shown.settle();
  const units = shown.units();
  assert.equal(units[0], 0); // it has the Tab key
  assert.deepEqual([units[1], units.at(-1)], [98 * 6, 98 * 6 + 6 * 8 - 1]);
  assert(shown.source.asked.includes("0 conv1 9 average.webp"));
  assert.equal(shown.find(".ldam-at-list").style.height, `${Math.ceil(1000 / 6) * 128 + 8}px`);
});

test("keys move, open and close a unit; the address follows", async () => {
  const shown = await Shown.of();
  shown.tile(0).focus();
  await shown.key("ArrowRight");
  await shown.key("ArrowDown");
  assert.equal(document.activeElement, shown.tile(7));
  assert.equal(shown.heading, null);
  shown.tile(7).click();
  await shown.settle();
  assert.equal(shown.heading, "conv1 7");
  assert.equal(location.hash, "#conv1/7");
  assert.deepEqual(shown.source.told.at(-1), ["conv1", 7]);
  await shown.key("n");
  assert.equal(shown.heading, "conv1 8");
  await shown.key("p", shown.tile(8));
  await shown.key("p", shown.tile(7));
  assert.equal(location.hash, "#conv1/6");
  await shown.key("End", shown.tile(6));
  assert.equal(shown.heading, "conv1 999"); // an open page follows the keys
  assert((shown.find('[aria-label="next unit"]') as HTMLButtonElement).disabled);
  await shown.key("Escape");
  assert.equal(shown.heading, null);
  assert.equal(location.hash, "#conv1");
  await shown.key("]", shown.tile(999));
  assert.equal(location.hash, "#out%2Fput");
  assert.equal(document.activeElement, shown.tile(0));
  assert.equal(shown.find("[aria-current=page]").textContent, "out/put10 · 1 dead, 1 failed");
});

test("a link opens its unit, and going back closes it", async () => {
  const shown = await Shown.of(new Fake(), "#out%2Fput/3");
  assert.equal(shown.heading, `out/put 3 ${EVIL}`);
  assert.equal(shown.place.querySelectorAll("img").length, 0);
  page.window.location.hash = "#conv1/500";
  page.window.dispatchEvent(new page.window.Event("hashchange"));
  await shown.settle();
  assert.equal(shown.heading, "conv1 500");
  assert(shown.units().includes(500));
  const lost = await Shown.of(new Fake(), "#no/3");
  assert.match(lost.find("[role=alert]").textContent!, /no layer no/);
  assert.equal(lost.heading, null);
  const far = await Shown.of(new Fake(), "#out%2Fput/10");
  assert.match(far.find("[role=alert]").textContent!, /10 units, from 0; there is no 10/);
});

test("search, filter and sort change what is listed", async () => {
  const shown = await Shown.of(new Fake(), "#out%2Fput");
  await shown.search("dog");
  assert.deepEqual(shown.units(), [1, 3, 5, 9]);
  assert.equal(shown.find("[role=status]").textContent, "4 of 10 units");
  await shown.key("Escape", shown.find("input"));
  assert.equal(shown.units().length, 10);
  await shown.choose("show units", "failed");
  assert.deepEqual(shown.units(), [7]);
  await shown.choose("show units", "all");
  await shown.choose("sort by", "r_hat");
  assert.match(shown.place.querySelector(".ldam-at-tile")!.textContent!, /^9 1\.09/);
  await shown.search("conv1/17");
  await shown.key("Enter", shown.find("input"));
  assert.equal(shown.heading, "conv1 17");
});

test("units like the one that is open", async () => {
  const shown = await Shown.of(new Fake(), "#out%2Fput/8");
  await shown.choose("sort by", "similar");
  assert.deepEqual(shown.units(), [0, 2, 8]);
  const like = [...shown.place.querySelectorAll<HTMLElement>(".ldam-at-like")];
  assert.deepEqual(like.map((each) => each.getAttribute("href")), ["#out%2Fput/0", "#out%2Fput/2"]); // prettier-ignore
  like[1]!.click();
  await shown.settle();
  assert.equal(shown.heading, "out/put 2 class 2");
  assert.deepEqual(shown.units(), [2, 4, 6]);
});

test("two atlases side by side", async () => {
  const shown = await Shown.of(new Fake(["epoch 1", EVIL]), "#conv1/1");
  assert.deepEqual(shown.source.asked.filter((each) => each.startsWith("table")), ["table 0 conv1", "table 1 conv1"]);
  assert.equal(shown.tile(1).querySelectorAll(".ldam-at-picture").length, 2);
  assert.deepEqual([...shown.place.querySelectorAll(".ldam-at-which")].map((each) => each.textContent), ["epoch 1", EVIL]); // prettier-ignore
  assert(shown.source.asked.includes("1 conv1 0 samples.webp"));
});

test("what fails is told, and the rest goes on", async () => {
  const source = new Fake();
  const { table } = source;
  source.table = () => Promise.reject(new Error("conv1/table.json could not be read: 404"));
  const shown = await Shown.of(source);
  assert.match(shown.find("[role=alert]").textContent!, /404/);
  source.table = table;
  source.listener.show("out/put", 4);
  await shown.settle();
  assert.equal(shown.heading, "out/put 4 class 4");
  assert.equal(shown.find("[role=alert]").textContent, "");
  source.listener.index({ ...source.index, title: "grown" }); // read again: what is open stays open
  await shown.settle();
  assert.equal(shown.heading, "out/put 4 class 4");
  assert.equal(shown.find(".ldam-at-title").textContent, "grown");
  shown.end.abort();
  assert.equal(shown.place.children.length, 0);
});
