// A combobox over the units of a layer. Pages are requested from the kernel as they scroll into view; layers may have thousands.
// An expression such as "3 - 5" is found as a unit is. Enter on what the kernel cannot read makes it say why.
import type { Unit, Units } from "../../protocol";
import { h, replace, setText } from "../../ui/dom";
import { formatCount, unitText } from "../../ui/format";
import { deadMark } from "./chips";
import { unitNumber } from "./unit-number";

const PAGE = 50;
const POPUP_WIDTH = 240; // CSS pixels, as in the style sheet
const PAUSE = 120; // ms without a keystroke before the kernel is asked

export class UnitSearch {
  readonly element: HTMLElement;
  #input: HTMLInputElement;
  #list: HTMLElement;
  #count = h("div.ldam-count");
  #popup: HTMLElement;
  #prefix: string;
  #layer = "";
  #query = "";
  #units: Unit[] = [];
  #total = 0;
  #asked = -1; // offset of the requested page; -1: none
  #active = -1;
  #entered = false; // Enter was pressed before the answer came
  #chosen: (key: string) => boolean;
  #toggle: (unit: Unit) => void;
  #write: (text: string) => void;
  #ask: (layer: string, query: string, offset: number, limit: number) => void;
  #about: (unit: Unit) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Whether units have pages, which the list then leads to. */
  pages = false;

