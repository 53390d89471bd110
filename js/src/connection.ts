// One view's connection to the kernel: newest frame wins, acks, heartbeat, slider changes coalesced per animation frame.
import type { Action, ChangeDisplay, Changes, Diagnosis, Download, Enlarge, ErrorMessage, ExportUnits, Frame, Pane, Params, Range, Select, Setup, ShowUnit, StartFrom, State, ToKernel, UnitBars, UnitNews, Units, UnitTable } from "./protocol";
import { parse } from "./validate";

export type Selection = Omit<Select, "kind">;

/** A pane with its bytes. */
export interface FilledPane extends Omit<Pane, "range"> {
  bytes: Uint8Array<ArrayBuffer>;
  range: Ends;
}
export type Ends = [low: number, high: number]; // NaN where pixels diverged

export interface FilledFrame extends Omit<Frame, "panes"> {
  panes: FilledPane[];
}

export interface FilledUnit extends Omit<UnitNews, "panes"> {
  panes?: FilledPane[];
}

/** The kernel's silence: it never answered this view; its frames are late; it has stopped answering. */
export type Silence = "never" | "late" | "stopped" | null;

export interface Handlers {
  setup(message: Setup): void;
  state(message: State): void;
  /** Every frame of the current generation, painted or not: the trace needs them all. */
  frame(frame: FilledFrame): void;
  /** Paint now; returns a promise if pictures have to be decoded first. */
  paint(frame: FilledFrame): void | Promise<void>;
  units(message: Units): void;
  unit?(message: FilledUnit): void;
  diagnosis(message: Diagnosis): void;
  changes?(message: Changes): void;
  unit_table?(message: UnitTable): void;
  unit_bars?(message: UnitBars): void;
  enlarge?(message: Enlarge): void;
  error(message: ErrorMessage): void;
  download(message: Download, bytes: Uint8Array<ArrayBuffer>): void;
  silence(silence: Silence): void;
}

/** The part of an anywidget model used here. In Jupyter never `save_changes`: it can stall an ipykernel permanently. */
export interface Model {
  on(event: string, callback: (content: unknown, buffers?: Buffers) => void): void;
  off(event: string, callback: (content: unknown, buffers?: Buffers) => void): void;
  send(content: ToKernel): void;
}
type Buffers = (DataView | ArrayBuffer)[];

// Frames arrive in bursts: the server's TCP holds one back until it gets a response, and with slow responses a frame
// carries the pictures before it. They are painted one after the other; the oldest are dropped.
const MOST_WAITING = 8;
const MOST_TO_DECODE = 2;
// Every message to the kernel makes its status indicator flicker, which costs as much drawing as a picture. Small
// pictures that cannot be sent at once travel with the next frame, so with rare acknowledgements just as many of them
// are shown, in fewer messages. Of large ones every second is acknowledged; the kernel keeps more of them in flight.
const HALF_A_FRAME = 8; // ms, half a display frame
const ACK_EVERY = 150; // ms, less than the kernel's timeout for silence
const ROUND_TRIP = 200; // ms; with a longer one, responses are rare anyway, and pictures would be lost
const SMALL = 100_000; // bytes per pane; larger ones are not kept for the next frame
const EAGER = 1000; // ms after a user's change in which only the newest picture is painted
const BEAT = 1000; // ms without a frame after which an idle kernel is woken
const ASK_AGAIN = 4000; // ms without an answer after which hello is sent again
const SILENT = 8000; // ms without an answer after which the user is notified
const LATE = 3000; // ms without a frame after which frames count as late,
const USUAL = 5; // or this many usual frame intervals, if that is longer
const PROBED = 1500; // ms for a kernel reported as lost to prove that it is still there
const LOST = "comm_live_update"; // sent by ipywidgets when the kernel restarts or dies; other hosts may send nothing
// Kernel messages can be delayed while a cell runs: after this many ms, an unanswered change no longer hides the kernel's value.
const ECHO_LOST = 5000;

/** Whether base.css hides the picture that the cell keeps for the saved notebook: in JupyterLab and Notebook. */
export const hidesSaved = () => document.body.dataset["jpThemeLight"] !== undefined;

