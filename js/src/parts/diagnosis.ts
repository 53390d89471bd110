// One line below the trace: the verdict on the chains, with remarks on each neuron.
import type { Diagnosis, Setup } from "../protocol";
import { throttle } from "../ui/dom";
import type { Part } from "./part";
import { VerdictLine } from "./verdict-line";

const SAID_EVERY = 1000; // ms; each change is read out

export class DiagnosisLine implements Part {
  readonly element: HTMLElement;
  #line: VerdictLine;
  #diagnosis: Diagnosis | null = null;
  #gen: number | null = null;
  #show = throttle(SAID_EVERY, () => this.#line.write(this.#diagnosis));

  constructor(prefix: string) {
    this.#line = new VerdictLine(`${prefix}-remarks`, "diagnosis");
    this.element = this.#line.element;
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
}
