// One view: builds the parts, gives each what the kernel says, and the kernel what the reader does.
import { Connection, type Model } from "./connection";
import { Compare } from "./parts/compare/compare";
import { Controls } from "./parts/controls/controls";
import { DiagnosisLine } from "./parts/diagnosis";
import { Notices } from "./parts/notices";
import { NeuronPicker } from "./parts/picker/neuron-picker";
import { Picture } from "./parts/picture/picture";
import { TileCursor } from "./parts/picture/tile-cursor";
import { TopBar } from "./parts/top-bar";
import { Trace } from "./parts/trace";
import { WatchBar } from "./parts/watch-bar";
import type { Download, Setup } from "./protocol";
import { h, setText, throttle } from "./ui/dom";
import { formatCount } from "./ui/format";
import { keepKeys } from "./ui/keys";
import { watchTheme } from "./ui/theme";

const REDUCED_MOTION = "paused, since your system asks for reduced motion; press play to start";
const SPOKEN_EVERY = 10_000; // ms between two "playing, step …" for screen readers

export function showPanel(model: Model, parent: HTMLElement, signal: AbortSignal): void {
  const root = h("div.ldam", { role: "region", "aria-label": "neuron samples" });
  let setup: Setup | null = null;
  let playing = false;
  let steps = 0;

  // The parts speak through the connection, and it through them: made first, started last.
  const connection = new Connection(model, {
    setup: (message) => {
      const first = setup === null;
      setup = message;
      root.setAttribute("aria-label", message.title || "neuron samples");
      picture.setup(message);
      picker.setup(message);
      controls.setup(message);
      controls.update(message.params, (name) => connection.isStale(name));
      trace.setup(message);
      diagnosis.setup(message.gen);
      compare.setup(message);
      watch.tell(message.watch ?? null);
      topBar.device = message.device;
      notices.notes(message.notes);
      notices.error(message.error);
      main.hidden = side.hidden = false;
      showState(message.playing, message.recording);
      if (first && message.playing && window.matchMedia?.("(prefers-reduced-motion: reduce)").matches) {
        connection.do("pause");
        notices.add(REDUCED_MOTION);
      }
    },
    state: (message) => {
      controls.state(message);
      picker.state(message);
      picture.state(message);
      compare.state(message);
      watch.tell(message.watch);
      controls.update(message.params, (name) => connection.isStale(name, message));
      showState(message.playing, message.recording);
    },
    frame: (frame) => {
      steps = frame.steps;
      trace.push(frame);
      controls.frame(frame, (name) => connection.isStale(name));
      picture.score(frame.score, frame.gen);
      picture.standing(frame.standing, frame.gen);
      compare.frame(frame);
      watch.tell(frame.watch);
      topBar.stats(frame);
    },
    paint: (frame) => picture.paint(frame),
    units: (message) => picker.units(message),
    error: ({ error }) => {
      if (error) {
        picker.refused();
        controls.refused();
        compare.refused();
        watch.refused();
      }
      notices.error(error);
    },
    diagnosis: (message) => diagnosis.tell(message),
    changes: (message) => compare.tell(message),
    download: offer,
    silence: (silence) => {
      notices.tell(silence);
      main.hidden = side.hidden = setup === null;
    },
  });

  const topBar = new TopBar((what) => connection.do(what));
  const notices = new Notices(() => connection.do("dismiss_error"));
  const picker = new NeuronPicker(`ldam-${connection.view}`, {
    select: (selection) => connection.select(selection),
    units: (...request) => connection.units(...request),
    act: (what) => connection.do(what),
  });
  const controls = new Controls(`ldam-${connection.view}`, {
    change: (name, value) => connection.set(name, value),
    kernel: (kernel) => connection.select({ kernel }),
    prior: (prior) => connection.select({ prior }),
    act: (what) => connection.do(what),
    lock: (name, locked) => connection.lock(name, locked),
  });
  const picture = new Picture();
  const trace = new Trace();
  const diagnosis = new DiagnosisLine(`ldam-${connection.view}`);

  const status = h("div.ldam-hidden", { role: "status" });
  let say = "";
  const speak = throttle(1000, () => setText(status, say));
  const announce = (text: string) => {
    say = text;
    speak();
  };
  const compare = new Compare(topBar.extras, {
    act: (what) => connection.do(what),
    show: (what) => connection.show(what),
    activate: (row) => picker.putFirst(row),
    blink: (model) => (picture.blink = model),
    announce,
  });
  const watch = new WatchBar({
    act: (what) => connection.do(what),
    scrub: (index) => connection.scrub(index),
    show: (what) => connection.show(what),
  });
  const cursor = new TileCursor(picture, signal, { announce, highlight: (column) => trace.highlight(column) });

  const showState = (nowPlaying: boolean, recording: boolean) => {
    topBar.update(nowPlaying, recording);
    if (nowPlaying !== playing) {
      playing = nowPlaying;
      announce(`${playing ? "playing" : "paused"}, step ${formatCount(steps)}`);
      picture.relabel();
    }
  };
  const speaking = setInterval(() => playing && announce(`playing, step ${formatCount(steps)}`), SPOKEN_EVERY);

  const main = h("div.ldam-main", { hidden: true }, picker.element, picture.element, cursor.readout, trace.element);
  main.append(compare.changes.element, diagnosis.element);
  const side = h("div.ldam-side-panel", { hidden: true }, controls.element);
  const body = h("div.ldam-body", {}, main, side);
  root.append(topBar.element, watch.element, notices.element, notices.silence, body, status);

  keepKeys(root, signal);
  watchTheme(root, signal, (dark) => {
    picture.dark = trace.dark = dark;
    controls.training.plot.draw(); // its colours are the style sheet's
  });
  watchSize(picture.element, signal, (width) => picture.resize(width));
  watchSize(trace.plot, signal, (width, height) => trace.resize(width, height));
  watchSize(controls.training.plot.place, signal, (width, height) => controls.training.plot.resize(width, height));
  watchVisible(root, signal, (visible) => (connection.visible = compare.visible = visible));
  signal.addEventListener("abort", () => {
    clearInterval(speaking);
    speak.cancel();
    for (const part of [connection, topBar, picker, controls, picture, trace, diagnosis, compare, watch]) part.close();
    root.remove();
  });

  parent.classList.add("ldam-view");
  parent.append(root);
  connection.start();
}

