// D(x) of the samples: how real each looks to the discriminator.
import type { Discriminator, Score } from "../../protocol";
import { h } from "../../ui/dom";
import { formatScore } from "../../ui/format";
import { mean } from "../../ui/mean";

export const SCORE_LINE = 14; // CSS pixels
const BAR = 6; // CSS pixels below the last line of a head
const MEANING = "D(x): the discriminator's probability that the sample is a real picture";
const FORMS = new Map([
  ["logit", "R(x) = logit D(x)"],
  ["log", "R(x) = log D(x)"],
  ["probability", "R(x) = D(x)"],
]);

/** The newest scores; those of another generation are ignored. */
export class Scores {
  #score: Score = null;
  #gen: number | null = null;

  take(score: Score, gen: number): void {
    [this.#score, this.#gen] = [score, gen];
  }

  /** "D .93" for one chain. */
  text(gen: number, column: number, chain: number): string {
    const chains = this.#of(gen, column);
    return chains.length ? `D ${formatScore((chains.length === 1 ? chains[0] : chains[chain]) ?? NaN)}` : "";
  }

  /** "D .93", mean over the first chains. */
  meanText(gen: number, column: number, chains: number = Infinity): string {
    const shown = this.#of(gen, column).slice(0, chains);
    return shown.length ? `D ${formatScore(mean(shown))}` : "";
  }

  #of(gen: number, column: number): (number | null)[] {
    return gen === this.#gen ? (this.#score?.[column] ?? []) : [];
  }
}

/** The label to the left of the scores. */
export function scoreLabel({ form }: Discriminator): HTMLElement {
  return h("div.ldam-score.ldam-score-label", { title: `${MEANING}\n${FORMS.get(form) ?? form}`.trimEnd() }, "D = P(real)");
}

/** Position of the score line above tiles that begin at `top`; name and activation are above it. */
export function scoreLine(top: number): { y: number; height: number } {
  return { y: top - BAR - SCORE_LINE, height: SCORE_LINE };
}
