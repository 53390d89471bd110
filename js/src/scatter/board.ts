// The canvas of the map: points, thumbnails, and what is drawn over them; how it looks, not what is said about it.
import { h } from "../ui/dom";
import { css, palette, type Rgb } from "./colours";
import { Grid } from "./grid";
import { ChainTrails, cross, type Mark, outline, ring } from "./overlay";
import { paint, spacing, type Style, styleOf } from "./painter";
import type { Thumbnails } from "./thumbnails";
import { type Box, boxOf, fitted, panned, resized, toMap, toPixel, type View, zoomed } from "./view";

const PICTURES_FROM = 24; // CSS pixels between points
const MOST_PICTURES = 700; // drawn at once
const LARGEST_PICTURE = 72; // CSS pixels
const SETTLES = 150; // ms without a change of view after which densities of many points are drawn
const MANY = 100_000; // points
const REACH = 9; // CSS pixels: the pointer is at a point

export class Board {
  readonly canvas = h("canvas.ldam-sc-map", { role: "application", tabindex: 0, "aria-label": "map" });
  readonly over = h("canvas.ldam-sc-over", { "aria-hidden": "true" });
  readonly chains = new ChainTrails();
  points: Float32Array = new Float32Array(0);
  levels: Uint8Array = new Uint8Array(0);
  selection: Uint8Array = new Uint8Array(0);
  selected = 0;
  view: View;
  mark: Mark | null = null; // a point to ring
  shape: number[] = []; // in progress, CSS pixels
  crossed = false; // the middle is marked
  style: Style | "pictures" = "dots";
  #box: Box = boxOf(this.points);
  #apart = 1; // between points, on the map
  #all: View;
  #own = false; // the user has moved the view
  #type: "one" | "classes" | "numbers" = "one";
  #palette = palette("one", false);
  #dark = false;
  #background: Rgb = [255, 255, 255];
  #grid: Grid | null = null;
  #scheduled = 0;
  #everything = false;
  #moving = false;
  #settle: ReturnType<typeof setTimeout> | undefined;
  #shown: Uint8Array;
  #thumbnails: Thumbnails;
  #pictures = false;

  /** @param shown of each level: 0 hides its points. */
  constructor(shown: Uint8Array, thumbnails: Thumbnails) {
    this.#shown = shown;
    this.#thumbnails = thumbnails;
    this.view = this.#all = fitted(this.#box, 300, 300);
  }

  get ratio(): number {
    return this.view.width / Math.max(parseFloat(this.canvas.style.width) || this.view.width, 1);
  }

  set pictures(pictures: boolean) {
    this.#pictures = pictures;
    this.repaint();
  }

  // ---- what is shown ---------------------------------------------------------------------------------------------------

  move(points: Float32Array): void {
    this.points = points;
    if (this.levels.length !== points.length / 2) this.levels = new Uint8Array(points.length / 2);
    if (this.selection.length !== points.length / 2) this.select(new Uint8Array(points.length / 2), 0);
    this.#grid = null;
    this.#box = boxOf(points);
    this.#apart = spacing(this.#box.right - this.#box.left, this.#box.top - this.#box.bottom, points.length / 2);
    this.#measure();
    this.repaint();
  }

  colour(levels: Uint8Array, type: "one" | "classes" | "numbers"): void {
    this.levels = levels;
    this.#type = type;
    this.#palette = palette(type, this.#dark);
    this.repaint();
  }

  select(selection: Uint8Array, selected: number): void {
    this.selection = selection;
    this.selected = selected;
    this.repaint();
  }

  set dark(dark: boolean) {
    this.#dark = dark;
    this.#background = dark ? [24, 27, 32] : [255, 255, 255];
    const surface = getComputedStyle(this.canvas).backgroundColor.match(/^rgba?\((\d+), (\d+), (\d+)\)$/);
    if (surface) this.#background = surface.slice(1, 4).map(Number) as Rgb;
    this.#palette = palette(this.#type, dark);
    this.repaint();
  }

