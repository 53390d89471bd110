// What is known of a unit in one network.
import type { FilledUnit } from "../../connection";
import type { Contribution, UnitReading, UnitSeen } from "../../protocol";
import { h, replace, setText } from "../../ui/dom";
import { formatCount, formatShort, formatSigned } from "../../ui/format";
import { Histogram } from "./histogram";
import { Strip } from "./strip";
import { TopImages } from "./top-images";

const OPTIMISED = "by an optimiser (RegularisedAscent, preset C): no sample";

export class Card {
  readonly element: HTMLElement;
  readonly histogram: Histogram;
  #name = h("div.ldam-page-network", { hidden: true });
  #stale = h("div.ldam-page-stale", { hidden: true, role: "status" });
  #why = h("span");
  #standing = h("div.ldam-page-standing");
  #figures = h("div.ldam-note");
  #progress = h("div.ldam-note", { hidden: true });
  #bar = h("progress", { "aria-label": "real images looked at" });
  #count = h("span");
  #top: TopImages;
  #stills = h("div.ldam-page-stills");
  #inputs: Connections;
  #outputs: Connections;
  #remarks = h("div.ldam-note");
  #more = h("div.ldam-note", {}, "finding out more …");
  #of: Measured;
  #seen: UnitSeen | null = null;
  #turn = 0; // pictures of an earlier unit may be ready later

