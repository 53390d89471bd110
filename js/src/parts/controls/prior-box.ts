// The prior in use, and the available choices.
import type { Prior } from "../../protocol";
import { Choice } from "../../ui/choice";
import { h } from "../../ui/dom";

const MEANING = "natural: in coordinates in which natural images are white noise; pixels: each pixel by itself";

export class PriorBox {
  readonly element: HTMLElement;
  #choice: Choice;

  constructor(choose: (name: string) => void) {
    this.#choice = new Choice("prior", choose);
    this.element = h("div.ldam-prior", { hidden: true }, h("span.ldam-prior-name", { "aria-hidden": "true" }, "prior"), this.#choice.box);
  }

  setup(prior: Prior | null | undefined): void {
    this.element.hidden = this.#choice.box.hidden = !prior;
    if (!prior) return;
    this.#choice.options = prior.choices;
    this.#choice.update(prior.name);
    const text = prior.choices.find(([name]) => name === prior.name)?.[1] ?? prior.name;
    this.#choice.box.title = `${text}\n${MEANING}`;
  }

  get hasFocus(): boolean {
    const { box } = this.#choice;
    return (box.getRootNode() as Document | ShadowRoot).activeElement === box;
  }

  focus(): void {
    this.#choice.box.focus();
  }

  /** The kernel refused: show its value again. */
  refused(): void {
    this.#choice.refused();
  }

  close(): void {
    this.#choice.close();
  }
}
