// A table of thousands of rows, of which only those in sight exist. One of them is the current one; arrow keys move it.
import type { UnitColumns } from "../../protocol";
import { h, replace, setText } from "../../ui/dom";
import { type Column, telling, type Sorting } from "./columns";

const ROW = 22; // CSS pixels, as in units.css
const SPARE = 8; // rows above and below those in sight

export class UnitRows {
  /** Scrolls; its table has the focus. */
  readonly element: HTMLElement;
  readonly table: HTMLTableElement;
  sorting: Sorting = { id: "unit", ascending: true };
  #head = h("tr", { "aria-rowindex": 1 });
  #above = h("tbody", { "aria-hidden": "true" }, h("tr", {}, h("td")));
  #body = h("tbody");
  #below = h("tbody", { "aria-hidden": "true" }, h("tr", {}, h("td")));
  #prefix: string;
  #columns: UnitColumns | null = null;
  #shown: Column[] = [];
  #rows: number[] = [];
  #current = 0; // place in `#rows`
  #open: number | null = null;
  #calls: { open(unit: number): void; sort(): void };

  constructor(prefix: string, calls: { open(unit: number): void; sort(): void }) {
    this.#prefix = prefix;
    this.#calls = calls;
    this.table = h("table", { role: "grid", tabindex: 0, "aria-label": "units of the layer" }, h("thead", {}, this.#head), this.#above, this.#body, this.#below);
    this.element = h("div.ldam-units-rows", {}, this.table);
    this.element.addEventListener("scroll", () => this.#write());
    this.#body.addEventListener("click", (event) => {
      const row = (event.target as Element).closest("tr");
      if (!row) return;
      this.#current = Number(row.dataset["place"]);
      this.#write();
      this.openCurrent();
    });
  }

  /** Another table. */
  set columns(columns: UnitColumns) {
    this.#columns = columns;
    this.#shown = telling(columns);
    if (!this.#shown.some(({ id }) => id === this.sorting.id)) this.sorting = { id: "unit", ascending: true };
    this.table.setAttribute("aria-colcount", String(this.#shown.length));
    replace(this.#head, ...this.#shown.map((column) => this.#heading(column)));
    replace(this.#body);
  }

  /** The rows on show, in order; the first one is the current one. */
  set rows(rows: number[]) {
    this.#rows = rows;
    this.#current = 0;
    this.table.setAttribute("aria-rowcount", String(rows.length + 1));
    for (const head of this.#head.children as Iterable<HTMLElement>) {
      if (head.dataset["column"] === this.sorting.id) head.setAttribute("aria-sort", this.sorting.ascending ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    }
    this.#reveal();
  }

  /** The unit that is sampled. */
  set open(unit: number | null) {
    this.#open = unit;
    this.#write();
  }

  /** Make the open unit the current one. */
  toOpen(): void {
    this.#current = Math.max(0, this.#rows.findIndex((row) => this.#columns!.unit[row] === this.#open));
    this.#reveal();
  }

  openCurrent(): void {
    const row = this.#rows[this.#current];
    if (row !== undefined) this.#calls.open(this.#columns!.unit[row]!);
  }

  /** Whether the key moved the current row. */
  move(key: string): boolean {
    const page = Math.max(1, Math.floor(this.element.clientHeight / ROW) - 2);
    const last = this.#rows.length - 1;
    const to: Record<string, number> = {
      ArrowDown: this.#current + 1, ArrowUp: this.#current - 1, PageDown: this.#current + page, PageUp: this.#current - page, Home: 0, End: last,
    }; // prettier-ignore
    if (!Object.hasOwn(to, key)) return false;
    this.#current = Math.max(0, Math.min(last, to[key]!));
    this.#reveal();
    return true;
  }

  #heading({ id, name, title }: Column): HTMLElement {
    const button = h("button", { type: "button", title, tabindex: -1 }, h("span", {}, name));
    button.addEventListener("click", () => {
      const same = this.sorting.id === id;
      this.sorting = { id, ascending: same ? !this.sorting.ascending : id === "unit" || id === "best_class" };
      this.#calls.sort();
    });
    return h("th", { scope: "col", "data-column": id }, button);
  }

  #reveal(): void {
    const { element } = this;
    const [top, height] = [this.#current * ROW, element.clientHeight - ROW]; // below the head
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + ROW > element.scrollTop + height) element.scrollTop = top + ROW - height;
    this.#write();
  }

  #write(): void {
    if (!this.#columns) return;
    const { scrollTop, clientHeight } = this.element;
    const first = Math.max(0, Math.min(Math.floor(scrollTop / ROW) - SPARE, this.#rows.length - 1));
    const end = Math.min(this.#rows.length, Math.ceil((scrollTop + clientHeight) / ROW) + SPARE);
    const set = (spacer: HTMLElement, rows: number) => (spacer.querySelector("td")!.style.height = `${rows * ROW}px`);
    set(this.#above, first);
    set(this.#below, this.#rows.length - end);
    while (this.#body.children.length > end - first) this.#body.lastChild!.remove();
    while (this.#body.children.length < end - first) this.#body.append(h("tr", {}, ...this.#shown.map(() => h("td"))));
    for (let place = first; place < end; place++) this.#fill(this.#body.children[place - first] as HTMLElement, place);
    if (this.#rows.length) this.table.setAttribute("aria-activedescendant", this.#id(this.#current));
    else this.table.removeAttribute("aria-activedescendant");
  }

  #fill(element: HTMLElement, place: number): void {
    const row = this.#rows[place]!;
    element.id = this.#id(place);
    element.dataset["place"] = String(place);
    element.setAttribute("aria-rowindex", String(place + 2));
    element.setAttribute("aria-selected", String(place === this.#current));
    element.classList.toggle("ldam-units-open", this.#columns!.unit[row] === this.#open);
    for (const [i, column] of this.#shown.entries()) setText(element.children[i]!, column.text(this.#columns!, row));
  }

  #id(place: number): string {
    return `${this.#prefix}-unit-${place}`;
  }
}
