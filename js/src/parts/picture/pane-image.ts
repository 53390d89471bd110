// The newest picture of a pane, as an off-screen canvas of adjacent tiles to draw from.
import { ends, type Ends, type FilledPane } from "../../connection";
import { signedColors, signedValue } from "./difference-colors";

/** Level v as an opaque grey pixel, little-endian RGBA: one 32-bit store instead of four. */
const GREY = Uint32Array.from({ length: 256 }, (_, v) => 0xff000000 | (v << 16) | (v << 8) | v);

export class PaneImage {
  readonly canvas = document.createElement("canvas");
  // Read back on hover and written every frame: better kept off the GPU.
  #context = this.canvas.getContext("2d", { willReadFrequently: true })!;
  #image: ImageData | null = null;
  #pixels = new Uint32Array(0);
  #dark: boolean;
  #levels: Uint8Array | null = null; // of a signed pane, whose levels cannot be recovered from its colours
  pane: FilledPane;
  /** Frames since it was last updated. */
  age = 0;

  constructor(pane: FilledPane, dark = false) {
    this.pane = pane;
    this.#dark = dark;
  }

  /** Whether the pane shows differences, coloured by the page. */
  get signed(): boolean {
    return this.pane.colors === "signed";
  }

  set dark(dark: boolean) {
    if (dark === this.#dark) return;
    this.#dark = dark;
    if (this.signed && this.#levels) this.#paintSigned();
  }

  /** Loads raw pixels at once, compressed ones asynchronously. */
  load(pane: FilledPane): void | Promise<void> {
    if (pane.encoding === "raw") return this.#loadRaw(pane);
    return createImageBitmap(new Blob([pane.bytes], { type: `image/${pane.encoding}` })).then((bitmap) => {
      this.#resize(pane);
      this.#context.drawImage(bitmap, 0, 0);
      bitmap.close();
      this.pane = pane;
      if (!this.signed) return;
      const { data } = this.#context.getImageData(0, 0, this.canvas.width, this.canvas.height);
      this.#levels = Uint8Array.from({ length: data.length / 4 }, (_, i) => data[4 * i]!);
      this.#paintSigned();
    });
  }

  /** The pixel values of levels 0 and 255 of a tile. */
  rangeOf(row: number, column: number): Ends {
    const own = this.pane.ranges?.[row]?.[column];
    return own ? ends(own) : this.pane.range;
  }

  /** Where in the picture the first pixel of a column's tiles is: row and column. */
  cornerOf(column: number): [y: number, x: number] {
    return this.pane.corners?.[column] ?? [0, 0];
  }

  /** The pixel values under a point of a tile, in the units of the model's input. */
  values(row: number, column: number, y: number, x: number): number[] {
    const [, , height, width, channels] = this.pane.shape;
    const [low, high] = this.rangeOf(row, column);
    if (this.signed) {
      const level = this.#levels?.[(row * height + y) * this.canvas.width + column * width + x];
      return level === undefined ? [] : [signedValue(level, this.pane.range)];
    }
    const levels = this.#context.getImageData(column * width + x, row * height + y, 1, 1).data;
    return Array.from(levels.subarray(0, channels === 1 ? 1 : 3), (level) => low + ((high - low) * level) / 255);
  }

  #resize(pane: FilledPane): void {
    const [rows, columns, height, width] = pane.shape;
    if (this.canvas.width === columns * width && this.canvas.height === rows * height) return;
    this.canvas.width = columns * width;
    this.canvas.height = rows * height;
    this.#image = null;
  }

  #makeImage(): void {
    if (this.#image) return;
    this.#image = this.#context.createImageData(this.canvas.width, this.canvas.height);
    this.#pixels = new Uint32Array(this.#image.data.buffer);
  }

  #paintSigned(): void {
    const colors = signedColors(this.#dark);
    this.#makeImage();
    const [levels, pixels] = [this.#levels!, this.#pixels];
    for (let i = 0; i < levels.length; i++) pixels[i] = colors[levels[i]!]!;
    this.#context.putImageData(this.#image!, 0, 0);
  }

  #loadRaw(pane: FilledPane): void {
    const [rows, columns, height, width, channels] = pane.shape;
    this.#resize(pane);
    this.#makeImage();
    const { bytes } = pane;
    const signed = pane.colors === "signed";
    if (signed && this.#levels?.length !== this.#pixels.length) this.#levels = new Uint8Array(this.#pixels.length);
    const levels = signed ? this.#levels! : null;
    const pixels = this.#pixels;
    const stride = columns * width;
    let from = 0;
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        for (let y = 0; y < height; y++) {
          let to = (row * height + y) * stride + column * width;
          const end = to + width;
          if (levels) {
            for (; to < end; from += channels) levels[to++] = bytes[from]!;
          } else if (channels === 1) {
            while (to < end) pixels[to++] = GREY[bytes[from++]!]!;
          } else {
            for (; to < end; from += channels) {
              pixels[to++] = 0xff000000 | (bytes[from + 2]! << 16) | (bytes[from + 1]! << 8) | bytes[from]!;
            }
          }
        }
      }
    }
    this.pane = pane;
    if (levels) this.#paintSigned();
    else this.#context.putImageData(this.#image!, 0, 0);
  }
}
