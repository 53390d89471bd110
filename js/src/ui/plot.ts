// Shared helpers for line plots on a canvas.

/** Resizes and clears the canvas; coordinates are in CSS pixels from then on. */
export function clear(context: CanvasRenderingContext2D, width: number, height: number): void {
  const { canvas } = context;
  const ratio = devicePixelRatio || 1;
  const [w, t] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== t) [canvas.width, canvas.height] = [w, t];
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
}

/** A line through the points, broken before points in `breaks` and where y is not finite. */
export function line(context: CanvasRenderingContext2D, xs: number[], ys: number[], breaks = new Set<number>()): void {
  context.beginPath();
  let from: number | null = null; // first point of the segment
  const end = (next: number) => {
    if (from === next - 1) context.lineTo(xs[from]! + 1, ys[from]!); // an isolated point is drawn as a dot
    from = null;
  };
  for (const [i, x] of xs.entries()) {
    const finite = Number.isFinite(ys[i]);
    if (!finite || breaks.has(i)) end(i);
    if (!finite) continue;
    if (from !== null) context.lineTo(x, ys[i]!);
    else {
      context.moveTo(x, ys[i]!);
      from = i;
    }
  }
  end(xs.length);
  context.stroke();
}

const AROUND = 8; // points on either side that determine the local spacing
const FAR = 10; // a gap this many times larger than all gaps nearby is a hole

/** Indices of points after a gap, e.g. because the page was hidden or a cell took many steps at once. */
export function holes(steps: number[]): Set<number> {
  const gaps = steps.slice(1).map((step, i) => step - steps[i]!);
  const found = new Set<number>();
  for (const [i, gap] of gaps.entries()) {
    const near = [...gaps.slice(Math.max(i - AROUND, 0), i), ...gaps.slice(i + 1, i + 1 + AROUND)];
    if (near.length && gap > FAR * Math.max(...near)) found.add(i + 1);
  }
  return found;
}
