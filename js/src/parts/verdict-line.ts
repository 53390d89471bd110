// A verdict in one line, with remarks on each neuron that can be unfolded.
import type { Diagnosis } from "../protocol";
import { h, replace, setText } from "../ui/dom";

export type Verdict = Pick<Diagnosis, "level" | "text" | "neurons">;

const SIGNS = { good: "✓", warn: "⚠\ufe0e", wait: "…" };

export class VerdictLine {
  readonly element: HTMLElement;
  #sign = h("span.ldam-sign");
  #text = h("span");
  #more = h("button.ldam-link", { type: "button", "aria-expanded": "false" }, "each neuron");
  // Not a <dl>: notebooks style its children with rules of higher specificity than class selectors.
  #list: HTMLElement;
  #verdict: Verdict | null = null;
  #open = false;

  /**
   * @param id of the list of remarks
   * @param what the line says, for screen readers
   * @param extras elements after the verdict, such as a button
   */
  constructor(id: string, what: string, ...extras: HTMLElement[]) {
    this.#list = h("div.ldam-remarks", { id, role: "list", tabindex: 0, "aria-label": `${what} of each neuron` });
    this.#more.setAttribute("aria-controls", id);
    this.#more.addEventListener("click", () => {
      this.#open = !this.#open;
      this.#more.setAttribute("aria-expanded", String(this.#open));
      this.write(this.#verdict);
    });
    const status = h("div.ldam-verdict", { role: "status" }, this.#sign, this.#text);
    this.element = h("div.ldam-diagnosis", {}, status, ...extras, this.#more, this.#list);
    this.write(null);
  }

  write(verdict: Verdict | null): void {
    this.#verdict = verdict;
    const remarks = verdict?.neurons ?? [];
    setText(this.#sign, verdict ? SIGNS[verdict.level] : "");
    setText(this.#text, verdict?.text ?? "");
    if (verdict) this.element.dataset["level"] = verdict.level;
    this.#more.hidden = !remarks.length;
    this.#list.hidden = !remarks.length || !this.#open;
    if (!this.#list.hidden) this.#writeRemarks(remarks);
  }

  /** Updates in place: replacing the list would lose its scroll position and text selection. */
  #writeRemarks(remarks: Verdict["neurons"]): void {
    const list = this.#list;
    if (list.children.length !== remarks.length) replace(list, ...remarks.map(() => h("div", { role: "listitem" }, h("b"), h("span"))));
    for (const [i, { label, text }] of remarks.entries()) {
      const [term, said] = list.children[i]!.children;
      setText(term!, label);
      setText(said!, text);
    }
  }
}
