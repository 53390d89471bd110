// All channels of a layer as tiles, one of them chosen by pointer or keys.
import { h } from "../ui/dom";
import { PaneImage, sized } from "./pane";
import type { Choice } from "./protocol";
import type { FilledPane } from "./wire";

const GAP = 2; // CSS pixels between tiles
const LEAST = 9; // CSS pixels of a tile; more tiles than fit scroll
const LARGEST = 96;

export interface Grid {
  columns: number;
  width: number; // of a tile, in CSS pixels
  height: number;
}

/** The columns with which tiles are largest in a box. */
export function gridOf(tiles: number, aspect: number, width: number, height: number): Grid {
  let best: Grid = { columns: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= Math.max(tiles, 1); columns++) {
    const rows = Math.ceil(tiles / columns);
    const wide = Math.min(width / columns - GAP, (height / rows - GAP) * aspect, aspect >= 1 ? LARGEST : LARGEST * aspect);
    if (wide > best.width) best = { columns, width: wide, height: wide / aspect };
    if (width / columns < LEAST + GAP) break;
  }
  if (best.width >= LEAST) return best;
  const columns = Math.max(1, Math.floor(width / (LEAST + GAP)));
  return { columns, width: LEAST, height: LEAST / aspect };
}

export class Tiles {
  readonly element = h("div.ldam-tb-tiles");
  /** Labelled, so that a screen reader tells what is chosen. */
  readonly canvas = h("canvas.ldam-tb-grid", { tabindex: 0, role: "application", "aria-roledescription": "grid of channels", "aria-label": "channels" });
  readonly image = new PaneImage();
  #grid: Grid = { columns: 1, width: 0, height: 0 };
  #size = { width: 480, height: 420 };
  #choice: Choice | null = null;

  constructor(choose: (channel: number) => void) {
    this.element.append(this.canvas);
    this.canvas.addEventListener("pointerdown", (event) => {
      const channel = this.at(event.offsetX, event.offsetY);
      if (channel !== null) choose(channel);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const channel = this.at(event.offsetX, event.offsetY);
      this.canvas.title = channel === null ? "" : `channel ${channel}`;
    });
  }

  get columns(): number {
    return this.#grid.columns;
  }

  /** The channel under a point of the canvas. */
  at(x: number, y: number): number | null {
    const { columns, width, height } = this.#grid;
    const [column, row] = [Math.floor(x / (width + GAP)), Math.floor(y / (height + GAP))];
    const channel = row * columns + column;
    return column < columns && channel < this.image.tiles && x >= 0 && y >= 0 ? channel : null;
  }

  load(pane: FilledPane): void | Promise<void> {
    return this.image.load(pane);
  }

  resize(width: number, height: number): void {
    this.#size = { width: Math.max(width, 60), height: Math.max(height, 60) };
    this.draw(this.#choice);
  }

  draw(choice: Choice | null): void {
    this.#choice = choice;
    const { tiles, width, height } = this.image;
    if (!tiles || !choice) return;
    this.#grid = gridOf(tiles, Math.min(Math.max(width / height, 0.2), 5), this.#size.width, this.#size.height);
    const grid = this.#grid;
    const rows = Math.ceil(tiles / grid.columns);
    const context = sized(this.canvas, Math.max(this.#size.width, grid.columns * (grid.width + GAP)), rows * (grid.height + GAP));
    for (let i = 0; i < tiles; i++) this.image.draw(context, i, ...this.#box(i));
    const style = getComputedStyle(this.canvas);
    const frame = (channel: number, dash: number[]) => {
      const [x, y, wide, high] = this.#box(channel);
      context.setLineDash(dash);
      context.lineWidth = 2;
      context.strokeStyle = style.getPropertyValue("--ldam-accent") || "#1b6ec2";
      context.strokeRect(x - 1, y - 1, wide + 2, high + 2);
    };
    if (choice.pinned?.layer === choice.layer && choice.pinned.unit[0]! < tiles) frame(choice.pinned.unit[0]!, [4, 3]);
    if (choice.unit[0]! < tiles) frame(choice.unit[0]!, []);
  }

  #box(channel: number): [x: number, y: number, width: number, height: number] {
    const { columns, width, height } = this.#grid;
    return [(channel % columns) * (width + GAP) + 1, Math.floor(channel / columns) * (height + GAP) + 1, width, height];
  }
}
