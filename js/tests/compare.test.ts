// Models compared: rows, signed colours, blinking, locks, and the list of what changed most.
import { page } from "./page";
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import colours from "../../ldam_widget/pictures/difference_colours.json";
import widget from "../src/widget";
import { SignedLegend, signedColors, signedValue } from "../src/parts/picture/difference-colors";
import type { Change, Frame, Setup } from "../src/protocol";
import { formatSigned } from "../src/ui/format";
import { parse } from "../src/validate";
import { FakeModel, NAMES, parameter, setupMessage } from "./kernel";

const MODELS = [{ name: "epoch 1", note: "" }, { name: "epoch 10", note: "conv2" }];
const LOCKS = { step_size: true, temperature: true };
const COMPARED: Partial<Setup> = { models: MODELS, locks: LOCKS, show: "both", scanning: false };

let model: FakeModel;
let root: HTMLElement;
let close: () => void = () => {};
let seq = 0;

beforeEach(() => {
  close();
  page.setHidden(false);
  delete document.body.dataset["jpThemeLight"];
  [page.observers, page.intersection, page.drawn, page.reducedMotion, seq] = [[], [], [], false, 0];
  model = new FakeModel();
  const el = document.createElement("div");
  document.body.replaceChildren(el);
  close = widget.render({ model: model as never, el });
  root = el.querySelector(".ldam")!;
  setup();
  page.resize(700);
  model.sent = [];
});

const setup = (changes: Partial<Setup> = {}) => model.post(setupMessage({ ...COMPARED, ...changes }));
const state = (changes: object) => model.post({ kind: "state", params: {}, playing: true, recording: false, ...changes });
const find = <T extends Element = HTMLElement>(selector: string) => root.querySelector<T>(selector)!;
const all = <T extends HTMLElement = HTMLElement>(selector: string) => [...root.querySelectorAll<T>(selector)];
const texts = (selector: string) => all(selector).map((each) => each.textContent);
const button = (name: string) => all("button").find((each) => (each.getAttribute("aria-label") ?? each.textContent) === name)!;
const select = (name: string) => find<HTMLSelectElement>(`select[aria-label="${name}"]`);
const slider = (name: string) => find<HTMLInputElement>(`#${all<HTMLLabelElement>("label").find((label) => label.textContent === name)!.htmlFor}`);
const canvas = () => find<HTMLCanvasElement>(".ldam-canvas");
const fire = (element: Element, type: string) => element.dispatchEvent(new page.window.Event(type, { bubbles: type !== "pointerenter" && type !== "pointerleave" }) as never);
const key = (element: Element, name: string) => element.dispatchEvent(new page.window.KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }) as never);
const choose = (element: HTMLSelectElement, value: string) => {
  element.value = value;
  fire(element, "change");
};
const settled = () => new Promise(setImmediate);

/** A frame of 2 × 2 pixels a tile: samples of level 10 + model, averages of 20 + model, differences of `signed`. */
function frame({ panes, signed = 128, range = [-0.5, 0.5], ...changes }: Partial<Omit<Frame, "panes">> & { panes?: string[]; signed?: number; range?: [number, number] } = {}) {
  const names = panes ?? ["sample:0", "average:0", "sample:1", "average:1", "difference:1"];
  const buffers: ArrayBuffer[] = [];
  const content = names.map((name) => {
    const [kind, which] = [name.split(":")[0], Number(name.split(":")[1])];
    const level = kind === "difference" ? signed : (kind === "sample" ? 10 : 20) + which;
    buffers.push(new Uint8Array(NAMES.length * 4).fill(level).buffer);
    const colors = kind === "difference" ? { colors: "signed", range } : { range: [0, 1] as [number, number] };
    const label = kind === "difference" ? "difference\nof averages" : `${MODELS[which]?.name}\n${kind}`;
    return { name, encoding: "raw" as const, shape: [1, NAMES.length, 2, 2, 1] as [number, number, number, number, number], labels: [label], model: which, ...colors };
  });
  model.post(
    {
      kind: "frame",
      gen: 1,
      seq: ++seq,
      steps: 10 * seq,
      panes: content,
      activation: NAMES.map((_, i) => [20 + i]),
      activations: [NAMES.map((_, i) => 20 + i), NAMES.map((_, i) => 18.5 + 2 * i)],
      burned_in: NAMES.map(() => [true]),
      burn_in_step: null,
      stats: { frames_per_second: 30, steps_per_second: 60, round_trip_ms: 10 },
      ...changes,
    },
    buffers,
  );
  page.animate();
}