/** In the next animation frame: what follows from one size may change another that is watched. */
function watchSize(element: HTMLElement, signal: AbortSignal, changed: (width: number, height: number) => void): void {
  let scheduled = 0;
  const observer = new ResizeObserver((entries) => {
    const { width, height } = entries.at(-1)!.contentRect; // handed over: reading it ourselves would force a layout
    cancelAnimationFrame(scheduled);
    scheduled = requestAnimationFrame(() => changed(width, height));
  });
  observer.observe(element);
  signal.addEventListener("abort", () => {
    observer.disconnect();
    cancelAnimationFrame(scheduled);
  });
}

/** Seen by the reader: on screen, in a page that is not in the background. */
function watchVisible(element: HTMLElement, signal: AbortSignal, changed: (visible: boolean) => void): void {
  let onScreen = true;
  const tell = () => changed(onScreen && !document.hidden);
  document.addEventListener("visibilitychange", tell, { signal });
  if (typeof IntersectionObserver !== "undefined") {
    const observer = new IntersectionObserver((entries) => {
      onScreen = entries.at(-1)!.isIntersecting;
      tell();
    });
    observer.observe(element);
    signal.addEventListener("abort", () => observer.disconnect());
  }
  tell();
}

/** Hands a file to the reader as a download. */
function offer({ filename, mime }: Download, bytes: Uint8Array<ArrayBuffer>): void {
  const url = URL.createObjectURL(new Blob([bytes], { type: mime }));
  const link = h("a", { href: url, download: filename });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser may still be reading it
}
