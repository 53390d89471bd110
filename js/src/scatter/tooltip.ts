// What is known of the point under the pointer: its picture, its label, its number.
import { h, setText } from "../ui/dom";
import { sized } from "../toolbox/pane";
import type { Thumbnail } from "./thumbnails";

const SIDE = 84; // CSS pixels of the picture

export class Tooltip {
  readonly element: HTMLElement;
  #canvas = h("canvas", { role: "img", "aria-label": "picture under the pointer", hidden: true });
  #words = h("div");
  #number = h("div.ldam-note");

  constructor() {
    this.element = h("div.ldam-sc-tip", { hidden: true }, this.#canvas, this.#words, this.#number);
  }

  hide(): void {
    this.element.hidden = true;
  }

  /** Beside a place of the map, in CSS pixels. `room`: width and height of the map. */
  show(words: string, number: string, picture: Thumbnail | undefined, [x, y]: [x: number, y: number], [width, height]: [width: number, height: number]): void {
    setText(this.#words, words);
    setText(this.#number, number);
    this.#words.hidden = !words;
    this.#canvas.hidden = !picture?.image.tiles;
    if (picture?.image.tiles) {
      const scale = SIDE / Math.max(picture.image.width, picture.image.height);
      const [wide, high] = [Math.round(picture.image.width * scale), Math.round(picture.image.height * scale)];
      picture.image.draw(sized(this.#canvas, wide, high), picture.tile, 0, 0, wide, high);
    }
    this.element.hidden = false;
    const right = x > width / 2;
    this.element.style.left = right ? "" : `${x + 14}px`;
    this.element.style.right = right ? `${width - x + 14}px` : "";
    this.element.style.top = y > height / 2 ? "" : `${y + 10}px`;
    this.element.style.bottom = y > height / 2 ? `${height - y + 10}px` : "";
  }
}