const red = (source: HTMLCanvasElement) => source.getContext("2d")!.getImageData(0, 0, 1, 1).data[0];
/** What was drawn on the panel since last asked: the first channel of each tile's first pixel. */
function drawn(): (number | undefined)[] {
  const levels = page.drawn.filter((each) => each.canvas === canvas()).map(({ source }) => red(source as HTMLCanvasElement));
  page.drawn = [];
  return levels;
}
const each = (...levels: (number | undefined)[]) => levels.flatMap((level) => NAMES.map(() => level));
const WHITE = 255;

/** The pointer over the first tile of a row. */
function hover(row: number): string {
  const event = new page.window.MouseEvent("pointermove", { bubbles: true });
  const [head, side] = [find(".ldam-head"), all(".ldam-side")[row]!];
  const x = parseFloat(head.style.left) + parseFloat(head.style.width) / 2;
  Object.defineProperties(event, { offsetX: { value: x }, offsetY: { value: parseFloat(side.style.top) + 2 } });
  canvas().dispatchEvent(event as never);
  return find(".ldam-readout").textContent!;
}

test("rows: all samples by model, all averages by model, the differences; in whatever order they come", () => {
  frame({ panes: ["difference:1", "average:1", "sample:1", "average:0", "sample:0"] });
  assert.deepEqual(drawn(), each(10, 11, 20, 21, WHITE));
  assert.deepEqual(texts(".ldam-side b"), ["epoch 1", "epoch 10", "epoch 1", "epoch 10", "difference"]);
  assert.deepEqual(texts(".ldam-side > small"), ["sample", "sample", "average", "average", "of averages"]);
});

test("each column has a line of activations for each model, and the gutter names the models", () => {
  frame();
  const columns = all(".ldam-head").map((head) => [...head.querySelectorAll(".ldam-activation")].map((line) => line.textContent));
  assert.deepEqual(columns.slice(0, 2), [["20.0", "18.5"], ["21.0", "20.5"]]);
  assert.deepEqual(texts(".ldam-model"), ["epoch 1", "epoch 10"]);
  const tops = all(".ldam-model").map(({ style }) => parseFloat(style.top));
  assert.equal(tops[1]! - tops[0]!, 14);
  assert.ok(tops[0]! >= 15 && tops[1]! + 14 <= parseFloat(all(".ldam-side")[0]!.style.top), "beside the lines, above the tiles");
  page.pass(1000);
  assert.match(canvas().getAttribute("aria-label")!, /: 0 zero epoch 1 20\.0, epoch 10 18\.5; 1 one epoch 1 21\.0, epoch 10 20\.5;/);
});

const rgb = (color: number) => [color & 255, (color >> 8) & 255, (color >> 16) & 255];
const luminance = (color: number) => {
  const [r, g, b] = rgb(color).map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4)) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};

for (const dark of [false, true]) {
  test(`signed colours, ${dark ? "dark" : "light"}: neutral at 128, blue below, red above, equally strong`, () => {
    const colors = signedColors(dark);
    // those of the file, of which Python makes snapshots and figures
    assert.deepEqual([...colors].map((color) => Buffer.from(rgb(color)).toString("hex")), dark ? colours.dark : colours.light);
    const [r, g, b] = rgb(colors[128]!);
    assert.ok(r === g && g === b && (dark ? r! < 40 : r === 255), String([r, g, b]));
    const [less, more] = [rgb(colors[1]!), rgb(colors[255]!)];
    assert.ok(less[2]! > less[0]! + 80 && more[0]! > more[2]! + 80, `${less} ${more}`);
    assert.equal(colors[0], colors[1]);
    for (let level = 1; level < 128; level++) {
      const [low, high] = [luminance(colors[128 - level]!), luminance(colors[128 + level]!)];
      assert.ok(Math.abs(low - high) < 0.05, `${level}: ${low} ${high}`);
      const before = luminance(colors[127 + level]!);
      assert.ok(dark ? high >= before : high <= before, "not monotonic");
    }
  });
}

test("levels and values: 1 and 255 are the ends, 128 is exactly 0", () => {
  assert.deepEqual([1, 128, 255, 0].map((level) => signedValue(level, [-0.5, 0.5])), [-0.5, 0, 0.5, -0.5]);
  assert.deepEqual([0.1234, -1.5, 0, 12345, -0.0001, 1234, NaN].map((value) => formatSigned(value)), ["+0.123", "−1.50", "0", "+12345", "−1.00e−4", "+1234", "–"]);
});

