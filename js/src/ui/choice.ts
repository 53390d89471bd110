// A select box. A choice shows at once; an older answer does not undo a newer choice.
import { h, replace } from "./dom";

const ANSWER_LOST = 3000; // ms without an answer after which the kernel's value is shown again

export class Choice {
  readonly box: HTMLSelectElement;
  #shown = "";
  #confirmed = "";
  #asked: string | null = null;
  #lost: ReturnType<typeof setTimeout> | undefined;

  constructor(name: string, choose: (value: string) => void) {
    this.box = h("select.ldam-choice", { "aria-label": name, hidden: true });
    this.box.addEventListener("change", () => {
      this.#ask(this.box.value);
      choose(this.box.value);
    });
  }

  get value(): string {
    return this.box.value;
  }

  /** Pairs of value and text. */
  set options(options: [value: string, text: string][]) {
    const shown = JSON.stringify(options);
    if (shown === this.#shown) return;
    this.#shown = shown;
    const { value } = this.box;
    replace(this.box, ...options.map(([each, text]) => h("option", { value: each }, text)));
    if (options.some(([each]) => each === value)) this.box.value = value;
  }

  /** The kernel's value. */
  update(value: string): void {
    this.#confirmed = value;
    if (value === this.#asked) this.refused(); // as requested: stop waiting
    else if (this.#asked === null) this.box.value = value;
  }

  /** The kernel refused or did not answer: show its value again. */
  refused(): void {
    this.close();
    this.#asked = null;
    if (this.#confirmed) this.box.value = this.#confirmed;
  }

  close(): void {
    clearTimeout(this.#lost);
  }

  #ask(value: string): void {
    this.close();
    this.#asked = value;
    this.#lost = setTimeout(() => this.refused(), ANSWER_LOST);
  }
}
