// Activation of each neuron (mean over chains) against steps: is burn-in over, does anything drift?
import type { FilledFrame } from "../connection";
import type { ComparedModel, Setup, Unit } from "../protocol";
import { h, replace, setText, throttle } from "../ui/dom";
import { formatCount, formatShort, unitText } from "../ui/format";
import { TraceHistory } from "../ui/history";
import { mean } from "../ui/mean";
import { clear, holes, line } from "../ui/plot";
import { lineStyle } from "../ui/theme";
import type { Part } from "./part";

const ALL = "all"; // all models at once
const MODEL_DASHES = [[], [6, 3], [2, 2], [9, 3, 2, 3], [12, 5], [2, 5]]; // as many as models can be compared
const DRAWN = 3000; // points drawn in total: without a GPU, strokes are the panel's largest cost

export class Trace implements Part {
  readonly element: HTMLElement;
  #histories = [new TraceHistory()]; // one per model, so that switching shows its past
  #shown = h("select.ldam-choice", { "aria-label": "trace of", hidden: true }); // which model's activations
  #models: string[] = [];
  #canvas = h("canvas", { "aria-hidden": "true" });
  #plot = h("div.ldam-plot", {}, this.#canvas);
  #context = this.#canvas.getContext("2d")!;
  #heading = h("span");
  #keys = h("span.ldam-trace-keys", { "aria-hidden": "true" }); // legend
  #now = h("span.ldam-now");
  #text = h("span.ldam-hidden"); // the same as text, for screen readers
  #neurons: Unit[] = [];
  #gen: number | null = null;
  #run = ""; // layer, neurons and kernel of the lines
  #burnIn: number | null = null;
  #highlighted: number | null = null;
  #dark = false;
  #size = { width: 0, height: 0 };
  #redraw = throttle(250, () => this.#draw());
  #describeSoon = throttle(5000, () => this.#describe());

