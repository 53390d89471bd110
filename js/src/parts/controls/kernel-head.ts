// The transition kernel in use, the available choices, and the distribution of its samples.
import type { Kernel } from "../../protocol";
import { h, replace, setText } from "../../ui/dom";

const ANSWER_LOST = 3000; // ms without an answer after which the kernel's value is shown again
const HEURISTIC = "heuristic";
const NO_LAW = "no law";
const LAW = /^samples p(\(z\))? ∝ .*?exp\(E\/T\)/; // how a note begins if the samples follow a density
const CALIBRATED = "samples p ∝ exp(E/T)";

export class KernelHead {
  /** In the heading of the group: a select box, or plain text if there is no choice. */
  readonly name = h("span.ldam-kernel");
  /** A badge and a note. */
  readonly law: HTMLElement;
  #box = h("select.ldam-kernel-box", { "aria-label": "kernel" });
  #badge = h("span.ldam-badge");
  #note = h("span");
  #kernel: Kernel = { name: "", note: "" };
  #choices = "";
  #asked: { name: string; at: number } | null = null;

  constructor(choose: (name: string) => void) {
    this.law = h("div.ldam-note.ldam-law", {}, this.#badge, " ", this.#note);
    this.#box.addEventListener("change", () => {
      this.#asked = { name: this.#box.value, at: performance.now() };
      choose(this.#box.value);
    });
  }

  get hasFocus(): boolean {
    return (this.#box.getRootNode() as Document | ShadowRoot).activeElement === this.#box;
  }

  focus(): void {
    this.#box.focus();
  }

  setup(kernel: Kernel): void {
    this.#kernel = kernel;
    const { name, choices = [] } = kernel;
    // Arrow keys can be faster than the kernel's answers: an older answer must not undo a newer choice.
    const waits = this.#asked !== null && this.#asked.name !== name && performance.now() - this.#asked.at < ANSWER_LOST;
    if (!waits) this.#asked = null;
    this.#showChoices(choices.includes(name) ? choices : [name, ...choices], choices.length > 1);
    if (!waits) this.#box.value = name;
    this.name.title = name;
    this.update(kernel);
  }

  /** The note on the sampled density, which changes with the sliders. */
  update({ note = this.#kernel.note, calibrated = this.#kernel.calibrated }: { note?: string | undefined; calibrated?: boolean | undefined }): void {
    this.#kernel = { ...this.#kernel, note, ...(calibrated === undefined ? {} : { calibrated }) };
    const badge = calibrated === undefined ? "" : calibrated ? lawOf(note) : note.startsWith(NO_LAW) ? NO_LAW : HEURISTIC;
    setText(this.#badge, badge);
    this.#badge.hidden = calibrated === undefined;
    this.#badge.classList.toggle("ldam-calibrated", calibrated === true);
    // If the note begins with the badge's text, that part is not repeated.
    setText(this.#note, badge && note.startsWith(badge) ? note.slice(badge.length).replace(/^:?\s+/, "") : note);
    this.law.title = note;
    this.law.hidden = !note && this.#badge.hidden;
  }

  /** The kernel refused: show its value again. */
  refused(): void {
    if (!this.#asked) return;
    this.#asked = null;
    this.#box.value = this.#kernel.name;
  }

  #showChoices(names: string[], choice: boolean): void {
    const shown = JSON.stringify([names, choice]);
    if (shown === this.#choices) return;
    this.#choices = shown;
    replace(this.#box, ...names.map((name) => h("option", { value: name }, name)));
    if (!choice) replace(this.name, names[0]);
    else if (this.#box.parentNode !== this.name) replace(this.name, this.#box);
  }
}

function lawOf(note: string): string {
  return LAW.exec(note)?.[0] ?? CALIBRATED;
}
