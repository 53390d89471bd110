// The page of one unit, below the picture. Opened from an enlarged tile, from a chip or the list of units; or always open.
import type { FilledFrame, FilledUnit } from "../../connection";
import type { Setup, StartFrom, State, Unit, UnitReading } from "../../protocol";
import { h, setText } from "../../ui/dom";
import { unitText } from "../../ui/format";
import type { Part } from "../part";
import { Card, type Measured } from "./card";

const TYPING = "input:not([type=range], [type=checkbox]), select, textarea, [contenteditable]";
const PREVIOUS = "[";
const NEXT = "]";

type Target = { column: number } | { layer: string; unit: number };

export interface UnitActions {
  act(what: "close_unit" | "unit_back" | "previous_unit" | "next_unit" | "look_again"): void;
  /** Opens the page of a column's neuron, or of any unit. */
  show(what: Target): void;
  /** Restarts the unit's chains in one of its top images; null where there are no chains. */
  start: ((which: Omit<StartFrom, "kind">) => void) | null;
  announce(text: string): void;
}

export class UnitView implements Part {
  readonly element: HTMLElement;
  /** Opens the page of the enlarged tile's unit; for below the picture. */
  readonly opener = h("button.ldam-link.ldam-page-opener", { type: "button", hidden: true });
  #on: UnitActions;
  #cards: Card[];
  #row = h("div.ldam-page-cards");
  #heading = h("b.ldam-page-heading");
  #back: HTMLButtonElement;
  #close: HTMLButtonElement;
  #mode: Setup["unit_page"];
  #neurons: Unit[] = [];
  #column: number | null = null; // of the enlarged tile
  #chosen: { layer: string; unit: number } | null = null; // where there are no columns
  #key: string;
  #what: string;
  #id: number | null = null; // of the page shown
  #open = false;

  /** `key`: opens the page, as whoever makes it provides. `of`: what is ranked among real images. */
  constructor(root: HTMLElement, signal: AbortSignal, key: string, of: Measured, on: UnitActions) {
    this.#on = on;
    this.#key = key;
    this.#what = of;
    this.opener.setAttribute("aria-keyshortcuts", key);
    const go = (layer: string, unit: number) => on.show({ layer, unit });
    const again = () => on.act("look_again");
    const start = on.start && ((images: number, rank: number) => on.start!({ id: this.#id!, images, rank }));
    this.#cards = [new Card(of, { start, go, again }), new Card(of, { start: null, go, again })];
    this.#row.append(...this.#cards.map((card) => card.element));
    const previous = button("‹", "previous unit", `the unit before this one (${PREVIOUS})`, () => on.act("previous_unit"));
    const next = button("›", "next unit", `the unit after this one (${NEXT})`, () => on.act("next_unit"));
    previous.setAttribute("aria-keyshortcuts", PREVIOUS);
    next.setAttribute("aria-keyshortcuts", NEXT);
    this.#back = button("back", "back", "what was shown before", () => on.act("unit_back"));
    this.#close = button("×", "close unit page", "show the picture alone", () => on.act("close_unit"));
    const head = h("div.ldam-page-head", {}, previous, this.#heading, next, h("span.ldam-page-space"), this.#back, this.#close);
    this.element = h("section.ldam-page", { hidden: true, "aria-label": "unit" }, head, this.#row);
    this.opener.addEventListener("click", () => this.#target && on.show(this.#target));
    root.addEventListener("keydown", this.#press, { signal });
  }

  /** Histograms, whose width follows their place. */
  get plots(): { place: HTMLElement; resize(width: number): void }[] {
    return this.#cards.map(({ histogram }) => ({ place: histogram.element, resize: (width: number) => histogram.resize(width) }));
  }

  /** Whether pages of units exist. */
  get available(): boolean {
    return this.#mode !== undefined;
  }

  /** Whether a page is shown. */
  get open(): boolean {
    return this.#open;
  }

  setup({ unit_page, unit_shown, neurons }: Pick<Setup, "unit_page" | "unit_shown" | "neurons">): void {
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
    if (unit) this.read(unit);
  }

  read(reading: UnitReading): void {
    if (reading.id === this.#id) this.#cards[0]!.read(reading);
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

  /** A unit was chosen, where there are no columns; the kernel lets an open page follow. */
  choose(layer: string, unit: number): void {
    if (layer === this.#chosen?.layer && unit === this.#chosen.unit) return;
    this.#chosen = { layer, unit };
    this.#showOpener();
  }

  /** What the button opens. */
  get #target(): Target | null {
    const column = this.#column ?? (this.#neurons.length === 1 ? 0 : null);
    return this.#chosen ?? (column === null ? null : { column });
  }

  #showOpener(): void {
    const target = this.#target;
    const unit = target && "column" in target ? this.#neurons[target.column] : undefined;
    const text = unit ? unitText(unit) : this.#chosen && `${this.#chosen.unit} of ${this.#chosen.layer}`;
    this.opener.hidden = !text || this.#open || this.#mode !== "on demand";
    if (!text) return;
    setText(this.opener, `about unit ${text}`);
    const ranked = this.#what === "sample" ? "the samples rank" : "the picture ranks";
    this.opener.title = `real images that drive it, where ${ranked} among them, what it is wired to (${this.#key})`;
  }

  #press = (event: KeyboardEvent): void => {
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
