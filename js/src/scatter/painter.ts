// Points as pixels, without WebGL: dots and densities far out, discs nearer. Typed arrays only; it knows no page.
import { mixed, type Rgb } from "./colours";
import type { View } from "./view";

export interface Scene {
  points: Float32Array; // x, y, x, y, …
  levels: Uint8Array; // colour of each point
  palette: Uint8Array; // red, green, blue of each level
  shown: Uint8Array; // of each level: 0 hides its points
  selection: Uint8Array; // 1: selected
  selected: number; // how many are
  background: Rgb;
}

export type Style = "dots" | "density" | "discs";

const PALE = 0.7; // share of the background in the colour of points that are not selected
const FAINT = 0.35; // largest opacity of their densities
const LARGEST = 6; // CSS pixels: radius of discs
const FILL = 0.3; // radius of discs, as a share of the distance between points
const EFFORT = 3e7; // pixels of discs; for more, densities are faster and say more
const OPACITY = 0.85; // of discs

/** Distance between neighbours, on the map, if points were spread evenly over the half of its box. */
export function spacing(width: number, height: number, count: number): number {
  const extent = Math.max(width, height, 1e-30);
  return Math.sqrt((Math.max(width, extent / 100) * Math.max(height, extent / 100)) / 2 / Math.max(count, 1));
}

/** How points are drawn at a distance between neighbours of so many pixels; `ratio`: pixels of the canvas to a CSS pixel. */
export function styleOf(apart: number, count: number, ratio: number): { style: Style; radius: number } {
  const radius = Math.min(FILL * apart, LARGEST * ratio);
  if (radius < ratio || count * Math.PI * radius ** 2 > EFFORT) return { style: "density", radius: 0 };
  return { style: "discs", radius };
}

/** Paints all pixels, little-endian RGBA. */
export function paint(pixels: Uint32Array, view: View, scene: Scene, style: Style, radius = 0): void {
  pixels.fill(packed(scene.background));
  if (style === "density") {
    if (scene.selected) density(pixels, view, scene, 0, FAINT);
    return density(pixels, view, scene, 1, 1);
  }
  const { strong, pale } = tables(scene);
  const draw = style === "dots" ? dots : discs;
  if (!scene.selected) return draw(pixels, view, scene, strong, 0, radius);
  draw(pixels, view, scene, pale, 0, radius);
  draw(pixels, view, scene, strong, 1, radius); // on top
}

/** Points whose `selection` is `wanted`, one pixel each. */
function dots(pixels: Uint32Array, view: View, scene: Scene, colours: Uint32Array, wanted: number): void {
  const { points, levels, shown, selection, selected } = scene;
  const { width, height, scale } = view;
  const [left, top] = corner(view);
  const all = !selected;
  for (let i = 0, count = levels.length; i < count; i++) {
    const column = points[2 * i]! * scale + left;
    const row = top - points[2 * i + 1]! * scale;
    if (!(column >= 0 && column < width && row >= 0 && row < height)) continue;
    const level = levels[i]!;
    if (shown[level] && (all || selection[i] === wanted)) pixels[(row | 0) * width + (column | 0)] = colours[level]!;
  }
}

/** Each pixel gets the mean colour of the points in it whose `selection` is `wanted`, with opacity most · (1 − ½ⁿ). */
function density(pixels: Uint32Array, view: View, scene: Scene, wanted: number, most: number): void {
  const { points, levels, shown, selection, selected, palette } = scene;
  const { width, height, scale } = view;
  const [left, top] = corner(view);
  const all = !selected;
  const sums = new Float32Array(4 * width * height); // red, green, blue, points
  for (let i = 0, count = levels.length; i < count; i++) {
    const column = points[2 * i]! * scale + left;
    const row = top - points[2 * i + 1]! * scale;
    if (!(column >= 0 && column < width && row >= 0 && row < height)) continue;
    const level = levels[i]!;
    if (!shown[level] || !(all || selection[i] === wanted)) continue;
    const at = 4 * ((row | 0) * width + (column | 0));
    sums[at]! += palette[3 * level]!;
    sums[at + 1]! += palette[3 * level + 1]!;
    sums[at + 2]! += palette[3 * level + 2]!;
    sums[at + 3]!++;
  }
  for (let pixel = 0, at = 0; pixel < pixels.length; pixel++, at += 4) {
    const n = sums[at + 3]!;
    if (n) pixels[pixel] = blended(pixels[pixel]!, rgba(sums[at]! / n, sums[at + 1]! / n, sums[at + 2]! / n), most * (1 - 2 ** -n));
  }
}

/** Discs with soft edges. */
function discs(pixels: Uint32Array, view: View, scene: Scene, colours: Uint32Array, wanted: number, radius: number): void {
  const { points, levels, shown, selection, selected } = scene;
  const { width, height, scale } = view;
  const [left, top] = corner(view);
  const reach = Math.ceil(radius);
  for (let i = 0, count = levels.length; i < count; i++) {
    const x = points[2 * i]! * scale + left - 0.5; // pixels are at whole numbers
    const y = top - points[2 * i + 1]! * scale - 0.5;
    if (!(x > -reach && x < width + reach && y > -reach && y < height + reach)) continue;
    const level = levels[i]!;
    if (!shown[level] || (selected && selection[i] !== wanted)) continue;
    const colour = colours[level]!;
    const last = Math.min(Math.round(y) + reach, height - 1);
    for (let row = Math.max(Math.round(y) - reach, 0); row <= last; row++) {
      const end = Math.min(Math.round(x) + reach, width - 1);
      for (let column = Math.max(Math.round(x) - reach, 0); column <= end; column++) {
        const cover = radius + 0.5 - Math.hypot(column - x, row - y);
        if (cover > 0) pixels[row * width + column] = blended(pixels[row * width + column]!, colour, Math.min(cover, 1) * OPACITY);
      }
    }
  }
}

/** Pixel of the map's origin. */
function corner(view: View): [left: number, top: number] {
  return [view.width / 2 - view.x * view.scale, view.height / 2 + view.y * view.scale];
}

/** The colour of every level, of selected points and of the others. */
function tables({ palette, background }: Scene): { strong: Uint32Array; pale: Uint32Array } {
  const [strong, pale] = [new Uint32Array(256), new Uint32Array(256)];
  for (let level = 0; level < 256; level++) {
    const colour = Array.from(palette.subarray(3 * level, 3 * level + 3)) as Rgb;
    strong[level] = packed(colour);
    pale[level] = packed(mixed(colour, background, PALE));
  }
  return { strong, pale };
}

function packed([red, green, blue]: Rgb): number {
  return rgba(red, green, blue);
}

function rgba(red: number, green: number, blue: number): number {
  return (0xff000000 | ((blue + 0.5) << 16) | ((green + 0.5) << 8) | (red + 0.5)) >>> 0;
}

function blended(below: number, above: number, opacity: number): number {
  const part = (shift: number) => {
    const from = (below >>> shift) & 255;
    return from + (((above >>> shift) & 255) - from) * opacity;
  };
  return rgba(part(0), part(8), part(16));
}
