// What the colours mean: classes that can be hidden, or a bar for numbers.
import { h, replace } from "../ui/dom";
import { formatCount, formatFitting } from "../ui/format";
import { bar, classColour, css, NONE } from "./colours";
import type { Colours } from "./protocol";

export class Legend {
  readonly element = h("div.ldam-sc-legend", { role: "group", "aria-label": "colours" });
  /** Of each level: 0 hides its points. */
  readonly shown = new Uint8Array(256).fill(1);
  #message: Colours | null = null;
  #none = 0; // points without a class or number
  #dark = false;
  #changed: () => void;

  /** @param changed other levels are shown. */
  constructor(changed: () => void) {
    this.#changed = changed;
  }

  take(message: Colours, levels: Uint8Array): void {
    const names = ({ name, classes }: Colours) => JSON.stringify([name, ...classes.map((each) => each.name)]);
    const alike = this.#message !== null && names(this.#message) === names(message);
    if (!alike) this.shown.fill(1);
    this.#message = message;
    this.#none = 0;
    for (const level of levels) if (level === NONE) this.#none++;
    this.#build();
  }

  set dark(dark: boolean) {
    this.#dark = dark;
    this.#build();
  }

  /** The class of a level in words; "" for numbers. */
  name(level: number): string {
    return this.#message?.type === "classes" ? (this.#message.classes[level]?.name ?? "") : "";
  }

  #build(): void {
    const message = this.#message;
    this.element.hidden = !message || message.type === "one";
    if (!message || message.type === "one") return replace(this.element);
    const nothing = this.#none ? [this.#entry(NONE, "none", this.#none)] : [];
    if (message.type === "numbers") {
      const { low, high } = message;
      const ends = h("div.ldam-sc-ends", {}, h("span", {}, low === null ? "" : formatFitting(low)), h("span", {}, high === null ? "" : formatFitting(high)));
      const strip = h("div.ldam-sc-strip", { role: "img", "aria-label": `${message.name}, from ${low ?? "?"} to ${high ?? "?"}` });
      strip.style.background = bar(this.#dark);
      return replace(this.element, h("div.ldam-sc-bar", {}, strip, ends), ...nothing);
    }
    const classes = message.classes.map(({ name, count }, level) => this.#entry(level, name, count));
    replace(this.element, ...classes, ...nothing);
  }

  #entry(level: number, name: string, count: number): HTMLElement {
    const swatch = h("span.ldam-sc-swatch", { "aria-hidden": "true" });
    swatch.style.background = level === NONE ? "var(--ldam-line-strong)" : css(classColour(level, this.#dark));
    const words = `${name}, ${formatCount(count)} points`;
    const button = h("button.ldam-sc-class", { type: "button", "aria-pressed": this.shown[level] ? "true" : "false", "aria-label": words, title: `${words}; hide or show` }, swatch, h("span.ldam-sc-name", {}, name));
    button.addEventListener("click", () => {
      this.shown[level] = this.shown[level] ? 0 : 1;
      button.setAttribute("aria-pressed", this.shown[level] ? "true" : "false");
      this.#changed();
    });
    return button;
  }
}