test("differences are painted in the page's colours, and again when these change", async () => {
  const last = () => page.drawn.filter((draw) => draw.canvas === canvas()).at(-1)!.source as HTMLCanvasElement;
  const pixel = () => [...last().getContext("2d")!.getImageData(1, 1, 1, 1).data].slice(0, 3);
  for (const level of [1, 128, 255]) {
    frame({ signed: level });
    assert.deepEqual(pixel(), rgb(signedColors(false)[level]!));
  }
  document.body.dataset["jpThemeLight"] = "false";
  await settled();
  assert.equal(root.dataset["theme"], "dark");
  assert.deepEqual(pixel(), rgb(signedColors(true)[255]!));
  frame({ signed: 1 });
  assert.deepEqual(pixel(), rgb(signedColors(true)[1]!));
});

test("the legend stands in the difference's gutter, and follows its range", () => {
  frame({ range: [-0.5, 0.5] });
  const side = all(".ldam-side")[4]!;
  assert.equal(all(".ldam-signed").length, 1);
  const ends = () => [...side.querySelectorAll(".ldam-signed-ends span")].map((each) => each.textContent);
  assert.deepEqual(ends(), ["−.50", "0", "+.50"]);
  frame({ range: [-2, 2] });
  page.pass(500);
  assert.deepEqual(ends(), ["−2.0", "0", "+2.0"]);
  const gradient = side.querySelector<HTMLElement>(".ldam-signed-bar")!.style.getPropertyValue("--ldam-signed");
  assert.ok(gradient.includes(`#${colours.light[1]}`) && gradient.includes("#ffffff"), gradient);
});

test("the legend of equal models says so, and small ends are short", () => {
  const legend = new SignedLegend(false);
  legend.range = [-1e-60, 1e-60];
  assert.equal(legend.element.textContent, "no difference");
  legend.range = [-2e-5, 2e-5];
  assert.equal(legend.element.textContent, "−2e−50+2e−5");
  legend.range = [-0.8, 0.8];
  assert.equal(legend.element.textContent, "−.800+.80");
});

test("an infinite range is shown as no number", () => {
  frame({ range: [null, null] as never });
  assert.deepEqual(texts(".ldam-signed-ends span"), ["–", "0", "–"]);
  assert.match(hover(4), /difference –$/);
});

test("hover reads the sign of a difference, and the pixels of the others", () => {
  frame({ signed: 160 });
  assert.match(hover(4), /^0 zero · difference, of averages · pixel \(0, 1\) · difference \+0\.126$/);
  assert.match(hover(1), /^0 zero · epoch 10, sample · pixel \(0, 1\) = 0\.0431$/);
});

test("Enter enlarges a tile of any model, beside the other model, their difference, and the rest", () => {
  frame();
  canvas().focus();
  key(canvas(), "ArrowDown");
  drawn();
  key(canvas(), "Enter");
  assert.deepEqual(drawn(), [10, 11, WHITE, 20, 21]);
  assert.deepEqual(texts(".ldam-head .ldam-name"), ["epoch 1 sample", "epoch 10 sample", "difference of averages", "epoch 1 average", "epoch 10 average"]);
  assert.deepEqual(texts(".ldam-head .ldam-activation"), ["20.0", "18.5", "−1.50", "20.0", "18.5"]);
  assert.deepEqual(all(".ldam-model").length, 0);
  assert.equal(all(".ldam-signed").length, 1);
  key(canvas(), "Escape");
  assert.deepEqual(drawn(), each(10, 11, 20, 21, WHITE));
  for (let i = 0; i < 3; i++) key(canvas(), "ArrowDown");
  drawn();
  key(canvas(), "Enter");
  assert.deepEqual(drawn(), [20, 21, WHITE, 10, 11], "of a difference, what it is the difference of");
});

test("the kernel enlarges a tile of one model", () => {
  frame();
  model.post({ kind: "enlarge", neuron: "k1", chain: 0, model: 1 });
  assert.ok(root.querySelector(".ldam-zoomed"));
  key(canvas(), "ArrowDown"); // the next row: of the tile that was enlarged, it is the average of the first model
  assert.deepEqual(texts(".ldam-head .ldam-name").slice(0, 1), ["epoch 1 average"]);
});

