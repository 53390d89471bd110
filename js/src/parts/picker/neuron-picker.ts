// Choice of layer and neurons: a select box, chips, a search, and common sets.
import type { Selection } from "../../connection";
import type { Action, Layer, Setup, State, Unit, Units } from "../../protocol";
import { h, replace } from "../../ui/dom";
import { formatCount } from "../../ui/format";
import { Chips } from "./chips";
import { DiscriminatorOnly } from "./discriminator-only";
import { unitNumber } from "./unit-number";
import { UnitSearch } from "./unit-search";
import { WiringBox } from "./wiring-box";
import type { Part } from "../part";

const MOST = 64; // neurons that can still be told apart on one panel
const FIRST = 10;
const ANSWER_LOST = 3000; // ms without an answer after which the kernel's selection is shown again

export interface PickerActions {
  select(selection: Selection): void;
  units(layer: string, query: string, offset: number, limit: number): void;
  act(what: Action): void;
  /** Opens the page of a column's neuron, or of any unit. */
  about(what: { column: number } | { layer: string; unit: number }): void;
}

export class NeuronPicker implements Part {
  readonly element: HTMLElement;
  #actions: PickerActions;
  #layerBox = h("select.ldam-layer", { "aria-label": "layer" });
  #chips: Chips;
  #search: UnitSearch;
  #wiring: WiringBox;
  #only: DiscriminatorOnly;
  #all: HTMLButtonElement;
  #none: HTMLButtonElement;
  #first: HTMLButtonElement;
  #layers: Layer[] = [];
  #layer = "";
  #selected: Unit[] = []; // empty: the user cleared the selection; the kernel keeps running the last one
  #running: Unit[] = []; // the selection last sent to or received from the kernel
  #askedFor: { keys: string; at: number } | null = null; // a selection not yet confirmed
  #wanted: { layer: string; count: number } | null = null; // a set whose units have not arrived yet

