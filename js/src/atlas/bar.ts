// What is searched for, filtered and sorted by, and how large pictures are.
import { h, replace, throttle } from "../ui/dom";
import type { Layer, Table } from "./protocol";
import { countOf, type Filter, FILTERS, type Order, ORDERS, ordersOf } from "./table";
import { inOrder } from "./unit-page";

const SIZES = { small: 56, medium: 96, large: 160 } as const; // CSS pixels
type Size = keyof typeof SIZES;

export class Bar {
  readonly element: HTMLElement;
  readonly search = h("input.ldam-search", { type: "search", "aria-label": "search units", placeholder: "number, name, class …", maxlength: 200 });
  #filter = h("select.ldam-choice", { "aria-label": "show units" });
  #order = h("select.ldam-choice", { "aria-label": "sort by" });
  #kind = h("select.ldam-choice", { "aria-label": "picture" });
  #size = h("select.ldam-choice", { "aria-label": "size of pictures" });
  #count = h("span.ldam-note", { role: "status" });

  /** `chosen`: other units, or in another order; `drawn`: other pictures of the same. */
  constructor(chosen: () => void, drawn: () => void) {
    const soon = throttle(120, chosen);
    this.search.addEventListener("input", soon);
    for (const box of [this.#filter, this.#order]) box.addEventListener("change", chosen);
    for (const box of [this.#kind, this.#size]) box.addEventListener("change", drawn);
    replace(this.#size, ...Object.keys(SIZES).map((size) => h("option", { value: size, selected: size === "medium" }, size)));
    this.element = h("div.ldam-at-bar", {}, this.search, this.#filter, this.#count, h("span.ldam-at-space"), labelled("sort", this.#order), labelled("picture", this.#kind), this.#size);
  }

  get text(): string {
    return this.search.value;
  }

  get filter(): Filter {
    return (this.#filter.value || "all") as Filter;
  }

  get order(): Order {
    return (this.#order.value || "number") as Order;
  }

  set order(order: Order) {
    this.#order.value = order;
  }

  get kind(): string {
    return this.#kind.value;
  }

  get size(): number {
    return SIZES[(this.#size.value || "medium") as Size];
  }

  set count(text: string) {
    this.#count.textContent = text;
  }

  /** All units, in their own order. */
  reset(): void {
    this.search.value = "";
    this.#filter.value = "all";
  }

  /** Offers what this layer has; what was chosen stays if it is still there. */
  offer(layer: Layer, table: Table): void {
    const kinds = inOrder(layer.sheets).map(({ kind }) => kind);
    options(this.#kind, kinds.map((kind) => [kind, kind === "top" ? "top image" : kind === "samples" ? "sample" : kind])); // prettier-ignore
    options(this.#order, ordersOf(table).map((order) => [order, ORDERS[order]])); // prettier-ignore
    const filters = (Object.keys(FILTERS) as Filter[]).map((filter) => [filter, countOf(table, filter)] as const);
    options(this.#filter, filters.filter(([filter, count]) => filter === "all" || count > 0).map(([filter, count]) => [filter, `${FILTERS[filter]} (${count})`])); // prettier-ignore
  }
}

function options(box: HTMLSelectElement, all: [value: string, text: string][]): void {
  const { value } = box;
  replace(box, ...all.map(([each, text]) => h("option", { value: each }, text)));
  if (all.some(([each]) => each === value)) box.value = value;
}

function labelled(text: string, box: HTMLElement): HTMLElement {
  return h("span.ldam-at-box", {}, h("span.ldam-note", { "aria-hidden": "true" }, text), box);
}
