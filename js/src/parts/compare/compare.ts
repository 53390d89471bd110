// Controls only for comparisons of models: choice of rows, blinking, and the list of most changed neurons.
import type { Action, Change, Changes, Frame, Setup, State } from "../../protocol";
import { Choice } from "../../ui/choice";
import { h, replace } from "../../ui/dom";
import { Blink } from "./blink";
import { ChangesBox } from "./changes";
import type { Part } from "../part";

export interface CompareActions {
  act(what: Action): void;
  show(what: string): void;
  activate(row: Change): void;
  blink(model: number | null): void;
  announce(text: string): void;
}

export class Compare implements Part {
  readonly list: ChangesBox;
  #blink: Blink;
  #rows: Choice;
  #rowsLabel: HTMLElement;
  #place: HTMLElement;
  #names: string[] = [];

  /** `place`: the slot for its buttons, if there are models to compare. */
  constructor(place: HTMLElement, on: CompareActions) {
    this.#place = place;
    this.#rows = new Choice("rows", (what) => on.show(what));
    this.#rows.options = ["samples", "averages", "both"].map((each) => [each, each]);
    this.#rowsLabel = h("label.ldam-layer-label", {}, h("span", { "aria-hidden": "true" }, "rows"), this.#rows.box);
    this.#blink = new Blink((model, byHand) => {
      on.blink(model);
      if (byHand) on.announce(model === null ? "all models" : (this.#names[model] ?? ""));
    });
    this.list = new ChangesBox(on);
  }

  setup(setup: Setup): void {
    const { models = [], show } = setup;
    this.#names = models.map(({ name }) => name);
    const several = models.length > 1;
    this.#blink.models = models.length;
    this.#rows.box.hidden = this.#rowsLabel.hidden = show === undefined;
    if (show) this.#rows.update(show);
    // An empty slot takes no space.
    if (several !== this.#place.contains(this.#blink.button)) replace(this.#place, several && this.#blink.button, several && this.#rowsLabel);
    this.list.setup(setup);
  }

  state(state: State): void {
    if (state.show) this.#rows.update(state.show);
    this.list.state(state);
  }

  frame({ agreement }: Pick<Frame, "agreement">): void {
    this.list.agree(agreement);
  }

  changes(message: Changes): void {
    this.list.update(message);
  }

  visible(visible: boolean): void {
    this.#blink.visible = visible;
  }

  /** The kernel refused: show its value again. */
  refused(): void {
    this.#rows.refused();
    this.list.refused();
  }

  close(): void {
    this.#blink.close();
    this.#rows.close();
    this.list.close();
  }
}
