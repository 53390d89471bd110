// The frozen gradient scales: each term is divided by its own, so that the same slider ranges fit every network.
import type { Scales, Setup, State } from "../../protocol";
import { h, setText } from "../../ui/dom";
import { formatShort, unitText } from "../../ui/format";
import { meanOf } from "../../ui/mean";

export class ScalesLine {
  readonly element: HTMLElement;
  #text = h("span");
  #measure = h(
    "button.ldam-link",
    { type: "button", "aria-label": "measure scales", title: "measure the mean gradient of every term again, and freeze it" },
    "measure",
  );
  #setup: Setup | null = null;
  #scales: Scales = null;
  #warming = false;
  #playing = true;
  #goal = false; // the temperature is being tuned to a goal at the same time

  constructor(measure: () => void) {
    this.element = h("div.ldam-note.ldam-scales", { hidden: true }, this.#text, this.#measure);
    // Not `disabled` while it measures: that would take the focus away.
    this.#measure.addEventListener("click", () => this.#warming || measure());
  }

  setup(setup: Setup): void {
    this.#setup = setup;
    this.#playing = setup.playing;
    [this.#scales, this.#warming] = [setup.scales ?? null, setup.warming ?? false];
    this.#goal = Boolean(setup.params["goal"] || setup.goal);
    this.#show();
  }

  state({ scales, warming, params, goal, playing }: Pick<State, "scales" | "warming" | "params" | "goal" | "playing">): void {
    this.#playing = playing;
    this.#goal = Boolean(params["goal"] || goal);
    if (scales !== undefined) this.#scales = scales;
    if (warming !== undefined) this.#warming = warming;
    this.#show();
  }

  #show(): void {
    const terms = Object.entries(this.#scales ?? {});
    this.element.hidden = this.#scales === null && !this.#warming;
    const means = terms.map(([term, each]) => `${this.#labelOf(term)} ${formatShort(meanOf(each) ?? NaN)}`);
    const measured = this.#goal ? "finding the temperature…" : "measuring scales…";
    const due = this.#goal ? "the temperature is found in the first steps" : "scales are measured in the first steps";
    setText(this.#text, this.#warming ? (this.#playing ? measured : due) : `scales: ${means.join(" · ")}`);
    const neurons = this.#setup?.neurons ?? [];
    const name = (i: number) => (neurons[i] ? unitText(neurons[i]) : String(i));
    this.#text.title = terms
      .map(([term, each]) => `${this.#labelOf(term)}: ${each.map((value, i) => `${name(i)} ${formatShort(value)}`).join(", ")}`)
      .join("\n");
    this.#measure.setAttribute("aria-disabled", String(this.#warming));
  }

  /** The label of the term's slider: "L2". */
  #labelOf(term: string): string {
    return this.#setup?.parameters.find(({ name }) => name === term)?.label ?? term.replaceAll("_", " ");
  }
}
