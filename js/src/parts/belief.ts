// One line below the diagnosis: how far the pictures can be believed, with a button that finds it out.
import type { Action, BeliefState, Setup, State } from "../protocol";
import { h, setText } from "../ui/dom";
import type { Part } from "./part";
import { VerdictLine } from "./verdict-line";

export class BeliefLine implements Part {
  readonly element: HTMLElement;
  #line: VerdictLine;
  #button = h("button.ldam-link.ldam-check.ldam-live", { type: "button" });
  #running = false;

  constructor(prefix: string, act: (what: Action) => void) {
    this.#line = new VerdictLine(`${prefix}-doubts`, "belief", this.#button);
    this.#button.addEventListener("click", () => act(this.#running ? "stop_belief" : "belief"));
    this.element = this.#line.element;
    this.element.classList.add("ldam-belief");
    this.element.hidden = true;
  }

  setup({ belief }: Setup): void {
    this.element.hidden = !belief;
    if (belief) this.#write(belief);
  }

  state({ belief }: State): void {
    if (belief) this.#write(belief);
  }

  #write(belief: BeliefState): void {
    this.#running = belief.running;
    setText(this.#button, belief.running ? "stop checking" : "check belief");
    this.#line.write(belief);
  }
}