test("other rows are requested from the kernel; the former ones go when they arrive", () => {
  frame();
  assert.equal(select("rows").value, "both");
  choose(select("rows"), "averages");
  assert.deepEqual(model.take("show"), [{ kind: "show", what: "averages" }]);
  state({ show: "both" });
  assert.equal(select("rows").value, "averages", "an older answer undid the choice");
  state({ show: "averages" });
  assert.deepEqual(texts(".ldam-side b"), ["epoch 1", "epoch 10", "difference"]);
  frame({ panes: ["sample:0", "sample:1"] }); // was on its way
  drawn();
  frame({ panes: ["average:0", "average:1", "difference:1"] });
  assert.deepEqual(drawn(), each(20, 21, WHITE));
  state({ show: "samples" }); // Python's choice
  assert.equal(select("rows").value, "samples");
  assert.deepEqual(texts(".ldam-side b").length, 3, "nothing is there yet to stand in their place");
  drawn();
  frame({ panes: ["sample:0", "sample:1"] });
  assert.deepEqual(drawn(), each(10, 11, WHITE));
  for (let i = 0; i < 70; i++) frame({ panes: ["sample:0", "sample:1"] });
  drawn();
  frame({ panes: ["sample:0", "sample:1"] });
  assert.deepEqual(drawn(), each(10, 11), "a difference that does not come any more");
});

test("blink: one row a kind, whose model takes turns, and the difference stays", () => {
  frame();
  drawn();
  const blink = button("blink");
  assert.equal(blink.getAttribute("aria-pressed"), "false");
  blink.click();
  assert.equal(blink.getAttribute("aria-pressed"), "true");
  assert.deepEqual(drawn(), each(10, 20, WHITE));
  assert.deepEqual(texts(".ldam-side b"), ["epoch 1", "epoch 1", "difference"]);
  page.pass(650);
  assert.deepEqual(drawn(), each(11, 21, WHITE));
  assert.deepEqual(texts(".ldam-side b"), ["epoch 10", "epoch 10", "difference"]);
  assert.deepEqual(texts(".ldam-model.ldam-blinking"), ["epoch 10"]);
  assert.deepEqual(texts(".ldam-head:first-child .ldam-blinking"), ["18.5"]);
  assert.match(hover(0), /epoch 10, sample · pixel \(0, 1\) = 0\.0431/);
  drawn();
  page.pass(12_000);
  const changes = drawn().length / (3 * NAMES.length);
  assert.ok(changes >= 15 && changes <= 24, `${changes} changes in 12 s`); // more than three a second can harm
  blink.click();
  assert.deepEqual(texts(".ldam-side b"), ["epoch 1", "epoch 10", "epoch 1", "epoch 10", "difference"]);
  assert.equal(root.querySelector(".ldam-blinking"), null);
  drawn();
  page.pass(5000);
  assert.deepEqual(drawn(), [], "a timer was left");
  assert.deepEqual(model.sent.filter(({ kind }) => kind !== "ack" && kind !== "hello"), [], "the kernel has no part in it");
});

test("blinking rests while the page is hidden", () => {
  frame();
  button("blink").click();
  page.setHidden(true);
  drawn();
  page.pass(5000);
  assert.deepEqual(drawn(), []);
  page.setHidden(false);
  page.pass(650);
  assert.equal(drawn().length, 3 * NAMES.length);
});

test("reduced motion: each press shows the next model, and after the last all again", () => {
  page.reducedMotion = true;
  frame();
  const shown = () => (button("blink").click(), texts(".ldam-side b"));
  assert.deepEqual(shown(), ["epoch 1", "epoch 1", "difference"]);
  drawn();
  page.pass(5000);
  assert.deepEqual(drawn(), [], "it moved by itself");
  assert.deepEqual(shown(), ["epoch 10", "epoch 10", "difference"]);
  assert.equal(button("blink").getAttribute("aria-pressed"), "true");
  assert.equal(shown().length, 5);
  assert.equal(button("blink").getAttribute("aria-pressed"), "false");
  page.pass(1000);
  assert.equal(find(".ldam-hidden[role=status]").textContent, "all models");
});

test("a lock in the row of each slider that may be unlocked", () => {
  assert.deepEqual(all(".ldam-lock").map((each) => each.getAttribute("aria-label")), ["lock step size", "lock temperature"]);
  const lock = button("lock step size");
  assert.ok(slider("step size").closest(".ldam-parameter")!.contains(lock));
  assert.equal(lock.getAttribute("aria-pressed"), "true");
  lock.click();
  assert.deepEqual(model.take("lock"), [{ kind: "lock", name: "step_size", locked: false }]);
  assert.equal(lock.getAttribute("aria-pressed"), "false");
  model.post({ kind: "error", error: { message: "no", hint: "" } });
  assert.equal(lock.getAttribute("aria-pressed"), "true");
});

