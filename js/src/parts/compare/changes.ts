// The neurons that changed most between the models: among those shown, live, or in the whole layer once it is ranked.
import type { Action, Change, Changes, Setup, State } from "../../protocol";
import { h, setText, throttle } from "../../ui/dom";
import { formatCount } from "../../ui/format";
import { Toggle } from "../../ui/toggle";
import { ChangesTable } from "./changes-table";

const WRITTEN_EVERY = 250; // ms
const UNKNOWN = { difference: null, correlation: null, gap: null, activations: [] };
const SORTED_EVERY = 1000; // ms; rows that jump around are unreadable

export class ChangesBox {
  readonly element: HTMLElement;
  #table: ChangesTable;
  #scan = h("button.ldam-link", { type: "button" });
  #other = h("button.ldam-link", { type: "button", hidden: true });
  #what = h("span");
  #bar = h("span.ldam-progress-bar");
  #progress = h("span.ldam-progress", { role: "progressbar", "aria-label": "ranking", "aria-valuemin": 0, hidden: true }, this.#bar);
  #error = h("div.ldam-note.ldam-changes-error", { role: "status" });
  #toggle: Toggle;
  #layer = "";
  #neurons = "";
  #onShow = new Map<string, Change>();
  #ranking: (Omit<Changes, "rows"> & { rows: Map<string, Change> }) | null = null;
  #whole = false; // the ranking is shown, not the running neurons
  #wasWhole = false; // the same, as last written
  #write = throttle(WRITTEN_EVERY, () => this.#show());
  #resort = throttle(SORTED_EVERY, () => this.#table.resort());

  constructor(on: { act(what: Action): void; activate(row: Change): void }) {
    this.#table = new ChangesTable(
      (row) => on.activate(row),
      () => queueMicrotask(() => this.#resort()), // not while the focus is moving
    );
    this.#toggle = new Toggle(
      (scanning) => on.act(scanning ? "scan" : "stop_scan"),
      () => this.#showScan(),
    );
    this.#scan.addEventListener("click", () => this.#toggle.press());
    this.#other.addEventListener("click", () => {
      this.#whole = !this.#whole;
      this.#show();
    });
    const head = h("div.ldam-changes-head", {}, h("b", {}, "most changed neurons"), this.#what, this.#progress, this.#other, this.#scan);
    this.element = h("div.ldam-changes", { hidden: true }, head, this.#error, this.#table.element);
    this.#showScan();
  }

  setup({ models = [], layer, neurons, scanning = false }: Setup): void {
    this.element.hidden = models.length < 2;
    this.#table.models = models.map(({ name }) => name);
    const shown = JSON.stringify([layer, neurons.map(({ key }) => key)]);
    if (shown !== this.#neurons) this.#onShow = new Map(neurons.map((unit) => [unit.key, { ...unit, ...UNKNOWN }])); // reserves rows
    if (layer !== this.#layer) [this.#ranking, this.#whole] = [null, false];
    [this.#neurons, this.#layer] = [shown, layer];
    this.#toggle.update(scanning);
    if (models.length > 1) this.#show();
  }

  state({ scanning }: Pick<State, "scanning">): void {
    if (scanning !== undefined) this.#toggle.update(scanning);
  }

  /** Rows of the neurons shown; undefined: no news. */
  agree(rows: Change[] | undefined): void {
    if (!rows || this.element.hidden) return;
    this.#onShow = new Map(rows.map((row) => [row.key, row]));
    if (this.#whole) return;
    this.#write();
    this.#resort();
  }

  /** The ranking of the whole layer so far. */
  update({ rows, ...message }: Changes): void {
    if (message.layer !== this.#layer || this.element.hidden) return;
    const before = this.#ranking;
    const begins = !before || (message.running && !before.running) || message.done < before.done;
    if (begins) this.#whole = true;
    const known = begins ? new Map<string, Change>() : before.rows;
    for (const row of rows) known.set(row.key, row);
    this.#ranking = { ...message, rows: known };
    this.#toggle.update(message.running);
    if (begins || !message.running) this.#show();
    else this.#write();
    this.#resort();
  }

  /** The kernel refused: show its value again. */
  refused(): void {
    this.#toggle.refused();
  }

  close(): void {
    this.#toggle.close();
    this.#write.cancel();
    this.#resort.cancel();
  }

  #showScan(): void {
    setText(this.#scan, this.#toggle.on ? "stop ranking" : "rank the whole layer");
  }

  #show(): void {
    const ranking = this.#ranking;
    const whole = this.#whole && ranking !== null;
    this.#other.hidden = ranking === null;
    setText(this.#other, whole ? "on show" : "ranking");
    this.#other.title = whole ? "back to the neurons shown" : "the ranking of the whole layer";
    setText(this.#what, whole ? `${ranking.layer} · ${counted(ranking)}` : "on show");
    this.#progress.hidden = !ranking?.running;
    if (ranking) this.#showProgress(ranking);
    setText(this.#error, ranking?.error ?? "");
    const rows = whole ? ranking.rows : this.#onShow;
    this.#table.show(rows, whole !== this.#wasWhole);
    this.#wasWhole = whole;
  }

  #showProgress({ done, total }: Pick<Changes, "done" | "total">): void {
    this.#progress.setAttribute("aria-valuemax", String(total));
    this.#progress.setAttribute("aria-valuenow", String(done));
    this.#progress.setAttribute("aria-valuetext", counted({ done, total }));
    this.#bar.style.width = `${total > 0 ? Math.min((100 * done) / total, 100) : 0}%`;
  }
}

function counted({ done, total }: Pick<Changes, "done" | "total">): string {
  return done < total ? `${formatCount(done)} of ${formatCount(total)}` : formatCount(total);
}
