// One picture, as large as its box allows.
import { h, setText } from "../ui/dom";
import { PaneImage, sized } from "./pane";
import type { FilledPane } from "./wire";

export class Screen {
  readonly element: HTMLElement;
  readonly canvas: HTMLCanvasElement;
  readonly image = new PaneImage();
  readonly caption = h("span.ldam-tb-caption");
  #name: string;
  #room: { width: number; height: number };
  #mark: [y: number, x: number] | null = null;

  constructor(name: string, side: number) {
    this.#name = name;
    this.#room = { width: side, height: side };
    this.canvas = h("canvas.ldam-tb-screen", { role: "img", "aria-label": name });
    this.element = h("figure.ldam-tb-figure", { hidden: true }, this.canvas, h("figcaption", {}, this.caption));
  }

  load(pane: FilledPane | undefined): void | Promise<void> {
    if (pane) return this.image.load(pane);
    this.image.clear();
  }

  /** `mark`: a place to circle. */
  draw(caption: string, mark: [y: number, x: number] | null = null): void {
    const { tiles, width, height } = this.image;
    this.element.hidden = !tiles;
    this.#mark = mark;
    setText(this.caption, caption);
    this.canvas.setAttribute("aria-label", `${this.#name}: ${caption}`);
    if (!tiles) return;
    const scale = Math.min(this.#room.width / width, this.#room.height / height);
    const [wide, high] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
    const context = sized(this.canvas, wide, high);
    this.image.draw(context, 0, 0, 0, wide, high);
    if (!this.#mark) return;
    context.strokeStyle = getComputedStyle(this.canvas).getPropertyValue("--ldam-accent") || "#1b6ec2";
    context.lineWidth = 2;
    context.strokeRect((this.#mark[1] * wide) / width, (this.#mark[0] * high) / height, Math.max(wide / width, 5), Math.max(high / height, 5));
  }

  set room(room: { width: number; height: number }) {
    this.#room = room;
    if (this.image.tiles) this.draw(this.caption.textContent ?? "", this.#mark);
  }

  /** The place of the map under a point of the canvas. */
  at(x: number, y: number): [y: number, x: number] {
    const { width, height } = this.image;
    const [wide, high] = [parseFloat(this.canvas.style.width) || 1, parseFloat(this.canvas.style.height) || 1];
    return [Math.min(height - 1, Math.floor((y / high) * height)), Math.min(width - 1, Math.floor((x / wide) * width))];
  }
}