const freed = (locks = { ...LOCKS, step_size: false }) => {
  const [common, ...rest] = setupMessage().parameters;
  const own = MODELS.map(({ name }, i) => ({ ...common!, name: `step_size@${i}`, label: `step size, ${name}`, of: "step_size", model: i }));
  setup({ locks, parameters: [...own, ...rest], params: { ...setupMessage().params, "step_size@0": 0.5, "step_size@1": 0.3 } });
};

test("unlocked, each model has its slider where the one was, under one lock; the picture stays", () => {
  frame();
  button("lock step size").focus();
  button("lock step size").click();
  const before = drawn().length;
  freed();
  assert.ok(before && canvas().width > 0);
  assert.deepEqual(texts(".ldam-label"), ["step size, epoch 1", "step size, epoch 10", "temperature", "L2", "average"]);
  assert.deepEqual(all(".ldam-lock").map((each) => each.getAttribute("aria-label")), ["lock step size", "lock temperature"]);
  assert.equal(document.activeElement, button("lock step size"), "the focus was lost");
  assert.ok(slider("step size, epoch 1").closest(".ldam-parameter")!.contains(button("lock step size")), "the button moved");
  assert.equal(slider("step size, epoch 10").value, "30");
  assert.deepEqual(drawn(), each(10, 11, 20, 21, WHITE));
  const range = slider("step size, epoch 10");
  range.value = "100";
  fire(range, "input");
  page.animate();
  assert.deepEqual(model.take("set").map(({ params }) => params), [{ "step_size@1": 1 }]);
  model.take("lock");
  button("lock step size").click();
  assert.deepEqual(model.take("lock"), [{ kind: "lock", name: "step_size", locked: true }]);
  setup();
  assert.deepEqual(texts(".ldam-label"), ["step size", "temperature", "L2", "average"]);
});

test("the focus of a slider goes on in those it became", () => {
  slider("step size").focus();
  freed();
  assert.equal(document.activeElement, slider("step size, epoch 1"));
  slider("step size, epoch 10").focus();
  setup();
  assert.equal(document.activeElement, slider("step size"));
});

const row = (i: number, changes: Partial<Change> = {}): Change => {
  const plain = { key: `k${i}`, label: String(i), name: NAMES[i] ?? "", difference: 0.1 * (i + 1), correlation: 1 - 0.1 * i, gap: i - 1.5 };
  return { ...plain, activations: [20 + i, 18.5 + 2 * i], ...changes };
};
const agree = (rows: Change[]) => (frame({ agreement: rows }), page.pass(300));
const cells = () => all<HTMLTableRowElement>(".ldam-changes tbody tr").map((each) => [...each.children].map((cell) => cell.textContent));
const names = () => cells().map(([name]) => name);
const table = () => find(".ldam-changes-table");

test("neurons on show, the most changed first, in three digits", () => {
  agree([row(0), row(1, { correlation: null, gap: null }), row(2)]);
  assert.deepEqual(texts(".ldam-changes thead th"), ["neuron", "epoch 1", "epoch 10", "gap epoch 10 − epoch 1", "correlation", "difference"]);
  assert.deepEqual(cells(), [
    ["2 two", "22.0", "22.5", "+0.500", "0.800", "0.300"],
    ["1 one", "21.0", "20.5", "–", "–", "0.200"],
    ["0 zero", "20.0", "18.5", "−1.50", "1.00", "0.100"],
  ]);
  assert.deepEqual(all(".ldam-changes th[aria-sort]").map((head) => [head.textContent, head.getAttribute("aria-sort")]), [["difference", "descending"]]);
});

test("each head sorts, pressed again the other way, and what is unknown comes last", () => {
  agree([row(0), row(1, { gap: null }), row(2), row(3)]);
  const press = (name: string) => ([...all<HTMLButtonElement>(".ldam-changes thead button")].find((each) => each.firstChild!.textContent === name)!.click(), names());
  assert.deepEqual(press("gap"), ["3 three", "2 two", "0 zero", "1 one"]);
  assert.deepEqual(press("gap"), ["0 zero", "2 two", "3 three", "1 one"]);
  assert.equal(find(".ldam-changes th[aria-sort]").getAttribute("aria-sort"), "ascending");
  assert.deepEqual(press("neuron"), ["0 zero", "1 one", "2 two", "3 three"]);
  assert.deepEqual(press("epoch 10"), ["3 three", "2 two", "1 one", "0 zero"]);
});

