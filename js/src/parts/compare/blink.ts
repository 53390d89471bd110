// Blinking: the models' rows alternate in one place, which makes changes visible.
import { h } from "../../ui/dom";

const TURN = 600; // ms per model: fewer than two changes per second, below the three flashes that can trigger seizures
const TIMED = "show the models in turn, in one place";
const BY_HAND = "show the models in turn, in one place: each press shows the next one, and after the last all again";

export class Blink {
  readonly button = h("button.ldam-button.ldam-blink", { type: "button", "aria-pressed": "false" }, "blink");
  #show: (model: number | null, byHand: boolean) => void;
  #models = 0;
  #model: number | null = null;
  #visible = true;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(show: (model: number | null, byHand: boolean) => void) {
    this.#show = show;
    this.button.addEventListener("click", () => this.#press());
  }

  set models(count: number) {
    if (count === this.#models) return;
    this.#models = count;
    this.button.title = reducesMotion() ? BY_HAND : TIMED;
    this.#turn(null);
  }

  /** While hidden, nothing moves. */
  set visible(visible: boolean) {
    this.#visible = visible;
    this.#run();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #press(): void {
    // With reduced motion nothing moves by itself: each press shows the next model, and the last one ends it.
    const next = this.#model === null ? 0 : this.#model + 1;
    if (reducesMotion()) this.#turn(next < this.#models ? next : null, true);
    else this.#turn(this.#model === null ? 0 : null);
    this.#run();
  }

  #run(): void {
    clearInterval(this.#timer);
    if (this.#model === null || !this.#visible || reducesMotion()) return;
    this.#timer = setInterval(() => this.#turn((this.#model! + 1) % this.#models), TURN);
  }

  #turn(model: number | null, byHand = false): void {
    this.#model = model;
    if (model === null) clearInterval(this.#timer);
    this.button.setAttribute("aria-pressed", String(model !== null));
    this.#show(model, byHand);
  }
}

function reducesMotion(): boolean {
  return window.matchMedia?.("(prefers-reduced-motion: reduce)").matches ?? false;
}
