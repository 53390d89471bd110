// The browser of an atlas: layers, the units of one, and a unit's page. In a notebook, and in a page without a kernel.
import { h, replace, setText } from "../ui/dom";
import { formatCount } from "../ui/format";
import { keepKeys } from "../ui/keys";
import { watchTheme } from "../ui/theme";
import { type Address, readAddress, written } from "./address";
import { Bar } from "./bar";
import { Grid, type Tile } from "./grid";
import { Layers } from "./layers";
import { heightOf, Picture } from "./picture";
import type { Index, Layer, Sheet, Table } from "./protocol";
import { Sheets } from "./sheets";
import type { Source } from "./source";
import { caption, chosenUnits, nameOf } from "./table";
import { type Side, UnitPage } from "./unit-page";

const PAIR_GAP = 4; // CSS pixels between the pictures of two atlases
const KEYS = "arrows move · Enter opens a unit · Escape closes it · n p next, previous · [ ] layers · / search";
const TYPING = "input, select, textarea, [contenteditable]";

export function showAtlas(source: Source, parent: HTMLElement, signal: AbortSignal): void {
  const root = h("div.ldam.ldam-at", { role: "region", "aria-label": "atlas" });
  const { linked } = source;
  let index: Index | null = null;
  let sides: Side[] = []; // of the chosen layer, one for each atlas that has it
  let unit: number | null = null; // whose page is open
  let turn = 0; // counts choices of a layer: an answer to an earlier one comes too late
  let scheduled = 0;
  const pictures = new WeakMap<Tile, Picture[]>();
  const tables = new Map<string, Promise<Table>>();
  const sheets = new Sheets(source);

  // ---- parts -----------------------------------------------------------------------------------------------------------

  const title = linked ? h("h1.ldam-at-title") : h("h2.ldam-at-title"); // a page of its own, or part of a notebook
  const about = h("details.ldam-at-about", {}, h("summary", {}, "about"));
  const errorBox = h("div", { role: "alert" });
  const layers = new Layers(linked, (name) => go({ layer: name, unit: null }));
  const bar = new Bar(() => list(), () => draw()); // prettier-ignore
  const grid = new Grid(
    linked,
    { fill: (tile, at) => fill(tile, at), open: (at) => open(at, true), moved: (at) => unit !== null && open(at), scrolled: () => schedule() },
    signal,
  );
  const page = new UnitPage(linked, { step: (by) => step(by), open: (at) => open(at, true), close: () => close() });
  const names = h("div.ldam-at-names", { hidden: true });
  const main = h("div.ldam-at-main", {}, bar.element, names, grid.element);
  const body = h("div.ldam-at-body", { hidden: true }, layers.element, main, page.element);
  const foot = h("div.ldam-at-foot.ldam-note", {}, KEYS);
  root.append(h("div.ldam-at-head", {}, title, about), errorBox, body, foot);

  const showError = (text: string) => replace(errorBox, text && h("div.ldam-error", {}, h("div", {}, text)));

  // ---- what is shown ---------------------------------------------------------------------------------------------------

  const all = (): Layer[] => index?.atlases[0]?.layers ?? [];

  const opened = (message: Index) => {
    index = message;
    tables.clear();
    sheets.clear();
    showError("");
    setText(title, message.title);
    root.setAttribute("aria-label", `atlas: ${message.title}`);
    const notes = message.atlases.map((atlas) => h("div", {}, atlas.name && h("b", {}, atlas.name), h("ul", {}, ...atlas.about.map((line) => h("li", {}, line)))));
    replace(about, h("summary", {}, "about"), ...notes);
    layers.list(all());
    body.hidden = false;
    const now: Address | null = sides[0] ? { layer: sides[0].layer.name, unit } : linked ? readAddress(location.hash) : null;
    const first = all()[0];
    sides = [];
    if (!first) return showError("this atlas has no layers");
    const known = now !== null && all().some(({ name }) => name === now.layer);
    void go(known ? now : { layer: first.name, unit: null }, false).then(() => now && !known && showError(`this atlas has no layer ${now.layer}`));
  };

  const tableOf = (atlas: number, layer: Layer): Promise<Table> => {
    const key = JSON.stringify([atlas, layer.name]);
    const known = tables.get(key) ?? source.table(atlas, layer);
    tables.set(key, known);
    known.catch(() => tables.delete(key));
    return known;
  };

  /** Shows a layer, and the page of a unit in it; `tell`: the user can go back from it. */
  const go = async (to: Address, tell = true): Promise<void> => {
    const mine = ++turn;
    if (sides[0]?.layer.name !== to.layer) {
      const found = (index?.atlases ?? []).flatMap((atlas, number) => {
        const layer = atlas.layers.find(({ name }) => name === to.layer);
        return layer ? [{ number, atlas, layer }] : [];
      });
      if (!found.length) return showError(`this atlas has no layer ${to.layer}`);
      layers.choose(to.layer);
      grid.element.setAttribute("aria-busy", "true");
      try {
        const read = await Promise.all(found.map(async (side) => ({ ...side, table: await tableOf(side.number, side.layer) })));
        if (mine !== turn || signal.aborted) return;
        sides = read;
      } catch (error) {
        if (mine === turn && !signal.aborted) showError(error instanceof Error ? error.message : String(error));
        return;
      } finally {
        if (mine === turn) grid.element.removeAttribute("aria-busy");
      }
      showError("");
      unit = null;
      page.close();
      grid.choose(null);
      const { layer, table } = sides[0]!;
      bar.reset();
      bar.offer(layer, table);
      names.hidden = sides.length < 2;
      replace(names, ...sides.map(({ atlas }, i) => h("span", {}, `${i ? "right" : "left"}: ${atlas.name}`)));
      list();
    }
    if (to.unit === null) close(false);
    else if (to.unit < sides[0]!.table.states.length) open(to.unit);
    else showError(`layer ${to.layer} has ${formatCount(sides[0]!.table.states.length)} units, from 0; there is no ${to.unit}`);
    address(tell);
  };

  const list = () => {
    if (!sides.length) return;
    const { layer, table } = sides[0]!;
    const units = chosenUnits(table, bar.text, bar.filter, bar.order, unit);
    bar.count = units.length === table.states.length ? `${formatCount(units.length)} units` : `${formatCount(units.length)} of ${formatCount(table.states.length)} units`;
    grid.list(units, `units of ${layer.name}`);
    if (unit !== null) showPage(unit);
  };

  const sheetOf = (layer: Layer): Sheet | undefined => layer.sheets.find(({ kind }) => kind === bar.kind) ?? layer.sheets[0];

  const fill = (tile: Tile, at: number) => {
    const { layer, table } = sides[0]!;
    const state = table.states[at]!;
    tile.write(at, { name: nameOf(table, at), value: caption(table, bar.order, at), state, href: linked ? `#${written({ layer: layer.name, unit: at })}` : null });
    let shown = pictures.get(tile);
    if (!shown || shown.length !== sides.length) {
      shown = sides.map(() => new Picture());
      pictures.set(tile, shown);
      replace(tile.pictures, ...shown.map(({ element }) => element));
    }
    const height = pictureHeight();
    for (const [i, side] of sides.entries()) {
      const sheet = sheetOf(side.layer);
      const there = sheet && at < side.table.states.length && side.table.states[at] !== "missing";
      shown[i]!.paint(sheets, there ? { atlas: side.number, layer: side.layer, sheet, unit: at, i: 0 } : null, bar.size, height);
    }
  };

  const pictureHeight = (): number => {
    const sheet = sides[0] && sheetOf(sides[0].layer);
    return sheet ? heightOf(sheet, bar.size) : bar.size;
  };

  const draw = () => {
    scheduled = 0;
    if (!sides.length || signal.aborted) return;
    sheets.forgetRequests();
    if (page.open) page.draw(sheets);
    grid.resize(bar.size * sides.length + PAIR_GAP * (sides.length - 1), pictureHeight());
    grid.draw();
  };
  const schedule = () => {
    if (!scheduled) scheduled = requestAnimationFrame(draw);
  };
  sheets.changed = schedule;

  // ---- a unit ----------------------------------------------------------------------------------------------------------

  const showPage = (at: number) => {
    page.show(at, sides.filter(({ table }) => at < table.states.length), grid.units.indexOf(at), grid.units.length);
    schedule();
  };

  /** `chosen`: by the user, who can go back from it. */
  const open = (at: number, chosen = false) => {
    const already = unit !== null;
    unit = at;
    root.classList.add("ldam-at-opened");
    if (bar.order === "similar" && chosen) list();
    showPage(at);
    grid.choose(at);
    if (chosen && !already) page.heading.focus({ preventScroll: true });
    address(chosen);
  };

  const close = (tell = true) => {
    if (unit === null) return;
    const inside = page.element.contains((root.getRootNode() as Document | ShadowRoot).activeElement);
    unit = null;
    page.close();
    root.classList.remove("ldam-at-opened");
    grid.choose(null);
    draw();
    if (inside) grid.focus();
    if (tell) address(true);
  };

  const step = (by: number) => {
    if (unit === null) return;
    const to = grid.units[grid.units.indexOf(unit) + by];
    if (to === undefined || grid.units.indexOf(unit) < 0) return;
    open(to);
    draw();
  };

  const nextLayer = (by: number) => {
    const at = all().findIndex(({ name }) => name === sides[0]?.layer.name);
    const next = all()[at + by];
    if (next) void go({ layer: next.name, unit: null }).then(() => (draw(), grid.focus())); // the tile that had the focus is gone
  };

  /** The page's address, or what Python reads, is what is shown. */
  const address = (back: boolean) => {
    const layer = sides[0]?.layer.name;
    if (layer === undefined) return;
    source.chosen(layer, unit);
    if (!linked) return;
    const hash = `#${written({ layer, unit })}`;
    document.title = `${layer}${unit === null ? "" : ` ${unit}`} · ${index?.title ?? "atlas"}`;
    if (hash === location.hash) return;
    if (back) history.pushState(null, "", hash);
    else history.replaceState(null, "", hash);
  };

  // ---- keys and the page -----------------------------------------------------------------------------------------------

  root.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const typing = (event.target as Element).matches(TYPING);
    if (typing && event.key !== "Escape") return;
    const deeds: Record<string, () => void> = {
      Escape: () => (typing && bar.text ? (bar.reset(), list()) : close()),
      n: () => step(1),
      p: () => step(-1),
      "[": () => nextLayer(-1),
      "]": () => nextLayer(1),
      "/": () => bar.search.focus(),
    };
    const deed = deeds[event.key];
    if (!deed) return;
    event.preventDefault();
    deed();
  }, { signal }); // prettier-ignore
  bar.search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    const named = readAddress(bar.text);
    if (named && all().some(({ name }) => name === named.layer)) void go(named); // "conv2/17" goes there
    else if (grid.units.length) grid.go(0);
  }, { signal }); // prettier-ignore
  keepKeys(root, signal);
  watchTheme(root, signal, () => {});
  if (linked) {
    const follow = () => {
      const to = readAddress(location.hash);
      if (to && index) void go(to, false);
    };
    window.addEventListener("hashchange", follow, { signal });
    window.addEventListener("popstate", follow, { signal });
  }
  parent.classList.add("ldam-view");
  parent.replaceChildren(root);
  signal.addEventListener("abort", () => {
    cancelAnimationFrame(scheduled);
    source.close();
    sheets.close();
    root.remove();
  });
  source.open({ index: opened, show: (layer, at) => void go({ layer, unit: at }), failed: (why) => showError(why) });
}
