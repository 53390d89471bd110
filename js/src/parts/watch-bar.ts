// A model that is followed while it trains: progress, the checkpoint shown, and the cost.
import type { Action, Frame, Setup, State, Watch } from "../protocol";
import { Choice } from "../ui/choice";
import { h, replace, setText } from "../ui/dom";
import { formatCount, formatDigits } from "../ui/format";
import type { Part } from "./part";

const ANSWER_LOST = 3000; // ms without an answer after which the kernel's value is shown again
const MOST_TICKS = 60; // more would be too close to tell apart
const ENDED = 30_000; // ms without an iteration after which the cost is no longer shown
const SOURCES = new Map([["average", "running average"]]);

export interface WatchActions {
  act(what: Action): void;
  scrub(index: number): void;
  show(what: string): void;
}

/** A request that the kernel has not confirmed yet. */
type Asked = { following: true } | { following: false; iteration: number };

export class WatchBar implements Part {
  readonly element: HTMLElement;
  #on: WatchActions;
  #text = h("span.ldam-watch-text");
  #slider = h("input.ldam-slider", { type: "range", "aria-label": "checkpoint", min: 0, step: 1 });
  #ticks = h("div.ldam-ticks");
  #ends = [h("span"), h("span")] as const;
  #ticked = "";
  #follow = h("button.ldam-button", { type: "button" }, "follow");
  #source: Choice;
  #cost = h("span.ldam-watch-cost");
  #watch: Watch | null = null;
  #kept: number[] = []; // the slider's checkpoints; frozen while it is held
  #asked: Asked | null = null;
  #lost: ReturnType<typeof setTimeout> | undefined;
  #held = false;
  #movedAt = 0; // when the iteration last changed

