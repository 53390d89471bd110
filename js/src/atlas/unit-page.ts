// A unit's page: its pictures, its numbers in words, and units like it.
import { h, replace } from "../ui/dom";
import { formatShort } from "../ui/format";
import { written } from "./address";
import { Picture, type Shown } from "./picture";
import type { Atlas, Layer, Sheet, Table } from "./protocol";
import type { Sheets } from "./sheets";
import { factsOf, MARKS, nameOf } from "./table";

const TITLES: Record<string, string> = { average: "average", samples: "samples", top: "top images", deconv: "what of them matters (deconvolution)" };
const SIZES: Record<string, number> = { average: 160, samples: 104, top: 84, deconv: 84 }; // CSS pixels
const SMALL = 64;

/** One atlas's part of the page. */
export interface Side {
  number: number;
  atlas: Atlas;
  layer: Layer;
  table: Table;
}

export interface PageHandlers {
  step(by: number): void;
  open(unit: number): void;
  close(): void;
}

export class UnitPage {
  readonly element: HTMLElement;
  readonly heading = h("h2.ldam-at-heading", { tabindex: -1 });
  #linked: boolean;
  #handlers: PageHandlers;
  #content = h("div.ldam-at-content", { tabindex: 0, role: "group", "aria-label": "pictures and numbers" });
  #where = h("span.ldam-note");
  #before = button("previous unit", "‹");
  #after = button("next unit", "›");
  #pictures: { picture: Picture; shown: Shown | null; width: number }[] = [];

  constructor(linked: boolean, handlers: PageHandlers) {
    this.#linked = linked;
    this.#handlers = handlers;
    const close = button("close unit", "×");
    this.#before.addEventListener("click", () => handlers.step(-1));
    this.#after.addEventListener("click", () => handlers.step(1));
    close.addEventListener("click", () => handlers.close());
    const head = h("div.ldam-at-page-head", {}, this.heading, this.#where, h("span.ldam-at-space"), this.#before, this.#after, close);
    this.element = h("section.ldam-at-page", { "aria-label": "unit", hidden: true }, head, this.#content);
  }

  get open(): boolean {
    return !this.element.hidden;
  }

  close(): void {
    this.element.hidden = true;
    this.#pictures = [];
    replace(this.#content);
  }

  /** `at`: its place in the list of `count` units; -1: it is not in the list. */
  show(unit: number, sides: Side[], at: number, count: number): void {
    const { layer, table } = sides[0]!;
    const name = nameOf(table, unit);
    this.#pictures = [];
    this.element.hidden = false;
    this.element.setAttribute("aria-label", `unit ${unit} of ${layer.name}`);
    const title = [layer.name, " ", h("b", {}, String(unit)), name ? ` ${name}` : null];
    if (this.#linked) replace(this.heading, h("a", { href: `#${written({ layer: layer.name, unit })}`, title: "address of this unit" }, ...title));
    else replace(this.heading, ...title);
    replace(this.#where, at < 0 ? "not in the list" : `${at + 1} of ${count}`);
    this.#before.disabled = at <= 0;
    this.#after.disabled = at < 0 || at >= count - 1;
    const several = sides.length > 1;
    replace(
      this.#content,
      h("div.ldam-at-sides", {}, ...sides.map((side) => this.#side(side, unit, several))),
      this.#similar(sides[0]!, unit),
      this.#linked ? null : h("p.ldam-note", {}, `in Python: view.show(${JSON.stringify(layer.name)}, ${unit})`),
    );
    this.#content.scrollTop = 0;
  }

  draw(sheets: Sheets): void {
    for (const { picture, shown, width } of this.#pictures) picture.paint(sheets, shown, width);
  }

  #side(side: Side, unit: number, several: boolean): HTMLElement {
    const { atlas, layer, table } = side;
    const facts = factsOf(table, unit);
    // Not a <dl>: notebooks style its children with rules of higher specificity than class selectors.
    const list = h("div.ldam-at-facts", { role: "list", "aria-label": "numbers" }, ...facts.map(({ name, text }) => h("div", { role: "listitem" }, h("span.ldam-at-fact", {}, name), h("span", {}, text))));
    const rendered = table.states[unit] !== "missing";
    const level = several ? "h4" : "h3"; // no level is left out
    const groups = rendered ? inOrder(layer.sheets).map((sheet) => this.#group(side, sheet, unit, level)) : [];
    const [first, ...rest] = groups;
    return h(
      "div.ldam-at-side",
      {},
      several && h("h3.ldam-at-which", {}, atlas.name),
      h("div.ldam-at-first", {}, first ?? null, facts.length > 0 && list),
      ...rest,
    );
  }

  #group({ number, layer, table }: Side, sheet: Sheet, unit: number, level: "h3" | "h4"): HTMLElement {
    const title = TITLES[sheet.kind] ?? sheet.kind;
    const width = SIZES[sheet.kind] ?? SMALL;
    const values = sheet.kind === "top" ? table.top_values[unit] : undefined;
    const images = sheet.kind === "top" || sheet.kind === "deconv" ? table.top_images[unit] : undefined;
    const count = images ? Math.min(images.length, sheet.tiles) : sheet.tiles;
    const tiles = Array.from({ length: count }, (_, i) => {
      const value = values?.[i];
      const image = images?.[i];
      const label = `${title}${sheet.tiles > 1 ? ` ${i + 1}` : ""}${image === undefined ? "" : `: image ${image} of the dataset`}`;
      const picture = new Picture(label);
      this.#pictures.push({ picture, shown: { atlas: number, layer, sheet, unit, i }, width });
      return h("span.ldam-at-shot", {}, picture.element, value !== undefined && h("span.ldam-note", {}, formatShort(value)));
    });
    return h("div.ldam-at-group", {}, h(`${level}.ldam-at-kind`, {}, title), h("div.ldam-at-shots", {}, ...tiles));
  }

  #similar({ number, layer, table }: Side, unit: number): HTMLElement | null {
    const others = (table.similar[unit] ?? []).slice(0, 8);
    const sheet = inOrder(layer.sheets)[0];
    if (!others.length || !sheet) return null;
    const items = others.map((other) => {
      const picture = new Picture();
      this.#pictures.push({ picture, shown: { atlas: number, layer, sheet, unit: other, i: 0 }, width: SMALL });
      const text = h("span.ldam-note", {}, [String(other), nameOf(table, other), table.states[other] === "dead" && MARKS.dead].filter(Boolean).join(" "));
      const control = this.#linked
        ? h("a.ldam-at-like", { href: `#${written({ layer: layer.name, unit: other })}` }, picture.element, text)
        : h("button.ldam-at-like", { type: "button" }, picture.element, text);
      control.addEventListener("click", (event) => {
        if ((event as MouseEvent).ctrlKey || (event as MouseEvent).metaKey || (event as MouseEvent).shiftKey) return;
        event.preventDefault();
        this.#handlers.open(other);
      });
      return h("li", {}, control);
    });
    return h("div.ldam-at-group", {}, h("h3.ldam-at-kind", {}, "similar units"), h("ul.ldam-at-likes", { "aria-label": "similar units" }, ...items));
  }
}

/** The average first; otherwise as they come. */
export function inOrder(sheets: Sheet[]): Sheet[] {
  return [...sheets].sort((a, b) => Number(b.kind === "average") - Number(a.kind === "average"));
}

function button(name: string, text: string): HTMLButtonElement {
  return h("button.ldam-button", { type: "button", "aria-label": name, title: name }, text);
}
