// The buttons above the picture, and the speed.
import type { Silence } from "../connection";
import type { Action, Frame, Setup, State } from "../protocol";
import { h, icon, setText, throttle } from "../ui/dom";
import { formatCount } from "../ui/format";
import type { Part } from "./part";

const ICONS = {
  play: "M4 2.5v11l9.5-5.5z",
  pause: "M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z",
  record: "M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3z",
  stop: "M3.5 3.5h9v9h-9z",
};

const LONGEST = 60; // seconds, after which the kernel ends a recording
const LIVE = ".ldam-live"; // needs a kernel: not there in a recording
const SILENCES = { never: "", late: "waiting for the kernel…", stopped: "no answer" };

export class TopBar implements Part {
  readonly element: HTMLElement;
  /** Slot for buttons that only some widgets have ("heat", "blink"). */
  readonly extras = h("span.ldam-extras");
  /** Slot for the buttons that make the panel larger. */
  readonly larger = h("span.ldam-extras");
  #play = h("button.ldam-button.ldam-primary", { type: "button" });
  #record = h(`button.ldam-button.ldam-record${LIVE}`, { type: "button" });
  #speed = h("span.ldam-speed", { "aria-live": "off" });
  #playing: boolean | null = null;
  #recording = false;
  #recorded = 0; // ms played while recording
  #tickedAt = 0;
  #elapsed = h("span.ldam-elapsed", { "aria-hidden": "true" });
  #timer: ReturnType<typeof setInterval> | undefined;
  #device = "";
  #stats: Frame["stats"] | null = null;
  #execution = "";
  #silence: Silence = null;
  #showSpeed = throttle(500, () => this.#writeSpeed());

  constructor(act: (what: Action) => void) {
    const button = (text: string, what: Action, title: string, live = "") => {
      const element = h(`button.ldam-button${live}`, { type: "button", title }, text);
      element.addEventListener("click", () => act(what));
      return element;
    };
    this.#play.addEventListener("click", () => act(this.#playing ? "pause" : "play"));
    this.#record.addEventListener("click", () => act(this.#recording ? "stop_record" : "record"));
    this.element = h(
      "div.ldam-top",
      {},
      this.#play,
      button("step", "step", "one frame further"),
      button("restart", "restart", "new random pictures, new burn-in"),
      this.extras,
      button("reset average", "reset_average", "forget the average, keep the samples", LIVE),
      button("snapshot", "snapshot", "download all tiles and their names as a PNG", LIVE),
      this.#record,
      this.#speed,
      this.larger,
    );
    this.state({ playing: false, recording: false });
  }

  setup({ device, ...message }: Setup): void {
    this.#device = device;
    this.#showSpeed.now();
    this.state(message);
  }

  state({ playing, recording }: Pick<State, "playing" | "recording">): void {
    if (playing !== this.#playing) {
      this.#playing = playing;
      const name = playing ? "pause" : "play";
      this.#play.replaceChildren(icon(ICONS[name]), name);
      this.#play.classList.toggle("ldam-playing", playing);
      this.#showSpeed.now();
    }
    if (recording !== this.#recording || !this.#record.firstChild) this.#showRecording(recording);
    else if (recording) this.#tick();
  }

  #showRecording(recording: boolean): void {
    [this.#recording, this.#recorded, this.#tickedAt] = [recording, 0, performance.now()];
    clearInterval(this.#timer);
    if (recording) {
      this.#tick();
      this.#timer = setInterval(() => this.#tick(), 1000);
      this.#record.replaceChildren(icon(ICONS.stop), "stop recording", this.#elapsed);
    } else {
      this.#record.replaceChildren(icon(ICONS.record), "record");
      this.#record.title = "record an animated GIF from now on";
    }
    this.#record.classList.toggle("ldam-recording", recording);
  }

  frame({ stats, execution }: Pick<Frame, "stats" | "execution">): void {
    this.#stats = stats;
    this.#execution = execution ?? this.#execution;
    this.#showSpeed();
  }

  /** Speeds measured before the silence no longer apply. */
  silence(silence: Silence): void {
    this.#silence = silence;
    this.#showSpeed.now();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#showSpeed.cancel();
  }

  #tick(): void {
    const now = performance.now();
    if (this.#playing) this.#recorded += now - this.#tickedAt;
    this.#tickedAt = now;
    setText(this.#elapsed, this.#playing ? `${Math.min(Math.round(this.#recorded / 1000), LONGEST)} s` : "paused");
    const still = "nothing is recorded while paused: press play, or step";
    this.#record.title = this.#playing ? "end the recording and download it" : still;
  }

  #writeSpeed(): void {
    const stats = this.#stats;
    const rate = (value: number | null) => (value === null ? "–" : value < 10 ? value.toFixed(1) : formatCount(value));
    const running = stats ? `${rate(stats.frames_per_second)} frames/s · ${rate(stats.steps_per_second)} steps/s` : "";
    const known = this.#device !== ""; // false before the kernel's first message
    setText(this.#speed, known ? [this.#silence ? SILENCES[this.#silence] : this.#playing ? running : "paused", this.#device].filter(Boolean).join(" · ") : "");
    const trip = stats?.round_trip_ms == null ? "" : `round trip ${Math.round(stats.round_trip_ms)} ms`;
    this.#speed.title = [trip, this.#execution && `network run: ${this.#execution}`].filter(Boolean).join("\n");
  }
}