  constructor(on: WatchActions) {
    this.#on = on;
    this.#source = new Choice("weights", (what) => on.show(what));
    this.element = h("div.ldam-watch", { role: "group", "aria-label": "training", hidden: true });
    const ends = h("div.ldam-watch-ends", {}, ...this.#ends);
    const scale = h("div.ldam-watch-scale", { "aria-hidden": "true" }, this.#ticks, ends);
    const checkpoints = h("div.ldam-checkpoints", {}, h("span.ldam-watch-word", { "aria-hidden": "true" }, "checkpoint"), h("div.ldam-watch-bar", {}, this.#slider, scale));
    this.element.append(this.#text, checkpoints, this.#follow, this.#source.box, this.#cost);
    this.#slider.addEventListener("input", () => this.#scrub());
    this.#slider.addEventListener("pointerdown", () => (this.#held = true));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture", "change", "blur"]) {
      this.#slider.addEventListener(end, () => {
        this.#held = false;
        this.#show(); // the kernel's latest value
      });
    }
    this.#follow.addEventListener("click", () => this.#toggle());
  }

  setup({ watch = null }: Setup): void {
    this.#update(watch);
  }

  state({ watch }: State): void {
    this.#update(watch);
  }

  frame({ watch }: Pick<Frame, "watch">): void {
    this.#update(watch);
  }

  /** The kernel refused: show its value again. */
  refused(): void {
    this.#source.refused();
    this.#forget();
    this.#show();
  }

  close(): void {
    clearTimeout(this.#lost);
    this.#source.close();
  }

  /** null: no model is followed; undefined: no news. */
  #update(watch: Watch | null | undefined): void {
    if (watch === undefined) return;
    if (watch?.iteration !== this.#watch?.iteration) this.#movedAt = performance.now();
    this.#watch = watch;
    this.element.hidden = watch === null;
    if (watch && this.#asked && answers(watch, this.#asked)) this.#forget();
    this.#show();
  }

  #toggle(): void {
    if (!this.#watch) return;
    const { kept } = this.#watch;
    if (!this.#following) {
      this.#ask({ following: true });
      this.#on.act("follow");
    } else if (kept.length) {
      this.#ask({ following: false, iteration: kept.at(-1)! });
      this.#on.scrub(kept.length - 1);
    }
  }

  #scrub(): void {
    const iteration = this.#kept[this.#slider.valueAsNumber];
    if (!this.#watch || iteration === undefined) return;
    this.#ask({ following: false, iteration });
    // The kept checkpoints may have changed in the meantime.
    this.#on.scrub(nearest(this.#watch.kept, iteration));
  }

  get #following(): boolean {
    return this.#asked ? this.#asked.following : (this.#watch?.following ?? false);
  }

  #ask(asked: Asked): void {
    clearTimeout(this.#lost);
    this.#asked = asked;
    this.#lost = setTimeout(() => this.refused(), ANSWER_LOST);
    this.#show();
  }

  #forget(): void {
    clearTimeout(this.#lost);
    this.#asked = null;
  }

  #show(): void {
    const watch = this.#watch;
    if (!watch) return;
    const { iteration, shown, source, sources, cost, snapshot_ms } = watch;
    const showing = shown === null ? "" : ` · showing ${formatCount(shown)}`;
    const counted = watch.counted ?? "iteration";
    setText(this.#text, `${counted} ${formatCount(iteration)}${showing}`);
    this.#follow.setAttribute("aria-pressed", String(this.#following));
    this.#follow.title = this.#following ? "showing the newest weights; press to stay with these" : "show the newest weights, as they come";
    this.#source.options = sources.map((each) => [each, SOURCES.get(each) ?? each]);
    this.#source.update(source);
    this.#source.box.hidden = sources.length < 2;
    setText(this.#cost, performance.now() - this.#movedAt < ENDED ? costText(cost) : "");
    this.#cost.title = snapshot_ms === null ? "" : `a snapshot of the weights takes ${formatDigits(snapshot_ms)} ms`;
    this.#place(watch);
  }

  /** While the slider is held, neither its position nor its range is updated from outside. */
  #place(watch: Watch): void {
    if (!this.#held) this.#kept = watch.kept;
    const kept = this.#kept;
    const slider = this.#slider;
    slider.disabled = !kept.length;
    const last = Math.max(kept.length - 1, 0);
    slider.max = String(last);
    if (!this.#held) {
      const asked = this.#asked && !this.#asked.following ? this.#asked.iteration : watch.shown;
      const at = this.#following || asked === null ? last : nearest(kept, asked);
      if (slider.value !== String(at)) slider.value = String(at);
    }
    const at = kept[slider.valueAsNumber];
    slider.setAttribute("aria-valuetext", at === undefined ? "no checkpoint yet" : `${watch.counted ?? "iteration"} ${formatCount(at)}`);
    slider.style.setProperty("--ldam-fill", `${(100 * slider.valueAsNumber) / Math.max(last, 1)}%`);
    this.#showScale(kept);
  }

  /** A tick at each checkpoint, and the iterations of the first and last one. */
  #showScale(kept: number[]): void {
    const shown = JSON.stringify(kept);
    if (shown === this.#ticked) return;
    this.#ticked = shown;
    const many = kept.length < 2 || kept.length > MOST_TICKS;
    const ticks = many ? [] : kept.map((_, i) => h("i", { style: `left: ${(100 * i) / (kept.length - 1)}%` }));
    replace(this.#ticks, ...ticks);
    for (const [end, at] of [[this.#ends[0], kept[0]], [this.#ends[1], kept.length > 1 ? kept.at(-1) : undefined]] as const) {
      setText(end, at === undefined ? "" : formatCount(at));
    }
  }
}

function answers(watch: Watch, asked: Asked): boolean {
  if (asked.following || watch.following) return asked.following === watch.following;
  return watch.shown === asked.iteration;
}

/** Index of the checkpoint nearest to an iteration. */
function nearest(kept: number[], iteration: number): number {
  let best = 0;
  for (const [i, each] of kept.entries()) if (Math.abs(each - iteration) < Math.abs(kept[best]! - iteration)) best = i;
  return best;
}

function costText(cost: number | null): string {
  if (cost === null) return "cost not measured yet";
  const percent = Math.round(100 * cost);
  return `training ${percent < 1 ? "less than 1" : percent} % slower with the picture`;
}