  constructor(prefix: string, actions: PickerActions) {
    this.#actions = actions;
    this.#search = new UnitSearch(prefix, {
      chosen: (key) => this.#selected.some((unit) => unit.key === key),
      toggle: (unit) => this.#toggle(unit),
      write: (text) => actions.select({ neurons: [...this.#selected.map(({ key }) => key), text] }),
      about: (unit) => this.#about(unit),
      ask: actions.units,
    });
    this.#all = this.#button("all", () => this.#takeFirst(this.#current()?.units ?? 0));
    this.#none = this.#button("none", () => this.#putAway());
    this.#chips = new Chips({
      remove: (unit) => this.#toggle(unit),
      back: () => this.#show(this.#running),
      leave: () => this.#search.focus(),
      about: (at) => actions.about({ column: at }),
    });
    this.#first = this.#button(`first ${FIRST}`, () => this.#takeFirst(FIRST));
    this.#layerBox.addEventListener("change", () => {
      this.#askedFor = null;
      this.#wiring.reset();
      actions.select({ layer: this.#layerBox.value });
    });
    this.#wiring = new WiringBox((index) => {
      this.#askedFor = null;
      actions.select({ wired_to: index });
    });
    this.#only = new DiscriminatorOnly(actions.act, (ignored) => this.element.classList.toggle("ldam-ignored", ignored));
    const layer = h("label.ldam-layer-label", {}, h("span", { "aria-hidden": "true" }, "layer"), this.#layerBox);
    const sets = h("span.ldam-sets", { role: "group", "aria-label": "choose neurons" }, this.#all, this.#none, this.#first, this.#only.button);
    this.element = h("div.ldam-picker", {}, layer, this.#chips.element, this.#search.element, sets, this.#wiring.element, this.#only.note);
  }

  setup(setup: Setup): void {
    this.#showLayers(setup);
    this.#search.pages = this.#chips.pages = setup.unit_page !== undefined;
    this.#wiring.setup(setup);
    this.#only.update(setup.discriminator ?? null);
    const keys = keysOf(setup.neurons);
    const waits = this.#askedFor && setup.layer === this.#layer && performance.now() - this.#askedFor.at < ANSWER_LOST;
    // Quick toggling can be faster than the kernel's answers: an older answer must not undo a newer choice.
    if (waits && this.#askedFor!.keys !== keys) return;
    this.#askedFor = null;
    const same = setup.layer === this.#layer && keys === keysOf(this.#running);
    this.#layer = setup.layer;
    this.#search.layer = setup.layer;
    this.#running = setup.neurons;
    if (!same || this.#selected.length) this.#show(setup.neurons); // a repeated setup does not undo a cleared selection
  }

  state({ discriminator }: Pick<State, "discriminator">): void {
    if (discriminator !== undefined) this.#only.update(discriminator);
  }

  units(message: Units): void {
    const wanted = this.#wanted;
    const whole = message.units.length >= Math.min(message.total, wanted?.count ?? 0);
    if (wanted && message.layer === wanted.layer && message.query === "" && message.offset === 0 && whole) {
      this.#wanted = null;
      this.#select(message.units.slice(0, wanted.count));
    }
    this.#search.receive(message);
  }

  /** Puts a unit before the others; if the row is full, the last one is removed. */
  putFirst(unit: Unit): void {
    const rest = this.#selected.filter(({ key }) => key !== unit.key);
    const full = rest.length === this.#selected.length && rest.length >= FIRST;
    this.#select([unit, ...(full ? rest.slice(0, -1) : rest)]);
  }

  /** The kernel refused: stop waiting. */
  refused(): void {
    this.#askedFor = null;
    this.#wiring.reset();
    this.#only.refused();
  }

  close(): void {
    this.#only.close();
  }

  #about({ key }: Unit): void {
    const unit = unitNumber(key);
    if (unit !== null) this.#actions.about({ layer: this.#layer, unit });
  }

  #current(): Layer | undefined {
    return this.#layers.find(({ name }) => name === this.#layer);
  }

  #button(text: string, act: () => void): HTMLButtonElement {
    const button = h("button.ldam-link", { type: "button" }, text);
    button.addEventListener("click", act);
    return button;
  }

  #showLayers({ layers, layer }: Setup): void {
    if (JSON.stringify(layers) !== JSON.stringify(this.#layers)) {
      this.#layers = layers;
      replace(this.#layerBox, ...layers.map((each) => h("option", { value: each.name }, layerText(each))));
    }
    this.#layerBox.value = layer;
    this.#layerBox.title = this.#layerBox.selectedOptions[0]?.text ?? "";
  }

  #takeFirst(count: number): void {
    this.#wanted = { layer: this.#layer, count };
    this.#actions.units(this.#layer, "", 0, count);
  }

  #toggle(unit: Unit): void {
    const rest = this.#selected.filter(({ key }) => key !== unit.key);
    if (rest.length < this.#selected.length) {
      if (rest.length) this.#select(rest);
    } else if (rest.length < MOST) this.#select([...rest, unit]);
  }

  /** Clears the selection. Sampling needs a neuron, so the picture keeps running until one is chosen. */
  #putAway(): void {
    this.#show([]);
    this.#search.focus();
  }

  /** Shown at once: the kernel needs a moment, and the next choice builds on this one. */
  #select(units: Unit[]): void {
    if (!units.length) return;
    this.#askedFor = { keys: keysOf(units), at: performance.now() };
    this.#running = units;
    this.#wiring.reset();
    this.#actions.select({ neurons: units.map(({ key }) => key) });
    this.#show(units);
  }

  #show(units: Unit[]): void {
    this.#selected = units;
    this.#chips.show(units);
    const count = this.#current()?.units ?? 0;
    this.#all.disabled = count > MOST;
    this.#all.title = count > MOST ? `${formatCount(count)} units: more than ${MOST} do not fit on one panel` : `all ${count} units`;
    this.#none.disabled = !units.length;
    this.#none.title = "clear the selection; the picture stays until a neuron is chosen";
    this.#search.refresh();
  }
}

function keysOf(units: Unit[]): string {
  return JSON.stringify(units.map(({ key }) => key));
}

/** "fc3 · Linear → 10" */
export function layerText({ name, type, shape }: Layer): string {
  return `${name} · ${type} → ${shape.join("×")}`;
}
