// Pictures that stand still: the tiles of a pane, one canvas each.
import type { FilledPane } from "../../connection";
import { PaneImage } from "../picture/pane-image";

export class Strip {
  #image: PaneImage | null = null;
  #canvases: HTMLCanvasElement[] = [];

  /** The canvases to draw on, as many as there are pictures at most. */
  set canvases(canvases: HTMLCanvasElement[]) {
    this.#canvases = canvases;
    this.#draw();
  }

  get count(): number {
    return this.#image?.pane.shape[1] ?? 0;
  }

  /** Height and width of a picture in its own pixels. */
  get size(): [height: number, width: number] {
    return this.#image ? [this.#image.pane.shape[2], this.#image.pane.shape[3]] : [1, 1];
  }

  async load(pane: FilledPane): Promise<void> {
    const image = new PaneImage(pane);
    await image.load(pane);
    this.#image = image;
    this.#draw();
  }

  /** Draws a picture, whole, on a canvas of its size. */
  show(at: number, canvas: HTMLCanvasElement): void {
    if (!this.#image || at >= this.count) return;
    const [height, width] = this.size;
    [canvas.width, canvas.height] = [width, height];
    canvas.classList.toggle("ldam-page-coarse", width <= 128); // few pixels look better sharp
    canvas.getContext("2d")!.drawImage(this.#image.canvas, at * width, 0, width, height, 0, 0, width, height);
  }

  #draw(): void {
    for (const [i, canvas] of this.#canvases.entries()) this.show(i, canvas);
  }
}