test("values are live, the order changes at most once a second, and never under the pointer or the focus", async () => {
  agree([row(0), row(1)]);
  page.pass(2000);
  agree([row(0, { difference: 9 }), row(1)]);
  assert.deepEqual(names(), ["0 zero", "1 one"]);
  agree([row(0, { difference: 9 }), row(1, { difference: 10 })]);
  assert.deepEqual([names(), cells()[1]![5]], [["0 zero", "1 one"], "10.0"], "sorted twice in a second");
  page.pass(1000);
  assert.deepEqual(names(), ["1 one", "0 zero"]);
  fire(table(), "pointerenter");
  agree([row(0, { difference: 11 }), row(1)]);
  page.pass(5000);
  assert.deepEqual(names(), ["1 one", "0 zero"], "jumped under the pointer");
  fire(table(), "pointerleave");
  await settled();
  assert.deepEqual(names(), ["0 zero", "1 one"]);
  find(".ldam-changes tbody button").focus();
  agree([row(0), row(1, { difference: 12 })]);
  page.pass(5000);
  assert.deepEqual(names(), ["0 zero", "1 one"], "jumped under the focus");
  button("step").focus();
  await settled();
  assert.deepEqual(names(), ["1 one", "0 zero"]);
});

test("a neuron of the list goes first on show; of ten the last one leaves", () => {
  agree([row(2)]);
  button("2 two").click();
  assert.deepEqual(model.take("select"), [{ kind: "select", neurons: ["k2", "k0", "k1", "k3"] }]);
  page.pass(3500); // never answered: the kernel's choice counts again
  scanned({ rows: [row(40)] });
  setup({ gen: 3, neurons: Array.from({ length: 10 }, (_, i) => ({ key: `k${i}`, label: String(i), name: "" })) });
  button("40").click();
  assert.deepEqual(model.take("select"), [{ kind: "select", neurons: ["k40", ...Array.from({ length: 9 }, (_, i) => `k${i}`)] }]);
});

const scanned = (changes: object = {}) => (model.post({ kind: "changes", layer: "fc3", done: 2, total: 10, running: true, error: "", rows: [row(0), row(1)], ...changes }), page.pass(300));
const progress = () => find(".ldam-changes [role=progressbar]");

test("ranked neurons have a change with its error, and those within the noise come last and say so", async () => {
  const ranked = (i: number, change: number) => row(i, { change, error: 0.25, noise: 0.5 });
  await scanned({ rows: [ranked(0, 0.4), ranked(1, 0.75), ranked(2, 2)] });
  assert.equal(texts(".ldam-changes thead th").at(-1), "change");
  assert.deepEqual(cells().map((each) => each.at(-1)), ["2.00 ± 0.250", "0.750 ± 0.250", "(0.400 ± 0.250) within the noise"]);
  assert.equal(find(".ldam-changes th[aria-sort]").textContent, "change");
  await scanned({ rows: [ranked(0, 0.4), { ...ranked(1, 0.75), change: "much" } as unknown as Change] });
  assert.equal(cells().filter((each) => each.at(-1) === "– ± 0.250").length, 1, "what is not as declared is dropped");
});

test("the whole layer is ranked: progress, rows as they come, and back to those on show", () => {
  agree([row(3)]);
  button("rank the whole layer").click();
  assert.deepEqual(model.take("do"), [{ kind: "do", what: "scan" }]);
  assert.ok(button("stop ranking") && !button("rank the whole layer"));
  assert.equal(progress().hidden, true);
  scanned();
  assert.deepEqual(names(), ["1 one", "0 zero"]);
  assert.equal(progress().hidden, false);
  assert.deepEqual(["aria-valuenow", "aria-valuemax"].map((name) => progress().getAttribute(name)), ["2", "10"]);
  scanned({ done: 4, rows: [row(2), row(3)] });
  page.pass(1000);
  assert.deepEqual(names(), ["3 three", "2 two", "1 one", "0 zero"]);
  button("stop ranking").click();
  assert.deepEqual(model.take("do"), [{ kind: "do", what: "stop_scan" }]);
  scanned({ done: 4, running: false, rows: [] });
  assert.equal(progress().hidden, true);
  assert.ok(button("rank the whole layer"));
  assert.equal(names().length, 4);
  button("on show").click();
  assert.deepEqual(names(), ["3 three"]);
  agree([row(3), row(0)]);
  assert.equal(names().length, 2);
  button("ranking").click();
  assert.equal(names().length, 4);
  setup({ gen: 2, layer: "conv2" });
  assert.deepEqual([names(), button("ranking").hidden], [NAMES.map((name, i) => `${i} ${name}`), true], "of another layer");
  scanned();
  assert.deepEqual(names(), NAMES.map((name, i) => `${i} ${name}`));
});

