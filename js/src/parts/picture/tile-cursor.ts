// Pointer and keyboard on the picture: selects, describes and enlarges a tile.
import type { Enlarge } from "../../protocol";
import { h, setText } from "../../ui/dom";
import { unitText } from "../../ui/format";
import type { Tile } from "./layout";
import { kindOf, modelOf } from "./models";
import type { Picture } from "./picture";

const PATIENCE = 2000; // ms in which a tile that is to be enlarged may still appear

export interface CursorActions {
  announce(text: string): void;
  highlight(column: number | null): void;
  /** A tile of this column was enlarged; null: none is any more. */
  enlarged(column: number | null): void;
  /** Opens the page of a column's unit. */
  about(column: number): void;
}

type Hit = { tile: Tile; x?: number; y?: number };

export class TileCursor {
  readonly ring = h("div.ldam-ring", { hidden: true });
  /** A fixed line of text below the picture, rather than a tooltip that would cover the tile. */
  readonly readout = h("div.ldam-readout", { "aria-hidden": "true" });
  #picture: Picture;
  #announce: (text: string) => void;
  #highlight: (column: number | null) => void;
  #enlarged: (column: number | null) => void;
  #about: (column: number) => void;
  #pointer: { x: number; y: number } | null = null;
  #line = 0;
  #column = 0;
  #wanted: (Enlarge & { until: number }) | null = null; // a tile that is not there yet

