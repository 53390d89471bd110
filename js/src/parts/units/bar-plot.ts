// A small histogram with its name and its ends.
import type { Bars } from "../../protocol";
import { h, setText } from "../../ui/dom";
import { formatDigits } from "../../ui/format";

const [WIDTH, HEIGHT] = [150, 44]; // CSS pixels
const SVG = "http://www.w3.org/2000/svg";

export class BarPlot {
  readonly element: HTMLElement;
  #drawing = document.createElementNS(SVG, "svg"); // no canvas: the first one of a panel is its picture
  #shape = document.createElementNS(SVG, "path");
  #title = h("figcaption");
  #low = h("span");
  #high = h("span");

  constructor() {
    for (const [name, value] of Object.entries({ role: "img", width: WIDTH, height: HEIGHT })) this.#drawing.setAttribute(name, String(value));
    this.#drawing.append(this.#shape);
    this.element = h("figure.ldam-bars", { hidden: true }, this.#title, this.#drawing, h("div.ldam-bars-ends", { "aria-hidden": "true" }, this.#low, this.#high));
  }

  /** Shows a histogram; null: there is none. Heights are square roots of counts, so that rare values can be seen. */
  show(title: string, bars: Bars | null): void {
    this.element.hidden = !bars?.counts.length;
    if (!bars) return;
    const { low, high, counts } = bars;
    const most = Math.max(...counts);
    const middle = low + ((high - low) * (counts.indexOf(most) + 0.5)) / counts.length;
    setText(this.#title, title);
    setText(this.#low, formatDigits(low));
    setText(this.#high, formatDigits(high));
    this.#drawing.setAttribute("aria-label", `${title}: from ${formatDigits(low)} to ${formatDigits(high)}, most at ${formatDigits(middle)}`);
    const step = WIDTH / counts.length;
    const bar = (count: number, i: number) => {
      const height = count > 0 ? Math.max(1, HEIGHT * Math.sqrt(count / most)) : 0;
      return height ? `M${(i * step).toFixed(1)} ${HEIGHT}v${(-height).toFixed(1)}h${(0.8 * step).toFixed(1)}V${HEIGHT}z` : "";
    };
    this.#shape.setAttribute("d", counts.map(bar).join(""));
  }
}
