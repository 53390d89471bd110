// Plays a recorded run in a page without a kernel: the panel, with recorded messages in place of the kernel's.
import type { Model } from "./connection";
import { showPanel } from "./panel";
import type { FromKernel, ToKernel } from "./protocol";
import { h } from "./ui/dom";

interface Recorded {
  content: FromKernel;
  buffers: string[]; // base64
}

export interface Recording {
  messages: Recorded[]; // the first is a setup; each frame comes after what changed with it
  period: number; // ms between frames
}

type Listener = Parameters<Model["on"]>[1];

/** Takes the kernel's place: answers the buttons that make sense for a recording. */
class Player implements Model {
  #recording: Recording;
  #listeners = new Set<Listener>();
  #at = 0; // the next message
  #run = 0; // how often it has begun
  #playing = false;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(recording: Recording) {
    this.#recording = recording;
  }

  on(event: string, listener: Listener): void {
    if (event === "msg:custom") this.#listeners.add(listener);
  }

  off(_event: string, listener: Listener): void {
    this.#listeners.delete(listener);
  }

  send(message: ToKernel): void {
    const what = message.kind === "do" ? message.what : message.kind;
    if (what === "ack") return;
    if (what === "bye") return clearInterval(this.#timer);
    if (what === "hello" || what === "play") return this.#play();
    if (what === "pause") return this.#pause();
    if (what === "step") this.#pause();
    if (what === "restart") this.#at = 0;
    if (what === "step" || what === "restart") return this.#next();
    this.#tellState(); // anything else cannot be done here; an answer keeps the panel from waiting for one
  }

  #play(): void {
    if (this.#ended) this.#at = 0;
    this.#playing = true;
    this.#next();
    this.#tellState();
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#next(), this.#recording.period);
  }

  #pause(): void {
    clearInterval(this.#timer);
    this.#playing = false;
    this.#tellState();
  }

  get #ended(): boolean {
    return this.#at >= this.#recording.messages.length;
  }

  /** Everything up to the next frame. */
  #next(): void {
    if (this.#ended) return this.#pause();
    if (this.#at === 0) this.#run += 1;
    while (!this.#ended) {
      const { content, buffers } = this.#recording.messages[this.#at++]!;
      this.#deliver(this.#adapted(content), buffers.map(bytes));
      if (content.kind === "frame") break;
    }
    if (this.#ended) this.#pause();
  }

  /** As now, not as it was recorded; every run is a generation of its own, so that the trace begins anew. */
  #adapted(content: FromKernel): FromKernel {
    const now = { playing: this.#playing, recording: false };
    if (content.kind === "setup") {
      const setup = { ...content, ...now, gen: this.#generation(content.gen), device: `${content.device} · recorded` };
      delete setup.unit_page; // pages of units need the kernel
      return setup;
    }
    if (content.kind === "state") return { ...content, ...now };
    if (content.kind === "frame") return { ...content, gen: this.#generation(content.gen) };
    return content;
  }

  #generation(recorded: number): number {
    return 1_000_000 * this.#run + recorded;
  }

  /** The newest values, with the button as it is. */
  #tellState(): void {
    const passed = this.#recording.messages.slice(0, this.#at);
    const last = passed.findLast(({ content }) => content.kind === "setup" || content.kind === "state");
    if (last) this.#deliver(this.#adapted({ ...last.content, kind: "state" } as FromKernel), []);
  }

  #deliver(content: FromKernel, buffers: ArrayBuffer[]): void {
    for (const listener of this.#listeners) listener(content, buffers);
  }
}

const bytes = (text: string): ArrayBuffer => Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer;

/** Shows a recording in `place`. Its sliders show values and cannot be moved. */
export function replay(recording: Recording, place: HTMLElement): void {
  showPanel(new Player(recording), place, new AbortController().signal);
  place.querySelector(".ldam")!.classList.add("ldam-recorded");
  for (const element of place.querySelectorAll(".ldam-picker, .ldam-controls, .ldam-watch, .ldam-changes")) {
    const fixed = h("fieldset.ldam-fixed", { disabled: true });
    element.replaceWith(fixed);
    fixed.append(element);
  }
}
