// For those who prefer reduced motion: chains run unseen until they have burned in, then the picture stands still.
import type { Frame } from "../../protocol";

const LONGEST = 60_000; // ms: some chains never burn in

export class ReducedMotion {
  #since: number | null = null; // when it began to wait; null: it does not
  #pause: () => void;
  #painted = false;

  constructor(pause: () => void) {
    this.#pause = pause;
  }

  /** From now on, if the reader prefers it; true: so it is. */
  begin(): boolean {
    if (!window.matchMedia?.("(prefers-reduced-motion: reduce)").matches) return false;
    this.#since = performance.now();
    return true;
  }

  /** Paused or played by somebody's own hand: nothing is held back any more. */
  end(): void {
    this.#since = null;
  }

  /** May this picture be shown? The first one is, as what is to come. */
  admits(frame: Pick<Frame, "burn_in_step">): boolean {
    if (this.#since === null) return true;
    if (frame.burn_in_step !== null || performance.now() - this.#since > LONGEST) {
      this.end();
      this.#pause();
      return true;
    }
    const first = !this.#painted;
    this.#painted = true;
    return first;
  }
}
