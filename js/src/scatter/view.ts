// Where a map is seen: positions on the map ⇄ pixels of the canvas. Pure functions.

/** On the map y points up, on the canvas down. */
export interface View {
  x: number; // of the map, in the middle of the canvas
  y: number;
  scale: number; // pixels to a unit of the map
  width: number; // of the canvas, in pixels
  height: number;
}

export interface Box {
  left: number;
  right: number;
  bottom: number;
  top: number;
}

const MARGIN = 0.05; // around all points, as a share of the canvas
const FARTHEST = 0.5; // scale, in units of that at which all points fit
const NEAREST = 1e5;

/** The smallest box around points (x, y, x, y, …); a unit square if there are none. */
export function boxOf(points: Float32Array): Box {
  if (!points.length) return { left: 0, right: 1, bottom: 0, top: 1 };
  const box = { left: Infinity, right: -Infinity, bottom: Infinity, top: -Infinity };
  for (let i = 0; i < points.length; i += 2) {
    const x = points[i]!;
    const y = points[i + 1]!;
    if (x < box.left) box.left = x;
    if (x > box.right) box.right = x;
    if (y < box.bottom) box.bottom = y;
    if (y > box.top) box.top = y;
  }
  return box;
}

/** The whole box, as large as it fits. */
export function fitted(box: Box, width: number, height: number): View {
  const across = Math.max(box.right - box.left, 1e-9);
  const up = Math.max(box.top - box.bottom, 1e-9);
  const scale = (1 - 2 * MARGIN) * Math.min(width / across, height / up);
  return { x: (box.left + box.right) / 2, y: (box.bottom + box.top) / 2, scale, width, height };
}

export function toPixel(view: View, x: number, y: number): [number, number] {
  return [(x - view.x) * view.scale + view.width / 2, (view.y - y) * view.scale + view.height / 2];
}

export function toMap(view: View, column: number, row: number): [number, number] {
  return [view.x + (column - view.width / 2) / view.scale, view.y - (row - view.height / 2) / view.scale];
}

/** The map moves with the pointer, by so many pixels. */
export function panned(view: View, right: number, down: number): View {
  return { ...view, x: view.x - right / view.scale, y: view.y + down / view.scale };
}

/** Larger by a factor; what is at a pixel stays there. */
export function zoomed(view: View, factor: number, column: number, row: number, all: View): View {
  const scale = Math.min(Math.max(view.scale * factor, all.scale * FARTHEST), all.scale * NEAREST);
  const [x, y] = toMap(view, column, row);
  return {
    ...view,
    scale,
    x: x - (column - view.width / 2) / scale,
    y: y + (row - view.height / 2) / scale,
  };
}

/** The same part of the map on a canvas of another size. */
export function resized(view: View, width: number, height: number): View {
  const ratio = Math.min(width / view.width, height / view.height);
  return { ...view, width, height, scale: view.scale * ratio };
}
