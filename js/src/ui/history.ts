// Data for line plots: values of a few series against steps, of bounded size.

export const MOST = 600; // default number of points kept per line; beyond it, every second one is dropped

/** Points ordered by step, thinned evenly so that a long run costs no more than a short one. */
export class TraceHistory {
  steps: number[] = [];
  values: number[][] = []; // [point][neuron]
  #stride = 1; // points whose index is a multiple of this are kept
  #count = -1; // index of the last point among all points
  #most: number;

  constructor(most = MOST) {
    this.#most = most;
  }

  clear(): void {
    this.steps = [];
    this.values = [];
    this.#stride = 1;
    this.#count = -1;
  }

  push(step: number, values: number[]): void {
    const last = this.steps.at(-1) ?? -Infinity;
    if (step > last) {
      // The last point is always the current one; it is replaced by the next unless it is to be kept.
      if (this.#count % this.#stride !== 0) this.#drop();
      this.#count++;
    } else {
      // Repeated, restarted, or a frame that was in flight while the history was sent: the newer message wins.
      while (this.steps.at(-1)! >= step) this.#drop();
      if (step < last) this.#count = (this.steps.length - 1) * this.#stride + 1;
      if (!this.steps.length && step < last) [this.#stride, this.#count] = [1, 0];
    }
    this.steps.push(step);
    this.values.push(values);
    if (this.steps.length <= this.#most) return;
    this.steps = this.steps.filter((_, i) => i % 2 === 0);
    this.values = this.values.filter((_, i) => i % 2 === 0);
    this.#stride *= 2;
  }

  /** Drop all points after a step, where the run restarted. */
  cut(step: number): void {
    while (this.steps.length && this.steps.at(-1)! > step) this.#drop();
    this.#count = (this.steps.length - 1) * this.#stride;
    if (!this.steps.length) this.clear();
  }

  #drop(): void {
    this.steps.pop();
    this.values.pop();
  }
}