export class Connection {
  readonly view = Math.random().toString(36).slice(2, 10);
  #model: Model;
  #handlers: Handlers;
  #gen: number | null = null;
  #lastSeq: number | null = null;
  #ackAt = -Infinity;
  #ackDue: number | null = null; // painted but not yet acknowledged
  #ackTimer: ReturnType<typeof setTimeout> | undefined;
  #small = false; // whether the newest frame's pictures are small
  #roundTrip = 0; // ms from sending a frame to its acknowledgement, as measured by the kernel
  #acknowledged: number | null = null; // the frame acknowledged together with a change
  #lastFrameAt = performance.now();
  #beatAt = performance.now(); // the last frame, or heartbeat
  #pace = 0; // ms between frames, smoothed
  #changedAt = -Infinity;
  #waiting: FilledFrame[] = []; // the newest frames not yet painted, oldest first
  #scheduled = 0;
  #painting = false;
  #paintAt = 0; // when the next picture is due
  #spacing = 0; // ms between pictures at the source
  #visible = true;
  #playing = false;
  #answered = false;
  #askedAt: number | null = null; // when the oldest unanswered request was sent
  #helloAt = 0;
  #silence: Silence = null;
  #rev = 0;
  #changed: Params = {};
  #checkpoint: number | null = null; // requested, not yet sent
  #changeScheduled = 0;
  #own = new Map<string, { rev: number; at: number }>(); // own changes not yet confirmed
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(model: Model, handlers: Handlers) {
    this.#model = model;
    this.#handlers = handlers;
  }

  start(): void {
    this.#model.on("msg:custom", this.#receive);
    this.#model.on(LOST, this.#probe);
    this.#timer = setInterval(this.#beat, BEAT / 4);
    this.#hello();
  }

