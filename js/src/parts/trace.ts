// Activation of each neuron, mean over chains, against steps: is the burn-in over, does anything drift?
import type { FilledFrame } from "../connection";
import type { ComparedModel, Setup, Unit } from "../protocol";
import { h, replace, setText, throttle } from "../ui/dom";
import { formatCount, formatShort, unitText } from "../ui/format";
import { TraceHistory } from "../ui/history";
import { mean } from "../ui/mean";
import { clear, holes, line } from "../ui/plot";
import { lineStyle } from "../ui/theme";
import type { Part } from "./part";

const DRAWN = 3000; // points drawn in all: without a GPU, strokes are what costs most on this panel

export class Trace implements Part {
  readonly element: HTMLElement;
  #histories = [new TraceHistory()]; // one a model, so that switching shows the past
  #shown = h("select.ldam-choice", { "aria-label": "trace of", hidden: true }); // whose activations
  #models: string[] = [];
  #canvas = h("canvas", { "aria-hidden": "true" });
  #plot = h("div.ldam-plot", {}, this.#canvas);
  #context = this.#canvas.getContext("2d")!;
  #heading = h("span");
  #now = h("span.ldam-now");
  #text = h("span.ldam-hidden"); // the same for those who do not see the lines
  #neurons: Unit[] = [];
  #gen: number | null = null;
  #run = ""; // of which layer, neurons and kernel the lines are
  #burnIn: number | null = null;
  #highlighted: number | null = null;
  #dark = false;
  #size = { width: 0, height: 0 };
  #redraw = throttle(250, () => this.#draw());
  #retell = throttle(5000, () => this.#tell());

  constructor() {
    this.element = h("div.ldam-trace", {}, h("div.ldam-trace-head", {}, h("span.ldam-trace-of", {}, this.#heading, this.#shown), this.#now), this.#plot, this.#text);
    this.#shown.addEventListener("change", () => {
      this.#draw();
      this.#tell();
    });
  }

  /** What to watch for changes of size. */
  get plot(): HTMLElement {
    return this.#plot;
  }

  setup(setup: Setup): void {
    this.#neurons = setup.neurons;
    if (setup.gen !== this.#gen) {
      this.#gen = setup.gen;
      this.#burnIn = null;
      // The kernel tells the past of the first model only. That of the others stays as far as it is of the same run:
      // other rows of the same neurons are a new generation as well.
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
    this.#retell();
  }

  frame(frame: FilledFrame): void {
    this.#burnIn = frame.burn_in_step;
    for (const [model, history] of this.#histories.entries()) {
      if (model === 0) history.push(frame.steps, frame.activation.map(mean));
      else if (frame.activations?.[model]) history.push(frame.steps, frame.activations[model].map((value) => value ?? NaN));
    }
    this.#redraw();
    this.#retell();
  }

  get history(): TraceHistory {
    return this.#histories[Number(this.#shown.value)] ?? this.#histories[0]!;
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
    this.#retell.cancel();
  }

  #tellModels(models: ComparedModel[]): void {
    const names = models.length > 1 ? models.map(({ name }) => name) : [];
    this.#shown.hidden = !names.length;
    if (JSON.stringify(names) === JSON.stringify(this.#models)) return;
    this.#models = names;
    this.#histories = [this.#histories[0]!, ...names.slice(1).map(() => new TraceHistory())];
    replace(this.#shown, ...names.map((name, i) => h("option", { value: i }, name)));
  }

  #draw(): void {
    const { steps, values } = this.history;
    const step = steps.at(-1);
    const ends = this.#burnIn === null ? "" : `burn-in ends at ${formatCount(this.#burnIn)} · `;
    setText(this.#now, step === undefined ? "" : `${ends}step ${formatCount(step)}`);
    const { width, height } = this.#size;
    if (!width || !height) return;
    const context = this.#context;
    clear(context, width, height);
    const style = getComputedStyle(this.#canvas);
    const finite = values.flat().filter(Number.isFinite);
    if (!finite.length) return;
    let [low, high] = [Infinity, -Infinity];
    for (const value of finite) [low, high] = [Math.min(low, value), Math.max(high, value)];
    if (high - low < 1e-9 * Math.max(Math.abs(high), 1)) [low, high] = [low - 0.5, high + 0.5];

    context.font = `11px ${style.fontFamily}`;
    context.fillStyle = context.strokeStyle = style.color;
    const labels = [formatShort(high), formatShort(low)] as const;
    const left = Math.ceil(Math.max(...labels.map((text) => context.measureText(text).width))) + 8;
    const [top, bottom, right] = [6.5, height - 6.5, width - 2];
    const from = steps[0]!;
    const x = (at: number) => left + ((right - left) * (at - from)) / Math.max(step! - from, 1);
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
    // Of many lines fewer points each, always the same ones, and the newest.
    const every = Math.ceil((steps.length * this.#neurons.length) / DRAWN);
    const drawn = [...steps.keys()].filter((i) => i % every === 0 || i === steps.length - 1);
    if (drawn.length === 1) drawn.push(0); // a first point alone is a dash, not nothing
    const xs = steps.length === 1 ? [left, left + 8] : drawn.map((i) => x(steps[i]!));
    const unseen = holes(drawn.map((i) => steps[i]!));
    context.lineJoin = "round";
    for (let i = 0; i < this.#neurons.length; i++) {
      const on = this.#highlighted === i;
      const { color, dash } = lineStyle(i, this.#dark);
      context.strokeStyle = color;
      context.setLineDash(dash);
      context.lineWidth = on ? 2.25 : 1; // hairlines are many times cheaper than any wider stroke
      context.globalAlpha = this.#highlighted === null || on ? 1 : 0.25;
      line(context, xs, drawn.map((point) => y(values[point]![i] ?? NaN)), unseen);
    }
    context.globalAlpha = 1;
  }

  #tell(): void {
    const last = this.history.values.at(-1);
    const first = this.history.values[0];
    if (!last || !first) return;
    const each = this.#neurons.map((unit, i) => `${unitText(unit)} from ${formatShort(first[i] ?? NaN)} to ${formatShort(last[i] ?? NaN)}`);
    setText(this.#text, each.join("; "));
  }
}
