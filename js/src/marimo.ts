// In marimo, cells that read the widget's value run again when the page saves a change to it. The page saves only in
// marimo: ipykernel can lose a save made while a cell runs, and every message after it. Python ignores the saved
// settings, since it has them already.
import type { Setup, State } from "./protocol";
import { throttle } from "./ui/dom";

const EVERY = 500; // ms; dragging a slider does not re-run cells at every step

/** marimo's model. */
interface Saves {
  set?(name: string, value: unknown): void;
  save_changes?(): void;
}

export class MarimoValue {
  #model: Saves;
  #known: Record<string, unknown> = {};
  #saved = "";
  #save = throttle(EVERY, () => this.#saveNow());

  constructor(model: object) {
    this.#model = model;
  }

  setup({ layer, neurons, params }: Setup): void {
    Object.assign(this.#known, { layer, neurons: neurons.map(({ key }) => key), params });
    this.#save();
  }

  state({ params }: State): void {
    Object.assign(this.#known, { params });
    this.#save();
  }

  close(): void {
    this.#save.cancel();
  }

  #saveNow(): void {
    const now = JSON.stringify(this.#known);
    if (now === this.#saved || !window.customElements?.get("marimo-anywidget")) return;
    this.#saved = now;
    this.#model.set?.("settings", JSON.parse(now));
    this.#model.save_changes?.();
  }
}
