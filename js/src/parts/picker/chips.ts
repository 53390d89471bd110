// The chosen neurons, each with a remove button. One tab stop; arrow keys move between them.
import type { Unit } from "../../protocol";
import { h, replace } from "../../ui/dom";
import { unitText } from "../../ui/format";
import { unitNumber } from "./unit-number";

const MOST = 20; // chips shown without folding
const FOLDED = 16; // chips left if there are more

export interface ChipActions {
  remove(unit: Unit): void;
  back(): void;
  leave(): void;
  /** Opens the page of the unit of the chip at this place. */
  about(at: number): void;
}

export class Chips {
  readonly element = h("div.ldam-chips", { role: "group", "aria-label": "neurons" });
  /** Whether units have pages, which chips then lead to. */
  pages = false;
  #on: ChipActions;
  #units: Unit[] = [];
  #unfolded = false;
  #stop = 0; // index of the button that Tab reaches

  constructor(on: ChipActions) {
    this.#on = on;
    this.element.addEventListener("keydown", this.#key);
    this.element.addEventListener("focusin", ({ target }) => this.#moveStop(this.#buttons.indexOf(target as HTMLButtonElement)));
  }

  /** Empty: the selection was cleared. */
  show(units: Unit[]): void {
    const at = this.#focused();
    this.#units = units;
    const folds = units.length > MOST;
    const shown = folds && !this.#unfolded ? units.slice(0, FOLDED) : units;
    const chips = shown.map((unit, i) => this.#chip(unit, i, units.length === 1));
    replace(this.element, ...chips, folds && this.#fold(units.length - FOLDED), !units.length && this.#nothing());
    this.#moveStop(at >= 0 ? at : this.#stop);
    // A removed chip loses the focus: give it to the next one, so that the keyboard can keep removing.
    if (at < 0) return;
    const next = this.#buttons[this.#stop];
    if (next && !next.disabled) next.focus();
    else this.#on.leave();
  }

  #chip(unit: Unit, at: number, only: boolean): HTMLElement {
    const text = unitText(unit);
    const title = only ? "one neuron has to stay" : `remove ${text}`;
    const remove = h("button.ldam-remove", { type: "button", "aria-label": `remove ${text}`, title, disabled: only }, "×");
    remove.addEventListener("click", () => this.#on.remove(unit));
    const parts = [h("b", {}, unit.label), unit.name && ` ${unit.name}`, unit.dead && deadMark()];
    if (!this.pages || unitNumber(unit.key) === null) return h("span.ldam-chip", {}, h("span.ldam-chip-text", { title: text }, ...parts), remove);
    const about = h("button.ldam-chip-text", { type: "button", title: `${text}: about this unit` }, ...parts);
    about.addEventListener("click", () => this.#on.about(at));
    return h("span.ldam-chip", {}, about, remove);
  }

  #fold(hidden: number): HTMLElement {
    const text = this.#unfolded ? "show fewer" : `and ${hidden} more`;
    const button = h("button.ldam-link", { type: "button", "aria-expanded": String(this.#unfolded) }, text);
    button.addEventListener("click", () => {
      this.#unfolded = !this.#unfolded;
      this.#stop = this.#unfolded ? FOLDED : Infinity; // the first newly shown chip, or this button
      this.show(this.#units);
      this.#buttons[this.#stop]?.focus();
    });
    return button;
  }

  #nothing(): HTMLElement {
    const back = h("button.ldam-link", { type: "button" }, "keep the last ones");
    back.addEventListener("click", () => this.#on.back());
    return h("span.ldam-none", { role: "status" }, "none chosen: search one, ", back);
  }

  get #buttons(): HTMLButtonElement[] {
    return [...this.element.querySelectorAll("button")];
  }

  #focused(): number {
    const { activeElement } = this.element.getRootNode() as Document | ShadowRoot;
    return this.#buttons.indexOf(activeElement as HTMLButtonElement);
  }

  #moveStop(at: number): void {
    const buttons = this.#buttons;
    this.#stop = Math.max(Math.min(at, buttons.length - 1), 0);
    for (const [i, button] of buttons.entries()) button.tabIndex = i === this.#stop ? 0 : -1;
  }

  #key = (event: KeyboardEvent): void => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const buttons = this.#buttons;
    const at = this.#focused();
    const steps: Record<string, number> = { ArrowLeft: at - 1, ArrowUp: at - 1, ArrowRight: at + 1, ArrowDown: at + 1, Home: 0, End: buttons.length - 1 };
    const removes = event.key === "Delete" || event.key === "Backspace";
    const to = steps[event.key];
    if (at < 0 || (to === undefined && !removes)) return;
    event.preventDefault(); // do not scroll the page
    if (removes) buttons[at]!.closest(".ldam-chip")?.querySelector<HTMLElement>(".ldam-remove")?.click();
    else buttons[Math.max(0, Math.min(to!, buttons.length - 1))]!.focus();
  };
}

/** Says that no real image makes a unit positive. */
export function deadMark(): HTMLElement {
  return h("span.ldam-dead", { title: "no real image of the survey makes it positive" }, " dead");
}
