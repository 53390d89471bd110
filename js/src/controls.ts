// The kernel, and a slider and a number box for each of its live parameters, in groups as it declares them.
import { Control } from "./control";
import { h, replace, throttle } from "./dom";
import { acceptanceOf, temperatureOf } from "./gauges";
import { KernelHead } from "./kernel-head";
import type { Deed, Frame, Params, Setup, State } from "./messages";
import { ScalesLine } from "./scales-line";

const MEASURED_EVERY = 250; // ms
const HEAT_KNOWN = 500; // ms for which the factor in a frame is newer than the one in a `state`

export interface ControlsActions {
  change(name: string, value: number): void;
  kernel(name: string): void;
  act(what: Deed): void;
}

export class Controls {
  readonly element = h("div.ldam-controls");
  #controls = new Map<string, Control>();
  #declared = "";
  #prefix: string;
  #on: ControlsActions;
  #kernel: KernelHead;
  #scales: ScalesLine;
  #setup: Setup | null = null;
  #temperature: Frame["temperature"] = null;
  #acceptance: Frame["acceptance"] = null;
  #heatAt = -Infinity;
  #measure = throttle(MEASURED_EVERY, () => this.#showMeasured());

  constructor(prefix: string, on: ControlsActions) {
    this.#prefix = prefix;
    this.#on = on;
    this.#kernel = new KernelHead((name) => on.kernel(name));
    this.#scales = new ScalesLine(() => on.act("measure_scales"));
  }

  /** Rebuilt only when other parameters are declared, so that a slider in use keeps its focus. */
  setup(setup: Setup): void {
    const other = setup.gen !== this.#setup?.gen;
    this.#setup = setup;
    this.#kernel.setup(setup.kernel);
    this.#scales.setup(setup);
    this.#build();
    if (!other) return;
    [this.#temperature, this.#acceptance, this.#heatAt] = [null, null, -Infinity]; // of other neurons, or another kernel
    this.#showMeasured();
  }

  state(state: State): void {
    if (state.kernel_note !== undefined) this.#kernel.note = state.kernel_note;
    this.#scales.state(state);
  }

  /** What frames measure. A field that is left out says nothing new, null says that there is nothing. */
  frame({ temperature, acceptance, heat }: Pick<Frame, "temperature" | "acceptance" | "heat">, stale: (name: string) => boolean): void {
    if (temperature !== undefined) this.#temperature = temperature;
    if (acceptance !== undefined) this.#acceptance = acceptance;
    if (temperature !== undefined || acceptance !== undefined) this.#measure();
    if (heat === undefined || stale("heat")) return;
    this.#heatAt = performance.now();
    this.#controls.get("heat")?.follow(heat);
  }

  /** Values from the kernel; `stale` tells those that this view has changed since. */
  update(params: Params, stale: (name: string) => boolean): void {
    for (const [name, value] of Object.entries(params)) {
      const control = this.#controls.get(name);
      if (!control || typeof value !== "number" || stale(name)) continue;
      if (name === "heat" && performance.now() - this.#heatAt < HEAT_KNOWN) continue;
      control.show(value);
    }
  }

  /** The kernel refused: show what it has. */
  refused(): void {
    this.#kernel.refused();
  }

  close(): void {
    this.#measure.cancel();
  }

  #build(): void {
    const { parameters } = this.#setup!;
    const declared = JSON.stringify(parameters);
    if (declared === this.#declared) return;
    this.#declared = declared;
    const focused = [...this.#controls].find(([, control]) => control.hasFocus)?.[0];
    const atKernel = this.#kernel.hasFocus;
    this.#controls = new Map(
      parameters.map((p) => {
        const action = p.name === "heat" ? this.#heatPulse() : undefined;
        return [p.name, new Control(p, `${this.#prefix}-${p.name}`, (name, value) => this.#on.change(name, value), action)];
      }),
    );
    const groups = [...new Set(parameters.map(({ group }) => group))].map((group) => {
      const id = `${this.#prefix}-group-${group.replace(/\W/g, "-")}`;
      const sampler = group === "sampler";
      const heading = h("div.ldam-group-head", {}, h("span.ldam-group-name", { id }, group), sampler && this.#kernel.name);
      const own = parameters.filter((p) => p.group === group).map((p) => this.#controls.get(p.name)!.element);
      const about = sampler && h("div.ldam-about", {}, this.#kernel.law, this.#scales.element);
      return h("div.ldam-group", { role: "group", "aria-labelledby": id }, heading, about, ...own);
    });
    replace(this.element, ...groups);
    if (focused) this.#controls.get(focused)?.focus();
    if (atKernel) this.#kernel.focus();
    this.#showMeasured();
  }

  #heatPulse(): HTMLButtonElement {
    const title = "raise, hold and cool: lets chains leave their mode";
    const button = h("button.ldam-link", { type: "button", title }, "heat pulse");
    button.addEventListener("click", () => this.#on.act("heat"));
    return button;
  }

  #showMeasured(): void {
    const neurons = this.#setup?.neurons ?? [];
    this.#controls.get("temperature")?.measure(temperatureOf(this.#temperature, neurons));
    this.#controls.get("step_size")?.measure(acceptanceOf(this.#acceptance, neurons));
  }
}
