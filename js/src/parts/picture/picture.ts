// The picture: tiles on one canvas, with names and activations as text over it.
import type { FilledFrame } from "../../connection";
import type { Frame, Setup, Show, State } from "../../protocol";
import { h, throttle } from "../../ui/dom";
import { formatShort, unitText } from "../../ui/format";
import { mean } from "../../ui/mean";
import type { Part } from "../part";
import { Content } from "./content";
import { arrange, HEAD, type Cell, type Layout, type Room, type Tile } from "./layout";
import { kindOf, MODEL_LINE, sortBeside } from "./models";
import { headTile, Overlay, standsBelow } from "./overlay";
import { PaneImage } from "./pane-image";
import { SCORE_LINE } from "./scores";
import { STANDING_LINE } from "./standing";

const GRID_HEIGHT = 490; // CSS pixels, preferred maximum height of a grid of small pictures
const COMPARED_HEIGHT = 560; // the same with several models, which have more rows
const PHOTO_GRID_HEIGHT = 640;
const ZOOM_HEIGHT = 300; // CSS pixels, minimum for an enlarged tile
const NAME_LINE = 15; // CSS pixels, first line of a head

export class Picture implements Part {
  /** Role application: screen readers pass arrow keys to an application, but not to an image. */
  readonly canvas = h("canvas.ldam-canvas", { role: "application", "aria-roledescription": "picture", tabindex: 0 });
  readonly element: HTMLElement;
  readonly content = new Content();
  /** Called after any painting or relabelling: the content under the pointer may have changed. */
  onChange: () => void = () => {};
  layout: Layout | null = null;
  zoom: Cell | null = null;

