// One view: builds the parts, passes kernel messages to them and user actions to the kernel.
import { Connection, type Model } from "./connection";
import { MarimoValue } from "./marimo";
import { BeliefLine } from "./parts/belief";
import { Compare } from "./parts/compare/compare";
import { Controls } from "./parts/controls/controls";
import { DiagnosisLine } from "./parts/diagnosis";
import { Larger } from "./parts/larger";
import { Notices } from "./parts/notices";
import type { Part } from "./parts/part";
import { NeuronPicker } from "./parts/picker/neuron-picker";
import { Picture } from "./parts/picture/picture";
import { ReducedMotion } from "./parts/picture/reduced-motion";
import { TileCursor } from "./parts/picture/tile-cursor";
import { TopBar } from "./parts/top-bar";
import { Trace } from "./parts/trace";
import { UnitView } from "./parts/unit/unit-view";
import { Units } from "./parts/units/units";
import { WatchBar } from "./parts/watch-bar";
import type { Action, Setup, State } from "./protocol";
import { h, offer, setText, throttle } from "./ui/dom";
import { formatCount } from "./ui/format";
import { keepKeys } from "./ui/keys";
import { watchSize } from "./ui/size";
import { watchTheme } from "./ui/theme";

const REDUCED_MOTION =
  "your system asks for reduced motion: the picture stands still, and shows the samples when they have burned in; pause and play to see them move";
const WIDE = 0.8; // of the window: preferred maximum height of the picture in the full width
const AROUND = 100; // CSS pixels above and below the picture on the full screen: the top bar, the readout, padding
const LEAST = 200; // CSS pixels
const SPOKEN_EVERY = 10_000; // ms between "playing, step …" announcements for screen readers

