// The most probable classes, of one model or two.
import { h, replace } from "../ui/dom";
import type { Class, Frame } from "./protocol";

export class Classes {
  readonly element = h("div.ldam-tb-classes", { hidden: true });
  wanted = true;
  #some = false;

  frame({ classes, other_classes }: Pick<Frame, "classes" | "other_classes">): void {
    this.#some = classes.length > 0;
    replace(this.element, this.#some && table("class probabilities", classes), other_classes.length > 0 && table("of the other model", other_classes));
    this.show();
  }

  show(): void {
    this.element.hidden = !this.wanted || !this.#some;
  }
}

function table(caption: string, classes: Class[]): HTMLElement {
  const rows = classes.map(({ number, name, probability }) => {
    const bar = h("span.ldam-tb-bar", { "aria-hidden": "true" });
    bar.style.width = `${100 * probability}%`;
    return h("tr", {}, h("th", { scope: "row", title: `class ${number}` }, name || String(number)), h("td", {}, bar, `${(100 * probability).toFixed(1)} %`));
  });
  return h("table", {}, h("caption", {}, caption), h("tbody", {}, ...rows));
}
