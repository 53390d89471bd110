// What is chosen with boxes and buttons: what tiles show, the backward view, contrast, how pictures are brought into shape.
import { h, replace } from "../ui/dom";
import type { Changes, Choice, Setup } from "./protocol";

export const GAMMAS = [1, 0.7, 0.5, 0.3];
export const BOOSTS = [0, 0.3, 0.5, 0.8, 1];

/** A labelled select box. */
class Box {
  readonly element: HTMLElement;
  #select: HTMLSelectElement;
  #options: string[] = [];

  constructor(label: string, title: string, choose: (value: string) => void) {
    this.#select = h("select.ldam-choice", { "aria-label": label, title });
    this.#select.addEventListener("change", () => choose(this.#select.value));
    this.element = h("label.ldam-tb-box", {}, h("span", {}, label), this.#select);
  }

  set options(options: string[]) {
    if (options.join("\n") === this.#options.join("\n")) return;
    this.#options = options;
    replace(this.#select, ...options.map((each) => h("option", { value: each }, each)));
    this.element.hidden = options.length < 2;
  }

  set value(value: string) {
    if (!this.#options.includes(value)) this.options = [...this.#options, value]; // set in Python
    this.#select.value = value;
  }
}

export class Controls {
  readonly element: HTMLElement;
  readonly #pin = h("button.ldam-button", { type: "button", title: "backward views start from this unit while you look at others (d)", "aria-pressed": "false" }, "pin");
  #boxes: Record<"show" | "rule" | "view" | "gamma" | "boost" | "fit", Box>;

  constructor(change: (changes: Changes) => void) {
    const words = (name: "show" | "rule" | "view" | "fit") => (value: string) => change({ [name]: value });
    this.#boxes = {
      show: new Box("tiles", "what the tiles show (a; y for differences)", words("show")),
      rule: new Box("backward", "what of the picture the unit reacts to (b)", words("rule")),
      view: new Box("view", "how the gradient becomes a picture (n, m)", words("view")),
      gamma: new Box("gamma", "below 1, weak activations are brighter (t)", (value) => change({ gamma: Number(value) })),
      boost: new Box("boost", "0: all channels have one scale; 1: each its own (T)", (value) => change({ boost: Number(value) })),
      fit: new Box("fit", "how pictures are brought into shape (0)", words("fit")),
    };
    this.#pin.addEventListener("click", () => change({ pinned: this.#pin.getAttribute("aria-pressed") !== "true" }));
    const { show, rule, view, gamma, boost, fit } = this.#boxes;
    this.element = h("div.ldam-tb-controls", {}, show.element, rule.element, view.element, this.#pin, gamma.element, boost.element, fit.element);
  }

  setup({ shown, rules, views, takes_files }: Setup): void {
    this.#boxes.show.options = shown;
    this.#boxes.rule.options = rules;
    this.#boxes.view.options = views;
    this.#boxes.gamma.options = GAMMAS.map(String);
    this.#boxes.boost.options = BOOSTS.map(String);
    this.#boxes.fit.options = takes_files ? ["crop", "stretch"] : [];
    this.#boxes.fit.element.hidden = !takes_files;
  }

  choice(choice: Choice): void {
    const { show, rule, view, gamma, boost, fit } = this.#boxes;
    [show.value, rule.value, view.value] = [choice.show, choice.rule, choice.view];
    [gamma.value, boost.value] = [String(choice.gamma), String(choice.boost)];
    if (!fit.element.hidden) fit.value = choice.fit;
    this.#pin.setAttribute("aria-pressed", String(choice.pinned !== null));
    this.#pin.textContent = choice.pinned ? `pinned: ${choice.pinned.layer}, ${choice.pinned.unit[0]}` : "pin";
  }
}

/** The value after another one in a list, or the first. */
export function after<T>(list: readonly T[], value: T, by = 1): T {
  const at = list.indexOf(value);
  return list[at < 0 ? 0 : (at + by + list.length) % list.length]!;
}