  #context = this.canvas.getContext("2d")!;
  #overlay = new Overlay(this.content);
  #next: Setup | null = null; // waiting for its first frame, so that names and pictures change together
  #width = 0;
  #ratio = 1;
  #key = ""; // the inputs of the current layout
  #gridHeight = 0;
  #room: number | null = null;
  #column: number | null = null; // the only neuron shown, with its rows side by side; null: one column per neuron
  #dark = false;
  #label = throttle(1000, () => this.#updateLabel());
  #texts = throttle(200, () => this.#updateTexts());
  #scoreTexts = throttle(250, () => {
    this.#overlay.updateScores();
    this.onChange();
  });

  constructor() {
    this.element = h("div.ldam-stage", {}, this.canvas, this.#overlay.element);
    this.canvas.setAttribute("aria-label", "samples");
  }

  get painted(): boolean {
    return this.content.setup !== null;
  }

  setup(setup: Setup): void {
    if (this.content.setup?.gen === setup.gen) {
      this.#adopt(setup);
      this.content.prune();
      this.#draw();
    } else {
      this.#next = setup;
    }
    this.#label.now();
  }

  state({ discriminator, show, display }: Pick<State, "discriminator" | "show" | "display">): void {
    const now = this.#next ?? this.content.setup;
    if (display && now) {
      this.#amend({ ...now, display });
      if (!this.#next) this.#overlay.outline();
      this.#label();
    }
    if (show !== undefined) this.#showRows(show);
    const setup = this.#next ?? this.content.setup;
    if (discriminator === undefined || !setup || (discriminator?.form ?? null) === (setup.discriminator?.form ?? null)) return;
    this.#amend({ ...setup, discriminator });
    if (!this.#next) this.#draw();
  }

  frame({ score, standing, gen }: Pick<Frame, "score" | "standing" | "gen">): void {
    if (score !== undefined) {
      this.content.scores.take(score, gen);
      this.#scoreTexts();
      this.#label();
    }
    if (standing !== undefined) {
      this.content.standings.take(standing, gen);
      this.#texts();
    }
  }

  theme(dark: boolean): void {
    this.#dark = dark;
    this.#key = "";
    for (const image of this.content.panes.values()) image.dark = dark;
    this.#draw();
  }

  close(): void {
    this.#label.cancel();
    this.#texts.cancel();
    this.#scoreTexts.cancel();
  }

  /** New width available for the picture. */
  resize(width: number): void {
    if (width === this.#width || width <= 0) return;
    this.#width = width;
    this.#draw();
  }

  /** Height for the picture in a larger view, in CSS pixels; null: as usual. */
  set room(height: number | null) {
    if (height === this.#room) return;
    this.#room = height;
    this.#draw();
  }

  /** Whether receptive fields are outlined in small tiles, too. */
  set outlined(outlined: boolean) {
    this.#overlay.outlined = outlined;
  }

  /** The model whose rows are shown in place of all models'; null: each model has its own rows. */
  set blink(model: number | null) {
    if (model === this.content.blink) return;
    this.content.blink = model;
    this.#draw();
    this.#updateTexts();
  }

  paint(frame: FilledFrame): void | Promise<void> {
    const { content } = this;
    const fresh = this.#next !== null;
    const panes = fresh ? new Map<string, PaneImage>() : content.panes;
    const loads = frame.panes.map((pane) => {
      const image = panes.get(pane.name) ?? new PaneImage(pane, this.#dark);
      panes.set(pane.name, image);
      return image.load(pane);
    });
    const done = () => {
      if (fresh && this.#next?.gen !== frame.gen) return; // superseded by another setup during decoding
      [content.panes, content.frame] = [panes, frame];
      for (const [name, image] of panes) image.age = frame.panes.some((pane) => pane.name === name) ? 0 : image.age + 1;
      if (fresh) this.#adopt(this.#next!);
      else content.models.take(frame);
      this.#draw(!content.prune() && !fresh);
      this.#label();
      this.#texts();
    };
    return loads.some(Boolean) ? Promise.all(loads).then(done) : done();
  }

  /** Updates the label with the newest activations after play or pause. */
  relabel(): void {
    this.#label.now();
  }

  /** Enlarges one tile, with its counterparts in the other panes; null: shows all tiles again. */
  enlarge(cell: Cell | null): void {
    this.zoom = cell;
    this.element.classList.toggle("ldam-zoomed", cell !== null);
    this.#draw();
  }

  /** The tile under a point in CSS pixels, or the top tile of the column whose head is there. */
  tileAt(x: number, y: number): { tile: Tile; y: number; x: number } | { tile: Tile } | null {
    if (!this.layout) return null;
    const [dx, dy] = [x * this.#ratio, y * this.#ratio];
    for (const tile of this.layout.tiles) {
      const [inX, inY] = [dx - tile.x, dy - tile.y];
      if (inX < 0 || inY < 0 || inX >= tile.width || inY >= tile.height) continue;
      const { height, width } = this.content.pixels;
      return { tile, x: Math.floor((inX * width) / tile.width), y: Math.floor((inY * height) / tile.height) };
    }
    const head = this.layout.heads.findIndex((box) => x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height);
    const tile = head < 0 ? undefined : headTile(this.layout, this.#column, head);
    return tile ? { tile } : null;
  }

  /** A tile's box in CSS pixels. */
  boxOf(tile: Tile): { x: number; y: number; width: number; height: number } {
    const r = this.#ratio;
    return { x: tile.x / r, y: tile.y / r, width: tile.width / r, height: tile.height / r };
  }

  /** Other rows were chosen: the current ones stay until there is a replacement. */
  #showRows(show: Show): void {
    const setup = this.#next ?? this.content.setup;
    if (!setup || setup.show === show) return;
    this.#amend({ ...setup, show });
    if (this.content.prune()) this.#draw();
  }

  #amend(setup: Setup): void {
    if (this.#next) this.#next = setup;
    else this.content.setup = setup;
  }

  #adopt(setup: Setup): void {
    const { content } = this;
    const zoomed = this.zoom && content.neurons[this.zoom.column]?.key;
    content.setup = setup;
    content.models.setup(setup);
    if (content.frame?.gen === setup.gen) content.models.take(content.frame);
    this.#next = null;
    this.#key = "";
    if (this.zoom) {
      const column = setup.neurons.findIndex(({ key }) => key === zoomed);
      this.enlarge(column < 0 ? null : { ...this.zoom, column });
    }
  }

  /** `news`: redraw only the panes that have just arrived. */
  #draw(news = false): void {
    if (!this.content.setup || !this.#width || !this.content.panes.size) return;
    const rearranged = this.#arrange();
    const { tiles, smooth } = this.layout!;
    const context = this.#context;
    context.imageSmoothingEnabled = smooth;
    for (const { pane, row, column, x, y, width: w, height: h } of tiles) {
      const image = this.content.image(pane)!;
      const [, , height, width] = image.pane.shape; // other bands or a crop may not have reached all panes yet
      if (news && !rearranged && image.age > 0) continue;
      context.drawImage(image.canvas, column * width, row * height, width, height, x, y, w, h);
    }
    this.onChange();
  }

  /** Updates the layout; true: it changed, and the canvas is now empty. */
  #arrange(): boolean {
    const { content, zoom } = this;
    const lines = content.lines();
    const size = content.pixels;
    const columns = content.neurons.length;
    const { discriminator, real_images } = content.setup!;
    const { names, several } = content.models;
    const key = JSON.stringify([this.#width, devicePixelRatio, lines, columns, size, zoom, discriminator?.form, real_images, names, this.#room]);
    if (key === this.#key) return false;
    this.#key = key;
    this.#ratio = devicePixelRatio || 1;
    const photo = size.width > 88 || size.height > 88;
    const gutter = several ? (this.#width < 460 ? 90 : 94) : 78; // legends need more space
    const budget = photo ? PHOTO_GRID_HEIGHT : several ? COMPARED_HEIGHT : GRID_HEIGHT;
    const room: Room = { width: this.#width, ratio: this.#ratio, gutter, budget: this.#room ?? budget };
    if (this.#room) Object.assign(room, { large: true, largest: this.#room });
    room.head = HEAD + (discriminator ? SCORE_LINE : 0); // reserved before scores arrive, so that nothing moves
    this.#column = zoom?.column ?? (columns === 1 ? 0 : null);
    if (standsBelow(content, this.#column)) room.head += STANDING_LINE;
    if (this.#column === null) {
      if (several) room.head += names.length * MODEL_LINE - NAME_LINE;
      this.layout = arrange(lines, columns, size, room);
    } else {
      const shown = lines.map((line, i) => ({ ...line, line: i, column: this.#column! }));
      // The chosen tile, and next to it the same neuron in every other pane.
      let cells = zoom
        ? shown.filter(({ pane, row }) => (kindOf(pane) === kindOf(zoom.pane) ? row === zoom.row : row === 0))
        : shown;
      if (zoom && several) cells = sortBeside(cells, kindOf(zoom.pane));
      room.large ||= several;
      if (zoom && !this.#room) room.budget = Math.max(this.#gridHeight, several ? GRID_HEIGHT : ZOOM_HEIGHT);
      this.layout = arrange([{ pane: "", row: 0 }], cells.length, size, room);
      this.layout.tiles = this.layout.tiles.map((tile, i) => ({ ...tile, ...cells[i]! }));
    }
    if (zoom) this.layout.height = Math.max(this.layout.height, this.#gridHeight); // so that nothing below moves
    else this.#gridHeight = this.layout.height;
    this.#fitCanvas();
    this.#overlay.build(this.layout, this.#column, this.#ratio, this.#dark);
    this.onChange();
    return true;
  }

  #fitCanvas(): void {
    const { width, height, tiles, smooth } = this.layout!;
    const ratio = this.#ratio;
    this.canvas.width = Math.round(width * ratio); // also clears it
    this.canvas.height = Math.ceil(height * ratio);
    this.canvas.style.width = `${this.canvas.width / ratio}px`;
    this.canvas.style.height = `${this.canvas.height / ratio}px`;
    this.canvas.style.imageRendering = smooth ? "auto" : "pixelated";
    // A thin border separates a black picture from a dark page. Its colour is the style sheet's `color`.
    this.#context.fillStyle = getComputedStyle(this.canvas).color;
    for (const { x, y, width: w, height: h } of tiles) this.#context.fillRect(x - 1, y - 1, w + 2, h + 2);
  }

  #updateTexts(): void {
    this.#overlay.update();
    this.onChange();
  }

  #updateLabel(): void {
    const { content } = this;
    const setup = this.#next ?? content.setup;
    if (!setup) return;
    const { neurons, layer } = setup;
    const current = this.#next === null && content.frame?.gen === setup.gen;
    const each = neurons.map((unit, i) => {
      const now = current ? (content.frame!.activation[i] ?? []) : [setup.trace.activation.at(-1)?.[i] ?? NaN];
      const value = (activation: number) => (Number.isNaN(activation) ? "" : formatShort(activation));
      const { names, several } = content.models;
      const values = several && current ? names.map((name, k) => `${name} ${value(content.models.activation(k, i, now))}`.trim()).join(", ") : value(mean(now));
      return [unitText(unit), values, content.columnScore(setup, i)].filter(Boolean).join(" ");
    });
    const count = neurons.length === 1 ? "1 neuron" : `${neurons.length} neurons`;
    const stretched = setup.display?.contrast === "stretched" ? ", each tile stretched to its own darkest and lightest pixel" : "";
    this.canvas.setAttribute("aria-label", `samples of layer ${layer}, ${count}${stretched}: ${each.join("; ")}`);
  }
}
