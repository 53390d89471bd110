// How activations rank among those of real images, as texts from the kernel.
import type { Standing } from "../../protocol";
import { h, setText } from "../../ui/dom";

export const STANDING_LINE = 14; // CSS pixels
const LETTER = 5.6; // CSS pixels, mean width of a letter at this size

/** The newest texts; those of another generation are ignored. */
export class Standings {
  #standing: Standing = null;
  #gen: number | null = null;

  take(standing: Standing, gen: number): void {
    [this.#standing, this.#gen] = [standing, gen];
  }

  /** The full sentence; "": unknown. */
  text(gen: number, model: number, neuron: number): string {
    return this.#of(gen, model, neuron)?.text ?? "";
  }

  /** "p99.1". */
  short(gen: number, model: number, neuron: number): string {
    return this.#of(gen, model, neuron)?.short ?? "";
  }

  #of(gen: number, model: number, neuron: number) {
    return gen === this.#gen ? this.#standing?.[model]?.[neuron] : undefined;
  }
}

export function standingLine(): HTMLElement {
  return h("div.ldam-standing");
}

/** Writes the sentence if it fits, otherwise the short form, with the sentence as tooltip. */
export function writeStanding(line: Element, text: string, short: string, width: number): void {
  setText(line, text.length * LETTER <= width ? text : short);
  if (line.getAttribute("title") !== text) line.setAttribute("title", text);
}