  close(): void {
    this.#flushChanges(); // bye must be the last message
    this.#send({ kind: "bye", view: this.view }); // the kernel may pause once nobody is watching
    this.#model.off("msg:custom", this.#receive);
    this.#model.off(LOST, this.#probe);
    clearInterval(this.#timer);
    clearTimeout(this.#ackTimer);
    cancelAnimationFrame(this.#scheduled);
    cancelAnimationFrame(this.#changeScheduled);
  }

  do(what: Action): void {
    if (what === "follow") this.#checkpoint = null; // otherwise an older checkpoint would be sent after it
    this.#ask({ kind: "do", what });
  }

  select(selection: Selection): void {
    this.#ask({ kind: "select", ...selection });
  }

  units(layer: string, query: string, offset: number, limit: number): void {
    this.#ask({ kind: "units", layer, query, offset, limit });
  }

  openUnit(unit: number): void {
    this.#ask({ kind: "open_unit", unit });
  }

  exportUnits(request: Omit<ExportUnits, "kind">): void {
    this.#ask({ kind: "export_units", ...request });
  }

  /** Opens the page of a unit. */
  showUnit(what: Omit<ShowUnit, "kind">): void {
    this.#ask({ kind: "unit", ...what });
  }

  /** Restarts a chain in one of the unit's top images. */
  startFrom(which: Omit<StartFrom, "kind">): void {
    this.#ask({ kind: "start_from", ...which });
  }

  lock(name: string, locked: boolean): void {
    this.#ask({ kind: "lock", name, locked });
  }

  show(what: string): void {
    this.#ask({ kind: "show", what });
  }

  display(change: Omit<ChangeDisplay, "kind">): void {
    this.#ask({ kind: "display", ...change });
  }

  /** Selects a checkpoint; sent like a slider's value. */
  scrub(index: number): void {
    this.#checkpoint = index;
    this.#change();
  }

  /** A slider moved: sent at once, then once per animation frame while it moves; the newest value wins. */
  set(name: string, value: number): void {
    this.#changed[name] = value;
    this.#own.set(name, { rev: this.#rev + 1, at: performance.now() });
    this.#change();
  }

  /** Whether the kernel's value of a parameter predates this view's own change. */
  isStale(name: string, state?: Pick<State, "view" | "rev">): boolean {
    const own = this.#own.get(name);
    if (!own) return false;
    const answered = state?.view === this.view && (state.rev ?? 0) >= own.rev;
    if (!answered && performance.now() - own.at < ECHO_LOST) return true;
    this.#own.delete(name);
    return false;
  }

  set playing(playing: boolean) {
    if (playing && !this.#playing) this.#lastFrameAt = this.#beatAt = performance.now();
    this.#playing = playing;
  }

  set visible(visible: boolean) {
    if (visible === this.#visible) return;
    this.#visible = visible;
    // A hidden page gets no animation frames: nothing may wait for one.
    if (!visible && this.#changeScheduled) this.#flushChanges();
    if (this.#lastSeq !== null) this.#ack(this.#lastSeq);
    if (!visible) return;
    this.#lastFrameAt = performance.now();
    if (this.#askedAt !== null) this.#askedAt = this.#lastFrameAt; // only time while visible counts as silence
    this.#schedule();
  }

  #receive = (content: unknown, buffers: Buffers = []): void => {
    const message = parse(content);
    if (!message) return;
    this.#answered = true;
    this.#askedAt = null;
    this.#reportSilence(null);
    switch (message.kind) {
      case "setup":
        this.#gen = message.gen;
        this.#waiting = [];
        this.playing = message.playing;
        return this.#handlers.setup(message);
      case "state":
        this.playing = message.playing;
        return this.#handlers.state(message);
      case "frame":
        return this.#receiveFrame(message, buffers);
      case "units":
        return this.#handlers.units(message);
      case "unit": {
        const { panes = [], ...rest } = message;
        return this.#handlers.unit?.({ ...rest, panes: filled(panes, buffers) });
      }
      case "diagnosis":
        return this.#handlers.diagnosis(message);
      case "changes":
        return this.#handlers.changes?.(message);
      case "unit_table":
        return this.#handlers.unit_table?.(message);
      case "unit_bars":
        return this.#handlers.unit_bars?.(message);
      case "enlarge":
        return this.#handlers.enlarge?.(message);
      case "error":
        return this.#handlers.error(message);
      case "download":
        if (buffers[0]) this.#handlers.download(message, toBytes(buffers[0]));
    }
  };

  #receiveFrame(message: Frame, buffers: Buffers): void {
    this.#lastSeq = message.seq;
    const now = performance.now();
    const pictures = 1 + (message.earlier?.length ?? 0);
    if (this.#playing && this.#visible) {
      this.#pace += (now - this.#lastFrameAt - this.#pace) / 4;
      this.#spacing += ((now - this.#lastFrameAt) / pictures - this.#spacing) / 4;
    }
    this.#lastFrameAt = this.#beatAt = now;
    if (message.gen !== this.#gen) return this.#ack(message.seq); // another generation than the one shown
    let rest = buffers;
    const fill = (frame: Omit<Frame, "earlier">): FilledFrame => {
      const own = rest.slice(0, frame.panes.length);
      rest = rest.slice(frame.panes.length);
      return { ...frame, panes: filled(frame.panes, own) };
    };
    const { earlier = [], ...newest } = message;
    const { kind, gen, seq, stats } = newest;
    const last = fill(newest);
    const frames = [...earlier.map((still) => fill({ ...still, kind, gen, seq, stats })), last];
    this.#waiting.push(...frames);
    const heavy = newest.panes.some(({ encoding }) => encoding !== "raw");
    this.#small = last.panes.every(({ encoding, bytes }) => encoding === "raw" && bytes.length <= SMALL);
    this.#roundTrip = message.stats?.round_trip_ms ?? 0;
    this.#keepNewest(!this.#visible || this.#eager ? 1 : heavy ? MOST_TO_DECODE : MOST_WAITING);
    for (const frame of frames) this.#handlers.frame(frame);
    if (this.#visible) this.#schedule();
    else this.#ack(message.seq);
  }

  #keepNewest(count: number): void {
    while (this.#waiting.length > count) {
      const [dropped, next] = [this.#waiting.shift()!, this.#waiting[0]!];
      // Averages are sent rarely: one in a frame that is never painted must not be lost.
      next.panes.push(...dropped.panes.filter((old) => !next.panes.some(({ name }) => name === old.name)));
    }
  }

  #schedule(): void {
    if (this.#waiting.length && !this.#painting) this.#scheduled ||= requestAnimationFrame(this.#paint);
  }

  #paint = (): void => {
    this.#scheduled = 0;
    if (!this.#visible || !this.#waiting.length) return;
    const now = performance.now();
    // Pictures from one message are spaced evenly, as they were sampled, and shown before the next message arrives.
    if (this.#small && !this.#eager && now < this.#paintAt - HALF_A_FRAME) return this.#schedule();
    const spacing = Math.min(this.#spacing, ACK_EVERY / this.#waiting.length);
    this.#paintAt = Math.max(this.#paintAt, now - HALF_A_FRAME) + spacing;
    const frame = this.#waiting.shift()!;
    const painted = this.#handlers.paint(frame);
    if (!painted) {
      this.#painted(frame.seq);
      return this.#schedule();
    }
    this.#painting = true;
    painted
      .catch((error: unknown) => console.warn("ldam: a frame could not be decoded", error))
      .finally(() => {
        this.#painting = false;
        this.#painted(frame.seq);
        if (this.#visible) this.#schedule();
      });
  };

  #change(): void {
    if (this.#changeScheduled) return; // less than one animation frame since the last change
    this.#changeScheduled = requestAnimationFrame(this.#flushChanges);
    queueMicrotask(this.#flushChanges); // all changes of one event together
  }

  #flushChanges = (): void => {
    cancelAnimationFrame(this.#changeScheduled);
    this.#changeScheduled = 0;
    const [params, index] = [this.#changed, this.#checkpoint];
    [this.#changed, this.#checkpoint] = [{}, null];
    const moved = Object.keys(params).length > 0;
    if (moved) this.#ask({ kind: "set", view: this.view, rev: ++this.#rev, params, ...this.#catchUp() });
    if (index !== null) this.#ask({ kind: "scrub", index });
    if (this.#visible && (moved || index !== null)) this.#changeScheduled = requestAnimationFrame(this.#flushChanges);
  };

  /** Drops all but the newest of the pictures from before the change and acknowledges them, to make room for the response. */
  #catchUp(): { seq?: number } {
    if (!this.#visible || this.#lastSeq === null) return {};
    this.#keepNewest(1);
    this.#acknowledged = this.#lastSeq;
    this.#ackDue = null;
    clearTimeout(this.#ackTimer);
    return { seq: this.#lastSeq };
  }

  #beat = (): void => {
    const now = performance.now();
    if (this.#playing && this.#visible && now - this.#beatAt >= BEAT) {
      this.#beatAt = now;
      if (this.#lastSeq !== null) {
        this.#askedAt ??= now;
        this.#ack(this.#lastSeq);
      }
    }
    if (this.#askedAt === null || !this.#visible) return;
    const waited = now - this.#askedAt;
    if (waited >= SILENT) this.#reportSilence(this.#answered ? "stopped" : "never");
    else if (this.#isLate(now)) this.#reportSilence("late");
    if (waited >= ASK_AGAIN && now - this.#helloAt >= (waited < 2 * SILENT ? ASK_AGAIN : 3 * ASK_AGAIN)) this.#hello();
  };

  #isLate(now: number): boolean {
    const expected = this.#playing && this.#lastSeq !== null && this.#silence === null;
    return expected && now - this.#lastFrameAt >= Math.max(LATE, USUAL * this.#pace);
  }

  /** The notebook reports the kernel as lost: ask once more, with a short timeout. */
  #probe = (): void => {
    this.#hello();
    this.#askedAt = performance.now() - SILENT + PROBED;
  };

  #hello(): void {
    this.#helloAt = performance.now();
    this.#ask({ kind: "hello", view: this.view, hides: hidesSaved() });
  }

  /** Sends a message that expects an answer. */
  #ask(message: ToKernel): void {
    this.#askedAt ??= performance.now();
    this.#send(message);
  }

  /** Acknowledges a frame once it and all the pictures it carried are painted. */
  #painted(seq: number): void {
    if (this.#waiting[0]?.seq === seq || this.#acknowledged === seq) return;
    const wait = this.#ackAt + ACK_EVERY - performance.now();
    const seldom = this.#playing && !this.#eager && this.#roundTrip < ROUND_TRIP;
    const mayWait = this.#small || seq % 2 === 1;
    if (wait <= 0 || !seldom || !mayWait) return this.#ack(seq);
    clearTimeout(this.#ackTimer);
    this.#ackDue = seq; // also covers those before it
    this.#ackTimer = setTimeout(() => this.#ack(seq), wait);
  }

  /** Whether the user has just changed something: then only the newest picture counts, and its latency. */
  get #eager(): boolean {
    return performance.now() - this.#changedAt < EAGER;
  }

  #ack(seq: number): void {
    clearTimeout(this.#ackTimer);
    this.#ackDue = null;
    this.#ackAt = performance.now();
    this.#send({ kind: "ack", view: this.view, seq, visible: this.#visible });
  }

  #send(message: ToKernel): void {
    const changes = !["ack", "hello", "units", "bye"].includes(message.kind);
    if (changes) {
      this.#changedAt = performance.now();
      if (this.#ackDue !== null && !("seq" in message)) this.#ack(this.#ackDue); // make room for the answer
    }
    try {
      this.#model.send(message);
    } catch (error) {
      // A notebook opened without its kernel has no comm to send on; the silence message tells the user.
      console.warn("ldam: could not send", message.kind, error);
    }
  }

  #reportSilence(silence: Silence): void {
    if (silence === this.#silence) return;
    this.#silence = silence;
    this.#handlers.silence(silence);
  }
}

/** Panes with their bytes, one buffer each. */
export const filled = (panes: Pane[], buffers: (Buffers[number] | Uint8Array | undefined)[]): FilledPane[] =>
  panes.flatMap((pane, i) => (buffers[i] ? [{ ...pane, range: ends(pane.range), bytes: toBytes(buffers[i]) }] : []));

/** JSON sends non-finite values as null. */
export const ends = ([low, high]: Range): Ends => [low ?? NaN, high ?? NaN];

/** JupyterLab passes DataViews into a larger buffer, shinywidgets whole ArrayBuffers. */
export function toBytes(buffer: DataView | ArrayBuffer | Uint8Array): Uint8Array<ArrayBuffer> {
  if (ArrayBuffer.isView(buffer)) {
    return new Uint8Array(buffer.buffer as ArrayBuffer, buffer.byteOffset, buffer.byteLength);
  }
  return new Uint8Array(buffer);
}
