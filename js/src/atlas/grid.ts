// The units of a layer as tiles: only those in sight are in the page, however many there are.
import { h, setText } from "../ui/dom";
import { MARKS, type State } from "./table";

const GAP = 8; // CSS pixels between tiles
const CAPTION = 24; // CSS pixels of the text below a picture
const BEYOND = 2; // rows in the page above and below those in sight

/** What one tile shows. */
export interface TileText {
  name: string;
  value: string;
  state: State;
  href: string | null; // null: there are no addresses here
}

export class Tile {
  readonly element = h("li.ldam-at-tile");
  readonly control: HTMLAnchorElement | HTMLButtonElement;
  readonly pictures = h("span.ldam-at-pictures");
  #placed = "";
  #number = h("b");
  #name = h("span.ldam-at-name");
  #value = h("span.ldam-at-value");
  #mark = h("span.ldam-at-mark");

  constructor(linked: boolean) {
    const children = [this.pictures, h("span.ldam-at-caption", {}, this.#number, " ", this.#value, " ", this.#name), this.#mark] as const;
    this.control = linked ? h("a.ldam-at-unit", { tabindex: -1 }, ...children) : h("button.ldam-at-unit", { type: "button", tabindex: -1 }, ...children);
    this.element.append(this.control);
  }

  /** Where it is, and which of how many; nothing is written that is so already. */
  place(x: number, y: number, width: number, height: number, at: number, count: number): void {
    const placed = `${x} ${y} ${width} ${height} ${count}`;
    if (placed === this.#placed) return;
    this.#placed = placed;
    this.element.style.cssText = `transform: translate(${x}px, ${y}px); width: ${width}px; height: ${height}px`;
    this.element.setAttribute("aria-setsize", String(count));
    this.element.setAttribute("aria-posinset", String(at + 1));
  }

  write(unit: number, { name, value, state, href }: TileText): void {
    setText(this.#number, String(unit));
    setText(this.#name, name);
    setText(this.#value, value);
    setText(this.#mark, MARKS[state]);
    this.#mark.hidden = !MARKS[state];
    if (this.element.dataset["state"] !== state) this.element.dataset["state"] = state;
    if (href !== null && this.control.getAttribute("href") !== href) this.control.setAttribute("href", href);
  }
}

export interface GridHandlers {
  /** A tile has come into the page, or shows another unit, or is to be painted again. */
  fill(tile: Tile, unit: number): void;
  open(unit: number): void;
  /** The keyboard has moved to a unit. */
  moved(unit: number): void;
  /** Other tiles are in sight: draw again. */
  scrolled(): void;
}

export class Grid {
  readonly element: HTMLElement;
  #linked: boolean;
  #handlers: GridHandlers;
  #list = h("ul.ldam-at-list");
  #units: number[] = [];
  #tiles = new Map<number, Tile>(); // by place in the list
  #spare: Tile[] = [];
  #picture = { width: 96, height: 96 };
  #size = { width: 0, height: 0 };
  #current = 0; // place of the tile that the Tab key reaches
  #chosen: number | null = null;
  #drawn = [0, 0]; // first and last tile in the page
  #refocus = false; // the tile that had the focus shows another unit now

  constructor(linked: boolean, handlers: GridHandlers, signal: AbortSignal) {
    this.#linked = linked;
    this.#handlers = handlers;
    this.element = h("div.ldam-at-scroll", {}, this.#list);
    this.element.addEventListener("scroll", () => {
      const [first, last] = this.#inSight();
      if (first !== this.#drawn[0] || last !== this.#drawn[1]) handlers.scrolled();
    }, { passive: true }); // prettier-ignore
    this.element.addEventListener("keydown", this.#key);
    this.#list.addEventListener("click", this.#click);
    const sizes = new ResizeObserver((entries) => {
      const { width, height } = entries.at(-1)!.contentRect;
      if (width === this.#size.width && height === this.#size.height) return;
      const first = this.#firstRow() * this.columns;
      const columns = this.columns;
      this.#size = { width, height };
      this.#layOut();
      const chosen = this.#chosen === null ? -1 : this.#units.indexOf(this.#chosen);
      if (chosen >= 0) this.#scrollTo(chosen);
      else if (columns !== this.columns) this.#scrollTo(first, "start");
      handlers.scrolled();
    });
    sizes.observe(this.element);
    signal.addEventListener("abort", () => sizes.disconnect());
  }

  get columns(): number {
    return Math.max(1, Math.floor((this.#size.width - GAP) / (this.#picture.width + 2 * GAP)));
  }

  get units(): readonly number[] {
    return this.#units;
  }

  /** Shows these units, from the top unless the chosen one is among them. */
  list(units: number[], label: string): void {
    this.#refocus = this.#list.contains((this.element.getRootNode() as Document | ShadowRoot).activeElement);
    this.#units = units;
    this.#list.setAttribute("aria-label", label);
    this.#recycle(() => false);
    const at = this.#chosen === null ? -1 : units.indexOf(this.#chosen);
    this.#current = Math.max(at, 0);
    this.#layOut();
    this.element.scrollTop = 0;
    if (at > 0) this.#scrollTo(at);
    this.#handlers.scrolled();
  }

  /** Size of the pictures in CSS pixels; of all pictures of a tile together. */
  resize(width: number, height: number): void {
    if (this.#picture.width === width && this.#picture.height === height) return;
    const first = this.#firstRow() * this.columns;
    this.#picture = { width, height };
    this.#recycle(() => false);
    this.#layOut();
    this.#scrollTo(first, "start");
  }

  /** Marks a unit as the one whose page is open. */
  choose(unit: number | null): void {
    this.#chosen = unit;
    const at = unit === null ? -1 : this.#units.indexOf(unit);
    if (at < 0) return;
    this.#current = at;
    this.#scrollTo(at);
  }

  focus(): void {
    this.#tiles.get(this.#current)?.control.focus({ preventScroll: true });
  }

  /** Puts what is in sight into the page. */
  draw(): void {
    const { columns } = this;
    const row = this.#rowHeight;
    const [first, last] = this.#inSight();
    this.#drawn = [first, last];
    const kept = (at: number) => (at >= first && at < last) || at === this.#current; // what has the focus stays
    this.#recycle(kept);
    const step = columns > 1 ? (this.#size.width - GAP) / columns : this.#size.width - GAP;
    const place = (at: number) => {
      const unit = this.#units[at];
      if (unit === undefined) return;
      let tile = this.#tiles.get(at);
      if (!tile) {
        tile = this.#spare.pop() ?? new Tile(this.#linked);
        this.#tiles.set(at, tile);
      }
      const { control } = tile;
      tile.place(Math.round(GAP + (at % columns) * step), GAP + Math.floor(at / columns) * row, Math.round(step - GAP), row - GAP, at, this.#units.length);
      const index = at === this.#current ? 0 : -1;
      if (control.tabIndex !== index) control.tabIndex = index;
      if (control.hasAttribute("aria-current") !== (unit === this.#chosen)) setCurrent(control, unit === this.#chosen);
      this.#handlers.fill(tile, unit);
    };
    for (let at = first; at < last; at++) place(at);
    if (this.#current < first || this.#current >= last) place(this.#current);
    for (const { element } of this.#spare) element.remove();
    this.#spare = this.#spare.slice(0, 200);
    this.#inOrder();
    if (this.#refocus) this.focus();
    this.#refocus = false;
  }

  /** Screen readers follow the order of the page; what is in its place is left alone, as moving it would take its focus. */
  #inOrder(): void {
    let next = this.#list.firstChild;
    for (const at of [...this.#tiles.keys()].sort((a, b) => a - b)) {
      const { element } = this.#tiles.get(at)!;
      if (element === next) next = next.nextSibling;
      else this.#list.insertBefore(element, next);
    }
  }

  get #rowHeight(): number {
    return this.#picture.height + CAPTION + GAP;
  }

  #layOut(): void {
    this.#list.style.height = `${Math.ceil(this.#units.length / this.columns) * this.#rowHeight + GAP}px`;
  }

  /** The tiles that belong into the page. */
  #inSight(): [first: number, last: number] {
    const bottom = Math.ceil((this.element.scrollTop + this.#size.height) / this.#rowHeight);
    return [Math.max(0, this.#firstRow() - BEYOND) * this.columns, Math.min(this.#units.length, (bottom + BEYOND) * this.columns)];
  }

  #firstRow(): number {
    return Math.max(0, Math.floor(this.element.scrollTop / this.#rowHeight));
  }

  #recycle(kept: (at: number) => boolean): void {
    for (const [at, tile] of this.#tiles) {
      if (kept(at)) continue;
      this.#tiles.delete(at);
      this.#spare.push(tile);
    }
  }

  /** Scrolls only as far as it takes to see the tile. */
  #scrollTo(at: number, where: "nearest" | "start" = "nearest"): void {
    const top = Math.floor(at / this.columns) * this.#rowHeight;
    const bottom = top + this.#rowHeight + GAP;
    const { scrollTop } = this.element;
    if (where === "start" || top < scrollTop) this.element.scrollTop = top;
    else if (bottom > scrollTop + this.#size.height) this.element.scrollTop = bottom - this.#size.height;
  }

  #click = (event: MouseEvent): void => {
    const control = (event.target as Element).closest(".ldam-at-unit");
    if (!control || event.ctrlKey || event.metaKey || event.shiftKey) return; // a link opens elsewhere
    event.preventDefault();
    for (const [at, tile] of this.#tiles) {
      if (tile.control !== control) continue;
      this.#current = at;
      this.#handlers.open(this.#units[at]!);
    }
  };

  #key = (event: KeyboardEvent): void => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.#size.height / this.#rowHeight)) * this.columns;
    const last = this.#units.length - 1;
    const steps: Record<string, number> = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns,
      PageUp: -page, PageDown: page, Home: -this.#current, End: last - this.#current,
    }; // prettier-ignore
    const step = steps[event.key];
    if (step === undefined || last < 0) return;
    event.preventDefault();
    const to = this.#current + step;
    if (to < 0 || to > last) {
      if (Math.abs(step) !== page) return; // a page stops at the ends
    }
    this.go(Math.min(Math.max(to, 0), last));
  };

  /** Moves the focus to a place in the list. */
  go(at: number): void {
    this.#current = at;
    this.#scrollTo(at);
    this.draw();
    this.focus();
    this.#handlers.moved(this.#units[at]!);
  }
}

function setCurrent(control: Element, current: boolean): void {
  if (current) control.setAttribute("aria-current", "true");
  else control.removeAttribute("aria-current");
}
