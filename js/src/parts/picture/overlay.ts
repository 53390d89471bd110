// Names, activations and row labels, as text over the canvas.
import type { Field } from "../../protocol";
import { h, replace, setText } from "../../ui/dom";
import { formatShort, formatSigned } from "../../ui/format";
import { lineStyle } from "../../ui/theme";
import type { Content } from "./content";
import type { Box, Cell, Layout, Tile } from "./layout";
import { kindOf, modelOf } from "./models";
import { SCORE_LINE, scoreLabel, scoreLine } from "./scores";
import { SignedLegend } from "./difference-colors";
import { standingLine, writeStanding } from "./standing";

const LETTER = 7.5; // CSS pixels, mean width of a bold letter
const NAME_LINE = 15; // CSS pixels, the bold line of a row's label
const DETAIL_LINE = 13; // CSS pixels, a small line
const DETAIL_LETTER = 5.2; // CSS pixels, mean width of a small letter
const BOTH = 96; // CSS pixels; a head this wide has room for an activation and a standing on one line

export class Overlay {
  readonly element: HTMLElement;
  #content: Content;
  #heads = h("div");
  #sides = h("div");
  #scoreLabels = h("div");
  #modelLabels = h("div");
  #fields = h("div");
  #outlined = false;
  #ratio = 1;
  #legends: { pane: string; legend: SignedLegend }[] = [];
  #pairs = 1; // rows of differences in a block
  #layout: Layout | null = null;
  #column: number | null = null; // the only neuron shown, with its rows side by side; null: one column per neuron

