// A map of points: painted by ourselves, selected with a lasso, with pictures of what is selected beside it.
import { h, offer, replace, setText, throttle } from "../ui/dom";
import { formatCount } from "../ui/format";
import { keepKeys } from "../ui/keys";
import { watchTheme } from "../ui/theme";
import { Board } from "./board";
import { CoverageTable } from "./coverage";
import { Gallery } from "./gallery";
import { HELP, listen, type Tool } from "./gestures";
import { type Mode, select } from "./lasso";
import { Legend } from "./legend";
import type { Colours, Setup, State } from "./protocol";
import { Thumbnails } from "./thumbnails";
import { Tooltip } from "./tooltip";
import { TopBar } from "./top-bar";
import { fromBits, positions, spread, toBits } from "./unpack";
import { type Model, Wire } from "./wire";

const [LOWEST, HIGHEST] = [320, 540]; // CSS pixels: a map is as high as it is wide, between these
const STEADY = 24; // a smaller change of height is none: a scroll bar that comes and goes would change it for ever

export function showScatter(model: Model, parent: HTMLElement, signal: AbortSignal): void {
  const root = h("div.ldam.ldam-sc", { role: "region", "aria-label": "map" });
  let setup: Setup | null = null;
  let tool: Tool = "move";
  let pointed = -1; // the point under the pointer, or picked by a key
  let colours: Colours | null = null;

  const wire = new Wire(model, {
    setup: (message) => {
      setup = message;
      root.setAttribute("aria-label", `map: ${message.title}`);
      replace(notes, ...message.notes.map((note) => h("li", {}, note)));
      notes.hidden = !message.notes.length;
      start.hidden = !message.follows;
      showError(message.error?.message ?? "");
      thumbnails.forget();
      board.pictures = message.has_pictures;
      body.hidden = false;
      bar.title = message.title === "map" ? "" : message.title;
      bar.state({ ...message, kind: "state" }, message.count);
      fill();
    },
    state: (message) => told(message),
    frame: ({ map, chains, run }, points, places) => {
      if (map && points) board.move(positions(points, map));
      if (map && pointed >= 0) board.mark = board.place(pointed);
      if (chains && places) board.chains.take(chains, places);
      if (setup) bar.run(run, setup.count, busy);
      describe();
      board.redraw();
    },
    colours: (message, levels) => {
      colours = message;
      legend.take(message, levels);
      board.colour(levels, message.type);
      thumbnails.forget(); // captions may say more
      describe();
    },
    selected: (message, bits) => {
      if (wire.old(message)) return;
      board.select(fromBits(bits, setup?.count ?? 0), message.count); // own ones, too: another may have come between
      fill();
    },
    pictures: (message, bytes) =>
      void thumbnails.take(message, bytes).catch((error: unknown) => console.warn("ldam: pictures could not be decoded", error)),
    download: ({ filename, mime }, bytes) => offer(filename, new Blob([bytes], { type: mime })),
    coverage: (message) => coverage.take(message),
    error: ({ error }) => showError(error?.message ?? ""),
    silent: (silent) => {
      setText(silence, silent ? "no answer from the kernel: it is busy, or not running — then run the cell again" : "");
      root.toggleAttribute("data-silent", silent); // the saved picture appears
    },
  });

  const arrived = throttle(50, () => {
    gallery.draw();
    board.repaint();
    showTip();
  });
  const thumbnails = new Thumbnails((indices) => wire.pictures(indices), arrived);
  const legend = new Legend(() => {
    board.repaint();
    describe();
  });
  const board = new Board(legend.shown, thumbnails);
  const coverage = new CoverageTable();
  const tip = new Tooltip();
  const button = (name: string, title: string, act: () => void) => {
    const made = h("button.ldam-button", { type: "button", title }, name);
    made.addEventListener("click", act);
    return made;
  };
  const start = button("start chains here", "the followed sampler's chains start from these images", () => wire.do("start_chains"));
  const gallery = new Gallery(thumbnails, (index) => {
    board.mark = index === null ? null : board.place(index);
    board.redraw();
  }, [button("clear selection", "select nothing (Esc)", () => change(new Uint8Array(board.selection.length), 0)), start]); // prettier-ignore
  const bar = new TopBar({
    use: (chosen) => use(chosen),
    zoom: (factor) => gestures.zoom(factor, board.canvas.clientWidth / 2, board.canvas.clientHeight / 2),
    fit: () => gestures.fit(),
    colour: (name) => wire.colour(name),
    run: () => wire.do("run"),
    stop: () => wire.do("stop"),
    png: () => board.png((content) => offer(`${setup?.title ?? "map"}.png`, content)),
    csv: () => wire.do("csv"),
    help: () => toggleHelp(),
  });
  const help = h("div.ldam-sc-help", { role: "note", "aria-label": "keys", hidden: true }, h("table", {}, h("tbody", {}, ...HELP.map(([keys, text]) => h("tr", {}, h("th", { scope: "row" }, keys), h("td", {}, text))))));
  const notes = h("ul.ldam-notes", { hidden: true });
  const errorBox = h("div", { role: "alert" });
  const silence = h("div.ldam-silence", { role: "status" });
  const status = h("div.ldam-hidden", { role: "status" });
  const stage = h("div.ldam-sc-stage", {}, board.canvas, board.over, tip.element);
  const body = h("div.ldam-sc-body", { hidden: true }, h("div.ldam-sc-main", {}, stage, legend.element), gallery.element);
  root.append(bar.element, h("div.ldam-notices", {}, errorBox, notes), silence, help, body, coverage.element, status);

  let busy = "";
  const told = (message: State) => {
    busy = message.busy;
    if (setup && !wire.old(message)) bar.state(message, setup.count);
  };

  let say = "";
  const speak = throttle(800, () => setText(status, say));
  const announce = (text: string) => {
    say = text;
    speak();
  };

  const showError = (text: string) => {
    if (!text) return replace(errorBox);
    const dismiss = h("button.ldam-dismiss", { type: "button", "aria-label": "dismiss error" }, "×");
    dismiss.addEventListener("click", () => {
      replace(errorBox);
      wire.do("dismiss_error");
    });
    replace(errorBox, h("div.ldam-error", {}, h("div", {}, text), dismiss));
  };

  // ---- selection -------------------------------------------------------------------------------------------------------

  const change = (selection: Uint8Array, selected: number) => {
    board.select(selection, selected);
    wire.select(toBits(selection).buffer);
    fill();
    announce(`${formatCount(selected)} selected`);
  };

  const fill = () => {
    gallery.show(spread(board.selection, board.selected, Gallery.most), board.selected, setup?.has_pictures ?? false);
    describe();
  };

  const choose = (indices: number[], mode: Mode) => {
    const selection = mode === "replace" ? new Uint8Array(board.selection.length) : board.selection.slice();
    for (const index of indices) selection[index] = mode === "remove" ? 0 : 1;
    change(selection, selection.reduce((sum, each) => sum + each, 0)); // prettier-ignore
  };

  // ---- what is under the pointer ---------------------------------------------------------------------------------------

  const point = (index: number) => {
    if (index === pointed) return;
    pointed = index;
    board.mark = index < 0 ? null : board.place(index);
    thumbnails.want("hover", index < 0 ? [] : [index]);
    showTip();
    board.redraw();
  };

  const showTip = () => {
    if (pointed < 0 || pointed >= board.levels.length) return tip.hide();
    const found = thumbnails.get(pointed);
    const words = found?.caption ?? legend.name(board.levels[pointed]!);
    tip.show(words, `point ${formatCount(pointed)}`, found, board.pixel(pointed), [board.canvas.clientWidth, board.canvas.clientHeight]);
  };

  const chainText = (chain: number) => `chain ${chain + 1}${board.chains.isSolid(chain) ? "" : ", off the data"}`;

  const use = (chosen: Tool) => {
    tool = chosen;
    bar.tool = tool;
    board.canvas.dataset["tool"] = tool;
  };

  const toggleHelp = () => (help.hidden = !help.hidden);

  const gestures = {
    pan: (right: number, down: number) => {
      board.pan(right, down);
      follow();
    },
    zoom: (factor: number, x: number, y: number) => {
      board.zoom(factor, x, y);
      follow();
    },
    fit: () => {
      board.fit();
      follow();
    },
    draw: (outline: number[]) => {
      board.shape = outline;
      if (outline.length) point(-1);
      board.redraw();
    },
    enclose: (outline: number[], mode: Mode) => {
      const selection = board.selection.slice();
      const shape = outline.map((each) => each * board.ratio);
      change(selection, select(selection, board.points, board.view, shape, mode, board.hidden));
    },
    pick: (at: [number, number] | null, mode: Mode) => {
      const chain = at && mode === "replace" ? board.chainAt(at) : -1;
      if (chain >= 0) return wire.chain(chain);
      const index = board.at(at);
      if (index < 0) return announce("no point here");
      choose([index], mode);
      point(index);
      announce(`point ${index}, ${thumbnails.get(index)?.caption ?? legend.name(board.levels[index]!)}, ${formatCount(board.selected)} selected`);
    },
    all: (mode: Mode) => choose(board.inView(), mode),
    chain: () => {
      const chain = board.chainAt(null);
      if (chain < 0) return announce("no chain");
      wire.chain(chain);
      announce(`${chainText(chain)}: its tile is enlarged`);
    },
    hover: (at: [number, number] | null) => {
      const chain = at ? board.chainAt(at) : -1;
      if (chain >= 0 && at) {
        point(-1);
        return tip.show(board.chains.neuron(chain), chainText(chain), undefined, at, [board.canvas.clientWidth, board.canvas.clientHeight]);
      }
      tip.hide();
      point(at ? board.at(at) : -1);
    },
    clear: () => {
      point(-1);
      if (board.selected) change(new Uint8Array(board.selection.length), 0);
      help.hidden = true;
    },
    use,
    help: toggleHelp,
  };

  /** The view has moved away from under the pointer. */
  const follow = () => {
    tip.hide();
    pointed = -1;
    board.mark = null;
  };

  const describe = () => {
    const by = colours && colours.type !== "one" ? `, coloured by ${colours.name}` : "";
    const hidden = legend.shown.includes(0) ? ", some classes hidden" : "";
    const chains = board.chains.count ? `, ${board.chains.count} chains` : "";
    board.canvas.setAttribute("aria-label", `map of ${formatCount(setup?.count ?? 0)} points${by}${hidden}, ${formatCount(board.selected)} selected${chains}; arrows move, plus and minus zoom, Enter selects the point in the middle`);
  };

  listen(board.canvas, gestures, () => tool, signal);
  keepKeys(root, signal);
  let byPointer = false;
  root.addEventListener("pointerdown", () => (byPointer = true), { signal, capture: true });
  root.addEventListener("keydown", (event) => {
    byPointer = false;
    if (event.key !== "Tab" && event.target === board.canvas) mark();
  }, { signal, capture: true }); // prettier-ignore
  const mark = () => {
    board.crossed = !byPointer;
    board.redraw();
  };
  board.canvas.addEventListener("focus", mark, { signal });
  board.canvas.addEventListener("blur", () => {
    board.crossed = false;
    board.redraw();
  }, { signal }); // prettier-ignore
  board.canvas.addEventListener("pointerdown", () => {
    board.crossed = false;
    board.redraw();
  }, { signal }); // prettier-ignore

  // ---- the page --------------------------------------------------------------------------------------------------------

  watchTheme(root, signal, (dark) => {
    legend.dark = dark;
    requestAnimationFrame(() => (board.dark = dark)); // the style sheet has to follow first
  });
  let resizing = 0;
  let high = HIGHEST;
  const sizes = new ResizeObserver((entries) => {
    const wide = Math.round(entries.at(-1)!.contentRect.width); // not as it is in the next frame, when it may be hidden
    if (!wide) return; // hidden
    cancelAnimationFrame(resizing);
    resizing = requestAnimationFrame(() => {
      const wished = Math.min(Math.max(wide, LOWEST), HIGHEST);
      if (Math.abs(wished - high) >= STEADY) stage.style.height = `${(high = wished)}px`;
      board.resize(Math.max(wide, 100), high);
      gallery.draw();
    });
  });
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
    sizes.disconnect();
    screens.disconnect();
    cancelAnimationFrame(resizing);
    board.close();
    speak.cancel();
    arrived.cancel();
    wire.close();
    root.remove();
  });

  use("move");
  parent.classList.add("ldam-view");
  parent.append(root);
  wire.start();
}
