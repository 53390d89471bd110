// A toggle button. A press shows at once; an older answer does not undo a newer press.

const ANSWER_LOST = 3000; // ms without an answer after which the kernel's value is shown again

export class Toggle {
  #ask: (on: boolean) => void;
  #show: (on: boolean) => void;
  #confirmed = false;
  #asked: { on: boolean; at: number } | null = null;
  #lost: ReturnType<typeof setTimeout> | undefined;

  constructor(ask: (on: boolean) => void, show: (on: boolean) => void) {
    this.#ask = ask;
    this.#show = show;
  }

  get on(): boolean {
    return this.#asked?.on ?? this.#confirmed;
  }

  press(): void {
    const on = !this.on;
    this.#forget();
    this.#asked = { on, at: performance.now() };
    this.#ask(on);
    this.#show(on);
  }

  /** The kernel's value. */
  update(on: boolean): void {
    this.#confirmed = on;
    const left = this.#asked && this.#asked.on !== on ? this.#asked.at + ANSWER_LOST - performance.now() : 0;
    clearTimeout(this.#lost);
    // Either the answer to an earlier press, or a silent refusal, after which no other answer follows.
    if (left > 0) this.#lost = setTimeout(() => this.refused(), left);
    else this.#forget();
    this.#show(this.on);
  }

  /** The kernel refused: show its value again. */
  refused(): void {
    this.#forget();
    this.#show(this.on);
  }

  close(): void {
    clearTimeout(this.#lost);
  }

  #forget(): void {
    clearTimeout(this.#lost);
    this.#asked = null;
  }
}
