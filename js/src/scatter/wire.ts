// One view's conversation with the kernel about a map.
import { toBytes } from "../connection";
import type { Action, Colours, Coverage, Download, ErrorMessage, Frame, FromKernel, Pictures, Selected, Setup, State, ToKernel } from "./protocol";

type Bytes = Uint8Array<ArrayBuffer>;

export interface Handlers {
  setup(message: Setup): void;
  state(message: State): void;
  /** Paints; it is acknowledged then. */
  frame(message: Frame, map: Bytes | null, chains: Bytes | null): void;
  colours(message: Colours, levels: Bytes): void;
  selected(message: Selected, bits: Bytes): void;
  pictures(message: Pictures, bytes: Bytes): void;
  download(message: Download, bytes: Bytes): void;
  coverage(message: Coverage): void;
  error(message: ErrorMessage): void;
  silent(silent: boolean): void;
}

/** The part of an anywidget model used here. */
export interface Model {
  on(event: string, callback: (content: unknown, buffers?: (DataView | ArrayBuffer)[]) => void): void;
  off(event: string, callback: (content: unknown, buffers?: (DataView | ArrayBuffer)[]) => void): void;
  send(content: ToKernel, callbacks?: unknown, buffers?: ArrayBuffer[]): void;
}

interface Waiting {
  message: Frame;
  map: Bytes | null;
  chains: Bytes | null;
}

const ASK_AGAIN = 4000; // ms without an answer after which hello is sent again
const SILENT = 8000; // ms without an answer after which the user is told
const KINDS = ["setup", "state", "frame", "colours", "selected", "pictures", "download", "coverage", "error"];

export class Wire {
  readonly view = Math.random().toString(36).slice(2, 10);
  #model: Model;
  #handlers: Handlers;
  #next: Waiting | null = null; // to be painted
  #scheduled = 0;
  #visible = true;
  #revs = { colour: 0, select: 0 }; // of the last messages
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
    this.#send({ kind: "do", what });
  }

  colour(name: string): void {
    this.#send({ kind: "colour", view: this.view, rev: ++this.#revs.colour, name }, true);
  }

  select(bits: ArrayBuffer): void {
    this.#send({ kind: "select", view: this.view, rev: ++this.#revs.select }, false, [bits]);
  }

  pictures(indices: number[]): void {
    this.#send({ kind: "pictures", indices }, true);
  }

  chain(index: number): void {
    this.#send({ kind: "chain", index });
  }

  /** Whether a message answers an earlier change of this view than its last one of that kind. */
  old({ kind, view, rev }: State | Selected): boolean {
    return view === this.view && rev < this.#revs[kind === "state" ? "colour" : "select"];
  }

  set visible(visible: boolean) {
    if (visible === this.#visible) return;
    this.#visible = visible;
    if (this.#next && !visible) this.#ack(this.#next.message.seq);
    else if (visible) this.#ack(0); // it is seen again: what was put off may come
    this.#schedule();
  }

  #receive = (content: unknown, buffers: (DataView | ArrayBuffer)[] = []): void => {
    const message = content as FromKernel | null;
    if (typeof message !== "object" || message === null || !KINDS.includes(message.kind)) return; // of a newer kernel side
    this.#askedAt = null;
    this.#handlers.silent(false);
    const bytes = buffers.map(toBytes);
    switch (message.kind) {
      case "frame":
        return this.#frame(message, bytes);
      case "setup":
        return this.#handlers.setup(message);
      case "state":
        return this.#handlers.state(message);
      case "coverage":
        return this.#handlers.coverage(message);
      case "error":
        return this.#handlers.error(message);
    }
    const first = bytes[0];
    if (!first) return;
    if (message.kind === "colours") this.#handlers.colours(message, first);
    else if (message.kind === "selected") this.#handlers.selected(message, first);
    else if (message.kind === "pictures") this.#handlers.pictures(message, first);
    else this.#handlers.download(message, first);
  };

  /** The newest wins, of positions and of chains; trails that begin anew still do. */
  #frame(message: Frame, buffers: Bytes[]): void {
    const before = this.#next;
    const map = message.map ? (buffers[0] ?? null) : null;
    const chains = message.chains ? (buffers[message.map ? 1 : 0] ?? null) : null;
    const fresh = message.chains && before?.message.chains?.fresh ? { ...message.chains, fresh: true } : message.chains;
    const merged: Frame = { ...message, map: message.map ?? before?.message.map ?? null, chains: fresh ?? before?.message.chains ?? null };
    this.#next = { message: merged, map: map ?? before?.map ?? null, chains: chains ?? before?.chains ?? null };
    if (this.#visible) this.#schedule();
    else this.#ack(message.seq);
  }

  #schedule(): void {
    if (this.#next && this.#visible) this.#scheduled ||= requestAnimationFrame(this.#paint);
  }

  #paint = (): void => {
    this.#scheduled = 0;
    const frame = this.#next;
    if (!frame || !this.#visible) return;
    this.#next = null;
    this.#handlers.frame(frame.message, frame.map, frame.chains);
    this.#ack(frame.message.seq);
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
