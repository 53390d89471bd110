// The layers, with how many units they have.
import { h, replace } from "../ui/dom";
import { formatCount } from "../ui/format";
import { written } from "./address";
import type { Layer } from "./protocol";

export class Layers {
  readonly element = h("nav.ldam-at-layers", { "aria-label": "layers" });
  #linked: boolean;
  #choose: (layer: string) => void;
  #controls = new Map<string, HTMLElement>();

  constructor(linked: boolean, choose: (layer: string) => void) {
    this.#linked = linked;
    this.#choose = choose;
  }

  list(layers: Layer[]): void {
    this.#controls.clear();
    const items = layers.map((layer) => {
      const { name, units, rendered, dead, failed } = layer;
      const missing = units - rendered;
      const marks = [dead && `${formatCount(dead)} dead`, failed && `${formatCount(failed)} failed`, missing && `${formatCount(missing)} to come`].filter(Boolean).join(", ");
      const text = [h("span.ldam-at-layer-name", {}, name), h("span.ldam-note", {}, [formatCount(units), marks].filter(Boolean).join(" · "))];
      const control = this.#linked
        ? h("a.ldam-at-layer", { href: `#${written({ layer: name, unit: null })}` }, ...text)
        : h("button.ldam-at-layer", { type: "button" }, ...text);
      control.addEventListener("click", (event) => {
        if ((event as MouseEvent).ctrlKey || (event as MouseEvent).metaKey || (event as MouseEvent).shiftKey) return;
        event.preventDefault();
        this.#choose(name);
      });
      this.#controls.set(name, control);
      return h("li", {}, control);
    });
    replace(this.element, h("ul", {}, ...items));
  }

  choose(layer: string): void {
    for (const [name, control] of this.#controls) {
      if (name === layer) control.setAttribute("aria-current", "page");
      else control.removeAttribute("aria-current");
    }
    this.#controls.get(layer)?.scrollIntoView?.({ block: "nearest" });
  }
}