  constructor(
    prefix: string,
    on: {
      chosen(key: string): boolean;
      toggle(unit: Unit): void;
      /** Text that no unit was found for. */
      write(text: string): void;
      /** Opens a unit's page. */
      about(unit: Unit): void;
      ask(layer: string, query: string, offset: number, limit: number): void;
    },
  ) {
    this.#prefix = prefix;
    this.#chosen = on.chosen;
    this.#toggle = on.toggle;
    this.#write = on.write;
    this.#ask = on.ask;
    this.#about = on.about;
    const id = `${prefix}-units`;
    this.#input = h("input.ldam-search", {
      type: "text",
      role: "combobox",
      "aria-label": "search units",
      "aria-autocomplete": "list",
      "aria-expanded": "false",
      "aria-controls": id,
      placeholder: "search units…",
      autocomplete: "off",
      spellcheck: "false",
    });
    this.#list = h("div.ldam-options", { role: "listbox", id, "aria-label": "units", "aria-multiselectable": "true" });
    this.#popup = h("div.ldam-popup", { hidden: true }, this.#list, this.#count);
    this.element = h("div.ldam-finder", {}, this.#input, this.#popup);

    this.#input.addEventListener("input", () => this.#retype());
    this.#input.addEventListener("click", () => this.open());
    this.#input.addEventListener("keydown", this.#key);
    this.#input.addEventListener("blur", () => this.close());
    this.#list.addEventListener("scroll", () => this.#moreIfNear());
    // Pressing the popup must not take the focus from the input: that would close the popup before the click.
    this.#popup.addEventListener("pointerdown", (event) => event.preventDefault());
    this.#popup.addEventListener("mousedown", (event) => event.preventDefault());
    this.#list.addEventListener("click", (event) => {
      const option = (event.target as Element).closest<HTMLElement>("[role=option]");
      if (!option) return;
      const at = [...this.#list.children].indexOf(option);
      if ((event.target as Element).closest(".ldam-page-link")) this.#open(at);
      else this.#choose(at);
    });
  }

  set layer(layer: string) {
    if (layer === this.#layer) return;
    this.#layer = layer;
    this.#input.value = "";
    this.close();
  }

  get isOpen(): boolean {
    return !this.#popup.hidden;
  }

  focus(): void {
    this.#input.focus();
  }

  open(): void {
    if (this.isOpen) return;
    this.#popup.hidden = false;
    const panel = this.element.closest(".ldam")?.getBoundingClientRect();
    const popup = this.element.getBoundingClientRect().left + POPUP_WIDTH;
    this.element.classList.toggle("ldam-popup-left", panel !== undefined && popup > panel.right);
    this.#input.setAttribute("aria-expanded", "true");
    this.#restart();
  }

  close(): void {
    this.#stopTimer();
    this.#entered = false;
    this.#popup.hidden = true;
    this.#input.setAttribute("aria-expanded", "false");
    this.#activate(-1);
  }

  receive({ layer, query, offset, total, units, problem }: Units): void {
    // Answers to outdated requests may arrive late and out of order.
    if (!this.isOpen || layer !== this.#layer || query !== this.#query || offset !== this.#asked) return;
    this.#asked = -1;
    this.#total = total;
    this.#units = this.#units.slice(0, offset).concat(units);
    this.#list.append(...units.map((unit, i) => this.#option(unit, offset + i)));
    const all = `${formatCount(total)} ${total === 1 ? "unit" : "units"}`;
    setText(this.#count, total === 0 ? problem || "no unit found" : this.#query ? `${all} found` : `${all} · type number, name, or 3 - 5`);
    if (offset !== 0) return;
    if (this.#entered && !this.#waiting) this.#enter(0);
    else if (units.length) this.#activate(0);
  }

  /** The selection changed: update the check marks. */
  refresh(): void {
    for (const [i, option] of [...this.#list.children].entries()) {
      option.setAttribute("aria-selected", String(this.#chosen(this.#units[i]!.key)));
    }
  }

  #option(unit: Unit, i: number): HTMLElement {
    return h(
      "div.ldam-option",
      {
        role: "option",
        id: `${this.#prefix}-unit-${i}`,
        "aria-selected": String(this.#chosen(unit.key)),
        "aria-posinset": i + 1,
        "aria-setsize": this.#total,
        title: unitText(unit) + (this.#hasPage(unit) ? " · Shift+Enter: about this unit" : ""),
      },
      this.#hasPage(unit) && h("span.ldam-page-link", { "aria-hidden": "true", title: "about this unit (Shift+Enter)" }, "about"),
      h("b", {}, unit.label),
      unit.name && ` ${unit.name}`,
      unit.dead && deadMark(),
    );
  }

  /** Whether the list does not match the text in the input yet, or any more. */
  get #waiting(): boolean {
    return this.#timer !== undefined || this.#asked === 0;
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #restart(): void {
    this.#stopTimer();
    this.#query = this.#input.value.trim();
    this.#units = [];
    this.#asked = -1;
    this.#active = -1;
    this.#input.removeAttribute("aria-activedescendant");
    replace(this.#list);
    setText(this.#count, "…");
    this.#fetch(0);
  }

  #retype(): void {
    this.#entered = false;
    if (!this.isOpen) return this.open(); // which requests units for the text in the input
    this.#stopTimer();
    this.#timer = setTimeout(() => this.#restart(), PAUSE);
  }

  #fetch(offset: number): void {
    this.#asked = offset;
    this.#ask(this.#layer, this.#query, offset, PAGE);
  }

  #moreIfNear(): void {
    const { scrollTop, clientHeight, scrollHeight } = this.#list;
    const near = scrollTop + 2 * clientHeight >= scrollHeight || this.#active >= this.#units.length - 5;
    if (near && this.#asked < 0 && this.#units.length < this.#total) this.#fetch(this.#units.length);
  }

  #activate(i: number): void {
    this.#list.children[this.#active]?.classList.remove("ldam-active");
    this.#active = i;
    const option = this.#list.children[i];
    if (!option) return this.#input.removeAttribute("aria-activedescendant");
    option.classList.add("ldam-active");
    option.scrollIntoView?.({ block: "nearest" });
    this.#input.setAttribute("aria-activedescendant", option.id);
    this.#moreIfNear();
  }

  #enter(i: number): void {
    if (this.#units.length) return this.#choose(i);
    this.#entered = false;
    if (this.#query) this.#write(this.#query);
  }

  #choose(i: number): void {
    const unit = this.#units[i];
    if (!unit) return;
    this.#entered = false;
    this.#activate(i);
    this.#toggle(unit);
  }

  #open(i: number): void {
    const unit = this.#units[i];
    if (!unit || !this.#hasPage(unit)) return;
    this.close();
    this.#about(unit);
  }

  #hasPage({ key }: Unit): boolean {
    return this.pages && unitNumber(key) !== null;
  }

  #key = (event: KeyboardEvent): void => {
    const last = this.#units.length - 1;
    if (event.key === "Escape") {
      if (!this.isOpen) return;
      this.close();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (!this.isOpen) this.open();
      else if (event.key === "ArrowDown") this.#activate(Math.min(this.#active + 1, last));
      else this.#activate(Math.max(this.#active - 1, Math.min(0, last)));
    } else if (this.isOpen && (event.key === "PageDown" || event.key === "PageUp")) {
      this.#activate(Math.min(Math.max(this.#active + (event.key === "PageDown" ? 10 : -10), 0), last));
    } else if (event.key === "Enter") {
      if (!this.isOpen) this.open();
      else if (event.shiftKey && this.pages) this.#open(this.#active);
      else if (this.#waiting) this.#entered = true; // choose the first of the new list, not one of the old
      else this.#enter(this.#active);
    } else return;
    event.preventDefault();
  };
}
