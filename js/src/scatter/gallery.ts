// Pictures of the selection, beside the map.
import { h, setText } from "../ui/dom";
import { formatCount } from "../ui/format";
import { sized } from "../toolbox/pane";
import type { Thumbnails } from "./thumbnails";

const MOST = 100;
const COLUMNS = 5;
const GAP = 2; // CSS pixels

export class Gallery {
  readonly element: HTMLElement;
  readonly canvas = h("canvas.ldam-sc-gallery", { role: "img", "aria-label": "pictures of the selection" });
  #title = h("b", {});
  #note = h("span.ldam-note");
  #actions: HTMLElement;
  #thumbnails: Thumbnails;
  #indices: number[] = [];
  #side = 36;

  /**
   * @param point the pointer is over the picture of a point; null: over none.
   * @param actions buttons for the selection.
   */
  constructor(thumbnails: Thumbnails, point: (index: number | null) => void, actions: HTMLElement[]) {
    this.#thumbnails = thumbnails;
    this.#actions = h("div.ldam-sc-actions", {}, ...actions);
    const inside = h("div.ldam-sc-inside", {}, this.#title, this.#note, this.#actions, this.canvas);
    this.element = h("aside.ldam-sc-side", { "aria-label": "selection" }, inside);
    this.canvas.addEventListener("pointermove", ({ offsetX, offsetY }) => point(this.#at(offsetX, offsetY)));
    this.canvas.addEventListener("pointerleave", () => point(null));
  }

  static get most(): number {
    return MOST;
  }

  /** @param indices the points whose pictures are shown, of all selected ones. */
  show(indices: number[], selected: number, pictures: boolean): void {
    this.#indices = pictures ? indices : [];
    setText(this.#title, selected ? `${formatCount(selected)} selected` : "nothing selected");
    const some = pictures && selected > indices.length ? `${indices.length} of them:` : "";
    setText(this.#note, selected ? some : "draw a lasso (l) or a rectangle (r), or click a point");
    this.#actions.hidden = !selected;
    this.#thumbnails.want("gallery", this.#indices);
    this.draw();
  }

  draw(): void {
    const rows = Math.ceil(this.#indices.length / COLUMNS);
    this.canvas.hidden = !rows;
    if (!rows) return;
    const room = (this.canvas.parentElement?.clientWidth || 210) - 24;
    this.#side = Math.max(Math.floor((room - GAP * (COLUMNS - 1)) / COLUMNS), 12);
    const each = this.#side + GAP;
    const context = sized(this.canvas, COLUMNS * each - GAP, rows * each - GAP);
    this.#indices.forEach((index, nth) => {
      const found = this.#thumbnails.get(index);
      if (!found?.image.tiles) return;
      const { width, height } = found.image;
      const scale = Math.min(this.#side / width, this.#side / height);
      const [wide, high] = [width * scale, height * scale];
      const [x, y] = [(nth % COLUMNS) * each + (this.#side - wide) / 2, Math.floor(nth / COLUMNS) * each + (this.#side - high) / 2];
      found.image.draw(context, found.tile, x, y, wide, high);
    });
    const captions = this.#indices.slice(0, 10).map((index) => this.#thumbnails.get(index)?.caption || `point ${index}`);
    this.canvas.setAttribute("aria-label", `pictures of the selection: ${captions.join(", ")}${this.#indices.length > 10 ? ", …" : ""}`);
  }

  #at(x: number, y: number): number | null {
    const each = this.#side + GAP;
    const column = Math.floor(x / each);
    return column < COLUMNS ? (this.#indices[Math.floor(y / each) * COLUMNS + column] ?? null) : null;
  }
}
