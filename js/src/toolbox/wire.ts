// One view's conversation with the kernel: newest frame wins, a frame is acknowledged once painted, own changes show at once.
import { toBytes } from "../connection";
import type { Action, Changes, Choice, ErrorMessage, Frame, FromKernel, Pane, Setup, State, ToKernel } from "./protocol";

export interface FilledPane extends Pane {
  bytes: Uint8Array<ArrayBuffer>;
}
export interface FilledFrame extends Omit<Frame, "panes"> {
  panes: FilledPane[];
}

export interface Handlers {
  setup(message: Setup): void;
  state(message: State): void;
  /** Every frame, painted or not. */
  frame(frame: FilledFrame): void;
  /** Returns a promise if pictures have to be decoded first. */
  paint(frame: FilledFrame): void | Promise<void>;
  error(message: ErrorMessage): void;
  silent(silent: boolean): void;
}

/** The part of an anywidget model used here. */
export interface Model {
  on(event: string, callback: (content: unknown, buffers?: (DataView | ArrayBuffer)[]) => void): void;
  off(event: string, callback: (content: unknown, buffers?: (DataView | ArrayBuffer)[]) => void): void;
  send(content: ToKernel, callbacks?: unknown, buffers?: ArrayBuffer[]): void;
}

const ASK_AGAIN = 4000; // ms without an answer after which hello is sent again
const SILENT = 8000; // ms without an answer after which the user is told
const ECHO_LOST = 3000; // ms after which an unanswered change no longer hides the kernel's value
const KINDS = ["setup", "state", "frame", "error"];

export class Wire {
  readonly view = Math.random().toString(36).slice(2, 10);
  #model: Model;
  #handlers: Handlers;
  #next: FilledFrame | null = null; // to be painted
  #scheduled = 0;
  #painting = false;
  #visible = true;
  #rev = 0;
  #own = new Map<string, { value: unknown; rev: number; at: number }>(); // own changes not yet confirmed
  #pictures = 0;
  #askedAt: number | null = null; // when the oldest unanswered message was sent
  #helloAt = 0;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(model: Model, handlers: Handlers) {
    this.#model = model;
    this.#handlers = handlers;
  }

  start(): void {
    this.#model.on("msg:custom", this.#receive);
    this.#timer = setInterval(this.#watch, 1000);
    this.#hello();
  }

  close(): void {
    this.#send({ kind: "bye", view: this.view });
    this.#model.off("msg:custom", this.#receive);
    clearInterval(this.#timer);
    cancelAnimationFrame(this.#scheduled);
  }

  do(what: Action): void {
    this.#send({ kind: "do", what }, true);
  }

  use(what: string): void {
    this.#send({ kind: "source", what }, true);
  }

  change(choice: Changes): void {
    const rev = ++this.#rev;
    for (const [name, value] of Object.entries(choice)) {
      if (name !== "pinned") this.#own.set(name, { value, rev, at: performance.now() });
    }
    this.#send({ kind: "change", view: this.view, rev, choice }, true);
  }

  /** Returns the number of the picture. */
  picture(name: string, bytes: ArrayBuffer, camera: boolean): number {
    const number = ++this.#pictures;
    this.#send({ kind: "picture", name: name.slice(0, 200), camera, number }, !camera, [bytes]);
    return number;
  }

  /** The kernel's choice with own changes that it has not answered yet. */
  merged({ choice, view, rev }: Pick<State, "choice" | "view" | "rev">): Choice {
    const merged: Record<string, unknown> = { ...choice };
    for (const [name, own] of this.#own) {
      if ((view === this.view && rev >= own.rev) || performance.now() - own.at > ECHO_LOST) this.#own.delete(name);
      else merged[name] = own.value;
    }
    return merged as unknown as Choice;
  }

  /** The kernel refused what was asked for: show its values again. */
  forget(): void {
    this.#own.clear();
  }

  set visible(visible: boolean) {
    if (visible === this.#visible) return;
    this.#visible = visible;
    if (this.#next && !visible) this.#ack(this.#next.seq);
    else if (visible) this.#ack(0); // it is seen again: what was put off may come
    this.#schedule();
  }

  #receive = (content: unknown, buffers: (DataView | ArrayBuffer)[] = []): void => {
    const message = content as FromKernel | null;
    if (typeof message !== "object" || message === null || !KINDS.includes(message.kind)) return; // of a newer kernel side
    this.#askedAt = null;
    this.#handlers.silent(false);
    switch (message.kind) {
      case "setup":
        return this.#handlers.setup(message);
      case "state":
        return this.#handlers.state(message);
      case "error":
        if (message.error) this.forget();
        return this.#handlers.error(message);
      case "frame": {
        const panes = message.panes.flatMap((pane, i) => (buffers[i] ? [{ ...pane, bytes: toBytes(buffers[i]) }] : []));
        this.#next = { ...message, panes };
        this.#handlers.frame(this.#next);
        if (this.#visible) this.#schedule();
        else this.#ack(message.seq);
      }
    }
  };

  #schedule(): void {
    if (this.#next && this.#visible && !this.#painting) this.#scheduled ||= requestAnimationFrame(this.#paint);
  }

  #paint = (): void => {
    this.#scheduled = 0;
    const frame = this.#next;
    if (!frame || !this.#visible) return;
    this.#next = null;
    const painted = this.#handlers.paint(frame);
    if (!painted) return this.#ack(frame.seq);
    this.#painting = true;
    painted
      .catch((error: unknown) => console.warn("ldam: a picture could not be decoded", error))
      .finally(() => {
        this.#painting = false;
        this.#ack(frame.seq);
        this.#schedule();
      });
  };

  #ack(seq: number): void {
    this.#send({ kind: "ack", view: this.view, seq, visible: this.#visible });
  }

  #hello(): void {
    this.#helloAt = performance.now();
    this.#send({ kind: "hello", view: this.view }, true);
  }

  #watch = (): void => {
    if (this.#askedAt === null || !this.#visible) return;
    const now = performance.now();
    if (now - this.#askedAt >= SILENT) this.#handlers.silent(true);
    if (now - this.#helloAt >= ASK_AGAIN) this.#hello();
  };

  #send(message: ToKernel, answered = false, buffers?: ArrayBuffer[]): void {
    if (answered) this.#askedAt ??= performance.now();
    try {
      if (buffers) this.#model.send(message, undefined, buffers);
      else this.#model.send(message);
    } catch (error) {
      // A notebook opened without its kernel has no comm to send on; the user is told by the silence.
      console.warn("ldam: could not send", message.kind, error);
    }
  }
}
