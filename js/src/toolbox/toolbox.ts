// The toolbox: pictures, what every channel of a layer makes of them, classes, and backward views.
import { h, replace, setText, throttle } from "../ui/dom";
import { formatCount } from "../ui/format";
import { keepKeys } from "../ui/keys";
import { watchSize } from "../ui/size";
import { watchTheme } from "../ui/theme";
import { SignedLegend } from "../parts/picture/difference-colors";
import { UnitView } from "../parts/unit/unit-view";
import { Camera } from "./camera";
import { Classes } from "./classes";
import { after, BOOSTS, Controls, GAMMAS } from "./controls";
import { filesIn, packed } from "./files";
import { type Deed, deedOf, Help } from "./keys";
import type { Choice, Picture, Setup, State } from "./protocol";
import { Screen } from "./screen";
import { Tiles } from "./tiles";
import { caption, TopBar } from "./top-bar";
import { type FilledFrame, type Model, Wire } from "./wire";

const FAR = 3; // channels
const SIDE = 190; // CSS pixels of the pictures at the side
const HEIGHT = 520; // CSS pixels of the tiles together
const NOTHING_YET = "no picture yet: open, drop or paste one, or use the camera";
const NO_FILES = "this network's pictures have neither one nor three channels: give them in Python, as images= or t.image";

