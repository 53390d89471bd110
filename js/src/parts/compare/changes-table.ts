// A table of neurons and how much they changed between the models, sortable by any column.
import type { Change } from "../../protocol";
import { h, replace, setText } from "../../ui/dom";
import { formatCount, formatDigits, formatSigned, unitText } from "../../ui/format";

const MOST = 200; // rows built; a layer may have thousands

interface Column {
  id: string; // names are not unique: a model may share its name with another column or model
  name: string;
  note?: string; // a small line below the name
  title: string;
  text(row: Change): string;
  value(row: Change): number | string | null;
}

export class ChangesTable {
  /** Scrollable; not re-sorted while in use. */
  readonly element: HTMLElement;
  #head = h("tr");
  #body = h("tbody");
  #more = h("div.ldam-count", { hidden: true });
  #columns: Column[] = [];
  #names = "";
  #rows = new Map<string, Change>();
  #order: string[] = []; // keys, as last sorted
  #built = new Map<string, HTMLTableRowElement>();
  #sort = { id: "difference", descending: true };
  #activate: (row: Change) => void;
  #over = false;
  #models: string[] = [];
  #ranked = false; // whether changes are known beyond chance

  constructor(activate: (row: Change) => void, left: () => void) {
    this.#activate = activate;
    const table = h("table", { "aria-label": "most changed neurons" }, h("thead", {}, this.#head), this.#body);
    this.element = h("div.ldam-changes-table", {}, table, this.#more);
    this.element.addEventListener("pointerenter", () => (this.#over = true));
    this.element.addEventListener("pointerleave", () => {
      this.#over = false;
      left();
    });
    this.element.addEventListener("focusout", ({ relatedTarget }) => {
      if (!this.element.contains(relatedTarget as Node | null)) left();
    });
  }

  set models(names: string[]) {
    this.#models = names;
    const shown = JSON.stringify([names, this.#ranked]);
    if (shown === this.#names) return;
    this.#names = shown;
    const number = (name: string, title: string, value: (row: Change) => number | null, write: (value: number) => string, id = name): Column => {
      return { id, name, title, value, text: (row) => write(value(row) ?? NaN) };
    };
    this.#columns = [
      { id: "neuron", name: "neuron", title: "", value: unitText, text: unitText },
      ...names.map((name, i) => number(name, `activation of ${name}`, ({ activations }) => activations[i] ?? null, formatDigits, `model ${i}`)),
      gapColumn(names),
      number("correlation", "correlation of the averages: 1 is the same picture", ({ correlation }) => correlation, formatDigits),
      number("difference", "mean difference of the averages, in units of the pixels", ({ difference }) => difference, formatDigits),
      ...(this.#ranked ? [CHANGE] : []),
    ];
    this.#built.clear();
    replace(this.#head, ...this.#columns.map((column) => this.#heading(column)));
    this.#markSorted();
  }

  /** Shows the current rows. Known rows keep their place until `resort`, unless this is another list. */
  show(rows: Map<string, Change>, another: boolean): void {
    this.#rows = rows;
    const ranked = [...rows.values()].some(({ change }) => typeof change === "number");
    if (ranked !== this.#ranked) {
      this.#ranked = ranked;
      this.#sort = { id: ranked ? "change" : "difference", descending: true };
      this.models = this.#models;
      another = true;
    }
    const known = this.#order.filter((key) => rows.has(key));
    if (another || !known.length) return this.#resort();
    const before = new Set(known);
    this.#order = [...known, ...[...rows.keys()].filter((key) => !before.has(key))];
    this.#write();
  }

  /** Sorts again, unless the pointer or the focus is in the table. */
  resort(): void {
    const { activeElement } = this.element.getRootNode() as Document | ShadowRoot;
    if (!this.#over && !this.element.contains(activeElement)) this.#resort();
  }

  #resort(): void {
    const { value } = this.#columns.find(({ id }) => id === this.#sort.id) ?? this.#columns.at(-1)!; // the sorted column's model may be gone
    const sign = this.#sort.descending ? -1 : 1;
    const compare = (a: Change, b: Change) => {
      const [x, y] = [value(a), value(b)];
      if (x === null || y === null) return Number(x === null) - Number(y === null); // unknown values come last in either direction
      return sign * (typeof x === "string" ? COLLATOR.compare(x, String(y)) : x - Number(y));
    };
    this.#order = [...this.#rows.values()].sort(compare).map(({ key }) => key);
    this.#write();
  }

  #heading({ id, name, note, title }: Column): HTMLElement {
    const button = h("button", { type: "button", title: title || name }, h("span", {}, name), note && h("small", {}, ` ${note}`));
    button.addEventListener("click", () => {
      const same = this.#sort.id === id;
      this.#sort = { id, descending: same ? !this.#sort.descending : id !== "neuron" };
      this.#markSorted();
      this.#resort();
    });
    return h("th", { scope: "col", "data-column": id }, button);
  }

  #markSorted(): void {
    for (const head of this.#head.children as Iterable<HTMLElement>) {
      if (head.dataset["column"] === this.#sort.id) head.setAttribute("aria-sort", this.#sort.descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }

  #write(): void {
    const shown = this.#order.slice(0, MOST);
    const rows = shown.map((key) => this.#rowOf(this.#rows.get(key)!));
    if (rows.length !== this.#body.children.length || rows.some((row, i) => row !== this.#body.children[i])) {
      const { activeElement } = this.#body.getRootNode() as Document | ShadowRoot;
      const within = this.#body.contains(activeElement) ? (activeElement as HTMLElement) : null;
      replace(this.#body, ...rows);
      within?.focus({ preventScroll: true }); // moving the element would drop its focus
    }
    for (const key of this.#built.keys()) if (!this.#rows.has(key)) this.#built.delete(key);
    const more = this.#order.length - shown.length;
    this.#more.hidden = more <= 0;
    setText(this.#more, `… and ${formatCount(more)} more`);
  }

  #rowOf(change: Change): HTMLTableRowElement {
    const { key } = change;
    let row = this.#built.get(key);
    if (!row) {
      const name = h("button.ldam-changed-neuron", { type: "button", title: "put it first on show" });
      name.addEventListener("click", () => {
        const now = this.#rows.get(key);
        if (now) this.#activate(now);
      });
      row = h("tr", {}, h("th", { scope: "row" }, name), ...this.#columns.slice(1).map(() => h("td")));
      this.#built.set(key, row);
    }
    for (const [i, { text }] of this.#columns.entries()) setText(i ? row.children[i]! : row.children[0]!.firstChild!, text(change));
    return row;
  }
}

const ofChance = ({ change, noise }: Change) => typeof change === "number" && typeof noise === "number" && change <= noise;

/** Neurons within the noise come after all others. */
const CHANGE: Column = {
  id: "change",
  name: "change",
  title: "change of the averages' coarse structure beyond chance, ± standard error, in units of the pixels; in brackets: within the noise of sampling",
  value: (row) => (typeof row.change === "number" ? (ofChance(row) ? row.change - 1e9 : row.change) : null),
  text: (row) => {
    const text = `${formatDigits(row.change ?? NaN)} ± ${formatDigits(row.error ?? NaN)}`;
    return ofChance(row) ? `(${text}) within the noise` : text;
  },
};

/** With two models, the heading says which gap it is; with more, each row names the model with the largest gap. */
function gapColumn([first = "", ...others]: string[]): Column {
  const value = ({ gap }: Change) => gap;
  const [second = ""] = others;
  const title = `activation of ${others.length > 1 ? "the model that is furthest from" : second + " minus that of"} ${first}`;
  const text = (row: Change) => {
    const gap = formatSigned(row.gap ?? NaN);
    const whose = others.length > 1 ? furthest(row, others) : "";
    return whose ? `${whose} ${gap}` : gap;
  };
  return { id: "gap", name: "gap", note: others.length > 1 ? `to ${first}` : `${second} − ${first}`, title, value, text };
}

/** The model that the gap belongs to: the one whose difference from the first is closest to the gap. */
function furthest({ gap, activations: [first, ...rest] }: Change, others: string[]): string {
  if (gap === null || first === null || first === undefined) return "";
  const apart = rest.map((value) => (value === null ? Infinity : Math.abs(value - first - gap)));
  const best = Math.min(...apart);
  return Number.isFinite(best) ? (others[apart.indexOf(best)] ?? "") : "";
}

const COLLATOR = new Intl.Collator("en", { numeric: true }); // "9" before "10"