  constructor(picture: Picture, signal: AbortSignal, on: CursorActions) {
    this.#picture = picture;
    this.#announce = on.announce;
    this.#highlight = on.highlight;
    this.#enlarged = on.enlarged;
    this.#about = on.about;
    picture.onChange = () => this.update();
    picture.element.append(this.ring);
    const { canvas } = picture;
    const point = (event: MouseEvent) => {
      this.#pointer = { x: event.offsetX, y: event.offsetY };
      this.update();
    };
    canvas.addEventListener("pointermove", point, { signal });
    canvas.addEventListener(
      "pointerleave",
      () => {
        this.#pointer = null;
        this.update();
      },
      { signal },
    );
    canvas.addEventListener("click", (event) => (point(event), this.#click()), { signal });
    canvas.addEventListener("keydown", this.#key, { signal });
    for (const event of ["focus", "blur"]) canvas.addEventListener(event, () => this.update(), { signal });
  }

  /** Enlarges the tile of a chain, or its average if samples are hidden, as soon as it is there; null: goes back. */
  show(wanted: Enlarge): void {
    this.#wanted = { ...wanted, until: performance.now() + PATIENCE };
    this.update();
  }

  #tryWanted(): void {
    const wanted = this.#wanted;
    if (!wanted) return;
    const { content } = this.#picture;
    const own = content.lines().map((line, i) => ({ ...line, i })).filter(({ pane }) => !content.models.several || modelOf({ name: pane }) === wanted.model);
    const row = content.models.several ? 0 : wanted.chain;
    const column = content.neurons.findIndex(({ key }) => key === wanted.neuron);
    const samples = own.filter(({ pane }) => kindOf(pane) === "sample");
    const line = samples.length ? samples.find((each) => each.row === row) : own.find(({ pane }) => kindOf(pane) === "average");
    const found = wanted.neuron === null || (line && column >= 0);
    if (found || performance.now() > wanted.until) this.#wanted = null;
    if (!found) return;
    if (wanted.neuron === null) return this.#leave();
    [this.#line, this.#column] = [line!.i, column];
    this.#enlarge();
  }

  /** Picture or pointer changed: updates ring, readout and the highlight in the trace. */
  update(): void {
    this.#tryWanted();
    const hit = this.#hit();
    const focused = hit ?? this.#focused();
    this.ring.hidden = !focused || this.#picture.zoom !== null;
    if (focused) {
      const { x, y, width, height } = this.#picture.boxOf(focused.tile);
      const { style } = this.ring;
      style.transform = `translate(${x - 3}px, ${y - 3}px)`;
      [style.width, style.height] = [`${width + 6}px`, `${height + 6}px`];
    }
    this.#enlarged(this.#picture.zoom?.column ?? null);
    this.#highlight(focused?.tile.column ?? this.#picture.zoom?.column ?? null);
    setText(this.readout, focused ? this.#describe(focused) : this.#hint());
  }

  #hit(): Hit | null {
    return this.#pointer && this.#picture.tileAt(this.#pointer.x, this.#pointer.y);
  }

  #focused(): Hit | null {
    const { canvas, layout } = this.#picture;
    // `activeElement` of the shadow root, if there is one: the document only sees its host.
    const focused = (canvas.getRootNode() as Document | ShadowRoot).activeElement === canvas;
    if (!focused || !layout || this.#picture.zoom) return null;
    const tile = layout.tiles.find(({ line, column }) => line === this.#line && column === this.#column) ?? layout.tiles[0];
    return tile ? { tile } : null;
  }

  #describe({ tile, x, y }: Hit): string {
    const unit = this.#picture.content.neurons[tile.column];
    const [first, second] = this.#picture.content.rowText(tile.pane, tile.row);
    const parts = [unit ? unitText(unit) : "", [first, second].filter(Boolean).join(", ")];
    if (x !== undefined && y !== undefined) {
      parts.push(this.#picture.content.pixelText(tile, y, x), this.#picture.content.rangeText(tile));
    } else {
      parts.push(this.#picture.content.activationText(tile));
    }
    parts.push(this.#picture.content.standingText(tile), this.#picture.content.scoreText(tile));
    if (!this.#picture.content.burnedIn(tile)) parts.push("not burned in yet");
    return parts.filter(Boolean).join(" · ");
  }

  #hint(): string {
    if (!this.#picture.painted) return "";
    return this.#picture.zoom ? "click or Escape goes back · arrow keys show neighbours" : "hover reads a pixel · click or Enter enlarges a tile";
  }

  #click(): void {
    if (this.#picture.zoom) return this.#leave();
    const hit = this.#hit();
    if (!hit) return;
    [this.#line, this.#column] = [hit.tile.line, hit.tile.column];
    this.#enlarge();
  }

  #enlarge(): void {
    const line = this.#picture.content.lines()[this.#line];
    if (line) this.#picture.enlarge({ ...line, column: this.#column });
    this.#say();
  }

  #leave(): void {
    this.#picture.enlarge(null);
    this.update();
  }

  #say(): void {
    const line = this.#picture.content.lines()[this.#line];
    const unit = this.#picture.content.neurons[this.#column];
    if (!line || !unit) return;
    const tile = { ...line, column: this.#column };
    const parts = [unitText(unit), ...this.#picture.content.rowText(line.pane, line.row), this.#picture.content.activationText(tile)];
    parts.push(this.#picture.content.standingText(tile), this.#picture.content.scoreText(tile));
    this.#announce(parts.filter(Boolean).join(", "));
  }

  #key = (event: KeyboardEvent): void => {
    if (event.altKey || event.ctrlKey || event.metaKey || !this.#picture.layout) return;
    const columns = this.#picture.content.neurons.length;
    const lines = this.#picture.content.lines().length;
    if (!columns || !lines) return;
    const block = this.#picture.layout.perBlock;
    const wraps = !this.#picture.zoom && columns > 1; // up and down continue into the next block of columns
    // The rows of a single neuron are side by side.
    const key = columns > 1 ? event.key : event.key.replace("Left", "Up").replace("Right", "Down");
    switch (key) {
      case "ArrowLeft":
        this.#column = Math.max(this.#column - 1, 0);
        break;
      case "ArrowRight":
        this.#column = Math.min(this.#column + 1, columns - 1);
        break;
      case "ArrowUp":
        if (this.#line > 0) this.#line--;
        else if (wraps && this.#column >= block) [this.#line, this.#column] = [lines - 1, this.#column - block];
        break;
      case "ArrowDown":
        if (this.#line < lines - 1) this.#line++;
        else if (wraps && this.#column + block < columns) [this.#line, this.#column] = [0, this.#column + block];
        break;
      case "Home":
        this.#column = 0;
        break;
      case "End":
        this.#column = columns - 1;
        break;
      case "u":
        event.preventDefault();
        return this.#about(this.#column);
      case "Enter":
      case " ":
        event.preventDefault();
        return this.#picture.zoom ? this.#leave() : this.#enlarge();
      case "Escape":
        if (!this.#picture.zoom) return; // it may leave a larger view
        event.preventDefault();
        return this.#leave();
      default:
        return;
    }
    event.preventDefault(); // do not scroll the page
    this.#pointer = null; // the keyboard takes over
    this.#line = Math.min(this.#line, lines - 1);
    this.#column = Math.min(this.#column, columns - 1);
    if (this.#picture.zoom) this.#enlarge();
    else this.#say();
    this.update();
  };
}
