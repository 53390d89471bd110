// Points by where they are: a uniform grid of cells, for what is under the pointer.
import { boxOf, type Box } from "./view";

const IN_A_CELL = 4; // points, on average

export class Grid {
  private readonly box: Box;
  private readonly columns: number;
  private readonly rows: number;
  private readonly cell: number; // side
  private readonly first: Uint32Array; // of the points of each cell, in `order`
  private readonly order: Uint32Array; // indices of points, cell by cell

  /** Points (x, y, x, y, …), which must not change. */
  constructor(private readonly points: Float32Array) {
    const count = points.length / 2;
    this.box = boxOf(points);
    const across = Math.max(this.box.right - this.box.left, 1e-9);
    const up = Math.max(this.box.top - this.box.bottom, 1e-9);
    this.cell = Math.max(Math.sqrt((across * up * IN_A_CELL) / Math.max(count, 1)), Math.max(across, up) / 4096);
    this.columns = Math.floor(across / this.cell) + 1;
    this.rows = Math.floor(up / this.cell) + 1;
    this.first = new Uint32Array(this.columns * this.rows + 1);
    this.order = new Uint32Array(count);
    for (let i = 0; i < count; i++) this.first[this.cellOf(i) + 1]!++;
    for (let cell = 1; cell < this.first.length; cell++) this.first[cell]! += this.first[cell - 1]!;
    const next = this.first.slice();
    for (let i = 0; i < count; i++) this.order[next[this.cellOf(i)]!++] = i;
  }

  /**
   * The point nearest to a place, at most `radius` away; of several, the one with the lowest index. -1: there is none.
   *
   * @param allowed which points count; all by default.
   */
  nearest(x: number, y: number, radius: number, allowed?: (index: number) => boolean): number {
    let best = -1;
    let least = radius * radius;
    this.around({ left: x - radius, right: x + radius, bottom: y - radius, top: y + radius }, (i) => {
      const squared = (this.points[2 * i]! - x) ** 2 + (this.points[2 * i + 1]! - y) ** 2;
      if ((squared < least || (squared === least && (best < 0 || i < best))) && (!allowed || allowed(i))) {
        best = i;
        least = squared;
      }
    });
    return best;
  }

  /** Indices of the points in a box, its edges included, in rising order. */
  within(box: Box): number[] {
    const found: number[] = [];
    this.around(box, (i) => {
      const x = this.points[2 * i]!;
      const y = this.points[2 * i + 1]!;
      if (x >= box.left && x <= box.right && y >= box.bottom && y <= box.top) found.push(i);
    });
    return found.sort((a, b) => a - b);
  }

  /** Calls `visit` for all points of the cells that a box touches. */
  private around(box: Box, visit: (index: number) => void): void {
    const [left, right] = this.span(box.left - this.box.left, box.right - this.box.left, this.columns);
    const [bottom, top] = this.span(box.bottom - this.box.bottom, box.top - this.box.bottom, this.rows);
    for (let row = bottom; row <= top; row++) {
      const end = this.first[row * this.columns + right + 1]!;
      for (let k = this.first[row * this.columns + left]!; k < end; k++) visit(this.order[k]!);
    }
  }

  private span(low: number, high: number, cells: number): [number, number] {
    if (!(high >= 0 && low <= this.cell * cells)) return [1, 0]; // empty
    return [Math.max(Math.floor(low / this.cell), 0), Math.min(Math.floor(high / this.cell), cells - 1)];
  }

  private cellOf(i: number): number {
    const column = Math.floor((this.points[2 * i]! - this.box.left) / this.cell);
    const row = Math.floor((this.points[2 * i + 1]! - this.box.bottom) / this.cell);
    return Math.min(row, this.rows - 1) * this.columns + Math.min(column, this.columns - 1);
  }
}