  constructor(content: Content) {
    this.#content = content;
    this.element = h("div.ldam-overlay", { "aria-hidden": "true" }, this.#heads, this.#sides, this.#scoreLabels, this.#modelLabels, this.#fields);
  }

  /** Whether receptive fields are outlined in every tile; in large ones they always are. */
  set outlined(outlined: boolean) {
    this.#outlined = outlined;
    this.outline();
  }

  /** Draws the receptive field of each neuron into its tiles, unless it is all that they show. */
  outline(): void {
    const { fields } = this.#content.setup?.display ?? {};
    const tiles = fields && (this.#outlined || this.#column !== null) ? (this.#layout?.tiles ?? []) : [];
    replace(this.#fields, ...tiles.map((tile) => this.#boxIn(tile, fields![tile.column])));
  }

  #boxIn(tile: Tile, field: Field | undefined): HTMLElement | null {
    const { height, width } = this.#content.pixels;
    if (!field) return null;
    const [y, x] = this.#content.image(tile.pane)?.cornerOf(tile.column) ?? [0, 0];
    const [top, left, bottom, right] = [Math.max(0, field[0] - y), Math.max(0, field[1] - x), Math.min(height, field[2] - y), Math.min(width, field[3] - x)];
    if (bottom - top === height && right - left === width) return null;
    const [down, across] = [tile.height / height / this.#ratio, tile.width / width / this.#ratio];
    const box = { x: tile.x / this.#ratio + left * across, y: tile.y / this.#ratio + top * down, width: (right - left) * across, height: (bottom - top) * down };
    return place(h("div.ldam-field"), box);
  }

  /** Rebuilds for a new layout. `ratio`: device pixels per CSS pixel. */
  build(layout: Layout, column: number | null, ratio: number, dark: boolean): void {
    [this.#layout, this.#column, this.#ratio] = [layout, column, ratio];
    const { heads, sides } = layout;
    const { models, setup, neurons } = this.#content;
    const { discriminator } = setup!;
    const names = heads.map((box, i) => {
      const neuron = column ?? i;
      const unit = neurons[neuron]!;
      const name = h("div.ldam-name", {}, h("b", {}, unit.label), unit.name ? ` ${unit.name}` : " ");
      const bar = h("span.ldam-bar");
      const { color, border } = lineStyle(neuron, dark);
      bar.style.borderTop = `2px ${border} ${color}`;
      const activations = Array.from({ length: column === null ? models.lines : 1 }, () => h("div.ldam-activation"));
      const standing = standsBelow(this.#content, column) && standingLine();
      return place(h("div.ldam-head", {}, name, ...activations, standing, discriminator && h("div.ldam-score"), bar), box);
    });
    replace(this.#heads, ...names);
    const lines = this.#content.lines();
    this.#legends = [];
    this.#pairs = Math.max(lines.filter(({ pane }) => this.#content.image(pane)?.signed).length, 1);
    const beside = sides.map((box) => {
      // Rows side by side share one gutter, so each difference names its model.
      const block = () => layout.tiles.filter(({ y }) => y === Math.round(box.y * ratio));
      const cells = column === null ? [lines[box.line]!] : block();
      return place(h("div.ldam-side", {}, h("b"), h("small"), ...this.#makeLegends(cells, dark)), box);
    });
    replace(this.#sides, ...beside);
    const blocks = sides.filter(({ line }) => line === 0);
    replace(this.#scoreLabels, ...(discriminator ? blocks.map((box) => place(scoreLabel(discriminator), { ...box, ...scoreLine(box.y) })) : []));
    const below = discriminator ? SCORE_LINE : 0;
    const labelled = models.several && column === null ? blocks : [];
    replace(this.#modelLabels, ...labelled.flatMap(({ x, y, width }) => models.labels(x, y, width, below)));
    this.update();
    this.updateScores();
    this.outline();
  }

  /** Separate, since scores arrive less often than activations. */
  updateScores(): void {
    const { setup } = this.#content;
    if (!this.#layout || !setup?.discriminator) return;
    for (const [i, head] of [...this.#heads.children].entries()) {
      const score = head.querySelector(".ldam-score");
      const tile = headTile(this.#layout, this.#column, i);
      if (score && tile) setText(score, this.#column === null ? this.#content.columnScore(setup, i) : this.#content.scoreText(tile));
    }
  }

  update(): void {
    const layout = this.#layout;
    const content = this.#content;
    const { models, blink, frame, setup } = content;
    if (!layout || !frame) return;
    const only = this.#column === null ? null : content.neurons[this.#column];
    for (const [i, head] of [...this.#heads.children].entries()) {
      const tile = headTile(layout, this.#column, i);
      if (!tile) continue;
      const { width } = layout.heads[i]!;
      const standing = head.querySelector(".ldam-standing");
      if (standing) this.#writeStanding(standing, tile, width);
      if (only) setPair(head.firstElementChild!, this.#headText(tile, width), models.several);
      for (const [model, line] of [...head.querySelectorAll(".ldam-activation")].entries()) {
        const cell: Cell = only ? tile : { pane: `average:${model}`, row: 0, column: i };
        const value = content.activation(cell);
        const beside = only || !models.several || width < BOTH ? "" : content.standings.short(setup!.gen, model, i);
        setText(line, (kindOf(cell.pane) === "difference" ? formatSigned(value) : formatShort(value)) + (beside && ` · ${beside}`));
        line.classList.toggle("ldam-young", !content.burnedIn(cell));
        line.classList.toggle("ldam-blinking", !only && blink === model);
      }
    }
    for (const [i, label] of [...this.#modelLabels.children].entries()) {
      label.classList.toggle("ldam-blinking", blink === i % models.names.length);
    }
    for (const { pane, legend } of this.#legends) {
      const image = content.image(pane);
      if (image) legend.range = image.pane.range;
    }
    // One legend for all rows with the same scale; side by side, each difference has its own caption.
    const ranges = new Set(this.#legends.map(({ pane }) => String(content.image(pane)?.pane.range)));
    for (const [i, { legend }] of this.#legends.entries()) legend.element.hidden = !only && ranges.size === 1 && i % this.#pairs > 0;
    const lines = content.lines();
    for (const [i, side] of [...this.#sides.children].entries()) {
      const { pane, row } = lines[layout.sides[i]!.line] ?? lines[0]!;
      const [first, second] = only ? [only.label, only.name] : content.rowText(pane, row, fitsIn(layout.sides[i]!));
      setText(side.children[0]!, first);
      setText(side.children[1]!, second);
      side.classList.toggle("ldam-blinking", !only && blink !== null && kindOf(pane) !== "difference");
    }
  }

  #makeLegends(cells: Omit<Cell, "column">[], dark: boolean): HTMLElement[] {
    const signed = [...new Set(cells.map(({ pane }) => pane))].filter((pane) => this.#content.image(pane)?.signed);
    return signed.map((pane) => {
      const legend = new SignedLegend(dark, cells.length > 1 ? this.#content.rowText(pane, 0).join(" ") : "");
      this.#legends.push({ pane, legend });
      return legend.element;
    });
  }

  #writeStanding(line: Element, tile: Tile, width: number): void {
    const { models, standings, setup } = this.#content;
    const grid = this.#column === null; // in the grid, heads are for all chains
    const own = grid || this.#content.ofMean(tile.pane, tile.column);
    const model = models.several ? modelOf({ name: tile.pane }) : 0;
    const text = grid ? standings.text(setup!.gen, model, tile.column) : this.#content.standingText(tile);
    const short = text && own ? standings.short(setup!.gen, model, tile.column) : "";
    writeStanding(line, own ? text : "", short, width);
  }

  /** For rows side by side, labels become headings: if space is short, the part they share is dropped first. */
  #headText({ pane, row }: Cell, width: number): [string, string] {
    const [first, second] = this.#content.rowText(pane, row);
    const repeated = (this.#content.image(pane)?.pane.shape[0] ?? 1) > 1;
    if (width >= 150 || this.#content.models.several) return [first, second];
    const text = repeated ? second || first : first;
    return [text.length * LETTER <= width ? text : text.replace(/ of \d+$/, ""), ""]; // the number must stay visible
  }
}

/** Whether the standing has its own line. With several models, it shares the line of each activation. */
export function standsBelow({ setup, models }: Content, column: number | null): boolean {
  return setup?.real_images === true && (!models.several || column !== null);
}

/** The tile below a head; in a grid, the topmost one. */
export function headTile(layout: Layout, column: number | null, head: number): Tile | undefined {
  if (column !== null) return layout.tiles[head];
  return layout.tiles.find((tile) => tile.column === head && tile.line === 0);
}

/** Whether a row's details, the small lines below its name, fit into its label. */
function fitsIn({ width, height }: Box): (details: string[]) => boolean {
  const perLine = Math.max(width / DETAIL_LETTER, 1);
  return (details) => DETAIL_LINE * details.reduce((lines, text) => lines + Math.ceil((text.length + 1) / perLine), 0) <= height - NAME_LINE;
}

function place(element: HTMLElement, { x, y, width, height }: Box): HTMLElement {
  Object.assign(element.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
  return element;
}

/** Sets the bold and the plain part of a heading. */
function setPair(element: Element, [first, second]: [string, string], several: boolean): void {
  element.classList.toggle("ldam-pair", several);
  setText(element.firstChild!, first);
  setText(element.lastChild!, ` ${second}`);
}
