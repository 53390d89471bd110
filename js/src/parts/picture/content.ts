// What is on show: the panes of the newest frame, and what is known of each tile, in words and numbers.
import type { FilledFrame } from "../../connection";
import type { Setup, Unit } from "../../protocol";
import { formatShort, formatSigned } from "../../ui/format";
import { mean } from "../../ui/mean";
import type { Cell } from "./layout";
import { comparePanes, isShown, kindOf, modelOf, Models } from "./models";
import type { PaneImage } from "./pane-image";
import { Scores } from "./scores";
import { Standings } from "./standing";

const GONE = 60; // frames without a difference, which comes five times a second: it is not shown any more

export class Content {
  setup: Setup | null = null;
  frame: FilledFrame | null = null;
  panes = new Map<string, PaneImage>();
  /** The model whose turn it is while they blink; null: each has rows of its own. */
  blink: number | null = null;
  readonly models = new Models();
  readonly scores = new Scores();
  readonly standings = new Standings();

  get neurons(): Unit[] {
    return this.setup?.neurons ?? [];
  }

  /** Image pixels of a tile: height and width. */
  get pixels(): { height: number; width: number } {
    const [pane] = this.panes.values();
    return { height: pane?.pane.shape[2] ?? 1, width: pane?.pane.shape[3] ?? 1 };
  }

  /** What is drawn where a pane stands: while models blink, that of the one whose turn it is. */
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

  /** Drops panes that are not to be shown any more, as soon as there is something in their place; true: some went. */
  prune(): boolean {
    const names = [...this.panes.keys()];
    const show = this.setup?.show;
    if (!this.models.several || !names.some((name) => isShown(name, show) && kindOf(name) !== "difference")) return false;
    const gone = names.filter((name) => !isShown(name, show) || this.panes.get(name)!.age > GONE);
    for (const name of gone) this.panes.delete(name);
    return gone.length > 0;
  }

  /** What the row label says of a row: its bold line and its small one. */
  rowText(pane: string, row: number): [string, string] {
    const [first = pane, ...rest] = (this.image(pane)?.pane.labels[row] ?? pane).split("\n");
    return [first, rest.join(" ")];
  }

  /** Activation of the chain in a row of samples; of an average, the mean over chains; of a difference, how far both are apart. */
  activation({ pane, row, column }: Cell): number {
    const chains = this.frame?.activation[column] ?? [];
    if (this.models.several) {
      const of = (model: number) => this.models.activation(model, column, chains);
      const own = of(this.#modelAt(pane));
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
    const image = this.image(cell.pane);
    const values = image?.values(cell.row, cell.column, y, x) ?? [];
    if (image?.signed) return `pixel (${y}, ${x}) · difference ${values.map((value) => formatSigned(value)).join("")}`;
    const texts = values.map(formatShort);
    return `pixel (${y}, ${x}) = ${texts.length > 1 ? `(${texts.join(", ")})` : texts.join("")}`;
  }

  /** "D .93" of the sample in a tile; of an average, the mean over the samples shown. "": not known. */
  scoreText({ pane, row, column }: Cell): string {
    if (!this.setup?.discriminator) return "";
    if (pane !== "average") return this.scores.text(this.setup.gen, column, row);
    const text = this.columnScore(this.setup, column);
    return text && `mean ${text}`; // what D would say of the average itself is another matter
  }

  /** The mean over the samples that are shown. */
  columnScore({ gen, discriminator }: Setup, column: number): string {
    return discriminator ? this.scores.meanText(gen, column, this.panes.get("sample")?.pane.shape[0]) : "";
  }

  /** "as strong as 99.1 % of real images", of the mean over chains; "": not known. */
  standingText({ pane, column }: Cell): string {
    if (!this.setup || kindOf(pane) === "difference") return "";
    const text = this.standings.text(this.setup.gen, this.#modelAt(pane), column);
    return text && !this.ofMean(pane, column) ? `on average ${text}` : text;
  }

  /** Is the activation of a tile that of all chains? */
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