export function showToolbox(model: Model, parent: HTMLElement, signal: AbortSignal): void {
  const root = h("div.ldam.ldam-tb", { role: "region", "aria-label": "toolbox" });
  let setup: Setup | null = null;
  let choice: Choice | null = null;
  let picture: Picture | null = null;
  let newest: FilledFrame | null = null;
  let zoom: "" | "unit" | "backward" = "";
  let dark = false;

  const wire = new Wire(model, {
    setup: (message) => {
      setup = message;
      root.setAttribute("aria-label", `toolbox: ${message.title}`);
      camera.size = [message.input_shape[1] ?? 1, message.input_shape[2] ?? 1];
      replace(layers, ...message.layers.map(({ name, type, units }) => h("option", { value: name, title: `${type}, ${units} channels` }, `${name} · ${formatCount(units)}`)));
      replace(notes, ...message.notes.map((note) => h("li", {}, note)));
      notes.hidden = !message.notes.length;
      controls.setup(message);
      top.setup(message);
      page.setup({ unit_page: "on demand", unit_shown: message.unit_shown, neurons: [] });
      body.hidden = false;
      showError(message.error?.message ?? "");
      told(message);
    },
    state: (message) => told(message),
    frame: (frame) => {
      if (frame.answers !== null) camera.answered(frame.answers);
    },
    paint: (frame) => {
      const pane = (name: string) => frame.panes.find((each) => each.name === name);
      const tilesPane = pane("tiles");
      const loads = [input.load(pane("picture")), unit.load(pane("unit")), backward.load(pane("backward")), tilesPane && tiles.load(tilesPane)];
      newest = frame;
      if (frame.reading) page.read(frame.reading);
      top.frame(frame);
      classes.frame(frame);
      if (loads.some((each) => each instanceof Promise)) return Promise.all(loads).then(draw);
      draw();
    },
    error: ({ error }) => {
      showError(error?.message ?? "");
      if (error) show();
    },
    unit: (message) => page.unit(message),
    silent: (silent) => {
      setText(silence, silent ? "no answer from the kernel: it is busy, or not running — then run the cell again" : "");
      root.toggleAttribute("data-silent", silent); // the saved picture appears
    },
  });
  const prefix = `ldam-${wire.view}`;

  // ---- parts -----------------------------------------------------------------------------------------------------------

  const top = new TopBar({
    step: (by) => wire.do(by > 0 ? "next" : "previous"),
    use: (source) => (camera.running && source !== "camera" && camera.stop(), wire.use(source)),
    files: (files) => void send(files),
    camera: () => act("camera"),
    freeze: () => act("freeze"),
    help: () => help.toggle(),
  });
  const camera = new Camera({
    picture: (bytes) => wire.picture("camera", bytes, true),
    changed: (running, why) => {
      top.running(running);
      if (running) wire.use("camera");
      if (why) showError(why);
    },
  });
  const help = new Help(prefix);
  const classes = new Classes();
  const controls = new Controls((changes) => change(changes));
  const input = new Screen("picture", SIDE);
  const unit = new Screen("unit", SIDE);
  const backward = new Screen("backward view", SIDE);
  const tiles = new Tiles((channel) => change({ unit: [channel] }));
  const layers = h("select.ldam-tb-layers", { size: 14, "aria-label": "layer" });
  const notes = h("ul.ldam-notes", { hidden: true });
  const errorBox = h("div", { role: "alert" });
  const silence = h("div.ldam-silence", { role: "status" });
  const status = h("div.ldam-hidden", { role: "status" });
  const legend = h("div.ldam-tb-legend");
  const hint = h("p.ldam-tb-hint", { hidden: true });
  const side = h("div.ldam-tb-side", {}, input.element, hint, classes.element, unit.element, backward.element);
  const stage = h("div.ldam-tb-stage", { tabindex: -1 }, tiles.element);
  const main = h("div.ldam-tb-main", {}, controls.element, legend, stage);
  const body = h("div.ldam-tb-body", { hidden: true }, side, h("div.ldam-tb-list", {}, h("b", { "aria-hidden": "true" }, "layers"), layers), main);
  const notices = h("div.ldam-notices", {}, errorBox, notes);
  const page = new UnitView(root, signal, "p", "picture", {
    act: (what) => wire.do(what),
    show: (what) => "layer" in what && wire.page(what.layer, what.unit),
    start: null,
    announce: (text) => announce(text),
  });
  unit.element.append(page.opener);
  root.append(top.element, notices, silence, body, page.element, help.element, status);

  let say = "";
  const speak = throttle(800, () => setText(status, say));
  const announce = (text: string) => {
    say = text;
    speak();
  };

  // ---- what is shown ---------------------------------------------------------------------------------------------------

  const told = (message: State | Setup) => {
    picture = message.picture;
    choice = wire.merged(message);
    page.state(message);
    if (picture.source !== "camera" && camera.running) camera.stop(); // another view or Python has chosen a source
    show();
  };

  const change = (changes: Parameters<Wire["change"]>[0]) => {
    if (!choice) return;
    if (changes.layer && changes.layer !== choice.layer) changes.unit ??= [Math.min(choice.unit[0]!, unitsOf(changes.layer) - 1)];
    const { pinned: _pinned, ...plain } = changes; // a pin shows once the kernel has it
    choice = { ...choice, ...plain };
    wire.change(changes);
    show();
  };

  const show = () => {
    if (!choice || !picture || !setup) return;
    controls.choice(choice);
    top.state(picture, choice.frozen);
    camera.held = choice.frozen;
    layers.value = choice.layer;
    const none = picture.source !== "camera" && !picture.count && !newest;
    hint.hidden = !none;
    setText(hint, setup.takes_files ? NOTHING_YET : NO_FILES);
    const [channel, ...place] = choice.unit;
    page.choose(choice.layer, channel!);
    tiles.canvas.setAttribute("aria-label", `channels of ${choice.layer}: ${channel} of ${unitsOf(choice.layer)} chosen; arrow keys choose others`);
    if (newest?.layer === choice.layer) tiles.draw(choice);
    announce(`${choice.layer}, channel ${channel}${place.length ? ` at ${place.join(", ")}` : ""}, ${choice.show}${choice.rule === "off" ? "" : `, ${choice.rule}`}`);
  };

  const draw = () => {
    if (!choice || !newest) return;
    const { layer, unit: shown, value, scale, panes } = newest;
    const [channel, ...place] = shown;
    const backwards = choice.rule === "off" ? "" : `${choice.rule} of ${choice.pinned?.layer ?? layer}, ${(choice.pinned?.unit ?? shown)[0]}`;
    hint.hidden = true;
    input.draw(caption(newest.name));
    unit.draw(`${layer}, ${channel}${place.length ? ` at ${place.join(", ")}` : ""}: ${number(value)}`, place.length === 2 ? [place[0]!, place[1]!] : null);
    backward.draw([backwards, newest.remark].filter(Boolean).join("; "));
    if (layer === choice.layer) tiles.draw(choice);
    const [count, , , ] = panes.find(({ name }) => name === "tiles")?.shape ?? [0]; // prettier-ignore
    const all = unitsOf(layer);
    const words = `${layer}: ${count < all ? `the first ${formatCount(count)} of ` : ""}${formatCount(all)} channels, ${newest.show}`;
    if (newest.show === "backward" && !(scale! > 0)) replace(legend, h("span", {}, `${words}: no gradient arrives here; pin a unit of a later layer (d), then choose an earlier one`));
    else if (tiles.image.signed) {
      const bar = new SignedLegend(dark);
      bar.range = [-(scale ?? NaN), scale ?? NaN];
      replace(legend, h("span", {}, words), bar.element);
    } else replace(legend, h("span", {}, `${words}, black 0, white ${number(scale)}`));
    fill();
  };

  /** The enlarged unit or its backward view takes the place of the tiles. */
  const fill = () => {
    const screen = zoom === "unit" ? unit : zoom === "backward" ? backward : null;
    for (const each of [unit, backward]) {
      const home = each === screen ? stage : side;
      if (each.element.parentElement !== home) home.append(each.element);
      each.room = each === screen ? { width: Math.max(stage.clientWidth, SIDE), height: HEIGHT } : { width: SIDE, height: SIDE };
    }
    if (unit.element.parentElement === side && backward.element.parentElement === side) side.append(unit.element, backward.element);
    tiles.element.hidden = screen !== null;
  };

  const unitsOf = (layer: string) => setup?.layers.find(({ name }) => name === layer)?.units ?? 1;

  const showError = (text: string) => {
    if (!text) return replace(errorBox);
    const dismiss = h("button.ldam-dismiss", { type: "button", "aria-label": "dismiss error" }, "×");
    dismiss.addEventListener("click", () => {
      replace(errorBox);
      wire.do("dismiss_error");
    });
    replace(errorBox, h("div.ldam-error", {}, h("div", {}, text), dismiss));
  };

  const send = async (files: File[]) => {
    for (const file of files) {
      try {
        const { name, bytes } = await packed(file);
        if (signal.aborted) return;
        camera.stop();
        wire.picture(name, bytes, false);
      } catch (error) {
        showError(error instanceof Error ? error.message : String(error));
      }
    }
  };

  // ---- keys and pointers -----------------------------------------------------------------------------------------------

  const move = (by: number) => {
    if (!choice) return;
    const to = choice.unit[0]! + by;
    if (to >= 0 && to < Math.min(unitsOf(choice.layer), tiles.image.tiles || Infinity)) change({ unit: [to] });
  };
  const layer = (by: number) => {
    const at = setup?.layers.findIndex(({ name }) => name === choice?.layer) ?? -1;
    const next = setup?.layers[at + by];
    if (next) change({ layer: next.name });
  };
  const act = (deed: Deed): void => {
    if (!choice || !setup) return;
    const { rule, view, show, gamma, boost, fit, frozen, pinned } = choice;
    const deeds: Record<Deed, () => void> = {
      left: () => move(-1),
      right: () => move(1),
      up: () => move(-tiles.columns),
      down: () => move(tiles.columns),
      "far-left": () => move(-FAR),
      "far-right": () => move(FAR),
      "far-up": () => move(-FAR * tiles.columns),
      "far-down": () => move(FAR * tiles.columns),
      "layer-before": () => layer(-1),
      "layer-after": () => layer(1),
      zoom: () => setZoom(zoom === "" ? "unit" : zoom === "unit" && rule !== "off" ? "backward" : ""),
      rule: () => change({ rule: after(setup!.rules, rule) }),
      pin: () => change({ pinned: !pinned }),
      show: () => change({ show: show === "backward" ? "activations" : "backward" }),
      difference: () => setup!.shown.includes("difference") && change({ show: show === "difference" ? "activations" : "difference" }),
      "view-after": () => change({ view: after(setup!.views, view) }),
      "view-before": () => change({ view: after(setup!.views, view, -1) }),
      gamma: () => change({ gamma: after(GAMMAS, gamma) }),
      boost: () => change({ boost: after(BOOSTS, boost) }),
      freeze: () => picture?.source === "camera" && change({ frozen: !frozen }),
      camera: () => {
        if (!setup!.takes_files) return;
        if (!camera.running) return void camera.start();
        camera.stop();
        const others = picture?.sources ?? [];
        wire.use(others[0] ?? "files");
      },
      next: () => wire.do("next"),
      previous: () => wire.do("previous"),
      fit: () => setup!.takes_files && change({ fit: fit === "crop" ? "stretch" : "crop" }),
      classes: () => {
        classes.wanted = !classes.wanted;
        classes.show();
      },
      page: () => (page.open ? wire.do("close_unit") : wire.page(choice!.layer, choice!.unit[0]!)),
      help: () => help.toggle(),
      escape: () => {
        if (help.open) return help.toggle(false);
        if (zoom) return setZoom("");
        if (pinned) return change({ pinned: false });
        if (choice!.unit.length > 1) change({ unit: [choice!.unit[0]!] });
      },
    };
    deeds[deed]();
  };
  const setZoom = (to: typeof zoom) => {
    zoom = to;
    const { activeElement } = root.getRootNode() as Document | ShadowRoot;
    const focused = stage.contains(activeElement);
    fill();
    if (!zoom) tiles.draw(choice);
    if (focused) (zoom ? stage : tiles.canvas).focus(); // what is hidden hears no keys
  };

  layers.addEventListener("change", () => change({ layer: layers.value }));
  unit.canvas.addEventListener("click", (event) => {
    if (choice?.shape.length === 3) change({ unit: [choice.unit[0]!, ...unit.at(event.offsetX, event.offsetY)] });
  });
  root.addEventListener("keydown", (event) => {
    const deed = deedOf(event, event.target as Element);
    if (!deed) return;
    event.preventDefault();
    act(deed);
  }, { signal }); // prettier-ignore
  keepKeys(root, signal);
  root.addEventListener("dragover", (event) => {
    event.preventDefault();
    if (setup?.takes_files) root.classList.add("ldam-tb-drop");
  }, { signal }); // prettier-ignore
  root.addEventListener("dragleave", () => root.classList.remove("ldam-tb-drop"), { signal });
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation(); // the notebook would open the file
    root.classList.remove("ldam-tb-drop");
    if (!setup?.takes_files) return showError(NO_FILES);
    if (event.dataTransfer) void filesIn(event.dataTransfer).then(send);
  }, { signal }); // prettier-ignore
  root.addEventListener("paste", (event) => {
    const files = Array.from(event.clipboardData?.files ?? []);
    if (!files.length) return;
    event.preventDefault();
    event.stopPropagation();
    if (!setup?.takes_files) return showError(NO_FILES);
    void send(files);
  }, { signal }); // prettier-ignore

  // ---- the page --------------------------------------------------------------------------------------------------------

  watchTheme(root, signal, (now) => {
    dark = now;
    for (const image of [tiles.image, unit.image, backward.image, input.image]) image.dark = now;
    page.theme();
    draw();
  });
  for (const plot of page.plots) watchSize(plot.place, signal, (width) => plot.resize(width));
  const sizes = new ResizeObserver(() => {
    cancelAnimationFrame(resizing);
    resizing = requestAnimationFrame(() => {
      tiles.resize(stage.clientWidth, HEIGHT);
      if (zoom) fill();
    });
  });
  let resizing = 0;
  sizes.observe(stage);
  let onScreen = true;
  const seen = () => (wire.visible = onScreen && !document.hidden);
  document.addEventListener("visibilitychange", seen, { signal });
  const screens = new IntersectionObserver((entries) => {
    onScreen = entries.at(-1)!.isIntersecting;
    seen();
  });
  screens.observe(root);
  signal.addEventListener("abort", () => {
    camera.stop();
    sizes.disconnect();
    screens.disconnect();
    cancelAnimationFrame(resizing);
    speak.cancel();
    wire.close();
    root.remove();
  });

  parent.classList.add("ldam-view");
  parent.append(root);
  wire.start();
}

function number(value: number | null): string {
  return value === null ? "not finite" : Number(value.toPrecision(3)).toString().replace("-", "−");
}
