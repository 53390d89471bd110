// One live parameter: a slider, a number box, and next to the label its measured value.
import type { Parameter } from "../protocol";
import { h, setText } from "./dom";
import { format, formatFitting, formatWithUnit } from "./format";
import { admit, makeScale, type Scale } from "./scale";

const PAGE = 10; // ticks that PageUp and PageDown move
const EXPLAINED = 5000; // ms for which the reason for a correction replaces the measurement

/** A measurement of a parameter. */
export interface Reading {
  text: string;
  each: string[]; // one line per neuron
  warns: boolean;
}

export class Control {
  readonly element: HTMLElement;
  #parameter: Parameter;
  #scale: Scale;
  #slider: HTMLInputElement;
  #box: HTMLInputElement;
  /** Right of the label: the measurement, or why a typed value was corrected. */
  #aside = h("span.ldam-aside");
  #each = h("span.ldam-hidden"); // the measurement of each neuron, for readers without tooltips
  #explainedAt = -Infinity;
  #value: number;
  #dragging = false;
  #typing = false;
  #change: (value: number) => void;

  constructor(parameter: Parameter, id: string, change: (name: string, value: number) => void, ...actions: (HTMLElement | undefined)[]) {
    const { name, label, help, low, high, zero, unit } = parameter;
    this.#parameter = parameter;
    this.#scale = makeScale(parameter);
    this.#value = parameter.default;
    this.#change = (value) => change(name, value);
    const title = `${help}${help ? "\n" : ""}Double-click: ${formatWithUnit(parameter.default, unit)}`;
    this.#slider = h("input.ldam-slider", { type: "range", id, min: 0, max: this.#scale.last, step: 1, title });
    const lowest = zero ? Math.min(0, low) : low;
    this.#aside.id = `${id}-aside`;
    const range = { min: lowest, max: high, step: "any", "aria-describedby": this.#aside.id };
    this.#box = h("input", { type: "number", "aria-label": `${label} value`, ...range });
    const caption = h("label.ldam-label", { for: id, title }, label);
    const number = h("label.ldam-number", {}, this.#box, unit && h("span.ldam-unit", { "aria-hidden": "true" }, unit));
    const head = h("div.ldam-caption", {}, caption, this.#aside, this.#each, ...actions);
    this.element = h("div.ldam-parameter", {}, head, this.#slider, number);

    this.#slider.addEventListener("input", () => this.#commit(this.#scale.value(this.#slider.valueAsNumber)));
    this.#slider.addEventListener("keydown", this.#pageKeys);
    this.#slider.addEventListener("pointerdown", () => (this.#dragging = true));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture", "change", "blur"]) {
      this.#slider.addEventListener(end, () => {
        if (!this.#dragging) return;
        this.#dragging = false;
        this.show(this.#value); // the kernel's latest value
      });
    }
    for (const place of [this.#slider, caption]) place.addEventListener("dblclick", () => this.#commit(parameter.default));
    this.#box.addEventListener("input", () => (this.#typing = true));
    this.#box.addEventListener("blur", () => this.#commitTyped());
    this.#box.addEventListener("keydown", this.#boxKeys);
    this.show(this.#value);
  }

  get value(): number {
    return this.#value;
  }

  get hasFocus(): boolean {
    const { activeElement } = this.element.getRootNode() as Document | ShadowRoot;
    return activeElement === this.#slider || activeElement === this.#box;
  }

  focus(): void {
    this.#slider.focus();
  }

  /** Shows a measurement; null: none. */
  measure(reading: Reading | null): void {
    if (performance.now() - this.#explainedAt < EXPLAINED) return;
    this.#explain("");
    setText(this.#aside, reading?.text ?? "");
    setText(this.#each, reading?.each.join("; ") ?? "");
    const title = reading?.each.join("\n") ?? "";
    if (this.#aside.title !== title) this.#aside.title = title;
    this.#aside.classList.toggle("ldam-warns", reading?.warns ?? false);
  }

  /** A value that changes by itself many times a second: updated only when its first three digits change. */
  follow(value: number): void {
    const rounded = Number(value.toPrecision(3));
    if (rounded !== Number(this.#value.toPrecision(3))) this.show(rounded);
  }

  /** A value from outside never moves a slider that is being dragged or a box that is being typed in. */
  show(value: number, own = false): void {
    this.#value = value;
    if (own || !this.#dragging) {
      const tick = String(this.#scale.tick(value));
      if (this.#slider.value !== tick) this.#slider.value = tick;
      this.#slider.setAttribute("aria-valuetext", formatWithUnit(value, this.#parameter.unit));
      this.#slider.style.setProperty("--ldam-fill", `${(100 * Number(tick)) / Math.max(this.#scale.last, 1)}%`);
    }
    if (own || !this.#typing) {
      const text = own ? format(value) : formatFitting(value);
      const typed = this.#box.value !== "" && Number(this.#box.value) === value; // perhaps with more digits than fit
      if (this.#box.value !== text && !typed) this.#box.value = text;
    }
  }

  #commit(value: number): void {
    this.#typing = false;
    this.#explain("");
    const changed = value !== this.#value;
    this.show(value, true);
    if (changed) this.#change(value);
  }

  #commitTyped(): void {
    if (!this.#typing) return;
    const typed = this.#box.valueAsNumber;
    if (Number.isNaN(typed)) return this.#commit(this.#value);
    const { value, why } = admit(this.#parameter, typed);
    this.#commit(value);
    this.#explain(why);
  }

  /** Why the value differs from the typed one. */
  #explain(why: string): void {
    const corrected = why !== "";
    if (!corrected && this.#explainedAt === -Infinity) return;
    this.#explainedAt = corrected ? performance.now() : -Infinity;
    setText(this.#aside, why);
    this.#aside.title = "";
    this.#aside.classList.remove("ldam-warns");
    this.#box.title = why;
    this.element.classList.toggle("ldam-corrected", corrected);
  }

  #move(ticks: number): void {
    const tick = Math.min(Math.max(this.#scale.tick(this.#value) + ticks, 0), this.#scale.last);
    this.#commit(this.#scale.value(tick));
  }

  // Browsers page by a tenth of the range; ten ticks are consistent across browsers.
  #pageKeys = (event: KeyboardEvent): void => {
    if (event.key !== "PageUp" && event.key !== "PageDown") return;
    event.preventDefault();
    this.#move(event.key === "PageUp" ? PAGE : -PAGE);
  };

  #boxKeys = (event: KeyboardEvent): void => {
    if (event.key === "Enter") this.#commitTyped();
    else if (event.key === "Escape") this.#commit(this.#value);
    else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      // The native step is 1, which is far too small or too large for most parameters.
      this.#commitTyped();
      this.#move(event.key === "ArrowUp" ? 1 : -1);
    } else return;
    event.preventDefault();
  };
}
