// What the chains of a followed sampler cover, as a table below the map.
import { h, replace } from "../ui/dom";
import type { Coverage } from "./protocol";

const MEANING: Record<string, string> = {
  home: "the class of most of the real images nearest to its samples",
  solid: "samples as close to real images as these are to each other",
  covered: "real images of that class near which a chain has been, while solid",
  stays: "how often a chain is near where it was at another moment: 100 % is locked in a mode",
  meets: "how often two chains of the neuron are near each other",
  "by chance": "how often two real images of that class are near each other",
};

export class CoverageTable {
  readonly element = h("div.ldam-sc-coverage", { hidden: true, tabindex: 0, role: "group", "aria-label": "what the chains cover" });

  take({ head, rows }: Coverage): void {
    this.element.hidden = !rows.length;
    const names = head.map((name) => h("th", { scope: "col", title: MEANING[name] ?? "" }, name));
    const lines = rows.map((row) => h("tr", {}, ...row.map((cell) => h("td", {}, cell))));
    replace(this.element, h("table", {}, h("thead", {}, h("tr", {}, ...names)), h("tbody", {}, ...lines)));
  }
}
