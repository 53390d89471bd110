// A slider and a number box for each live parameter, in groups as the kernel declares them.
import { h, replace, setText } from "./dom";
import { admit, format, formatWithUnit, makeScale, type Scale } from "./scale";
import type { Parameter, Setup } from "./messages";

const PAGE = 10; // ticks that PageUp and PageDown move

export class Controls {
  readonly element = h("div.ldam-controls");
  #controls = new Map<string, Control>();
  #declared = "";
  #prefix: string;
  #change: (name: string, value: number) => void;
  #kernelName = h("span.ldam-kernel");
  #kernelNote = h("div.ldam-note");

  constructor(prefix: string, change: (name: string, value: number) => void) {
    this.#prefix = prefix;
    this.#change = change;
  }

  /** Rebuilt only when other parameters are declared, so that a slider in use keeps its focus. */
  setup({ parameters, kernel }: Setup): void {
    setText(this.#kernelName, kernel.name);
    setText(this.#kernelNote, kernel.note);
    this.#kernelNote.hidden = !kernel.note;
    const declared = JSON.stringify(parameters);
    if (declared === this.#declared) return;
    this.#declared = declared;
    const focused = [...this.#controls].find(([, control]) => control.hasFocus)?.[0];
    this.#controls = new Map(parameters.map((p) => [p.name, new Control(p, `${this.#prefix}-${p.name}`, this.#change)]));
    const groups = [...new Set(parameters.map(({ group }) => group))].map((group) => {
      const id = `${this.#prefix}-group-${group.replace(/\W/g, "-")}`;
      const sampler = group === "sampler";
      const heading = h("div.ldam-group-head", {}, h("span.ldam-group-name", { id }, group), sampler && this.#kernelName);
      const own = parameters.filter((p) => p.group === group).map((p) => this.#controls.get(p.name)!.element);
      return h("div.ldam-group", { role: "group", "aria-labelledby": id }, heading, sampler && this.#kernelNote, ...own);
    });
    replace(this.element, ...groups);
    if (focused) this.#controls.get(focused)?.focus();
  }

  /** Values from the kernel; `stale` tells those that this view has changed since. */
  update(params: Record<string, number>, stale: (name: string) => boolean): void {
    for (const [name, value] of Object.entries(params)) {
      const control = this.#controls.get(name);
      if (control && typeof value === "number" && !stale(name)) control.show(value);
    }
  }
}

class Control {
  readonly element: HTMLElement;
  #parameter: Parameter;
  #scale: Scale;
  #slider: HTMLInputElement;
  #box: HTMLInputElement;
  /** At the right of the label: why a typed value was corrected; later what a thermometer measures. */
  #aside = h("span.ldam-aside");
  #value: number;
  #dragging = false;
  #typing = false;
  #change: (value: number) => void;

  constructor(parameter: Parameter, id: string, change: (name: string, value: number) => void) {
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
    this.element = h("div.ldam-parameter", {}, caption, this.#aside, this.#slider, number);

    this.#slider.addEventListener("input", () => this.#commit(this.#scale.value(this.#slider.valueAsNumber)));
    this.#slider.addEventListener("keydown", this.#pageKeys);
    this.#slider.addEventListener("pointerdown", () => (this.#dragging = true));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture", "change", "blur"]) {
      this.#slider.addEventListener(end, () => {
        if (!this.#dragging) return;
        this.#dragging = false;
        this.show(this.#value); // what the kernel said meanwhile
      });
    }
    for (const place of [this.#slider, caption]) place.addEventListener("dblclick", () => this.#commit(parameter.default));
    this.#box.addEventListener("input", () => (this.#typing = true));
    this.#box.addEventListener("blur", () => this.#commitTyped());
    this.#box.addEventListener("keydown", this.#boxKeys);
    this.show(this.#value);
  }

  get hasFocus(): boolean {
    const { activeElement } = this.element.getRootNode() as Document | ShadowRoot;
    return activeElement === this.#slider || activeElement === this.#box;
  }

  focus(): void {
    this.#slider.focus();
  }

  /** A value from outside never moves what is under the reader's own hand. */
  show(value: number, own = false): void {
    this.#value = value;
    if (own || !this.#dragging) {
      const tick = String(this.#scale.tick(value));
      if (this.#slider.value !== tick) this.#slider.value = tick;
      this.#slider.setAttribute("aria-valuetext", formatWithUnit(value, this.#parameter.unit));
      this.#slider.style.setProperty("--ldam-fill", `${(100 * Number(tick)) / Math.max(this.#scale.last, 1)}%`);
    }
    if (own || !this.#typing) {
      const text = format(value);
      if (this.#box.value !== text) this.#box.value = text;
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

  /** Why the value is not the one that was typed. */
  #explain(why: string): void {
    setText(this.#aside, why);
    this.#box.title = why;
    this.element.classList.toggle("ldam-corrected", why !== "");
  }

  #move(ticks: number): void {
    const tick = Math.min(Math.max(this.#scale.tick(this.#value) + ticks, 0), this.#scale.last);
    this.#commit(this.#scale.value(tick));
  }

  // Browsers page by a tenth of the range; ten ticks are the same everywhere.
  #pageKeys = (event: KeyboardEvent): void => {
    if (event.key !== "PageUp" && event.key !== "PageDown") return;
    event.preventDefault();
    this.#move(event.key === "PageUp" ? PAGE : -PAGE);
  };

  #boxKeys = (event: KeyboardEvent): void => {
    if (event.key === "Enter") this.#commitTyped();
    else if (event.key === "Escape") this.#commit(this.#value);
    else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      // The native step is 1, which is nothing or everything for most parameters.
      this.#commitTyped();
      this.#move(event.key === "ArrowUp" ? 1 : -1);
    } else return;
    event.preventDefault();
  };
}
