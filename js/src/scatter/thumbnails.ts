// Pictures of points: those that came, and those still to be asked for, a hundred at a time.
import { PaneImage } from "../toolbox/pane";
import type { Pictures } from "./protocol";

const MOST = 100; // of a message
const SHEETS = 60; // kept; the oldest is forgotten
const LOST = 5000; // ms after which an answer is no longer waited for

export interface Thumbnail {
  image: PaneImage;
  tile: number;
  caption: string;
}

/** Who wants pictures, the most urgent first. */
type Purpose = "hover" | "gallery" | "map";
const PURPOSES: Purpose[] = ["hover", "gallery", "map"];

export class Thumbnails {
  #known = new Map<number, Thumbnail>();
  #sheets: PaneImage[] = [];
  #wanted: Record<Purpose, number[]> = { hover: [], gallery: [], map: [] };
  #askedAt = -Infinity;
  #waiting = false;
  #ask: (indices: number[]) => void;
  #arrived: () => void;

  /**
   * @param ask sends a request for at most 100 pictures.
   * @param arrived some have come.
   */
  constructor(ask: (indices: number[]) => void, arrived: () => void) {
    this.#ask = ask;
    this.#arrived = arrived;
  }

  get(index: number): Thumbnail | undefined {
    return this.#known.get(index);
  }

  /** Pictures needed for a purpose from now on, in place of those wanted before. */
  want(purpose: Purpose, indices: number[]): void {
    this.#wanted[purpose] = indices;
    this.#next();
  }

  /** A message with pictures has come. */
  async take({ indices, captions, shape, encoding }: Pictures, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const image = new PaneImage();
    try {
      if (shape[0]) await image.load({ name: "tiles", encoding, shape, signed: false, bytes });
    } finally {
      this.#waiting = false;
    }
    this.#sheets.push(image);
    indices.forEach((index, tile) => this.#known.set(index, { image, tile, caption: captions[tile] ?? "" }));
    if (this.#sheets.length > SHEETS) {
      const oldest = this.#sheets.shift();
      for (const [index, { image: sheet }] of this.#known) if (sheet === oldest) this.#known.delete(index);
    }
    this.#arrived();
    this.#next();
  }

  /** What is known of points has changed: ask again. */
  forget(): void {
    this.#known.clear();
    this.#sheets = [];
    this.#next();
  }

  #next(): void {
    if (this.#waiting && performance.now() - this.#askedAt < LOST) return;
    for (const purpose of PURPOSES) {
      const missing = this.#wanted[purpose].filter((index) => !this.#known.has(index)).slice(0, MOST);
      if (!missing.length) continue;
      this.#waiting = true;
      this.#askedAt = performance.now();
      return this.#ask(missing);
    }
  }
}
