// What drawings of lines on a canvas have in common.

/** Sized to so many CSS pixels and empty: what is drawn from now on is in CSS pixels. */
export function clear(context: CanvasRenderingContext2D, width: number, height: number): void {
  const { canvas } = context;
  const ratio = devicePixelRatio || 1;
  const [w, t] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== t) [canvas.width, canvas.height] = [w, t];
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
}

/** A line through the points; it is broken before points in `breaks` and where y is not finite. */
export function line(context: CanvasRenderingContext2D, xs: number[], ys: number[], breaks = new Set<number>()): void {
  context.beginPath();
  let from: number | null = null; // the first point of the piece
  const end = (next: number) => {
    if (from === next - 1) context.lineTo(xs[from]! + 1, ys[from]!); // a point alone is a dot, not nothing
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

const AROUND = 8; // points on either side that tell how far apart points are there
const FAR = 10; // times as far apart as any of them: in between, nothing was seen

/** Points before which nothing was seen for long: the page was hidden, say, or a cell took many steps at once. */
export function holes(steps: number[]): Set<number> {
  const gaps = steps.slice(1).map((step, i) => step - steps[i]!);
  const found = new Set<number>();
  for (const [i, gap] of gaps.entries()) {
    const near = [...gaps.slice(Math.max(i - AROUND, 0), i), ...gaps.slice(i + 1, i + 1 + AROUND)];
    if (near.length && gap > FAR * Math.max(...near)) found.add(i + 1);
  }
  return found;
}
