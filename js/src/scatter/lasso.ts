// Which points a lasso holds: its polygon is drawn into a bitmap once, then each point is one look-up.
import { boxOf, type View } from "./view";

/** How a gesture changes a selection: alone it replaces it, shift adds, alt removes. */
export type Mode = "replace" | "add" | "remove";

/**
 * The pixels of a canvas whose middle is inside a polygon, by the even-odd rule: 1 in (row · width + column).
 *
 * @param polygon corners (column, row, column, row, …) in pixels; it is closed by itself. They may lie off the canvas.
 */
export function bitmap(polygon: ArrayLike<number>, width: number, height: number): Uint8Array {
  const inside = new Uint8Array(width * height);
  const corners = polygon.length / 2;
  for (let row = 0; row < height; row++) {
    const y = row + 0.5;
    const crossings: number[] = [];
    for (let i = 0, before = corners - 1; i < corners; before = i++) {
      const [x1, y1] = [polygon[2 * before]!, polygon[2 * before + 1]!];
      const [x2, y2] = [polygon[2 * i]!, polygon[2 * i + 1]!];
      if (y1 <= y !== y2 <= y) crossings.push(x1 + ((y - y1) / (y2 - y1)) * (x2 - x1));
    }
    crossings.sort((a, b) => a - b);
    for (let k = 0; k + 1 < crossings.length; k += 2) {
      const from = Math.max(Math.ceil(crossings[k]! - 0.5), 0);
      const to = Math.min(Math.ceil(crossings[k + 1]! - 0.5), width);
      if (to > from) inside.fill(1, row * width + from, row * width + to);
    }
  }
  return inside;
}

/**
 * Changes a selection, one byte a point, by the points (x, y, x, y, …) in a polygon of pixels; how many are selected.
 *
 * @param hidden points that cannot be selected, as they are not seen.
 */
export function select(
  selection: Uint8Array,
  points: Float32Array,
  view: View,
  polygon: ArrayLike<number>,
  mode: Mode,
  hidden?: (index: number) => boolean,
): number {
  const { width, height, scale } = view;
  const inside = bitmap(polygon, width, height);
  const [left, top] = [width / 2 - view.x * scale, height / 2 + view.y * scale];
  const box = boxOf(Float32Array.from(polygon)); // in pixels: most points are outside, which is told sooner
  const [first, last] = [Math.max(box.left, 0), Math.min(box.right, width)];
  const [highest, lowest] = [Math.max(box.bottom, 0), Math.min(box.top, height)];
  const value = mode === "remove" ? 0 : 1;
  if (mode === "replace") selection.fill(0);
  let selected = 0;
  for (let i = 0; i < selection.length; i++) {
    const column = points[2 * i]! * scale + left;
    const row = top - points[2 * i + 1]! * scale;
    if (column >= first && column < last && row >= highest && row < lowest && inside[(row | 0) * width + (column | 0)] === 1) {
      if (!hidden?.(i)) selection[i] = value;
    }
    selected += selection[i]!;
  }
  return selected;
}

/** A rectangle as a polygon. */
export function rectangle(left: number, top: number, right: number, bottom: number): number[] {
  return [left, top, right, top, right, bottom, left, bottom];
}
