// Two curves over training rounds: accuracy from 0 to 1, with a line at one half, and the logit gap.
import { h, setText } from "../../ui/dom";
import { formatCoarse } from "../../ui/format";
import { TraceHistory } from "../../ui/history";
import { clear, line } from "../../ui/plot";

export const MOST = 300; // points kept
const LEFT = 30; // CSS pixels for the label of the line

export class TrainingPlot {
  readonly element: HTMLElement;
  /** The element whose size to watch. */
  readonly place: HTMLElement;
  readonly history = new TraceHistory(MOST); // values: accuracy, gap
  #canvas = h("canvas", { role: "img" });
  #context = this.#canvas.getContext("2d")!;
  #keys = [h("span.ldam-key.ldam-accuracy"), h("span.ldam-key.ldam-gap")] as const; // the curves take their style
  #range = h("span");
  #size = { width: 0, height: 0 };

  constructor() {
    this.place = h("div.ldam-training-plot", {}, this.#canvas);
    const entry = (key: HTMLElement, text: string | HTMLElement) => h("span", {}, key, " ", text);
    const legend = h("div.ldam-note.ldam-training-legend", { "aria-hidden": "true" }, entry(this.#keys[0], "accuracy"), entry(this.#keys[1], this.#range));
    this.element = h("div", {}, this.place, legend);
  }

  set label(label: string) {
    if (this.#canvas.getAttribute("aria-label") !== label) this.#canvas.setAttribute("aria-label", label);
  }

  clear(): void {
    this.history.clear();
  }

  push(round: number, accuracy: number | null, gap: number | null): void {
    this.history.push(round, [accuracy ?? NaN, gap ?? NaN]);
  }

  resize(width: number, height: number): void {
    this.#size = { width, height };
    this.draw();
  }

  draw(): void {
    const { steps, values } = this.history;
    const gaps = values.map(([, gap]) => gap!);
    const finite = gaps.filter(Number.isFinite);
    const [least, most] = [Math.min(...finite), Math.max(...finite)];
    setText(this.#range, finite.length ? `logit gap ${formatCoarse(least)} … ${formatCoarse(most)}` : "logit gap");
    const { width, height } = this.#size;
    if (!width || !height) return;
    const context = this.#context;
    clear(context, width, height);
    const [top, bottom, right] = [2, height - 2, width - 2];
    const y = (part: number) => bottom - (bottom - top) * part;

    const style = getComputedStyle(this.#canvas);
    const half = Math.round(y(0.5)) + 0.5;
    context.font = `10px ${style.fontFamily}`;
    context.fillStyle = context.strokeStyle = style.color;
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillText("50 %", LEFT - 4, half);
    context.lineWidth = 1;
    context.setLineDash([]);
    context.globalAlpha = 0.3;
    line(context, [LEFT, right], [half, half]);
    context.globalAlpha = 1;

    const [from, to] = [steps[0] ?? 0, steps.at(-1) ?? 0];
    const xs = steps.map((round) => LEFT + ((right - LEFT) * (round - from)) / Math.max(to - from, 1));
    const scale = most - least;
    const curves = [values.map(([accuracy]) => y(accuracy!)), gaps.map((gap) => y(scale > 0 ? (gap - least) / scale : 0.5))];
    context.lineJoin = "round";
    for (const [i, ys] of curves.entries()) {
      context.strokeStyle = getComputedStyle(this.#keys[i]!).color;
      context.setLineDash(i ? [4, 2] : []);
      line(context, xs, ys);
    }
  }
}
