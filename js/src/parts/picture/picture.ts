// The picture: tiles on one canvas, names and activations over them as text.
import type { FilledFrame } from "../../connection";
import type { Score, Setup, Show, Standing, State, Unit } from "../../protocol";
import { h, replace, setText, throttle } from "../../ui/dom";
import { formatShort, formatSigned, unitText } from "../../ui/format";
import { mean } from "../../ui/mean";
import { lineStyle } from "../../ui/theme";
import { arrange, type Box, type Cell, HEAD, type Layout, type Room, type Tile } from "./layout";
import { comparePanes, isShown, kindOf, MODEL_LINE, modelOf, Models, sortBeside } from "./models";
import { PaneImage } from "./pane-image";
import { SCORE_LINE, scoreLabel, scoreLine, Scores } from "./scores";
import { SignedLegend } from "./signed";
import { STANDING_LINE, standingLine, Standings, writeStanding } from "./standing";

const GRID_HEIGHT = 440; // CSS pixels that a grid of small pictures keeps to if it can
const PHOTO_GRID_HEIGHT = 640;
const ZOOM_HEIGHT = 300; // an enlarged tile gets at least that
const NAME_LINE = 15; // CSS pixels, the first one of a head
const BOTH = 96; // a head of that width has room for an activation and a standing on one line
const GONE = 60; // frames without a difference, which comes five times a second: it is not shown any more

export class Picture {
  readonly canvas = h("canvas.ldam-canvas", { role: "img", tabindex: 0 });
  readonly element: HTMLElement;
  /** Told after anything was painted or relabelled: what lies under the pointer may have changed. */
  onChange: () => void = () => {};
  layout: Layout | null = null;
  zoom: Cell | null = null;

  #context = this.canvas.getContext("2d")!;
  #heads = h("div");
  #sides = h("div");
  #scoreLabels = h("div");
  #modelLabels = h("div");
  #legends: { pane: string; legend: SignedLegend }[] = [];
  #panes = new Map<string, PaneImage>();
  #setup: Setup | null = null;
  #next: Setup | null = null; // waits for its first frame, so that names and pictures change together
  #frame: FilledFrame | null = null;
  #width = 0;
  #ratio = 1;
  #key = ""; // what the layout was made for
  #gridHeight = 0;
  #column: number | null = null; // the only neuron shown, its rows side by side; null: a column each neuron
  #dark = false;
  #scores = new Scores();
  #standings = new Standings();
  #models = new Models();
  #blink: number | null = null;
  #label = throttle(1000, () => this.#updateLabel());
  #texts = throttle(200, () => this.#updateTexts());
  #scoreTexts = throttle(250, () => this.#updateScores());

