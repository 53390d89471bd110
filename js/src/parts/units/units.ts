// The units of a layer: a table to sort and search, files of it, histograms; a row opens its unit.
import type { ExportUnits, Setup, State, UnitBars, UnitTable } from "../../protocol";
import { h, setText } from "../../ui/dom";
import { formatCount } from "../../ui/format";
import type { Part } from "../part";
import { BarPlot } from "./bar-plot";
import { rowsOf } from "./columns";
import { UnitRows } from "./unit-rows";

export interface UnitCalls {
  open(unit: number): void;
  export(request: Omit<ExportUnits, "kind">): void;
  announce(text: string): void;
}

export class Units implements Part {
  readonly element: HTMLElement;
  readonly table: UnitRows;
  #calls: UnitCalls;
  #message: UnitTable | null = null;
  #title = h("b");
  #count = h("span", { role: "status" });
  #search = h("input.ldam-search", { type: "search", placeholder: "number, class or “dead”", "aria-label": "search units" });
  #csv = h("button.ldam-link", { type: "button", title: "save the rows shown as a table" }, "save csv");
  #sheet = h("button.ldam-link", { type: "button", title: "save a picture with the top images of the first 256 rows" }, "save sheet");
  #plots = [new BarPlot(), new BarPlot(), new BarPlot(), new BarPlot()] as const;
  #closed: (closed: boolean) => void;

  /** `closed` is told whether a unit is yet to be opened. */
  constructor(prefix: string, calls: UnitCalls, closed: (closed: boolean) => void) {
    this.#calls = calls;
    this.#closed = closed;
    this.table = new UnitRows(prefix, { open: (unit) => calls.open(unit), sort: () => this.#arrange() });
    const head = h("div.ldam-units-head", {}, this.#title, this.#search, this.#count, this.#csv, this.#sheet);
    const plots = h("div.ldam-units-plots", {}, ...this.#plots.map(({ element }) => element));
    this.element = h("section.ldam-units", { hidden: true, "aria-label": "all units" }, head, h("div.ldam-units-body", {}, this.table.element, plots));
    this.#search.addEventListener("input", () => this.#arrange());
    this.#csv.addEventListener("click", () => this.#export("csv"));
    this.#sheet.addEventListener("click", () => this.#export("sheet"));
    this.#search.addEventListener("keydown", this.#searchKey);
    this.table.table.addEventListener("keydown", this.#tableKey);
  }

  setup(message: Setup): void {
    this.#follow(message);
  }

  state(message: State): void {
    this.#follow(message);
  }

  unit_table(message: UnitTable): void {
    const other = this.#message?.layer !== message.layer || this.#message.columns.unit.length !== message.columns.unit.length;
    this.#message = message;
    this.element.hidden = false;
    setText(this.#title, `${message.layer}, over ${formatCount(message.images)} images`);
    this.#plots[0].show("activations of the layer", message.activations);
    this.#plots[1].show("weights of the layer", message.weights);
    if (other) this.#search.value = "";
    this.table.columns = message.columns;
    this.#arrange();
    this.table.toOpen();
  }

  unit_bars({ unit, activations, weights }: UnitBars): void {
    this.#plots[2].show(`activations of unit ${unit}`, activations);
    this.#plots[3].show(`weights of unit ${unit}`, weights);
  }

  #follow({ open_unit }: Pick<State, "open_unit">): void {
    if (open_unit === undefined) return; // another kind of panel
    this.table.open = open_unit;
    this.#closed(open_unit === null);
  }

  #arrange(): void {
    const message = this.#message;
    if (!message) return;
    const rows = rowsOf(message.columns, message.layer, this.#search.value, this.table.sorting);
    this.table.rows = rows;
    const all = message.columns.unit.length;
    setText(this.#count, rows.length === all ? `${formatCount(all)} units` : `${formatCount(rows.length)} of ${formatCount(all)} units`);
  }

  #export(what: ExportUnits["what"]): void {
    const { id: column, ascending } = this.table.sorting;
    this.#calls.export({ what, column, ascending, query: this.#search.value });
    this.#calls.announce(what === "csv" ? "saving the table" : "making the sheet");
  }

  #searchKey = (event: KeyboardEvent): void => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.isComposing) return;
    if (event.key === "ArrowDown") this.table.table.focus();
    else if (event.key === "Enter") this.table.openCurrent();
    else if (event.key === "Escape" && this.#search.value) {
      this.#search.value = "";
      this.#arrange();
    } else return;
    event.preventDefault();
  };

  /** What is typed in the table goes into the search box. */
  #tableKey = (event: KeyboardEvent): void => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target !== this.table.table) return;
    if (event.key === "Enter") this.table.openCurrent();
    else if (event.key.length === 1 && event.key !== " ") {
      this.#search.value += event.key;
      this.#search.focus();
      this.#arrange();
    } else if (!this.table.move(event.key)) return;
    event.preventDefault();
  };
}
