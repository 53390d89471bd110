// One view's conversation with the kernel about a map.
import { type Bytes, type Model, ToolWire } from "../tool-wire";
import type { Action, Colours, Coverage, Download, ErrorMessage, Frame, FromKernel, Pictures, Selected, Setup, State, ToKernel } from "./protocol";

export type { Model } from "../tool-wire";

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

interface Waiting {
  seq: number;
  message: Frame;
  map: Bytes | null;
  chains: Bytes | null;
}

const KINDS: FromKernel["kind"][] = ["setup", "state", "frame", "colours", "selected", "pictures", "download", "coverage", "error"];

export class Wire extends ToolWire<FromKernel, ToKernel, Waiting> {
  #handlers: Handlers;
  #revs = { colour: 0, select: 0 }; // of the last messages

  constructor(model: Model, handlers: Handlers) {
    super(model, KINDS, (silent) => handlers.silent(silent));
    this.#handlers = handlers;
  }

  do(what: Action): void {
    this.send({ kind: "do", what });
  }

  colour(name: string): void {
    this.send({ kind: "colour", view: this.view, rev: ++this.#revs.colour, name }, true);
  }

  select(bits: ArrayBuffer): void {
    this.send({ kind: "select", view: this.view, rev: ++this.#revs.select }, false, [bits]);
  }

  pictures(indices: number[]): void {
    this.send({ kind: "pictures", indices }, true);
  }

  chain(index: number): void {
    this.send({ kind: "chain", index });
  }

  /** Whether a message answers an earlier change of this view than its last one of that kind. */
  old({ kind, view, rev }: State | Selected): boolean {
    return view === this.view && rev < this.#revs[kind === "state" ? "colour" : "select"];
  }

  protected receive(message: FromKernel, bytes: (Bytes | undefined)[]): void {
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
  }

  protected paint({ message, map, chains }: Waiting): void {
    this.#handlers.frame(message, map, chains);
  }

  /** The newest wins, of positions and of chains; trails that begin anew still do. */
  #frame(message: Frame, buffers: (Bytes | undefined)[]): void {
    const before = this.next;
    const map = message.map ? (buffers[0] ?? null) : null;
    const chains = message.chains ? (buffers[message.map ? 1 : 0] ?? null) : null;
    const fresh = message.chains && before?.message.chains?.fresh ? { ...message.chains, fresh: true } : message.chains;
    const merged: Frame = { ...message, map: message.map ?? before?.message.map ?? null, chains: fresh ?? before?.message.chains ?? null };
    this.show({ seq: message.seq, message: merged, map: map ?? before?.map ?? null, chains: chains ?? before?.chains ?? null });
  }
}
