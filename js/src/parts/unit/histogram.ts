// How often real images give a unit which value, and where the samples are.
import type { UnitSeen } from "../../protocol";
import { h } from "../../ui/dom";
import { formatCount, formatShort } from "../../ui/format";
import { clear } from "../../ui/plot";

const HEIGHT = 56; // CSS pixels, of the bars
const LABELS = 15; // CSS pixels, below them

export class Histogram {
  readonly element: HTMLElement;
  #canvas = h("canvas", { "aria-hidden": "true" });
  #context = this.#canvas.getContext("2d")!;
  #seen: UnitSeen | null = null;
  #values: number[] = [];
  #width = 0;

  /** `of`: what is marked, besides real images. */
  constructor(of: string) {
    this.element = h("div.ldam-page-histogram", { role: "img", title: `real images; the height of a bar is the square root of their number, so that few remain visible. Red: the ${of}` }, this.#canvas);
  }

  set seen(seen: UnitSeen | null) {
    this.#seen = seen;
    this.#draw();
  }

  /** Those that are marked. */
  set values(values: number[]) {
    this.#values = values.filter(Number.isFinite);
    this.#draw();
  }

  resize(width: number): void {
    if (width === this.#width || width <= 0) return;
    this.#width = width;
    this.#draw();
  }

  /** Colours follow the theme. */
  redraw(): void {
    this.#draw();
  }

  #draw(): void {
    const seen = this.#seen;
    this.element.hidden = !seen;
    if (!seen || !this.#width) return;
    const { counts, low, high } = seen.histogram;
    const [from, to] = [low ?? 0, high ?? 1];
    // The range of real images, widened as far as a sample is beyond it.
    const [left, right] = [Math.min(from, ...this.#values), Math.max(to, seen.top[0]?.value ?? to, ...this.#values)];
    const width = this.#width;
    const x = (value: number) => 3 + ((width - 6) * (value - left)) / (right - left || 1);
    const style = getComputedStyle(this.element);
    const context = this.#context;
    this.#canvas.style.width = `${width}px`;
    this.#canvas.style.height = `${HEIGHT + LABELS}px`;
    clear(context, width, HEIGHT + LABELS);
    const most = Math.max(...counts, 1);
    context.fillStyle = style.getPropertyValue("--ldam-line-strong") || "#999";
    const bin = (to - from) / counts.length;
    for (const [i, count] of counts.entries()) {
      // The square root keeps rare values visible.
      const tall = count && Math.max(1, Math.sqrt(count / most) * (HEIGHT - 4));
      const [a, b] = [x(from + i * bin), x(from + (i + 1) * bin)];
      context.fillRect(a, HEIGHT - tall, Math.max(b - a - 0.5, 0.5), tall);
    }
    context.fillRect(0, HEIGHT, width, 1);
    context.fillStyle = style.getPropertyValue("--ldam-red") || "#c62828";
    for (const value of this.#values) {
      const at = x(value);
      context.fillRect(at - 1, 0, 2, HEIGHT);
      context.beginPath();
      context.moveTo(at - 5, 0);
      context.lineTo(at + 5, 0);
      context.lineTo(at, 7);
      context.fill();
    }
    context.fillStyle = style.getPropertyValue("--ldam-quiet") || "#666";
    context.font = `11px ${style.fontFamily || "sans-serif"}`;
    context.textBaseline = "bottom";
    context.textAlign = "left";
    context.fillText(formatShort(left), 0, HEIGHT + LABELS);
    context.textAlign = "right";
    context.fillText(formatShort(right), width, HEIGHT + LABELS);
    this.element.setAttribute("aria-label", this.#description(seen, from, to));
  }

  #description({ images }: UnitSeen, from: number, to: number): string {
    const samples = this.#values.length ? `; samples at ${this.#values.map(formatShort).join(", ")}` : "";
    return `histogram of ${formatCount(images)} real images, from ${formatShort(from)} to ${formatShort(to)}${samples}`;
  }
}