test("a ranking that starts over forgets the old one; the kernel may begin and fail by itself", () => {
  state({ scanning: true });
  assert.ok(button("stop ranking"));
  scanned({ running: false, done: 10 });
  state({ scanning: false });
  assert.ok(button("rank the whole layer"));
  scanned({ done: 1, rows: [row(3)] });
  assert.deepEqual(names(), ["3 three"]);
  scanned({ done: 1, running: false, error: "out of memory", rows: [] });
  assert.equal(find(".ldam-changes-error").textContent, "out of memory");
  assert.ok(button("rank the whole layer"));
});

test("of thousands of neurons the first two hundred are shown", () => {
  const rows = Array.from({ length: 2048 }, (_, i) => row(i, { name: "", difference: i }));
  scanned({ done: 2048, total: 2048, running: false, rows });
  assert.equal(names().length, 200);
  assert.deepEqual([names()[0], names().at(-1)], ["2047", "1848"]);
  assert.equal(find(".ldam-changes .ldam-count").textContent, "… and 1,848 more");
  [...all<HTMLButtonElement>(".ldam-changes thead button")][0]!.click();
  assert.deepEqual(names().slice(0, 2), ["0", "1"]);
});

test("the trace is of the model that is chosen, with its past", () => {
  for (let i = 0; i < 3; i++) frame({ activations: [NAMES.map(() => 1), NAMES.map(() => 30 + i)] });
  assert.deepEqual([...select("trace of").options].map(({ text }) => text), ["all models", "epoch 1", "epoch 10"]);
  assert.equal(select("trace of").value, "all");
  assert.deepEqual(texts(".ldam-trace-key"), ["epoch 1", "epoch 10"]);
  choose(select("trace of"), "0");
  assert.deepEqual(texts(".ldam-trace-key"), []);
  page.pass(6000);
  const described = () => find(".ldam-trace .ldam-hidden").textContent!;
  assert.match(described(), /^0 zero from 20\.0 to 20\.0/);
  choose(select("trace of"), "1");
  assert.match(described(), /^0 zero from 30\.0 to 32\.0; 1 one/);
  setup();
  assert.equal(select("trace of").value, "1", "a lock changed the choice");
  setup({ gen: 2, show: "samples", trace: { steps: [10, 20, 30], activation: [[1], [2], [3]] } });
  page.pass(6000);
  assert.match(described(), /^0 zero from 30\.0 to 32\.0/, "other rows took the past away");
  setup({ gen: 3, trace: { steps: [10], activation: [[1]] } });
  page.pass(6000);
  assert.match(described(), /^0 zero from 30\.0 to 30\.0/, "started over, only what comes before the end of the run is left");
  setup({ gen: 4, layer: "conv2", trace: { steps: [10], activation: [[1]] } });
  frame({ gen: 4, activations: [NAMES.map(() => 1), NAMES.map(() => 7)] });
  page.pass(6000);
  assert.match(described(), /^0 zero from 7\.00 to 7\.00/);
  choose(select("trace of"), "all");
  assert.match(described(), /^epoch 1: 0 zero from 1\.00 to 20\.0; .*\. epoch 10: 0 zero from 7\.00 to 7\.00; /);
});

test("with several models each gap names its model", () => {
  const three = [...MODELS.slice(0, 2), { name: "epoch 100", note: "" }];
  setup({ gen: 2, models: three });
  frame({ gen: 2, agreement: [row(0, { activations: [20, 21, 17], gap: -3 }), row(1, { activations: [20, 24, 21], gap: 4 })] });
  page.pass(300);
  assert.equal(texts(".ldam-changes thead th")[4], "gap to epoch 1");
  assert.deepEqual(cells().map((each) => each[4]), ["epoch 10 +4.00", "epoch 100 −3.00"]);
});

