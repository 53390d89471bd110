// Chooses the neurons that drive a class most.
import type { Setup, Wiring } from "../../protocol";
import { h, replace } from "../../ui/dom";

const ANSWER_LOST = 3000; // ms after which a change of neurons no longer counts as the answer to the choice

export class WiringBox {
  readonly element: HTMLElement;
  #box = h("select.ldam-layer", { "aria-label": "strongest inputs of" });
  #shown = "";
  #neurons = "";
  #chosenAt = -Infinity;

  constructor(choose: (index: number) => void) {
    this.element = h("label.ldam-layer-label", { hidden: true }, h("span", { "aria-hidden": "true" }, "strongest inputs of"), this.#box);
    this.#box.addEventListener("change", () => {
      const index = this.#box.selectedIndex - 1; // the first option is the placeholder
      if (index < 0) return;
      this.#chosenAt = performance.now();
      choose(index);
    });
  }

  setup({ wiring, layer, neurons }: Setup): void {
    this.#showClasses(wiring ?? null);
    // The class stays selected while its neurons are shown, so that arrow keys continue from there.
    const now = JSON.stringify([layer, neurons.map(({ key }) => key)]);
    const others = now !== this.#neurons;
    this.#neurons = now;
    if (others && performance.now() - this.#chosenAt >= ANSWER_LOST) this.reset();
  }

  /** Clears the choice. */
  reset(): void {
    this.#box.selectedIndex = 0;
    this.#chosenAt = -Infinity;
  }

  #showClasses(wiring: Wiring | null): void {
    const shown = JSON.stringify(wiring);
    if (shown === this.#shown) return;
    this.#shown = shown;
    const { selectedIndex } = this.#box;
    const classes = wiring?.classes ?? [];
    this.element.hidden = !classes.length;
    this.element.title = wiring?.label ?? "";
    replace(this.#box, h("option", { value: "" }, "class …"), ...classes.map((name, i) => h("option", { value: i }, name)));
    this.#box.selectedIndex = selectedIndex <= classes.length ? Math.max(selectedIndex, 0) : 0;
  }
}