  constructor() {
    this.element = h("div.ldam-trace", {}, h("div.ldam-trace-head", {}, h("span.ldam-trace-of", {}, this.#heading, this.#shown, this.#keys), this.#now), this.#plot, this.#text);
    this.#shown.addEventListener("change", () => {
      this.#showKeys();
      this.#draw();
      this.#describe();
    });
  }

  /** The element whose size to watch. */
  get plot(): HTMLElement {
    return this.#plot;
  }

  setup(setup: Setup): void {
    this.#neurons = setup.neurons;
    if (setup.gen !== this.#gen) {
      this.#gen = setup.gen;
      this.#burnIn = null;
      // The kernel sends only the first model's history. Those of the others are kept if they belong to the same run:
      // choosing other rows of the same neurons also starts a new generation.
      const run = JSON.stringify([setup.layer, setup.neurons.map(({ key }) => key), setup.kernel.name]);
      const [first, ...others] = this.#histories as [TraceHistory, ...TraceHistory[]];
      first.clear();
      for (const history of others) history.cut(run === this.#run ? (setup.trace.steps.at(-1) ?? -Infinity) : -Infinity);
      this.#run = run;
      for (const [i, step] of setup.trace.steps.entries()) first.push(step, (setup.trace.activation[i] ?? []).map((value) => value ?? NaN));
    }
    this.#tellModels(setup.models ?? []);
    setText(this.#heading, `activation per neuron${setup.chains > 1 ? ` · mean of ${setup.chains} chains` : ""}`);
    this.#redraw();
    this.#describeSoon();
  }

  frame(frame: FilledFrame): void {
    this.#burnIn = frame.burn_in_step;
    for (const [model, history] of this.#histories.entries()) {
      if (model === 0) history.push(frame.steps, frame.activation.map(mean));
      else if (frame.activations?.[model]) history.push(frame.steps, frame.activations[model].map((value) => value ?? NaN));
    }
    this.#redraw();
    this.#describeSoon();
  }

  /** The histories to draw: one, or those of all models. */
  get #drawn(): TraceHistory[] {
    return this.#overlaid ? this.#histories : [this.#histories[Number(this.#shown.value)] ?? this.#histories[0]!];
  }

  highlight(neuron: number | null): void {
    if (neuron === this.#highlighted) return;
    this.#highlighted = neuron;
    this.#draw();
  }

  theme(dark: boolean): void {
    this.#dark = dark;
    this.#draw();
  }

  resize(width: number, height: number): void {
    this.#size = { width, height };
    this.#draw();
  }

  close(): void {
    this.#redraw.cancel();
    this.#describeSoon.cancel();
  }

  #tellModels(models: ComparedModel[]): void {
    const names = models.length > 1 ? models.map(({ name }) => name) : [];
    this.#shown.hidden = !names.length;
    if (JSON.stringify(names) === JSON.stringify(this.#models)) return;
    this.#models = names;
    this.#histories = [this.#histories[0]!, ...names.slice(1).map(() => new TraceHistory())];
    replace(this.#shown, h("option", { value: ALL }, "all models"), ...names.map((name, i) => h("option", { value: i }, name)));
    if (names.length > 2) this.#shown.value = "0"; // all at once would be unreadable
    this.#showKeys();
  }

  get #overlaid(): boolean {
    return this.#models.length > 1 && this.#shown.value === ALL;
  }

  #showKeys(): void {
    const key = (name: string, i: number) => h("span.ldam-trace-key", {}, h("i", { style: `background-image: ${stripes(modelDash(i))}` }), name);
    replace(this.#keys, ...(this.#overlaid ? this.#models.map(key) : []));
  }

  #draw(): void {
    const drawn = this.#drawn;
    const step = drawn[0]!.steps.at(-1);
    const ends = this.#burnIn === null ? "" : `burn-in ends at ${formatCount(this.#burnIn)} · `;
    setText(this.#now, step === undefined ? "" : `${ends}step ${formatCount(step)}`);
    const { width, height } = this.#size;
    if (!width || !height) return;
    const context = this.#context;
    clear(context, width, height);
    const style = getComputedStyle(this.#canvas);
    let [low, high] = [Infinity, -Infinity];
    for (const value of drawn.flatMap(({ values }) => values.flat())) if (Number.isFinite(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
    if (low > high) return;
    if (high - low < 1e-9 * Math.max(Math.abs(high), 1)) [low, high] = [low - 0.5, high + 0.5];

    context.font = `11px ${style.fontFamily}`;
    context.fillStyle = context.strokeStyle = style.color;
    const labels = [formatShort(high), formatShort(low)] as const;
    const left = Math.ceil(Math.max(...labels.map((text) => context.measureText(text).width))) + 8;
    const [top, bottom, right] = [6.5, height - 6.5, width - 2];
    const from = Math.min(...drawn.map(({ steps }) => steps[0] ?? Infinity));
    const to = Math.max(...drawn.map(({ steps }) => steps.at(-1) ?? -Infinity));
    const x = (at: number) => left + ((right - left) * (at - from)) / Math.max(to - from, 1);
    const y = (value: number) => bottom - ((bottom - top) * (value - low)) / (high - low);
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillText(labels[0], left - 6, top);
    context.fillText(labels[1], left - 6, bottom);
    context.lineWidth = 1;
    context.globalAlpha = 0.3;
    context.setLineDash([]);
    line(context, [left, right], [top, top]);
    line(context, [left, right], [bottom, bottom]);
    if (this.#burnIn !== null && this.#burnIn >= from) {
      context.globalAlpha = 0.9;
      context.setLineDash([3, 3]);
      const at = Math.round(x(this.#burnIn)) + 0.5;
      line(context, [at, at], [0, height]);
    }
    context.lineJoin = "round";
    for (const [model, history] of drawn.entries()) this.#drawLines(history, drawn.length, drawn.length > 1 ? modelDash(model) : null, left, x, y);
    context.globalAlpha = 1;
  }

  /** `dash`: the model's dash if several models are drawn; null: dashes distinguish neurons. */
  #drawLines({ steps, values }: TraceHistory, histories: number, dash: number[] | null, left: number, x: (step: number) => number, y: (value: number) => number): void {
    const context = this.#context;
    // With many lines, draw fewer points of each: always the same ones, plus the newest.
    const every = Math.ceil((steps.length * this.#neurons.length * histories) / DRAWN);
    const drawn = [...steps.keys()].filter((i) => i % every === 0 || i === steps.length - 1);
    if (drawn.length === 1) drawn.push(0); // a single point is drawn as a dash
    const xs = steps.length === 1 ? [left, left + 8] : drawn.map((i) => x(steps[i]!));
    const unseen = holes(drawn.map((i) => steps[i]!));
    for (let i = 0; i < this.#neurons.length; i++) {
      const on = this.#highlighted === i;
      const style = lineStyle(i, this.#dark);
      context.strokeStyle = style.color;
      context.setLineDash(dash ?? style.dash);
      context.lineWidth = on ? 2.25 : 1; // hairlines are many times cheaper than any wider stroke
      context.globalAlpha = this.#highlighted === null || on ? 1 : 0.25;
      line(context, xs, drawn.map((point) => y(values[point]![i] ?? NaN)), unseen);
    }
  }

  #describe(): void {
    const texts = this.#drawn.map(({ values }) => {
      const [first, last] = [values[0], values.at(-1)];
      if (!first || !last) return "";
      return this.#neurons.map((unit, i) => `${unitText(unit)} from ${formatShort(first[i] ?? NaN)} to ${formatShort(last[i] ?? NaN)}`).join("; ");
    });
    const named = this.#overlaid ? texts.map((text, i) => text && `${this.#models[i]}: ${text}`) : texts;
    if (texts.some(Boolean)) setText(this.#text, named.filter(Boolean).join(". "));
  }
}

function modelDash(model: number): number[] {
  return MODEL_DASHES[model % MODEL_DASHES.length]!;
}

/** A dash pattern as a CSS background. */
function stripes(dash: number[]): string {
  let at = 0;
  const stops = dash.map((length, i) => `${i % 2 ? "transparent" : "currentColor"} ${at}px ${(at += length)}px`);
  return stops.length ? `repeating-linear-gradient(to right, ${stops.join(", ")})` : "linear-gradient(currentColor, currentColor)";
}
