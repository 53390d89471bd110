// What the views of the toolbox and of the map have in common in their conversations with the kernel: the newest frame
// wins, a frame is acknowledged once painted, and the user is told if the kernel is silent.
import { hidesSaved, toBytes } from "./connection";

export type Bytes = Uint8Array<ArrayBuffer>;

/** The part of an anywidget model used here. */
export interface Model {
  on(event: string, callback: (content: unknown, buffers?: (DataView | ArrayBuffer)[]) => void): void;
  off(event: string, callback: (content: unknown, buffers?: (DataView | ArrayBuffer)[]) => void): void;
  send(content: unknown, callbacks?: unknown, buffers?: ArrayBuffer[]): void;
}

const ASK_AGAIN = 4000; // ms without an answer after which hello is sent again
const SILENT = 8000; // ms without an answer after which the user is told

export abstract class ToolWire<Incoming extends { kind: string }, Outgoing extends { kind: string }, Shown extends { seq: number }> {
  readonly view = Math.random().toString(36).slice(2, 10);
  #model: Model;
  #kinds: Incoming["kind"][];
  #silent: (silent: boolean) => void;
  #next: Shown | null = null; // to be painted
  #scheduled = 0;
  #painting = false;
  #visible = true;
  #askedAt: number | null = null; // when the oldest unanswered message was sent
  #helloAt = 0;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** Messages of other kinds, of a newer kernel side, are ignored. */
  constructor(model: Model, kinds: Incoming["kind"][], silent: (silent: boolean) => void) {
    this.#model = model;
    this.#kinds = kinds;
    this.#silent = silent;
  }

  protected abstract receive(message: Incoming, bytes: (Bytes | undefined)[]): void;

  /** Returns a promise if pictures have to be decoded first. */
  protected abstract paint(frame: Shown): void | Promise<void>;

  start(): void {
    this.#model.on("msg:custom", this.#receive);
    this.#timer = setInterval(this.#watch, 1000);
    this.#hello();
  }

  close(): void {
    this.#say({ kind: "bye", view: this.view });
    this.#model.off("msg:custom", this.#receive);
    clearInterval(this.#timer);
    cancelAnimationFrame(this.#scheduled);
  }

  set visible(visible: boolean) {
    if (visible === this.#visible) return;
    this.#visible = visible;
    if (this.#next && !visible) this.#ack(this.#next.seq);
    else if (visible) this.#ack(0); // it is seen again: what was put off may come
    this.#schedule();
  }

  /** The frame that waits to be painted. */
  protected get next(): Shown | null {
    return this.#next;
  }

  /** Paints a frame soon, unless a newer one comes first. */
  protected show(frame: Shown): void {
    this.#next = frame;
    if (this.#visible) this.#schedule();
    else this.#ack(frame.seq);
  }

  protected send(message: Outgoing, answered = false, buffers?: ArrayBuffer[]): void {
    this.#say(message, answered, buffers);
  }

  #receive = (content: unknown, buffers: (DataView | ArrayBuffer)[] = []): void => {
    const message = content as Incoming | null;
    if (typeof message !== "object" || message === null || !this.#kinds.includes(message.kind)) return;
    this.#askedAt = null;
    this.#silent(false);
    this.receive(message, buffers.map(toBytes));
  };

  #schedule(): void {
    if (this.#next && this.#visible && !this.#painting) this.#scheduled ||= requestAnimationFrame(this.#paint);
  }

  #paint = (): void => {
    this.#scheduled = 0;
    const frame = this.#next;
    if (!frame || !this.#visible) return;
    this.#next = null;
    const painted = this.paint(frame);
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
    this.#say({ kind: "ack", view: this.view, seq, visible: this.#visible });
  }

  #hello(): void {
    this.#helloAt = performance.now();
    this.#say({ kind: "hello", view: this.view, hides: hidesSaved() }, true);
  }

  #watch = (): void => {
    if (this.#askedAt === null || !this.#visible) return;
    const now = performance.now();
    if (now - this.#askedAt >= SILENT) this.#silent(true);
    if (now - this.#helloAt >= ASK_AGAIN) this.#hello();
  };

  #say<Message extends { kind: string }>(message: Message, answered = false, buffers?: ArrayBuffer[]): void {
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
