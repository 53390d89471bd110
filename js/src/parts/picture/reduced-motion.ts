// With reduced motion, chains run hidden until they have burned in, then the picture is shown and paused.
import type { Frame } from "../../protocol";

const LONGEST = 60_000; // ms: some chains never burn in

export class ReducedMotion {
  #since: number | null = null; // when it began to wait; null: not waiting
  #pause: () => void;
  #painted = false;

  constructor(pause: () => void) {
    this.#pause = pause;
  }

  /** Starts waiting if the user prefers reduced motion; returns whether it did. */
  begin(): boolean {
    if (!window.matchMedia?.("(prefers-reduced-motion: reduce)").matches) return false;
    this.#since = performance.now();
    return true;
  }

  /** The user pressed pause or play: stop holding frames back. */
  end(): void {
    this.#since = null;
  }

  /** Whether to show this frame. The first one is always shown, as a placeholder. */
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
