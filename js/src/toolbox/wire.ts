// One view's conversation with the kernel about pictures in a network: own changes show at once.
import { filled, type FilledUnit } from "../connection";
import { type Bytes, type Model, ToolWire } from "../tool-wire";
import type { Action, Changes, Choice, ErrorMessage, Frame, FromKernel, Pane, Setup, State, ToKernel } from "./protocol";

export type { Model } from "../tool-wire";
export interface FilledPane extends Pane {
  bytes: Bytes;
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
  /** Something about the unit whose page is open. */
  unit(message: FilledUnit): void;
  silent(silent: boolean): void;
}

const ECHO_LOST = 3000; // ms after which an unanswered change no longer hides the kernel's value

export class Wire extends ToolWire<FromKernel, ToKernel, FilledFrame> {
  #handlers: Handlers;
  #rev = 0;
  #own = new Map<string, { value: unknown; rev: number; at: number }>(); // own changes not yet confirmed
  #pictures = 0;

  constructor(model: Model, handlers: Handlers) {
    super(model, ["setup", "state", "frame", "error", "unit"], (silent) => handlers.silent(silent));
    this.#handlers = handlers;
  }

  do(what: Action): void {
    this.send({ kind: "do", what }, true);
  }

  use(what: string): void {
    this.send({ kind: "source", what }, true);
  }

  /** Chooses a channel and opens its page. */
  page(layer: string, unit: number): void {
    this.send({ kind: "unit", layer, unit }, true);
  }

  change(choice: Changes): void {
    const rev = ++this.#rev;
    for (const [name, value] of Object.entries(choice)) {
      if (name !== "pinned") this.#own.set(name, { value, rev, at: performance.now() });
    }
    this.send({ kind: "change", view: this.view, rev, choice }, true);
  }

  /** Returns the number of the picture. */
  picture(name: string, bytes: ArrayBuffer, camera: boolean): number {
    const number = ++this.#pictures;
    this.send({ kind: "picture", name: name.slice(0, 200), camera, number }, !camera, [bytes]);
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

  protected receive(message: FromKernel, bytes: (Bytes | undefined)[]): void {
    switch (message.kind) {
      case "setup":
        return this.#handlers.setup(message);
      case "state":
        return this.#handlers.state(message);
      case "error":
        if (message.error) this.forget();
        return this.#handlers.error(message);
      case "unit": {
        const { panes = [], ...rest } = message;
        return this.#handlers.unit({ ...rest, panes: filled(panes, bytes) });
      }
      case "frame": {
        const panes = message.panes.flatMap((pane, i) => (bytes[i] ? [{ ...pane, bytes: bytes[i] }] : []));
        const frame = { ...message, panes };
        this.#handlers.frame(frame);
        this.show(frame);
      }
    }
  }

  protected paint(frame: FilledFrame): void | Promise<void> {
    return this.#handlers.paint(frame);
  }
}
