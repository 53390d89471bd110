// One line below the trace: the verdict on the chains, with remarks on each neuron.
import type { Diagnosis, Setup } from "../protocol";
import { h, replace, setText, throttle } from "../ui/dom";
import type { Part } from "./part";

const SIGNS = { good: "✓", warn: "⚠\ufe0e", wait: "…" };
const SAID_EVERY = 1000; // ms; each change is read out

export class DiagnosisLine implements Part {
  readonly element: HTMLElement;
  #sign = h("span.ldam-sign");
  #text = h("span");
  #more = h("button.ldam-link", { type: "button", "aria-expanded": "false" }, "each neuron");
  // Not a <dl>: notebooks style its children with rules of higher specificity than class selectors.
  #list = h("div.ldam-remarks", { role: "list", tabindex: 0, "aria-label": "diagnosis of each neuron" });
  #diagnosis: Diagnosis | null = null;
  #gen: number | null = null;
  #open = false;
  #show = throttle(SAID_EVERY, () => this.#write());

  constructor(prefix: string) {
    this.#list.id = `${prefix}-remarks`;
    this.#more.setAttribute("aria-controls", this.#list.id);
    this.#more.addEventListener("click", () => {
      this.#open = !this.#open;
      this.#more.setAttribute("aria-expanded", String(this.#open));
      this.#show.now();
    });
    const status = h("div.ldam-verdict", { role: "status" }, this.#sign, this.#text);
    this.element = h("div.ldam-diagnosis", {}, status, this.#more, this.#list);
    this.#write();
  }

  /** The verdict on other neurons no longer applies. */
  setup({ gen }: Setup): void {
    if (gen === this.#gen) return;
    this.#gen = gen;
    this.#diagnosis = null;
    this.#show.now();
  }

  diagnosis(diagnosis: Diagnosis): void {
    // Show the first verdict at once; throttle later ones and write only changes, since they are read out.
    const first = this.#diagnosis === null;
    this.#diagnosis = diagnosis;
    if (first) this.#show.now();
    else this.#show();
  }

  close(): void {
    this.#show.cancel();
  }

  #write(): void {
    const diagnosis = this.#diagnosis;
    const remarks = diagnosis?.neurons ?? [];
    setText(this.#sign, diagnosis ? SIGNS[diagnosis.level] : "");
    setText(this.#text, diagnosis?.text ?? "");
    if (diagnosis) this.element.dataset["level"] = diagnosis.level;
    this.#more.hidden = !remarks.length;
    this.#list.hidden = !remarks.length || !this.#open;
    if (!this.#list.hidden) this.#writeRemarks(remarks);
  }

  /** Updates in place: replacing the list would lose its scroll position and text selection. */
  #writeRemarks(remarks: Diagnosis["neurons"]): void {
    const list = this.#list;
    if (list.children.length !== remarks.length) replace(list, ...remarks.map(() => h("div", { role: "listitem" }, h("b"), h("span"))));
    for (const [i, { label, text }] of remarks.entries()) {
      const [term, said] = list.children[i]!.children;
      setText(term!, label);
      setText(said!, text);
    }
  }
}
