// Training the discriminator while the chains run: a button, the current figures, and their history as two curves.
import type { Action, Discriminator, Setup, State, Training, TrainingTrace } from "../../protocol";
import { h, setText, throttle } from "../../ui/dom";
import { formatCoarse, formatCount, formatScore } from "../../ui/format";
import { Toggle } from "../../ui/toggle";
import { TrainingPlot } from "./training-plot";

const SHOWN_EVERY = 250; // ms
const OFF = "train the discriminator on real pictures and the present samples, while these go on";
const NOT_NOW = "the discriminator cannot be trained now";

export class TrainingBox {
  /** Next to the discriminator's slider. */
  readonly button = h("button.ldam-link", { type: "button", hidden: true });
  /** Below that slider. */
  readonly element: HTMLElement;
  readonly plot = new TrainingPlot();
  #status = h("div.ldam-note.ldam-training-status");
  #figures: HTMLElement;
  #why = h("div.ldam-note", { role: "status" }); // filled only on click; there is also a tooltip
  #toggle: Toggle;
  #discriminator: Discriminator | null = null;
  #newest: Training | null = null;
  #show = throttle(SHOWN_EVERY, () => this.#write());

  constructor(act: (what: Action) => void) {
    this.#figures = h("div", { hidden: true }, this.#status, this.plot.element);
    this.element = h("div.ldam-training", { hidden: true }, this.#why, this.#figures);
    this.#toggle = new Toggle(
      (on) => act(on ? "train" : "stop_train"),
      () => this.#showState(),
    );
    this.button.addEventListener("click", () => {
      // Not `disabled`: the button must stay reachable by keyboard and explain why it is unavailable.
      if (this.#barred) setText(this.#why, this.#discriminator?.why || NOT_NOW);
      else this.#toggle.press();
    });
  }

  setup({ discriminator = null, training_trace }: Pick<Setup, "discriminator" | "training_trace">): void {
    if (training_trace) this.#recall(training_trace);
    else if (!discriminator) this.#recall({ rounds: [], accuracy: [], gap: [] });
    this.#update(discriminator);
    this.#show.now();
  }

  state({ discriminator }: Pick<State, "discriminator">): void {
    if (discriminator !== undefined) this.#update(discriminator);
  }

  get shown(): boolean {
    return this.#discriminator !== null;
  }

  get hasFocus(): boolean {
    return (this.button.getRootNode() as Document | ShadowRoot).activeElement === this.button;
  }

  /** New figures; null and undefined: no news. */
  push(training: Training | null | undefined): void {
    if (!training) return;
    this.#newest = training;
    this.plot.push(training.round, training.accuracy, training.gap);
    this.#show();
  }

  /** The kernel refused: show its value again. */
  refused(): void {
    this.#toggle.refused();
  }

  close(): void {
    this.#toggle.close();
    this.#show.cancel();
  }

  /** Starting may be impossible; stopping never is. */
  get #barred(): boolean {
    return !this.#toggle.on && this.#discriminator?.trainable !== true;
  }

  #recall({ rounds, accuracy, gap }: TrainingTrace): void {
    this.plot.clear();
    for (const [i, round] of rounds.entries()) this.plot.push(round, accuracy[i] ?? null, gap[i] ?? null);
    const last = rounds.length - 1;
    const round = rounds[last];
    if (round === undefined) this.#newest = null;
    else if (round !== this.#newest?.round) {
      this.#newest = { round, accuracy: accuracy[last] ?? null, gap: gap[last] ?? null, real: null, generated: null };
    }
  }

  #update(discriminator: Discriminator | null): void {
    this.#discriminator = discriminator;
    this.button.hidden = this.element.hidden = discriminator === null;
    if (!discriminator) this.#toggle.refused(); // stop waiting for an answer
    this.#toggle.update(discriminator?.training ?? false);
  }

  #showState(): void {
    const { on } = this.#toggle;
    const barred = this.#barred;
    setText(this.button, on ? "stop training" : "train");
    this.button.setAttribute("aria-pressed", String(on));
    this.button.setAttribute("aria-disabled", String(barred));
    this.button.title = on ? "the discriminator stays as it is then" : barred ? this.#discriminator?.why || NOT_NOW : OFF;
    if (!barred) setText(this.#why, "");
    else if (this.#why.textContent) setText(this.#why, this.#discriminator?.why || NOT_NOW);
    this.#show();
  }

  #write(): void {
    const now = this.#newest;
    this.#figures.hidden = !now && !this.#toggle.on;
    if (this.#figures.hidden) return;
    const figures = now ? [`round ${formatCount(now.round)}`, `accuracy ${percent(now.accuracy)}`, `gap ${formatCoarse(now.gap ?? NaN)}`] : [];
    setText(this.#status, now ? figures.join(" · ") : "training begins…");
    const { real = null, generated = null } = now ?? {};
    const means = real === null && generated === null ? [] : [`mean D of real pictures ${score(real)}, of generated ones ${score(generated)}`];
    const title = ["gap: mean logit of real pictures minus that of generated ones", ...means].join("\n");
    if (this.#status.title !== title) this.#status.title = title;
    this.plot.label = `training of the discriminator: ${[...figures, ...means].join(", ") || "no figures yet"}`;
    this.plot.draw();
  }
}

function percent(value: number | null): string {
  return value === null ? "–" : `${Math.round(100 * value)} %`;
}

function score(value: number | null): string {
  return value === null ? "–" : formatScore(value);
}
