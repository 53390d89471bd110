// The pixels of a pane as an off-screen canvas: its tiles in rows, to draw from.
import { signedColors } from "../parts/picture/difference-colors";
import type { FilledPane } from "./wire";

const GREY = Uint32Array.from({ length: 256 }, (_, v) => 0xff000000 | (v << 16) | (v << 8) | v); // little-endian RGBA

export class PaneImage {
  readonly canvas = document.createElement("canvas");
  tiles = 0;
  height = 0;
  width = 0;
  signed = false;
  #columns = 1;
  #pane: FilledPane | null = null;
  #dark = false;

  /** Loads raw pixels at once, compressed ones asynchronously. */
  load(pane: FilledPane): void | Promise<void> {
    if (pane.encoding === "raw") return this.#paint(pane);
    return createImageBitmap(new Blob([pane.bytes], { type: `image/${pane.encoding}` })).then((bitmap) => {
      this.#measure(pane);
      this.canvas.getContext("2d")!.drawImage(bitmap, 0, 0);
      bitmap.close();
    });
  }

  set dark(dark: boolean) {
    if (dark === this.#dark) return;
    this.#dark = dark;
    if (this.#pane?.signed) this.#paint(this.#pane);
  }

  clear(): void {
    this.tiles = 0;
    this.#pane = null;
  }

  /** Draws one tile into a box. */
  draw(context: CanvasRenderingContext2D, tile: number, x: number, y: number, width: number, height: number): void {
    const [column, row] = [tile % this.#columns, Math.floor(tile / this.#columns)];
    context.drawImage(this.canvas, column * this.width, row * this.height, this.width, this.height, x, y, width, height);
  }

  #measure(pane: FilledPane): void {
    const [tiles, height, width] = pane.shape;
    [this.tiles, this.height, this.width, this.signed, this.#pane] = [tiles, height, width, pane.signed, pane];
    this.#columns = Math.max(1, Math.ceil(Math.sqrt((tiles * height) / width))); // about square: sides are limited
    const [wide, high] = [this.#columns * width, Math.ceil(tiles / this.#columns) * height];
    if (this.canvas.width !== wide || this.canvas.height !== high) [this.canvas.width, this.canvas.height] = [wide, high];
  }

  #paint(pane: FilledPane): void {
    this.#measure(pane);
    const [tiles, height, width, channels] = pane.shape;
    const context = this.canvas.getContext("2d")!;
    const image = context.createImageData(this.canvas.width, this.canvas.height);
    const pixels = new Uint32Array(image.data.buffer);
    const table = pane.signed ? signedColors(this.#dark) : GREY;
    const stride = this.canvas.width;
    const { bytes } = pane;
    let from = 0;
    for (let tile = 0; tile < tiles; tile++) {
      const corner = Math.floor(tile / this.#columns) * height * stride + (tile % this.#columns) * width;
      for (let y = 0; y < height; y++) {
        let to = corner + y * stride;
        for (const end = to + width; to < end; from += channels) {
          pixels[to++] = channels === 1 ? table[bytes[from]!]! : 0xff000000 | (bytes[from + 2]! << 16) | (bytes[from + 1]! << 8) | bytes[from]!;
        }
      }
    }
    context.putImageData(image, 0, 0);
  }
}

/** Draws on a canvas of so many CSS pixels, with the screen's own pixels. */
export function sized(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D {
  const ratio = window.devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d")!;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.imageSmoothingEnabled = false;
  return context;
}
