// The content of the picture: the panes of the newest frame, and texts and numbers for each tile.
import type { FilledFrame } from "../../connection";
import type { Setup, Unit } from "../../protocol";
import { formatShort, formatSigned } from "../../ui/format";
import { mean } from "../../ui/mean";
import type { Cell } from "./layout";
import { comparePanes, isShown, kindOf, modelOf, Models } from "./models";
import type { PaneImage } from "./pane-image";
import { Scores } from "./scores";
import { Standings } from "./standing";

const GONE = 60; // frames after which a pane without news is dropped (differences come five times a second)

export class Content {
  setup: Setup | null = null;
  frame: FilledFrame | null = null;
  panes = new Map<string, PaneImage>();
  /** The model shown while blinking; null: each model has its own rows. */
  blink: number | null = null;
  readonly models = new Models();
  readonly scores = new Scores();
  readonly standings = new Standings();

  get neurons(): Unit[] {
    return this.setup?.neurons ?? [];
  }

  /** Height and width of a tile in image pixels. */
  get pixels(): { height: number; width: number } {
    const [pane] = this.panes.values();
    return { height: pane?.pane.shape[2] ?? 1, width: pane?.pane.shape[3] ?? 1 };
  }

  /** The image drawn in a pane's place: while blinking, that of the current model. */
  image(pane: string): PaneImage | undefined {
    const own = this.panes.get(pane);
    const kind = kindOf(pane);
    return this.blink === null || kind === "difference" ? own : (this.panes.get(`${kind}:${this.blink}`) ?? own);
  }

  /** Rows from top to bottom: the chains, their average, any other panes. */
  lines(): { pane: string; row: number }[] {
    const panes = [...this.panes.values()].map(({ pane }) => pane);
    if (this.models.several) panes.sort(comparePanes);
    const rows = panes
      .filter((pane) => this.blink === null || modelOf(pane) === 0 || kindOf(pane.name) === "difference")
      .flatMap(({ name, shape }) => Array.from({ length: shape[0] }, (_, row) => ({ pane: name, row })));
    if (this.models.several) return rows;
    const rank = ({ pane }: { pane: string }) => (pane === "sample" ? 0 : pane === "average" ? 1 : 2);
    return rows.sort((a, b) => rank(a) - rank(b));
  }

  /** Drops panes that should no longer be shown, once there is a replacement; true: some were dropped. */
  prune(): boolean {
    const names = [...this.panes.keys()];
    const show = this.setup?.show;
    if (!this.models.several || !names.some((name) => isShown(name, show) && kindOf(name) !== "difference")) return false;
    const gone = names.filter((name) => !isShown(name, show) || this.panes.get(name)!.age > GONE);
    for (const name of gone) this.panes.delete(name);
    return gone.length > 0;
  }

  /** The bold and the small part of a row's label; `fits` says whether the small one does: if not, the last of it is left out. */
  rowText(pane: string, row: number, fits: (details: string[]) => boolean = () => true): [string, string] {
    const [first = pane, ...rest] = (this.image(pane)?.pane.labels[row] ?? pane).split("\n");
    while (rest.length > 1 && !fits(rest)) rest.splice(rest.at(-1) === "stretched" ? -2 : -1, 1);
    return [first, rest.join(", ")];
  }

  /** A tile's activation: of a sample, its chain's; of an average, the mean over chains; of a difference, the difference of both. */
  activation({ pane, row, column }: Cell): number {
    const chains = this.frame?.activation[column] ?? [];
    if (this.models.several) {
      const of = (model: number) => this.models.activation(model, column, chains);
      const own = of(this.#modelAt(pane));
      return kindOf(pane) === "difference" ? own - of(0) : own;
    }
    return kindOf(pane) === "average" || chains.length === 1 ? mean(chains) : (chains[row] ?? NaN);
  }

  /** The text for a whole tile: "activation 20.1". */
  activationText(cell: Cell): string {
    const value = this.activation(cell);
    return kindOf(cell.pane) === "difference" ? `difference of activations ${formatSigned(value)}` : `activation ${formatShort(value)}`;
  }

  /** The text for a pixel: "pixel (3, 4) = 0.56". */
  pixelText(cell: Cell, y: number, x: number): string {
    const image = this.image(cell.pane);
    const values = image?.values(cell.row, cell.column, y, x) ?? [];
    const [top, left] = image?.cornerOf(cell.column) ?? [0, 0];
    const name = `pixel (${y + top}, ${x + left})`;
    if (image?.signed) return `${name} · difference ${values.map((value) => formatSigned(value)).join("")}`;
    const texts = values.map(formatShort);
    return `${name} = ${texts.length > 1 ? `(${texts.join(", ")})` : texts.join("")}`;
  }

  /** "stretched: black 0.21, white 0.64"; "": not stretched. */
  rangeText({ pane, row, column }: Cell): string {
    const image = this.image(pane);
    if (!image?.pane.ranges) return "";
    const [black, white] = image.rangeOf(row, column).map(formatShort);
    return `stretched: black ${black}, white ${white}`;
  }

  /** "D .93" for a sample; for an average, the mean over the samples shown; "": unknown. */
  scoreText({ pane, row, column }: Cell): string {
    if (!this.setup?.discriminator) return "";
    if (pane !== "average") return this.scores.text(this.setup.gen, column, row);
    const text = this.columnScore(this.setup, column);
    return text && `mean ${text}`; // not D of the average itself
  }

  /** The mean over the samples shown. */
  columnScore({ gen, discriminator }: Setup, column: number): string {
    return discriminator ? this.scores.meanText(gen, column, this.panes.get("sample")?.pane.shape[0]) : "";
  }

  /** "as strong as 99.1 % of real images", for the mean over chains; "": unknown. */
  standingText({ pane, column }: Cell): string {
    if (!this.setup || kindOf(pane) === "difference") return "";
    const text = this.standings.text(this.setup.gen, this.#modelAt(pane), column);
    return text && !this.ofMean(pane, column) ? `on average ${text}` : text;
  }

  /** Whether a tile's activation is the mean over all chains. */
  ofMean(pane: string, column: number): boolean {
    return this.models.several || kindOf(pane) === "average" || (this.frame?.activation[column]?.length ?? 1) === 1;
  }

  burnedIn({ pane, row, column }: Cell): boolean {
    const chains = this.frame?.burned_in[column] ?? [];
    return ["average", "difference"].includes(kindOf(pane)) ? chains.every(Boolean) : (chains[row] ?? true);
  }

  #modelAt(pane: string): number {
    return this.models.several ? modelOf(this.image(pane)?.pane ?? { name: pane }) : 0;
  }
}