  resize(width: number, height: number): void {
    const ratio = window.devicePixelRatio || 1;
    const [wide, high] = [Math.max(Math.round(width * ratio), 1), Math.max(Math.round(height * ratio), 1)];
    for (const canvas of [this.canvas, this.over]) {
      if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    this.view = resized(this.view, wide, high);
    this.#measure();
    this.repaint();
  }

  /** The view of the whole map, which is that shown until the user moves it. */
  #measure(): void {
    this.#all = fitted(this.#box, this.view.width, this.view.height);
    if (!this.#own) this.view = this.#all;
  }

  // ---- where it is seen ------------------------------------------------------------------------------------------------

  pan(right: number, down: number): void {
    this.#see(panned(this.view, right * this.ratio, down * this.ratio));
  }

  zoom(factor: number, x: number, y: number): void {
    this.#see(zoomed(this.view, factor, x * this.ratio, y * this.ratio, this.#all));
  }

  fit(): void {
    this.#own = false;
    this.#see(this.#all);
    this.#own = false;
  }

  #see(view: View): void {
    this.#own = true;
    this.view = view;
    this.#moving = true;
    clearTimeout(this.#settle);
    this.#settle = setTimeout(() => {
      this.#moving = false;
      if (this.points.length / 2 > MANY) this.repaint();
    }, SETTLES);
    this.repaint();
  }

  // ---- what is where ---------------------------------------------------------------------------------------------------

  hidden = (index: number): boolean => !this.#shown[this.levels[index]!];

  /** The point at CSS pixels; null: the one nearest to the middle, however far. -1: none. */
  at(place: [x: number, y: number] | null): number {
    this.#grid ??= new Grid(this.points);
    const [column, row] = place ? [place[0] * this.ratio, place[1] * this.ratio] : [this.view.width / 2, this.view.height / 2];
    const [x, y] = toMap(this.view, column, row);
    const most = place ? REACH * this.ratio : Math.hypot(this.view.width, this.view.height);
    const allowed = (index: number) => !this.hidden(index);
    for (let radius = place ? most : 8 * this.ratio; ; radius = Math.min(2 * radius, most)) {
      const found = this.#grid.nearest(x, y, radius / this.view.scale, allowed);
      if (found >= 0 || radius >= most) return found;
    }
  }

  /** The chain at CSS pixels; null: the one in view that is nearest to the middle. -1: none. */
  chainAt(place: [x: number, y: number] | null): number {
    if (place) return this.chains.at(this.view, place[0] * this.ratio, place[1] * this.ratio, this.ratio);
    const [column, row] = [this.view.width / 2, this.view.height / 2];
    return this.chains.at(this.view, column, row, this.ratio, Math.hypot(column, row));
  }

  place(index: number): Mark {
    return { x: this.points[2 * index]!, y: this.points[2 * index + 1]! };
  }

  /** Where a point is, in CSS pixels. */
  pixel(index: number): [x: number, y: number] {
    const { x, y } = this.place(index);
    const [column, row] = toPixel(this.view, x, y);
    return [column / this.ratio, row / this.ratio];
  }

  // ---- painting --------------------------------------------------------------------------------------------------------

  /** Everything, in the next animation frame. */
  repaint(): void {
    this.#everything = true;
    this.redraw();
  }

  /** What is over the points, in the next animation frame. */
  redraw(): void {
    this.#scheduled ||= requestAnimationFrame(() => this.paint());
  }

  /** Now. */
  paint(): void {
    cancelAnimationFrame(this.#scheduled);
    this.#scheduled = 0;
    if (this.#everything) this.#paintPoints();
    this.#everything = false;
    this.#drawOver();
  }

  close(): void {
    cancelAnimationFrame(this.#scheduled);
    clearTimeout(this.#settle);
  }

  /** What is seen, as a PNG. */
  png(take: (content: Blob) => void): void {
    this.paint();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [this.view.width, this.view.height];
    const context = canvas.getContext("2d")!;
    context.drawImage(this.canvas, 0, 0);
    context.drawImage(this.over, 0, 0);
    canvas.toBlob((content) => content && take(content), "image/png");
  }

  #paintPoints(): void {
    const context = this.canvas.getContext("2d")!;
    const { width, height } = this.view;
    const image = context.createImageData(width, height);
    const apart = this.#apart * this.view.scale;
    const found = styleOf(apart, this.#count(), this.ratio);
    this.style = found.style === "density" && this.#moving && this.points.length / 2 > MANY ? "dots" : found.style;
    const scene = {
      points: this.points, levels: this.levels, palette: this.#palette, shown: this.#shown, selection: this.selection, selected: this.selected, background: this.#background,
    }; // prettier-ignore
    paint(new Uint32Array(image.data.buffer), this.view, scene, this.style, found.radius);
    context.putImageData(image, 0, 0);
    this.#drawPictures(context, apart);
  }

  /** Points in view, or an upper bound. */
  #count(): number {
    const { width, height, scale } = this.view;
    const share = (width * height) / scale ** 2 / Math.max((this.#box.right - this.#box.left) * (this.#box.top - this.#box.bottom), 1e-30);
    return (this.points.length / 2) * Math.min(share * 8, 1);
  }

  #drawPictures(context: CanvasRenderingContext2D, apart: number): void {
    if (!this.#pictures || apart < PICTURES_FROM * this.ratio) return this.#thumbnails.want("map", []);
    const side = Math.min(apart * 0.9, LARGEST_PICTURE * this.ratio);
    const seen = this.inView(side);
    if (seen.length > MOST_PICTURES) return this.#thumbnails.want("map", []);
    this.style = "pictures";
    this.#thumbnails.want("map", seen);
    context.imageSmoothingEnabled = false;
    const chosen = (index: number) => !this.selected || this.selection[index] === 1;
    for (const index of seen) if (!chosen(index)) this.#drawPicture(context, index, side, 0.3);
    for (const index of seen) if (chosen(index)) this.#drawPicture(context, index, side, 1);
  }

  #drawPicture(context: CanvasRenderingContext2D, index: number, side: number, opacity: number): void {
    const found = this.#thumbnails.get(index);
    if (!found?.image.tiles) return;
    const { width, height } = found.image;
    const scale = side / Math.max(width, height);
    const [wide, high] = [width * scale, height * scale];
    const { x, y } = this.place(index);
    const [column, row] = toPixel(this.view, x, y);
    const [left, top] = [Math.round(column - wide / 2), Math.round(row - high / 2)];
    const level = this.levels[index]!;
    context.fillStyle = css(this.#background);
    context.fillRect(left, top, wide, high);
    context.globalAlpha = opacity;
    found.image.draw(context, found.tile, left, top, wide, high);
    context.lineWidth = Math.max(2 * this.ratio, side / 20);
    context.strokeStyle = css(Array.from(this.#palette.subarray(3 * level, 3 * level + 3)) as Rgb);
    context.strokeRect(left, top, wide, high);
    context.globalAlpha = 1;
  }

  /** Points in view that are not hidden, and some around it. */
  inView(margin = 0): number[] {
    const { width, height } = this.view;
    const [left, top] = toMap(this.view, -margin, -margin);
    const [right, bottom] = toMap(this.view, width + margin, height + margin);
    const found: number[] = [];
    for (let i = 0; i < this.levels.length; i++) {
      const [x, y] = [this.points[2 * i]!, this.points[2 * i + 1]!];
      if (x >= left && x <= right && y >= bottom && y <= top && !this.hidden(i)) found.push(i);
    }
    return found;
  }

  #drawOver(): void {
    const context = this.over.getContext("2d")!;
    const { ratio } = this;
    const [ink, paper] = this.#dark ? ["#fff", "#000"] : ["#000", "#fff"];
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.over.width, this.over.height);
    this.chains.draw(context, this.view, ratio, this.#dark);
    if (this.shape.length) outline(context, this.shape.map((each) => each * ratio), ratio, ink); // prettier-ignore
    if (this.crossed) cross(context, this.view, ratio, ink, paper);
    if (this.mark) ring(context, this.view, this.mark, ratio, ink, paper);
  }
}
