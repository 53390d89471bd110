// The models of a comparison: the model of each pane, and each model's activations of the neurons.
import type { Frame, Pane, Setup, Show } from "../../protocol";
import { h } from "../../ui/dom";
import { mean } from "../../ui/mean";

export const MODEL_LINE = 14; // CSS pixels of an activation, with one per model
const BAR = 6; // CSS pixels below the last line of a head
const ORDER = ["sample", "average", "difference"];
const HIDDEN: Record<Show, string> = { samples: "average", averages: "sample", both: "" };

type Named = Pick<Pane, "name" | "model">;

/** The kind of a pane, of which every model has one: "average" for "average:1". */
export function kindOf(pane: string): string {
  return pane.split(":", 1)[0]!;
}

export function modelOf({ name, model }: Named): number {
  return model ?? (Number(name.split(":")[1]) || 0);
}

/** Whether a pane is among the chosen rows; differences always are. */
export function isShown(pane: string, show: Show = "both"): boolean {
  return kindOf(pane) !== HIDDEN[show];
}

/** Samples by model, then averages by model, then differences; unknown kinds last. */
export function comparePanes(a: Named, b: Named): number {
  const rank = ({ name }: Named) => (ORDER.includes(kindOf(name)) ? ORDER.indexOf(kindOf(name)) : ORDER.length);
  return rank(a) - rank(b) || modelOf(a) - modelOf(b);
}

/** Order for an enlarged tile: the models and their difference side by side, then the rest. */
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

  /** A model's activation of a neuron, mean over chains; every frame has the first model's. */
  activation(model: number, neuron: number, first: (number | null)[]): number {
    const row = this.#activations?.[model];
    return row ? (row[neuron] ?? NaN) : model === 0 ? mean(first) : NaN;
  }

  /** Model names next to the activation lines above tiles that begin at `top`; `below`: height of further lines below them. */
  labels(x: number, top: number, width: number, below: number): HTMLElement[] {
    return this.names.map((name, i) => {
      const label = h("div.ldam-model", {}, name);
      const y = top - BAR - below - (this.names.length - i) * MODEL_LINE;
      Object.assign(label.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${MODEL_LINE}px` });
      return label;
    });
  }
}
