// What is drawn over the points: a shape in progress, the point under the pointer, chains with their trails.
import { classColour, css, type Rgb } from "./colours";
import type { Chains } from "./protocol";
import { toPixel, type View } from "./view";

const TRAIL = 80; // places of a chain that are remembered
const HEAD = 6; // CSS pixels: radius of a chain
const NEAR = 10; // CSS pixels: a click this near to a chain means it

export interface Mark {
  x: number; // on the map
  y: number;
}

export class ChainTrails {
  #trails: number[][] = []; // x, y, … of each chain, the newest last
  #neurons: number[] = [];
  #colours: number[] = [];
  #solid: boolean[] = [];
  names: string[] = [];

  get count(): number {
    return this.#trails.length;
  }

  take({ count, neurons, colours, fresh }: Chains, bytes: Uint8Array<ArrayBuffer>): void {
    const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const number = (chain: number, field: number) => data.getFloat32(16 * chain + 4 * field, true);
    if (fresh || count !== this.count) this.#trails = Array.from({ length: count }, () => []);
    this.names = neurons;
    this.#colours = colours;
    this.#neurons = Array.from({ length: count }, (_, chain) => number(chain, 2));
    this.#solid = Array.from({ length: count }, (_, chain) => number(chain, 3) > 0.5);
    for (let chain = 0; chain < count; chain++) {
      const trail = this.#trails[chain]!;
      trail.push(number(chain, 0), number(chain, 1));
      if (trail.length > 2 * TRAIL) trail.splice(0, trail.length - 2 * TRAIL);
    }
  }

  /** Place of a chain now; null: it has none. */
  place(chain: number): Mark | null {
    const [x, y] = this.#trails[chain]?.slice(-2) ?? [];
    return x === undefined || y === undefined || Number.isNaN(x) || Number.isNaN(y) ? null : { x, y };
  }

  neuron(chain: number): string {
    return this.names[this.#neurons[chain] ?? -1] ?? "";
  }

  #colour(chain: number, dark: boolean): Rgb {
    return classColour(this.#colours[this.#neurons[chain] ?? -1] ?? 0, dark);
  }

  isSolid(chain: number): boolean {
    return this.#solid[chain] ?? false;
  }

  /** The chain nearest to a pixel of the canvas, at most `reach` pixels away; -1: none. */
  at(view: View, column: number, row: number, ratio: number, reach = NEAR * ratio): number {
    let [best, least] = [-1, reach];
    for (let chain = 0; chain < this.count; chain++) {
      const place = this.place(chain);
      if (!place) continue;
      const [x, y] = toPixel(view, place.x, place.y);
      const distance = Math.hypot(x - column, y - row);
      if (distance <= least) [best, least] = [chain, distance];
    }
    return best;
  }

  draw(context: CanvasRenderingContext2D, view: View, ratio: number, dark: boolean): void {
    const rim = dark ? "#000" : "#fff";
    for (let chain = 0; chain < this.count; chain++) {
      const colour = this.#colour(chain, dark);
      const trail = this.#trails[chain]!;
      context.lineWidth = 1.8 * ratio;
      context.lineJoin = "round";
      for (let i = 2; i < trail.length; i += 2) {
        const [from, to] = [toPixel(view, trail[i - 2]!, trail[i - 1]!), toPixel(view, trail[i]!, trail[i + 1]!)];
        if (Number.isNaN(from[0]) || Number.isNaN(to[0])) continue;
        context.strokeStyle = css(colour, 0.1 + (0.8 * i) / trail.length);
        context.beginPath();
        context.moveTo(...from);
        context.lineTo(...to);
        context.stroke();
      }
    }
    for (let chain = 0; chain < this.count; chain++) {
      const place = this.place(chain);
      if (!place) continue;
      const colour = css(this.#colour(chain, dark));
      circle(context, toPixel(view, place.x, place.y), HEAD * ratio);
      context.lineWidth = 5 * ratio;
      context.strokeStyle = rim;
      context.stroke();
      context.lineWidth = 2.5 * ratio;
      context.strokeStyle = this.isSolid(chain) ? (dark ? "#fff" : "#000") : colour;
      if (this.isSolid(chain)) {
        context.fillStyle = colour;
        context.fill();
      }
      context.stroke();
    }
  }
}

/** A ring around a point. */
export function ring(context: CanvasRenderingContext2D, view: View, { x, y }: Mark, ratio: number, ink: string, paper: string): void {
  circle(context, toPixel(view, x, y), 8 * ratio);
  context.lineWidth = 4 * ratio;
  context.strokeStyle = paper;
  context.stroke();
  context.lineWidth = 2 * ratio;
  context.strokeStyle = ink;
  context.stroke();
}

/** The middle of the map, for keys. */
export function cross(context: CanvasRenderingContext2D, { width, height }: View, ratio: number, ink: string, paper: string): void {
  const arm = 9 * ratio;
  context.beginPath();
  context.moveTo(width / 2 - arm, height / 2);
  context.lineTo(width / 2 + arm, height / 2);
  context.moveTo(width / 2, height / 2 - arm);
  context.lineTo(width / 2, height / 2 + arm);
  for (const [wide, colour] of [[4, paper], [1.5, ink]] as const) {
    context.lineWidth = wide * ratio;
    context.strokeStyle = colour;
    context.stroke();
  }
}

/** A lasso or rectangle in progress; pixels of the canvas. */
export function outline(context: CanvasRenderingContext2D, shape: number[], ratio: number, ink: string): void {
  context.beginPath();
  for (let i = 0; i < shape.length; i += 2) context.lineTo(shape[i]!, shape[i + 1]!);
  context.closePath();
  context.globalAlpha = 0.12;
  context.fillStyle = ink;
  context.fill("evenodd");
  context.globalAlpha = 1;
  context.lineWidth = 1.5 * ratio;
  context.setLineDash([5 * ratio, 4 * ratio]);
  context.strokeStyle = ink;
  context.stroke();
  context.setLineDash([]);
}

function circle(context: CanvasRenderingContext2D, [x, y]: [number, number], radius: number): void {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
}