  /** `of`: what is ranked among real images. */
  constructor(of: Measured, on: { start: ((images: number, rank: number) => void) | null; go(layer: string, unit: number): void; again(): void }) {
    this.#of = of;
    this.histogram = new Histogram(of === "sample" ? "samples" : "picture");
    this.#top = new TopImages(on.start);
    this.#inputs = new Connections("driven by", on.go);
    this.#outputs = new Connections("drives", on.go);
    const again = h("button.ldam-button", { type: "button", title: "what the network with its present weights makes of real images" }, "look again");
    again.addEventListener("click", () => on.again());
    this.#stale.append(this.#why, " ", again);
    this.#progress.append(this.#bar, " ", this.#count);
    const wiring = h("div.ldam-page-wiring", {}, this.#inputs.element, this.#outputs.element);
    this.element = h("div.ldam-page-card", {}, this.#name, this.#stale, this.#standing, this.histogram.element, this.#figures, this.#progress, this.#top.element, this.#stills, wiring, this.#more, this.#remarks);
    this.clear("");
  }

  /** Another unit: nothing is known yet. */
  clear(network: string): void {
    this.#turn++;
    setText(this.#name, network);
    this.#name.hidden = !network;
    this.#seen = null;
    this.histogram.seen = null;
    this.histogram.values = [];
    this.#top.clear();
    this.#inputs.show([]);
    this.#outputs.show([]);
    this.#progress.hidden = this.#stale.hidden = true;
    this.#more.hidden = false;
    for (const element of [this.#standing, this.#figures, this.#remarks]) setText(element, "");
    replace(this.#stills);
  }

  receive({ progress, seen, connections, remark, panes = [], optimised, sampled, stale }: FilledUnit): void {
    if (stale !== undefined) {
      this.#stale.hidden = !stale;
      setText(this.#why, stale);
    }
    if (progress) this.#tell(progress.done, progress.total);
    if (seen) this.#see(seen);
    if (connections) {
      this.#inputs.show(connections.inputs);
      this.#outputs.show(connections.outputs);
    }
    if (remark) this.#remarks.append(h("div", {}, `${remark.about}: ${remark.text}`));
    for (const pane of panes) {
      if (["crops", "whole", "deconvolution"].includes(pane.name)) void this.#top.load(pane);
      else {
        const value = pane.name === "optimised" ? optimised : pane.name === "sample" ? sampled : undefined;
        const [strip, turn] = [new Strip(), this.#turn];
        void strip.load(pane).then(() => turn === this.#turn && this.#still(pane.name, strip, value));
      }
    }
  }

  /** Nothing more will come. */
  complete(): void {
    this.#more.hidden = this.#progress.hidden = true;
  }

  read({ values, ranks }: UnitReading): void {
    const numbers = values.map((value) => value ?? NaN);
    this.histogram.values = numbers;
    const seen = this.#seen;
    if (!seen) return;
    setText(this.#standing, numbers.map((value, i) => standing(value, ranks[i] ?? NaN, seen, this.#of)).join("; "));
  }

  #tell(done: number, total: number): void {
    this.#progress.hidden = done >= total;
    this.#more.hidden = !this.#progress.hidden;
    [this.#bar.max, this.#bar.value] = [total, done];
    setText(this.#count, `looking at real images: ${formatCount(done)} of ${formatCount(total)}`);
  }

  #see(seen: UnitSeen): void {
    this.#seen = seen;
    this.histogram.seen = seen;
    this.#top.seen = seen;
    const of = seen.of > seen.images ? ` of ${formatCount(seen.of)}` : "";
    const where = seen.map.length ? `, its largest value on a ${seen.map.join("×")} map` : "";
    const silent = seen.silent ? `, exactly 0 on ${percent(100 * seen.silent)} %` : "";
    const dead = seen.dead ? "dead: no real image makes it positive. " : "";
    setText(this.#figures, `${dead}${formatCount(seen.images)}${of} real images${where}: mean ${formatShort(seen.mean ?? NaN)}${silent}, at most ${formatShort(seen.top[0]?.value ?? NaN)}.`);
  }

  #still(name: string, strip: Strip, value: number | null | undefined): void {
    const canvas = h("canvas", { role: "img", "aria-label": `${name}${name === "optimised" ? " picture" : ""}` });
    strip.show(0, canvas);
    const activation = value === undefined || value === null ? "" : ` ${formatShort(value)}`;
    const note = name === "optimised" ? OPTIMISED : name === "sample" ? "after 200 steps" : "of these steps";
    const figure = h("div.ldam-page-still", { "data-name": name }, canvas, h("div", {}, h("b", {}, name), activation, h("small", {}, note)));
    this.#stills.querySelector(`[data-name="${name}"]`)?.remove();
    this.#stills.append(figure);
  }
}

/** Units that drive this one, or that it drives: buttons that lead to them. */
class Connections {
  readonly element: HTMLElement;
  #list = h("span.ldam-page-links");
  #go: (layer: string, unit: number) => void;

  constructor(what: string, go: (layer: string, unit: number) => void) {
    this.#go = go;
    this.element = h("div", { role: "group", "aria-label": what, title: "activation times gradient, on average over the strongest real images" }, h("b", {}, what), " ", this.#list);
  }

  show(contributions: Contribution[]): void {
    this.element.hidden = !contributions.length;
    const links = contributions.map(({ layer, unit, name, value }) => {
      const [said, change] = [name && ` ${name}`, formatSigned(value ?? NaN, 2)];
      const button = h("button.ldam-link", { type: "button", title: `about unit ${unit}${said} of ${layer}` }, h("b", {}, `${layer}:${unit}${said}`), ` ${change}`);
      button.addEventListener("click", () => this.#go(layer, unit));
      return button;
    });
    replace(this.#list, ...links);
  }
}

/** What the panel of a unit measures: samples, or a picture that is looked at. */
export type Measured = "sample" | "picture";

/** "sample 12.3: stronger than 99.2 % of 2,730 real images". */
export function standing(value: number, rank: number, { top, images }: Pick<UnitSeen, "top" | "images">, of: Measured = "sample"): string {
  if (!Number.isFinite(value)) return `${of}: not finite`;
  const said = `${of} ${formatShort(value)}: `;
  const strongest = top[0]?.value ?? NaN;
  if (value > strongest) return said + (strongest > 0 ? `${(value / strongest).toFixed(1)} × the strongest of ${formatCount(images)} real images` : `stronger than all ${formatCount(images)} real images`);
  return Number.isFinite(rank) ? `${said}stronger than ${percent(rank)} % of ${formatCount(images)} real images` : said.slice(0, -2);
}

const percent = (value: number) => (value > 0 && value < 0.05 ? "0.1" : value < 100 && value > 99.95 ? "99.9" : value.toFixed(1));