export function showPanel(model: Model, parent: HTMLElement, signal: AbortSignal): void {
  const root = h("div.ldam", { role: "region", "aria-label": "neuron samples" });
  let known = false;
  let playing = false;
  let steps = 0;

  // The parts and the connection refer to each other, so it is created first and started last.
  const connection = new Connection(model, {
    setup: (message) => {
      root.setAttribute("aria-label", message.title || "neuron samples");
      for (const part of parts) part.setup?.(message);
      if (!known) begin(message);
      showPlaying(message);
    },
    state: (message) => {
      for (const part of parts) part.state?.(message);
      showPlaying(message);
    },
    frame: (frame) => {
      steps = frame.steps;
      for (const part of parts) part.frame?.(frame);
    },
    paint: (frame) => (still.admits(frame) ? picture.paint(frame) : undefined),
    units: (message) => parts.forEach((part) => part.units?.(message)),
    unit: (message) => parts.forEach((part) => part.unit?.(message)),
    diagnosis: (message) => parts.forEach((part) => part.diagnosis?.(message)),
    changes: (message) => parts.forEach((part) => part.changes?.(message)),
    unit_table: (message) => parts.forEach((part) => part.unit_table?.(message)),
    unit_bars: (message) => parts.forEach((part) => part.unit_bars?.(message)),
    error: (message) => {
      if (message.error) for (const part of parts) part.refused?.();
      for (const part of parts) part.error?.(message);
    },
    download: ({ filename, mime }, bytes) => offer(filename, new Blob([bytes], { type: mime })),
    enlarge: (message) => cursor.show(message),
    silence: (silence) => {
      for (const part of parts) part.silence?.(silence);
      if (silence) root.dataset["silence"] = silence;
      else delete root.dataset["silence"];
    },
  });
  const prefix = `ldam-${connection.view}`;
  const act = (what: Action) => connection.do(what);

  const status = h("div.ldam-hidden", { role: "status" });
  let say = "";
  const speak = throttle(1000, () => setText(status, say));
  const announce = (text: string) => {
    say = text;
    speak();
  };

  const topBar = new TopBar(act);
  const notices = new Notices(() => act("dismiss_error"));
  const picker = new NeuronPicker(prefix, {
    act,
    select: (selection) => connection.select(selection),
    units: (...request) => connection.units(...request),
    about: (what) => connection.showUnit(what),
  });
  const controls = new Controls(prefix, {
    act,
    change: (name, value) => connection.set(name, value),
    kernel: (kernel) => connection.select({ kernel }),
    prior: (prior) => connection.select({ prior }),
    lock: (name, locked) => connection.lock(name, locked),
    display: (change) => connection.display(change),
    outline: (on) => (picture.outlined = on),
    isStale: (name, answer) => connection.isStale(name, answer),
  });
  const picture = new Picture();
  const still = new ReducedMotion(() => act("pause"));
  const trace = new Trace();
  const diagnosis = new DiagnosisLine(prefix);
  const belief = new BeliefLine(prefix, act);
  const compare = new Compare(topBar.extras, {
    act,
    announce,
    show: (what) => connection.show(what),
    activate: (row) => picker.putFirst(row),
    blink: (model) => (picture.blink = model),
  });
  const watch = new WatchBar({
    act,
    scrub: (index) => connection.scrub(index),
    show: (what) => connection.show(what),
  });
  const units = new Units(
    prefix,
    { announce, open: (unit) => connection.openUnit(unit), export: (request) => connection.exportUnits(request) },
    (closed) => root.classList.toggle("ldam-unopened", closed),
  );
  const unit = new UnitView(root, signal, "u", "sample", {
    act,
    announce,
    show: (what) => connection.showUnit(what),
    start: (which) => connection.startFrom(which),
  });
  const parts: Part[] = [picture, picker, unit, controls, trace, diagnosis, belief, compare, watch, units, topBar, notices, new MarimoValue(model)];
  const cursor = new TileCursor(picture, signal, {
    announce,
    highlight: (column) => trace.highlight(column),
    enlarged: (column) => unit.enlarged(column),
    about: (column) => unit.available && connection.showUnit({ column }),
  });

  const begin = (setup: Setup) => {
    known = true;
    topBar.element.hidden = body.hidden = false;
    if (setup.playing && still.begin()) notices.add(REDUCED_MOTION);
  };
  const showPlaying = (now: Pick<State, "playing">) => {
    if (now.playing === playing) return;
    playing = now.playing;
    if (!playing) still.end();
    announce(`${playing ? "playing" : "paused"}, step ${formatCount(steps)}`);
    picture.relabel();
  };
  const speaking = setInterval(() => playing && announce(`playing, step ${formatCount(steps)}`), SPOKEN_EVERY);

  const main = h("div.ldam-main", {}, picker.element, picture.element, cursor.readout, unit.opener, unit.element, trace.element, compare.list.element, diagnosis.element, belief.element);
  const body = h("div.ldam-body", { hidden: true }, main, h("div.ldam-side-panel", {}, controls.element));
  topBar.element.hidden = true; // without a kernel, show no dead buttons
  root.append(topBar.element, watch.element, notices.element, notices.silenceElement, units.element, body, status);

  keepKeys(root, signal);
  const larger = new Larger(root, signal, {
    announce,
    changed: (size) => (picture.room = size === "usual" ? null : size === "wide" ? WIDE * window.innerHeight : Math.max(root.clientHeight - AROUND, LEAST)),
  });
  topBar.larger.append(larger.element);
  watchTheme(root, signal, (dark) => parts.forEach((part) => part.theme?.(dark)));
  watchSize(picture.element, signal, (width) => picture.resize(width));
  watchSize(trace.plot, signal, (width, height) => trace.resize(width, height));
  for (const plot of unit.plots) watchSize(plot.place, signal, (width) => plot.resize(width));
  watchSize(controls.training.plot.place, signal, (width, height) => controls.training.plot.resize(width, height));
  watchVisible(root, signal, (visible) => {
    connection.visible = visible;
    for (const part of parts) part.visible?.(visible);
  });
  signal.addEventListener("abort", () => {
    clearInterval(speaking);
    speak.cancel();
    connection.close();
    for (const part of parts) part.close?.();
    root.remove();
  });

  parent.classList.add("ldam-view");
  parent.append(root);
  connection.start();
}

/** Visible: on screen, in a page that is not in the background. */
function watchVisible(element: HTMLElement, signal: AbortSignal, changed: (visible: boolean) => void): void {
  let onScreen = true;
  const report = () => changed(onScreen && !document.hidden);
  document.addEventListener("visibilitychange", report, { signal });
  if (typeof IntersectionObserver !== "undefined") {
    const observer = new IntersectionObserver((entries) => {
      onScreen = entries.at(-1)!.isIntersecting;
      report();
    });
    observer.observe(element);
    signal.addEventListener("abort", () => observer.disconnect());
  }
  report();
}