test("one legend for all differences that have one scale", () => {
  setup({ gen: 2, models: [...MODELS.slice(0, 2), { name: "epoch 100", note: "" }] });
  const legends = () => all(".ldam-signed").filter(({ hidden }) => !hidden).length;
  frame({ gen: 2, panes: ["sample:0", "difference:1", "difference:2"] });
  page.pass(300);
  assert.deepEqual([all(".ldam-signed").length, legends()], [2, 1]);
});

test("a widget of one model has none of this", () => {
  for (const models of [undefined, [MODELS[0]!]]) {
    model.post(setupMessage({ gen: 2, ...(models ? { models } : {}) }));
    model.frame(1, { gen: 2 });
    page.animate();
    page.pass(1000);
    model.post({ kind: "changes", layer: "fc3", done: 1, total: 1, running: false, error: "", rows: [row(0)] });
    assert.deepEqual([button("blink"), all(".ldam-lock").length, all(".ldam-model").length, all(".ldam-signed").length], [undefined, 0, 0, 0]);
    assert.deepEqual([select("rows"), select("trace of").hidden, find(".ldam-changes").hidden, find(".ldam-watch").hidden], [null, true, true, true]);
    assert.equal(find(".ldam-extras").childNodes.length, 0, "it would take room");
    assert.deepEqual(all(".ldam-head").map((head) => head.querySelectorAll(".ldam-activation").length), NAMES.map(() => 1));
    assert.match(canvas().getAttribute("aria-label")!, /0 zero 20\.0; 1 one 21\.0/);
    setup({ gen: 3 });
  }
});

test("names are text, whatever is in them", () => {
  const evil = "<img src=x onerror=alert(1)>";
  const parameters = [parameter({ name: "step_size@0", label: `step size, ${evil}`, of: "step_size", model: 0 })];
  setup({ models: [{ name: evil, note: evil }, { name: "constructor", note: "" }], locks: { step_size: false, [evil]: true }, parameters, params: {} });
  frame({ agreement: [row(0, { key: evil, name: evil })] });
  scanned({ error: evil, running: false, rows: [row(0, { key: "__proto__", label: evil })] });
  button("blink").click();
  page.pass(2000);
  assert.equal(root.querySelector("img"), null);
  assert.deepEqual(texts(".ldam-model"), [evil, "constructor"]);
  assert.ok(texts(".ldam-changes thead th").includes(evil));
  assert.equal(names()[0], `${evil} zero`);
  assert.ok(button("lock step size"), "the model's name is no part of it");
});

const SOUND = { models: MODELS, locks: LOCKS, show: "both", scanning: true };
test("fields that are not as declared are as if they were not there", () => {
  const rubbish = { models: [3, [{ name: 3, note: "" }], [{ name: "a" }]], locks: [[], { a: 1 }], show: ["all", 3], scanning: [1, null], watch: [3, {}, { iteration: 1 }] };
  assert.deepEqual(parse({ kind: "state", ...SOUND, models: undefined })!.kind, "state");
  for (const [field, values] of Object.entries(rubbish)) {
    for (const value of values) assert.equal(Object.hasOwn(parse({ kind: "setup", [field]: value })!, field), false, `${field} ${JSON.stringify(value)}`);
  }
  for (const [field, values] of Object.entries({ activations: [3, [3], [["a"]]], agreement: [3, [{}], [{ ...row(0), gap: "1" }], [{ ...row(0), activations: 3 }]] })) {
    for (const value of values) assert.equal(Object.hasOwn(parse({ kind: "frame", [field]: value })!, field), false, field);
  }
  assert.deepEqual(parse({ kind: "frame", panes: [{ name: "sample:1", model: "1", colors: 3 }, { name: "difference:1", model: 1, colors: "signed" }] }), {
    kind: "frame",
    panes: [{ name: "sample:1" }, { name: "difference:1", model: 1, colors: "signed" }],
  });
  assert.equal(parse({ kind: "changes", layer: "fc3", done: "1", total: 2, running: true, rows: [] }), null);
  assert.deepEqual(parse({ kind: "changes", layer: "fc3", done: 1, total: 2, running: true, rows: [row(0), { ...row(1), key: 3 }] }), {
    ...{ kind: "changes", layer: "fc3", done: 1, total: 2, running: true, error: "" },
    rows: [row(0)],
  });
});

test("a closed view leaves no timer behind", () => {
  frame();
  button("blink").click();
  button("rank the whole layer").click();
  button("lock step size").click();
  close();
  model.sent = [];
  drawn();
  page.pass(10_000);
  assert.deepEqual([model.sent, page.drawn], [[], []]);
});
