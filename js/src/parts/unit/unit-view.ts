// The page of one unit, below the picture. Opened from an enlarged tile, from a chip or the list of units; or always open.
import type { FilledFrame, FilledUnit } from "../../connection";
import type { Action, Setup, StartFrom, State, Unit } from "../../protocol";
import { h, setText } from "../../ui/dom";
import { unitText } from "../../ui/format";
import type { Part } from "../part";
import { Card } from "./card";

const TYPING = "input:not([type=range], [type=checkbox]), select, textarea, [contenteditable]";
const PREVIOUS = "[";
const NEXT = "]";

export interface UnitActions {
  act(what: Action): void;
  /** Opens the page of a column's neuron, or of any unit. */
  show(what: { column: number } | { layer: string; unit: number }): void;
  /** Restarts the unit's chains in one of its top images. */
  start(which: Omit<StartFrom, "kind">): void;
  announce(text: string): void;
}

export class UnitView implements Part {
  readonly element: HTMLElement;
  /** Opens the page of the enlarged tile's unit; for below the picture. */
  readonly opener = h("button.ldam-link.ldam-page-opener", { type: "button", hidden: true, "aria-keyshortcuts": "u" });
  #on: UnitActions;
  #cards: Card[];
  #row = h("div.ldam-page-cards");
  #heading = h("b.ldam-page-heading");
  #back: HTMLButtonElement;
  #close: HTMLButtonElement;
  #mode: Setup["unit_page"];
  #neurons: Unit[] = [];
  #column: number | null = null; // of the enlarged tile
  #id: number | null = null; // of the page shown
  #open = false;

  constructor(root: HTMLElement, signal: AbortSignal, on: UnitActions) {
    this.#on = on;
    const go = (layer: string, unit: number) => on.show({ layer, unit });
    this.#cards = [new Card({ start: (images, rank) => on.start({ id: this.#id!, images, rank }), go }), new Card({ start: null, go })];
    this.#row.append(...this.#cards.map((card) => card.element));
    const previous = button("‹", "previous unit", `the unit before this one (${PREVIOUS})`, () => on.act("previous_unit"));
    const next = button("›", "next unit", `the unit after this one (${NEXT})`, () => on.act("next_unit"));
    previous.setAttribute("aria-keyshortcuts", PREVIOUS);
    next.setAttribute("aria-keyshortcuts", NEXT);
    this.#back = button("back", "back", "what was shown before", () => on.act("unit_back"));
    this.#close = button("×", "close unit page", "show the picture alone", () => on.act("close_unit"));
    const head = h("div.ldam-page-head", {}, previous, this.#heading, next, h("span.ldam-page-space"), this.#back, this.#close);
    this.element = h("section.ldam-page", { hidden: true, "aria-label": "unit" }, head, this.#row);
    this.opener.addEventListener("click", () => this.#target !== null && on.show({ column: this.#target }));
    root.addEventListener("keydown", this.#key, { signal });
  }

  /** Histograms, whose width follows their place. */
  get plots(): { place: HTMLElement; resize(width: number): void }[] {
    return this.#cards.map(({ histogram }) => ({ place: histogram.element, resize: (width: number) => histogram.resize(width) }));
  }

  /** Whether pages of units exist. */
  get available(): boolean {
    return this.#mode !== undefined;
  }

  setup({ unit_page, unit_shown, neurons }: Setup): void {
    this.#mode = unit_page;
    this.#neurons = neurons;
    this.#close.hidden = unit_page === "always";
    this.state({ unit_shown });
    this.#showOpener();
  }

  state({ unit_shown }: { unit_shown?: State["unit_shown"] | undefined }): void {
    if (unit_shown !== null) return;
    this.#open = false;
    this.#showOpener();
    this.element.hidden = true;
  }

  frame({ unit }: FilledFrame): void {
    if (unit && unit.id === this.#id) this.#cards[0]!.read(unit);
  }

  unit(message: FilledUnit): void {
    const { subject, id, card } = message;
    if (subject && id !== this.#id) {
      this.#id = id;
      for (const [i, each] of this.#cards.entries()) {
        each.clear(subject.networks[i] ?? "");
        each.element.hidden = i >= subject.networks.length;
      }
    }
    if (id !== this.#id) return;
    if (subject) {
      const text = `unit ${subject.unit} of ${subject.layer}${subject.name && ` · ${subject.name}`}`;
      setText(this.#heading, text);
      this.element.setAttribute("aria-label", text);
      this.#back.hidden = !subject.back;
      this.element.hidden = false;
      if (!this.#open || !subject.back) this.#on.announce(text);
      this.#open = true;
      this.#showOpener();
    }
    this.#cards[card]?.receive(message);
    if (message.complete) for (const each of this.#cards) each.complete();
  }

  theme(): void {
    for (const { histogram } of this.#cards) histogram.redraw();
  }

  /** A tile was enlarged, or none is any more. A page that is open follows. */
  enlarged(column: number | null): void {
    if (column === this.#column) return;
    this.#column = column;
    this.#showOpener();
    if (column !== null && this.#open && this.#mode === "on demand") this.#on.show({ column });
  }

  /** The column whose page the button opens. */
  get #target(): number | null {
    return this.#column ?? (this.#neurons.length === 1 ? 0 : null);
  }

  #showOpener(): void {
    const unit = this.#target === null ? undefined : this.#neurons[this.#target];
    this.opener.hidden = !unit || this.#open || this.#mode !== "on demand";
    if (!unit) return;
    setText(this.opener, `about unit ${unitText(unit)}`);
    this.opener.title = "real images that drive it, where the samples rank among them, what it is wired to (u)";
  }

  #key = (event: KeyboardEvent): void => {
    const chord = event.ctrlKey || event.metaKey || event.altKey;
    // Some keyboards type brackets with AltGr, which counts as Ctrl and Alt.
    if ((chord && !event.getModifierState("AltGraph")) || event.defaultPrevented) return;
    if (!this.#open || (event.target as Element).matches(TYPING)) return;
    if (event.key !== PREVIOUS && event.key !== NEXT) return;
    event.preventDefault();
    this.#on.act(event.key === NEXT ? "next_unit" : "previous_unit");
  };
}

function button(text: string, label: string, title: string, act: () => void): HTMLButtonElement {
  const made = h("button.ldam-button", { type: "button", "aria-label": label, title: `${label}: ${title}` }, text);
  made.addEventListener("click", act);
  return made;
}
