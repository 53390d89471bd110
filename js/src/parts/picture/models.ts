// The models of a comparison: whose a pane is, and how much each model activates the neurons.
import type { Frame, Pane, Setup, Show } from "../../protocol";
import { h } from "../../ui/dom";
import { mean } from "../../ui/mean";

export const MODEL_LINE = 14; // CSS pixels of an activation, where there is one a model
const BAR = 6; // what the head keeps free under its last line
const ORDER = ["sample", "average", "difference"];
const HIDDEN: Record<Show, string> = { samples: "average", averages: "sample", both: "" };

type Named = Pick<Pane, "name" | "model">;

/** "average:1" is a pane of averages: what every model has one of. */
export function kindOf(pane: string): string {
  return pane.split(":", 1)[0]!;
}

export function modelOf({ name, model }: Named): number {
  return model ?? (Number(name.split(":")[1]) || 0);
}

/** Whether a pane is among the rows that were chosen; differences always are. */
export function isShown(pane: string, show: Show = "both"): boolean {
  return kindOf(pane) !== HIDDEN[show];
}

/** All samples by model, all averages by model, all differences; what is unknown comes last. */
export function comparePanes(a: Named, b: Named): number {
  const rank = ({ name }: Named) => (ORDER.includes(kindOf(name)) ? ORDER.indexOf(kindOf(name)) : ORDER.length);
  return rank(a) - rank(b) || modelOf(a) - modelOf(b);
}

/** Enlarged: the models and their difference side by side, what else there is after them. */
export function sortBeside<C extends { pane: string }>(cells: C[], chosen: string): C[] {
  const compared = chosen === "difference" ? "average" : chosen;
  const rank = ({ pane }: C) => [compared, "difference"].indexOf(kindOf(pane)) + 1 || ORDER.length;
  return cells.toSorted((a, b) => rank(a) - rank(b));
}

export class Models {
  names: string[] = [];
  #activations: Frame["activations"];
  #gen: number | null = null;

  setup({ models = [], gen }: Setup): void {
    this.names = models.map(({ name }) => name);
    if (gen !== this.#gen) this.#activations = undefined;
    this.#gen = gen;
  }

  get several(): boolean {
    return this.names.length > 1;
  }

  /** Lines above the tiles of a column. */
  get lines(): number {
    return this.several ? this.names.length : 1;
  }

  take({ activations, gen }: Pick<Frame, "activations" | "gen">): void {
    if (activations && gen === this.#gen) this.#activations = activations;
  }

  /** How much a model activates a neuron, mean over chains; of the first model every frame knows. */
  activation(model: number, neuron: number, first: (number | null)[]): number {
    const row = this.#activations?.[model];
    return row ? (row[neuron] ?? NaN) : model === 0 ? mean(first) : NaN;
  }

  /** The names beside the lines of activations, above tiles that begin at `top`; `below`: of further lines under them. */
  labels(x: number, top: number, width: number, below: number): HTMLElement[] {
    return this.names.map((name, i) => {
      const label = h("div.ldam-model", {}, name);
      const y = top - BAR - below - (this.names.length - i) * MODEL_LINE;
      Object.assign(label.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${MODEL_LINE}px` });
      return label;
    });
  }
}
