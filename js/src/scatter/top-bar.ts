// The buttons of the map: tools, zoom, what points are coloured by, the run, files.
import { h, replace, setText } from "../ui/dom";
import { formatCount } from "../ui/format";
import { type Tool, TOOLS } from "./gestures";
import type { Run, State } from "./protocol";

export interface TopBarEvents {
  use(tool: Tool): void;
  zoom(factor: number): void;
  fit(): void;
  colour(name: string): void;
  run(): void;
  stop(): void;
  png(): void;
  csv(): void;
  help(): void;
}

const TITLES: Record<Tool, string> = {
  move: "a drag moves the map (m)",
  lasso: "a drag selects what it encloses (l)",
  rectangle: "a drag selects a rectangle (r)",
};

export class TopBar {
  readonly element: HTMLElement;
  #tools: Record<Tool, HTMLButtonElement>;
  #colour = h("select.ldam-choice", { "aria-label": "colour by" });
  #colourBox = h("label.ldam-tb-box", { hidden: true }, h("span", {}, "colour"), this.#colour);
  #run: HTMLButtonElement;
  #said = h("span.ldam-speed");
  #running = false;
  #shown = "";
  /** Tells one map from another beside it. */
  title = "";

  constructor(on: TopBarEvents) {
    const make = (name: string, text: string, title: string, act: () => void) => {
      const made = h("button.ldam-button", { type: "button", "aria-label": name, title }, text);
      made.addEventListener("click", act);
      return made;
    };
    this.#tools = Object.fromEntries(TOOLS.map((tool) => [tool, make(tool, tool, TITLES[tool], () => on.use(tool))])) as Record<Tool, HTMLButtonElement>;
    this.#run = make("run", "run", "move the points further", () => (this.#running ? on.stop() : on.run()));
    this.#run.hidden = true;
    this.#colour.addEventListener("change", () => on.colour(this.#colour.value));
    this.element = h(
      "div.ldam-top", {},
      this.#run, ...TOOLS.map((tool) => this.#tools[tool]),
      make("zoom in", "+", "nearer (+)", () => on.zoom(1.4)), make("zoom out", "−", "farther (−)", () => on.zoom(1 / 1.4)), make("fit map", "fit", "the whole map (0)", on.fit),
      this.#colourBox,
      make("save png", "png", "download what is seen as a PNG", on.png), make("save csv", "csv", "download all points with their labels as a table", on.csv), make("help", "?", "all keys (?)", on.help),
      this.#said,
    ); // prettier-ignore
  }

  set tool(tool: Tool) {
    for (const each of TOOLS) this.#tools[each].setAttribute("aria-pressed", String(each === tool));
  }

  state({ colours, colour, busy, run }: State, count: number): void {
    const options = ["", ...colours];
    if (this.#shown !== options.join("\n")) {
      this.#shown = options.join("\n");
      replace(this.#colour, ...options.map((name) => h("option", { value: name }, name || "one colour")));
    }
    this.#colour.value = colour;
    this.#colourBox.hidden = !colours.length;
    this.run(run, count, busy);
  }

  run({ running, done, steps }: Run, count: number, busy = ""): void {
    this.#running = running;
    this.#run.hidden = !running && (steps === 0 || (steps !== null && done >= steps));
    setText(this.#run, running ? "stop" : "run");
    this.#run.setAttribute("aria-label", running ? "stop" : "run");
    const moving = steps === 0 ? "" : `step ${formatCount(done)}${steps === null ? "" : ` of ${formatCount(steps)}`}`;
    setText(this.#said, [this.title, busy, moving, `${formatCount(count)} points`].filter(Boolean).join(" · "));
  }
}