  constructor() {
    const overlay = h("div.ldam-overlay", { "aria-hidden": "true" }, this.#heads, this.#sides, this.#scoreLabels, this.#modelLabels);
    this.element = h("div.ldam-stage", {}, this.canvas, overlay);
    this.canvas.setAttribute("aria-label", "samples");
  }

  get neurons(): Unit[] {
    return this.#setup?.neurons ?? [];
  }

  get painted(): boolean {
    return this.#setup !== null;
  }

  setup(setup: Setup): void {
    if (this.#setup?.gen === setup.gen) {
      this.#adopt(setup);
      this.#prune();
      this.#draw();
    } else {
      this.#next = setup;
    }
    this.#label.now();
  }

  state({ discriminator, show }: Pick<State, "discriminator" | "show">): void {
    if (show !== undefined) this.#showRows(show);
    const setup = this.#next ?? this.#setup;
    if (discriminator === undefined || !setup || (discriminator?.form ?? null) === (setup.discriminator?.form ?? null)) return;
    const changed = { ...setup, discriminator };
    if (this.#next) {
      this.#next = changed;
    } else {
      this.#setup = changed;
      this.#draw();
    }
  }

  /** D of the present samples; undefined: nothing new is known. */
  score(score: Score | undefined, gen: number): void {
    if (score === undefined) return;
    this.#scores.take(score, gen);
    this.#scoreTexts();
    this.#label();
  }

  /** How strong activations are among those of real images; undefined: nothing new is known. */
  standing(standing: Standing | undefined, gen: number): void {
    if (standing === undefined) return;
    this.#standings.take(standing, gen);
    this.#texts();
  }

  /** New width of the place the picture may take. */
  resize(width: number): void {
    if (width === this.#width || width <= 0) return;
    this.#width = width;
    this.#draw();
  }

  set dark(dark: boolean) {
    this.#dark = dark;
    this.#key = "";
    for (const image of this.#panes.values()) image.dark = dark;
    this.#draw();
  }

  /** The model that stands for all of them, its rows in the place of theirs; null: each has rows of its own. */
  set blink(model: number | null) {
    if (model === this.#blink) return;
    this.#blink = model;
    this.#draw();
    this.#updateTexts();
  }

  paint(frame: FilledFrame): void | Promise<void> {
    const fresh = this.#next !== null;
    const panes = fresh ? new Map<string, PaneImage>() : this.#panes;
    const loads = frame.panes.map((pane) => {
      const image = panes.get(pane.name) ?? new PaneImage(pane, this.#dark);
      panes.set(pane.name, image);
      return image.load(pane);
    });
    const done = () => {
      if (fresh && this.#next?.gen !== frame.gen) return; // another layer was chosen while this was decoded
      this.#panes = panes;
      this.#frame = frame;
      for (const [name, image] of panes) image.age = frame.panes.some((pane) => pane.name === name) ? 0 : image.age + 1;
      if (fresh) this.#adopt(this.#next!);
      else this.#models.take(frame);
      this.#draw(!this.#prune() && !fresh);
      this.#label();
      this.#texts();
    };
    return loads.some(Boolean) ? Promise.all(loads).then(done) : done();
  }

  /** Activations were read out before play or pause changed: say the newest ones. */
  relabel(): void {
    this.#label.now();
  }

  close(): void {
    this.#label.cancel();
    this.#texts.cancel();
    this.#scoreTexts.cancel();
  }

  /** Show one tile large with its neighbours of the other panes, or all again. */
  enlarge(cell: Cell | null): void {
    this.zoom = cell;
    this.element.classList.toggle("ldam-zoomed", cell !== null);
    this.#draw();
  }

  /** Rows from top to bottom: the first chain, its average, then the further chains; any other panes after them. */
  lines(): { pane: string; row: number }[] {
    const panes = [...this.#panes.values()].map(({ pane }) => pane);
    if (this.#models.several) panes.sort(comparePanes);
    const rows = panes
      .filter((pane) => this.#blink === null || modelOf(pane) === 0 || kindOf(pane.name) === "difference")
      .flatMap(({ name, shape }) => Array.from({ length: shape[0] }, (_, row) => ({ pane: name, row })));
    if (this.#models.several) return rows;
    const rank = ({ pane, row }: { pane: string; row: number }) => (pane === "sample" ? (row === 0 ? 0 : 2) : pane === "average" ? 1 : 3);
    return rows.sort((a, b) => rank(a) - rank(b));
  }

  /** What the row label says of a row: its bold line and its small one. */
  rowText(pane: string, row: number): [string, string] {
    const [first = pane, ...rest] = (this.#image(pane)?.pane.labels[row] ?? pane).split("\n");
    return [first, rest.join(" ")];
  }

  /** Activation of the chain in a row of samples; of an average, the mean over chains; of a difference, how far both are apart. */
  activation({ pane, row, column }: Cell): number {
    const chains = this.#frame?.activation[column] ?? [];
    if (this.#models.several) {
      const image = this.#image(pane);
      const of = (model: number) => this.#models.activation(model, column, chains);
      const own = of(modelOf(image?.pane ?? { name: pane }));
      return kindOf(pane) === "difference" ? own - of(0) : own;
    }
    return kindOf(pane) === "average" || chains.length === 1 ? mean(chains) : (chains[row] ?? NaN);
  }

  /** What is said of a tile as a whole: "activation 20.1". */
  activationText(cell: Cell): string {
    const value = this.activation(cell);
    return kindOf(cell.pane) === "difference" ? `difference of activations ${formatSigned(value)}` : `activation ${formatShort(value)}`;
  }

  /** What is said of a pixel: "pixel (3, 4) = 0.56". */
  pixelText(cell: Cell, y: number, x: number): string {
    const image = this.#image(cell.pane);
    const values = image?.values(cell.row, cell.column, y, x) ?? [];
    if (image?.signed) return `pixel (${y}, ${x}) · difference ${values.map((value) => formatSigned(value)).join("")}`;
    const texts = values.map(formatShort);
    return `pixel (${y}, ${x}) = ${texts.length > 1 ? `(${texts.join(", ")})` : texts.join("")}`;
  }

  /** "D .93" of the sample in a tile; of an average, the mean over the samples shown. "": not known. */
  scoreText({ pane, row, column }: Cell): string {
    if (!this.#setup?.discriminator) return "";
    if (pane !== "average") return this.#scores.text(this.#setup.gen, column, row);
    const text = this.#columnScore(this.#setup, column);
    return text && `mean ${text}`; // what D would say of the average itself is another matter
  }

  /** "as strong as 99.1 % of real images", of the mean over chains; "": not known. */
  standingText({ pane, column }: Cell): string {
    if (!this.#setup || kindOf(pane) === "difference") return "";
    const model = this.#models.several ? modelOf(this.#image(pane)?.pane ?? { name: pane }) : 0;
    const text = this.#standings.text(this.#setup.gen, model, column);
    return text && !this.#ofMean(pane, column) ? `on average ${text}` : text;
  }

  burnedIn({ pane, row, column }: Cell): boolean {
    const chains = this.#frame?.burned_in[column] ?? [];
    return ["average", "difference"].includes(kindOf(pane)) ? chains.every(Boolean) : (chains[row] ?? true);
  }

  /** Image pixels of a tile: height and width. */
  get pixels(): { height: number; width: number } {
    const [pane] = this.#panes.values();
    return { height: pane?.pane.shape[2] ?? 1, width: pane?.pane.shape[3] ?? 1 };
  }

  /** The tile under a point in CSS pixels, or the top tile of the column whose name is there. */
  tileAt(x: number, y: number): { tile: Tile; y: number; x: number } | { tile: Tile } | null {
    if (!this.layout) return null;
    const [dx, dy] = [x * this.#ratio, y * this.#ratio];
    for (const tile of this.layout.tiles) {
      const [inX, inY] = [dx - tile.x, dy - tile.y];
      if (inX < 0 || inY < 0 || inX >= tile.width || inY >= tile.height) continue;
      const { height, width } = this.pixels;
      return { tile, x: Math.floor((inX * width) / tile.width), y: Math.floor((inY * height) / tile.height) };
    }
    const head = this.layout.heads.findIndex((box) => x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height);
    const tile = head < 0 ? undefined : this.#headTile(head);
    return tile ? { tile } : null;
  }

  /** Where a tile stands in CSS pixels. */
  boxOf(tile: Tile): { x: number; y: number; width: number; height: number } {
    const r = this.#ratio;
    return { x: tile.x / r, y: tile.y / r, width: tile.width / r, height: tile.height / r };
  }

  /** Is the activation of a tile that of all chains? */
  #ofMean(pane: string, column: number): boolean {
    return this.#models.several || kindOf(pane) === "average" || (this.#frame?.activation[column]?.length ?? 1) === 1;
  }

  /** What is drawn where a pane stands: while models blink, that of the one whose turn it is. */
  #image(pane: string): PaneImage | undefined {
    const own = this.#panes.get(pane);
    const kind = kindOf(pane);
    return this.#blink === null || kind === "difference" ? own : (this.#panes.get(`${kind}:${this.#blink}`) ?? own);
  }

  /** Other rows were chosen: the present ones stay until there is something to stand in their place. */
  #showRows(show: Show): void {
    const setup = this.#next ?? this.#setup;
    if (!setup || setup.show === show) return;
    const changed = { ...setup, show };
    if (this.#next) this.#next = changed;
    else this.#setup = changed;
    if (this.#prune()) this.#draw();
  }

  #prune(): boolean {
    const names = [...this.#panes.keys()];
    const show = this.#setup?.show;
    if (!this.#models.several || !names.some((name) => isShown(name, show) && kindOf(name) !== "difference")) return false;
    const gone = names.filter((name) => !isShown(name, show) || this.#panes.get(name)!.age > GONE);
    for (const name of gone) this.#panes.delete(name);
    return gone.length > 0;
  }

  #adopt(setup: Setup): void {
    const zoomed = this.zoom && this.#setup?.neurons[this.zoom.column]?.key;
    this.#setup = setup;
    this.#models.setup(setup);
    if (this.#frame?.gen === setup.gen) this.#models.take(this.#frame);
    this.#next = null;
    this.#key = "";
    if (this.zoom) {
      const column = setup.neurons.findIndex(({ key }) => key === zoomed);
      this.enlarge(column < 0 ? null : { ...this.zoom, column });
    }
  }

  /** `news`: what stands on the canvas already is left there, but for the panes that have just come. */
  #draw(news = false): void {
    if (!this.#setup || !this.#width || !this.#panes.size) return;
    const anew = this.#arrange();
    const { tiles, smooth } = this.layout!;
    const context = this.#context;
    const { height, width } = this.pixels;
    context.imageSmoothingEnabled = smooth;
    for (const { pane, row, column, x, y, width: w, height: h } of tiles) {
      const image = this.#image(pane)!;
      if (news && !anew && image.age > 0) continue;
      context.drawImage(image.canvas, column * width, row * height, width, height, x, y, w, h);
    }
    this.onChange();
  }

  /** True: the canvas is empty now. */
  #arrange(): boolean {
    const lines = this.lines();
    const size = this.pixels;
    const columns = this.#setup!.neurons.length;
    const { zoom } = this;
    const { discriminator, real_images } = this.#setup!;
    const { names } = this.#models;
    const key = JSON.stringify([this.#width, devicePixelRatio, lines, columns, size, zoom, discriminator?.form, real_images, names]);
    if (key === this.#key) return false;
    this.#key = key;
    this.#ratio = devicePixelRatio || 1;
    const photo = size.width > 88 || size.height > 88;
    const { several } = this.#models;
    const gutter = this.#width < 460 ? (several ? 90 : 76) : 94; // legends need more
    const room: Room = { width: this.#width, ratio: this.#ratio, gutter, budget: photo ? PHOTO_GRID_HEIGHT : GRID_HEIGHT };
    room.head = HEAD + (discriminator ? SCORE_LINE : 0); // before scores come: then nothing has to move
    this.#column = zoom?.column ?? (columns === 1 ? 0 : null);
    if (this.#standsBelow) room.head += STANDING_LINE;
    if (this.#column === null) {
      if (several) room.head += names.length * MODEL_LINE - NAME_LINE;
      this.layout = arrange(lines, columns, size, room);
    } else {
      const shown = lines.map((line, i) => ({ ...line, line: i, column: this.#column! }));
      // The chosen tile, and beside it the same neuron in every other pane.
      let cells = zoom
        ? shown.filter(({ pane, row }) => (kindOf(pane) === kindOf(zoom.pane) ? row === zoom.row : row === 0))
        : shown;
      if (zoom && several) cells = sortBeside(cells, kindOf(zoom.pane));
      room.large = several;
      if (zoom) room.budget = Math.max(this.#gridHeight, several ? GRID_HEIGHT : ZOOM_HEIGHT);
      this.layout = arrange([{ pane: "", row: 0 }], cells.length, size, room);
      this.layout.tiles = this.layout.tiles.map((tile, i) => ({ ...tile, ...cells[i]! }));
    }
    if (zoom) this.layout.height = Math.max(this.layout.height, this.#gridHeight); // what stands below stays where it is
    else this.#gridHeight = this.layout.height;
    this.#fitCanvas();
    this.#buildTexts();
    return true;
  }

  #fitCanvas(): void {
    const { width, height, tiles, smooth } = this.layout!;
    const ratio = this.#ratio;
    this.canvas.width = Math.round(width * ratio); // also clears it
    this.canvas.height = Math.ceil(height * ratio);
    this.canvas.style.width = `${this.canvas.width / ratio}px`;
    this.canvas.style.height = `${this.canvas.height / ratio}px`;
    this.canvas.style.imageRendering = smooth ? "auto" : "pixelated";
    // A thin frame tells a black picture from a dark page. The style sheet's `color` is the line's.
    this.#context.fillStyle = getComputedStyle(this.canvas).color;
    for (const { x, y, width: w, height: h } of tiles) this.#context.fillRect(x - 1, y - 1, w + 2, h + 2);
  }

  #buildTexts(): void {
    const { heads, sides } = this.layout!;
    const { discriminator } = this.#setup!;
    const place = (element: HTMLElement, box: Box) => {
      const { style } = element;
      [style.left, style.top] = [`${box.x}px`, `${box.y}px`];
      [style.width, style.height] = [`${box.width}px`, `${box.height}px`];
      return element;
    };
    const names = heads.map((box, i) => {
      const column = this.#column ?? i;
      const unit = this.neurons[column]!;
      const name = h("div.ldam-name", {}, h("b", {}, unit.label), unit.name ? ` ${unit.name}` : " ");
      const bar = h("span.ldam-bar");
      const { color, border } = lineStyle(column, this.#dark);
      bar.style.borderTop = `2px ${border} ${color}`;
      const activations = Array.from({ length: this.#column === null ? this.#models.lines : 1 }, () => h("div.ldam-activation"));
      const standing = this.#standsBelow && standingLine();
      return place(h("div.ldam-head", {}, name, ...activations, standing, discriminator && h("div.ldam-score"), bar), box);
    });
    replace(this.#heads, ...names);
    const lines = this.lines();
    this.#legends = [];
    const beside = sides.map((box) => {
      // Rows that stand side by side have one gutter: there each difference says whose it is.
      const block = () => this.layout!.tiles.filter(({ y }) => y === Math.round(box.y * this.#ratio));
      const cells = this.#column === null ? [lines[box.line]!] : block();
      return place(h("div.ldam-side", {}, h("b"), h("small"), ...this.#makeLegends(cells)), box);
    });
    replace(this.#sides, ...beside);
    const blocks = sides.filter(({ line }) => line === 0);
    replace(this.#scoreLabels, ...(discriminator ? blocks.map((box) => place(scoreLabel(discriminator), { ...box, ...scoreLine(box.y) })) : []));
    const below = discriminator ? SCORE_LINE : 0;
    const labelled = this.#models.several && this.#column === null ? blocks : [];
    replace(this.#modelLabels, ...labelled.flatMap(({ x, y, width }) => this.#models.labels(x, y, width, below)));
    this.#updateTexts();
    this.#updateScores();
  }

  /** Has the standing a line of its own? Of several models each has one already, which it goes on. */
  get #standsBelow(): boolean {
    return this.#setup?.real_images === true && (!this.#models.several || this.#column !== null);
  }

  #makeLegends(cells: Omit<Cell, "column">[]): HTMLElement[] {
    const signed = [...new Set(cells.map(({ pane }) => pane))].filter((pane) => this.#image(pane)?.signed);
    return signed.map((pane) => {
      const legend = new SignedLegend(this.#dark, cells.length > 1 ? this.rowText(pane, 0).join(" ") : "");
      this.#legends.push({ pane, legend });
      return legend.element;
    });
  }

  #writeStanding(line: Element, tile: Tile, width: number): void {
    const grid = this.#column === null; // there heads are of all chains
    const own = grid || this.#ofMean(tile.pane, tile.column);
    const model = this.#models.several ? modelOf({ name: tile.pane }) : 0;
    const text = grid ? this.#standings.text(this.#setup!.gen, model, tile.column) : this.standingText(tile);
    const short = text && own ? this.#standings.short(this.#setup!.gen, model, tile.column) : "";
    writeStanding(line, own ? text : "", short, width);
  }

  /** Of its own, since scores come more seldom than activations. */
  #updateScores(): void {
    if (!this.layout || !this.#setup?.discriminator) return;
    for (const [i, head] of [...this.#heads.children].entries()) {
      const score = head.querySelector(".ldam-score");
      const tile = this.#headTile(i);
      if (score && tile) setText(score, this.#column === null ? this.#columnScore(this.#setup, i) : this.scoreText(tile));
    }
    this.onChange();
  }

  /** The mean over the samples that are shown. */
  #columnScore({ gen, discriminator }: Setup, column: number): string {
    return discriminator ? this.#scores.meanText(gen, column, this.#panes.get("sample")?.pane.shape[0]) : "";
  }

  #updateTexts(): void {
    if (!this.layout || !this.#frame) return;
    const only = this.#column === null ? null : this.neurons[this.#column];
    for (const [i, head] of [...this.#heads.children].entries()) {
      const tile = this.#headTile(i);
      if (!tile) continue;
      const standing = head.querySelector(".ldam-standing");
      if (standing) this.#writeStanding(standing, tile, this.layout.heads[i]!.width);
      if (only) setPair(head.firstElementChild!, this.#headText(tile, this.layout.heads[i]!.width));
      for (const [model, line] of [...head.querySelectorAll(".ldam-activation")].entries()) {
        const cell: Cell = only ? tile : { pane: `average:${model}`, row: 0, column: i };
        const value = this.activation(cell);
        const beside = only || !this.#models.several || this.layout.heads[i]!.width < BOTH ? "" : this.#standings.short(this.#setup!.gen, model, i);
        setText(line, (kindOf(cell.pane) === "difference" ? formatSigned(value) : formatShort(value)) + (beside && ` · ${beside}`));
        line.classList.toggle("ldam-young", !this.burnedIn(cell));
        line.classList.toggle("ldam-blinking", !only && this.#blink === model);
      }
    }
    for (const [i, label] of [...this.#modelLabels.children].entries()) {
      label.classList.toggle("ldam-blinking", this.#blink === i % this.#models.names.length);
    }
    for (const { pane, legend } of this.#legends) {
      const image = this.#image(pane);
      if (image) legend.range = image.pane.range;
    }
    const lines = this.lines();
    for (const [i, side] of [...this.#sides.children].entries()) {
      const { pane, row } = lines[this.layout.sides[i]!.line] ?? lines[0]!;
      const [first, second] = only ? [only.label, only.name] : this.rowText(pane, row);
      setText(side.children[0]!, first);
      setText(side.children[1]!, second);
      side.classList.toggle("ldam-blinking", !only && this.#blink !== null && kindOf(pane) !== "difference");
    }
    this.onChange();
  }

  /** Where rows stand side by side, their labels are headings: what they have in common goes first if room is short. */
  #headText({ pane, row }: Cell, width: number): [string, string] {
    const [first, second] = this.rowText(pane, row);
    const repeated = (this.#image(pane)?.pane.shape[0] ?? 1) > 1;
    return width >= 150 || this.#models.several ? [first, second] : [repeated ? second || first : first, ""];
  }

  #headTile(head: number): Tile | undefined {
    if (this.#column !== null) return this.layout!.tiles[head];
    return this.layout!.tiles.find(({ column, line }) => column === head && line === 0);
  }

  #updateLabel(): void {
    const setup = this.#next ?? this.#setup;
    if (!setup) return;
    const { neurons, layer } = setup;
    const current = this.#next === null && this.#frame?.gen === setup.gen;
    const each = neurons.map((unit, i) => {
      const now = current ? (this.#frame!.activation[i] ?? []) : [setup.trace.activation.at(-1)?.[i] ?? NaN];
      const value = (activation: number) => (Number.isNaN(activation) ? "" : formatShort(activation));
      const { names, several } = this.#models;
      const values = several && current ? names.map((name, k) => `${name} ${value(this.#models.activation(k, i, now))}`.trim()).join(", ") : value(mean(now));
      return [unitText(unit), values, this.#columnScore(setup, i)].filter(Boolean).join(" ");
    });
    const count = neurons.length === 1 ? "1 neuron" : `${neurons.length} neurons`;
    this.canvas.setAttribute("aria-label", `samples of layer ${layer}, ${count}: ${each.join("; ")}`);
  }
}

/** The bold and the quiet part of a heading. */
function setPair(element: Element, [first, second]: [string, string]): void {
  setText(element.firstChild!, first);
  setText(element.lastChild!, ` ${second}`);
}
