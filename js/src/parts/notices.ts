// Messages in words: an error with a hint, notes, and the kernel's silence.
import type { Silence } from "../connection";
import type { ErrorMessage, Setup, Trouble } from "../protocol";
import { h, replace, setText } from "../ui/dom";
import type { Part } from "./part";

const SILENCES = {
  late: "", // shown in the top bar
  never: "kernel not running — run the cell again",
  stopped: "no answer from the kernel: it is busy, or stopped — then run the cell again",
};

export class Notices implements Part {
  readonly element: HTMLElement;
  /** Shown in place of the picture, or above it if there is one already. */
  readonly silenceElement = h("div.ldam-silence", { role: "status" });
  #error = h("div", { role: "alert" });
  #notes = h("ul.ldam-notes");
  #given: string[] = [];
  #own: string[] = [];
  #dismissed = new Set<string>();
  #dismissError: () => void;

  constructor(dismissError: () => void) {
    this.#dismissError = dismissError;
    this.element = h("div.ldam-notices", {}, this.#error, this.#notes);
  }

  setup({ notes, error }: Setup): void {
    this.#given = notes;
    this.#showNotes();
    this.#showError(error);
  }

  error({ error }: ErrorMessage): void {
    this.#showError(error);
  }

  /** A note from the front end itself. */
  add(note: string): void {
    this.#own.push(note);
    this.#showNotes();
  }

  silence(silence: Silence): void {
    setText(this.silenceElement, silence ? SILENCES[silence] : "");
  }

  #showError(error: Trouble | null): void {
    if (!error) return replace(this.#error);
    const dismiss = h("button.ldam-dismiss", { type: "button", "aria-label": "dismiss error" }, "×");
    dismiss.addEventListener("click", () => {
      this.#showError(null);
      this.#dismissError();
    });
    const text = h("div", {}, h("b", {}, error.message), error.hint && h("div", {}, error.hint));
    replace(this.#error, h("div.ldam-error", {}, text, dismiss));
  }

  #showNotes(): void {
    const shown = [...new Set([...this.#own, ...this.#given])].filter((note) => !this.#dismissed.has(note));
    const items = shown.map((note) => {
      const dismiss = h("button.ldam-dismiss", { type: "button", "aria-label": `dismiss note: ${note}` }, "×");
      dismiss.addEventListener("click", () => {
        this.#dismissed.add(note);
        this.#showNotes();
      });
      return h("li", {}, h("span", {}, note), dismiss);
    });
    replace(this.#notes, ...items);
    this.#notes.hidden = !items.length;
  }
}
