// What lines are drawn of: values of a few series against steps, bounded however long it runs.

export const MOST = 600; // points kept a line, unless told otherwise; every second one is dropped when there are more

/** Points in order of steps, thinned evenly so that a long run costs no more than a short one. */
export class TraceHistory {
  steps: number[] = [];
  values: number[][] = []; // [point][neuron]
  #stride = 1; // of all points the multiples of this one are kept
  #count = -1; // which of all points the last one is
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
      // The last point always shows "now"; one that is not to be kept gives way to the next.
      if (this.#count % this.#stride !== 0) this.#drop();
      this.#count++;
    } else {
      // Said again, restarted, or a frame that was on its way while the history was sent: the newer message counts.
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

  /** Forget what comes after a step: there the run began anew. */
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
