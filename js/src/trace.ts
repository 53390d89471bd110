// Activation of each neuron, mean over chains, against steps: is the burn-in over, does anything drift?
import { h, setText, throttle } from "./dom";
import { mean } from "./gauges";
import { unitText, type Setup, type Unit } from "./messages";
import { formatCount, formatShort } from "./scale";
import { lineStyle } from "./theme";
import type { FilledFrame } from "./wire";

const DRAWN = 3000; // points drawn in all: without a GPU, strokes are what costs most on this panel
export const MOST = 600; // points kept a line, unless told otherwise; every second one is dropped when there are more

/** Points in order of steps, thinned evenly so that a long run costs no more than a short one. */
export class History {
  steps: number[] = [];
  values: number[][] = []; // [point][neuron]
  #stride = 1; // of all points the multiples of this one are kept
  #count = -1; // which of all points the last one is
  #most: number;

  constructor(most = MOST) {
    this.#most = most;
  }

  clear(): void {
    this.steps = [];
    this.values = [];
    this.#stride = 1;
    this.#count = -1;
  }

  push(step: number, values: number[]): void {
    const last = this.steps.at(-1) ?? -Infinity;
    if (step > last) {
      // The last point always shows "now"; one that is not to be kept gives way to the next.
      if (this.#count % this.#stride !== 0) this.#drop();
      this.#count++;
    } else {
      // Said again, restarted, or a frame that was on its way while the history was sent: the newer message counts.
      while (this.steps.at(-1)! >= step) this.#drop();
      if (step < last) this.#count = (this.steps.length - 1) * this.#stride + 1;
      if (!this.steps.length && step < last) [this.#stride, this.#count] = [1, 0];
    }
    this.steps.push(step);
    this.values.push(values);
    if (this.steps.length <= this.#most) return;
    this.steps = this.steps.filter((_, i) => i % 2 === 0);
    this.values = this.values.filter((_, i) => i % 2 === 0);
    this.#stride *= 2;
  }

  #drop(): void {
    this.steps.pop();
    this.values.pop();
  }
}

export class Trace {
  readonly element: HTMLElement;
  readonly history = new History();
  #canvas = h("canvas", { "aria-hidden": "true" });
  #plot = h("div.ldam-plot", {}, this.#canvas);
  #context = this.#canvas.getContext("2d")!;
  #heading = h("span");
  #now = h("span.ldam-now");
  #text = h("span.ldam-hidden"); // the same for those who do not see the lines
  #neurons: Unit[] = [];
  #gen: number | null = null;
  #burnIn: number | null = null;
  #highlighted: number | null = null;
  #dark = false;
  #size = { width: 0, height: 0 };
  #redraw = throttle(250, () => this.#draw());
  #retell = throttle(5000, () => this.#tell());

  constructor() {
    this.element = h("div.ldam-trace", {}, h("div.ldam-trace-head", {}, this.#heading, this.#now), this.#plot, this.#text);
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
      this.history.clear();
      for (const [i, step] of setup.trace.steps.entries()) this.history.push(step, (setup.trace.activation[i] ?? []).map((value) => value ?? NaN));
    }
    setText(this.#heading, `activation per neuron${setup.chains > 1 ? ` · mean of ${setup.chains} chains` : ""}`);
    this.#redraw();
    this.#retell();
  }

  push(frame: FilledFrame): void {
    this.#burnIn = frame.burn_in_step;
    this.history.push(frame.steps, frame.activation.map(mean));
    this.#redraw();
    this.#retell();
  }

  highlight(neuron: number | null): void {
    if (neuron === this.#highlighted) return;
    this.#highlighted = neuron;
    this.#draw();
  }

  set dark(dark: boolean) {
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

  #draw(): void {
    const { steps, values } = this.history;
    const step = steps.at(-1);
    const ends = this.#burnIn === null ? "" : `burn-in ends at ${formatCount(this.#burnIn)} · `;
    setText(this.#now, step === undefined ? "" : `${ends}step ${formatCount(step)}`);
    const { width, height } = this.#size;
    if (!width || !height) return;
    const ratio = devicePixelRatio || 1;
    const context = this.#context;
    const [w, t] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.#canvas.width !== w || this.#canvas.height !== t) [this.#canvas.width, this.#canvas.height] = [w, t];
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
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
    this.#line([left, right], [top, top]);
    this.#line([left, right], [bottom, bottom]);
    if (this.#burnIn !== null && this.#burnIn >= from) {
      context.globalAlpha = 0.9;
      context.setLineDash([3, 3]);
      const at = Math.round(x(this.#burnIn)) + 0.5;
      this.#line([at, at], [0, height]);
    }
    // Of many lines fewer points each, always the same ones, and the newest.
    const every = Math.ceil((steps.length * this.#neurons.length) / DRAWN);
    const drawn = [...steps.keys()].filter((i) => i % every === 0 || i === steps.length - 1);
    if (drawn.length === 1) drawn.push(0); // a first point alone is a dash, not nothing
    const xs = steps.length === 1 ? [left, left + 8] : drawn.map((i) => x(steps[i]!));
    context.lineJoin = "round";
    for (let i = 0; i < this.#neurons.length; i++) {
      const on = this.#highlighted === i;
      const { color, dash } = lineStyle(i, this.#dark);
      context.strokeStyle = color;
      context.setLineDash(dash);
      context.lineWidth = on ? 2.25 : 1; // hairlines are many times cheaper than any wider stroke
      context.globalAlpha = this.#highlighted === null || on ? 1 : 0.25;
      this.#line(xs, drawn.map((point) => y(values[point]![i] ?? NaN)));
    }
    context.globalAlpha = 1;
  }

  #line(xs: number[], ys: number[]): void {
    const context = this.#context;
    context.beginPath();
    for (const [i, x] of xs.entries()) if (Number.isFinite(ys[i])) context.lineTo(x, ys[i]!);
    context.stroke();
  }

  #tell(): void {
    const last = this.history.values.at(-1);
    const first = this.history.values[0];
    if (!last || !first) return;
    const each = this.#neurons.map((unit, i) => `${unitText(unit)} from ${formatShort(first[i] ?? NaN)} to ${formatShort(last[i] ?? NaN)}`);
    setText(this.#text, each.join("; "));
  }
}
