// The kernel, and a slider and number box for each live parameter, in the groups declared by the kernel side.
import type { Action, Frame, Parameter, Params, Setup, State } from "../../protocol";
import { Control } from "../../ui/control";
import { h, replace, throttle } from "../../ui/dom";
import { DisplayBox, type DisplayChange } from "./display-box";
import { acceptanceOf, temperatureOf } from "./gauges";
import { KernelHead } from "./kernel-head";
import { Locks } from "./lock";
import { PriorBox } from "./prior-box";
import { ScalesLine } from "./scales-line";
import { TrainingBox } from "./training";
import type { Part } from "../part";

const MEASURED_EVERY = 250; // ms
const DISCRIMINATOR = "discriminator";
const PRIOR = "image prior"; // the group that training goes into if no slider determines it
const HEAT_KNOWN = 500; // ms for which a frame's heat takes precedence over that of a `state`

/** The slice of a volume is what is moved most. */
const sliceFirst = (a: Parameter, b: Parameter) => Number(b.name === "slice") - Number(a.name === "slice");

export interface ControlsActions {
  change(name: string, value: number): void;
  kernel(name: string): void;
  prior(name: string): void;
  act(what: Action): void;
  lock(name: string, locked: boolean): void;
  display(change: DisplayChange): void;
  outline(on: boolean): void;
  /** Whether the kernel's value predates this view's own change. */
  isStale(name: string, answer?: State): boolean;
}

type Measured = Pick<Frame, "temperature" | "acceptance" | "heat" | "training">;

export class Controls implements Part {
  readonly element = h("div.ldam-controls");
  readonly training: TrainingBox;
  #controls = new Map<string, Control>();
  #declared = "";
  #prefix: string;
  #on: ControlsActions;
  #kernel: KernelHead;
  #prior: PriorBox;
  #scales: ScalesLine;
  #display: DisplayBox;
  #locks: Locks;
  #setup: Setup | null = null;
  #temperature: Frame["temperature"] = null;
  #acceptance: Frame["acceptance"] = null;
  #goal: string | null = null;
  #heatAt = -Infinity;
  #measure = throttle(MEASURED_EVERY, () => this.#showMeasured());

  constructor(prefix: string, on: ControlsActions) {
    this.#prefix = prefix;
    this.#on = on;
    this.#kernel = new KernelHead((name) => on.kernel(name));
    this.#prior = new PriorBox((name) => on.prior(name));
    this.#scales = new ScalesLine(() => on.act("measure_scales"));
    this.#display = new DisplayBox((change) => on.display(change), (drawn) => on.outline(drawn));
    this.#locks = new Locks((name, locked) => on.lock(name, locked));
    this.training = new TrainingBox((what) => on.act(what));
  }

  /** Rebuilt only when other parameters are declared, so that a slider in use keeps its focus. */
  setup(setup: Setup): void {
    const other = setup.gen !== this.#setup?.gen;
    this.#setup = setup;
    this.#kernel.setup(setup.kernel);
    this.#prior.setup(setup.prior);
    this.#goal = setup.goal ?? null;
    this.#scales.setup(setup);
    this.#display.update(setup.display);
    this.training.setup(setup);
    this.#locks.setup(setup);
    this.#build();
    this.#update(setup.params);
    if (!other) return;
    [this.#temperature, this.#acceptance, this.#heatAt] = [null, null, -Infinity]; // these were of other neurons, or another kernel
    this.#showMeasured();
  }

  state(state: State): void {
    this.#kernel.update({ note: state.kernel_note, calibrated: state.calibrated });
    if (state.goal !== undefined) this.#goal = state.goal;
    this.#scales.state(state);
    this.#display.update(state.display);
    this.training.state(state);
    this.#locks.state(state);
    this.#build();
    this.#update(state.params, state);
  }

  /** Measurements in a frame. A missing field means no news; null means that there is nothing to measure. */
  frame({ temperature, acceptance, heat, training }: Measured): void {
    this.training.push(training);
    if (temperature !== undefined) this.#temperature = temperature;
    if (acceptance !== undefined) this.#acceptance = acceptance;
    if (temperature !== undefined || acceptance !== undefined) this.#measure();
    if (heat === undefined || this.#on.isStale("heat")) return;
    this.#heatAt = performance.now();
    this.#controls.get("heat")?.follow(heat);
  }

  /** The kernel refused: show its value again. */
  refused(): void {
    this.#kernel.refused();
    this.#prior.refused();
    this.#display.refused();
    this.training.refused();
    this.#locks.refused();
  }

  theme(): void {
    this.training.plot.draw(); // its colours come from the style sheet
  }

  close(): void {
    this.#measure.cancel();
    this.#prior.close();
    this.#display.close();
    this.training.close();
    this.#locks.close();
  }

  /** Shows the kernel's values, except those that this view has changed since. */
  #update(params: Params, answer?: State): void {
    for (const [name, value] of Object.entries(params)) {
      const control = this.#controls.get(name);
      if (!control || typeof value !== "number" || this.#on.isStale(name, answer)) continue;
      if (name === "heat" && performance.now() - this.#heatAt < HEAT_KNOWN) continue;
      control.show(value);
    }
    this.#showGoal();
  }

  #build(): void {
    if (!this.#setup) return;
    const { parameters, locks } = this.#setup;
    const declared = JSON.stringify([parameters, this.training.shown, Object.keys(locks ?? {})]);
    if (declared === this.#declared) return;
    this.#declared = declared;
    const focused = [...this.#controls].find(([, control]) => control.hasFocus)?.[0];
    const atKernel = this.#kernel.hasFocus;
    const atPrior = this.#prior.hasFocus;
    const atTraining = this.training.hasFocus;
    const other = this.#locks.focused ?? this.#display.focused;
    this.#controls = new Map(
      parameters.map((p) => {
        const id = `${this.#prefix}-${p.name.replace(/\W/g, "-")}`;
        return [p.name, new Control(p, id, (name, value) => this.#on.change(name, value), ...this.#actions(p))];
      }),
    );
    const home = parameters.find(({ name }) => name === DISCRIMINATOR)?.group ?? PRIOR;
    const names = new Set([...parameters.map(({ group }) => group), ...(this.training.shown ? [home] : [])]);
    const groups = [...names].map((group) => {
      const id = `${this.#prefix}-group-${group.replace(/\W/g, "-")}`;
      const sampler = group === "sampler";
      const heading = h("div.ldam-group-head", {}, h("span.ldam-group-name", { id }, group), sampler && this.#kernel.name);
      const own = parameters.filter((p) => p.group === group).toSorted(sliceFirst).map((p) => this.#controls.get(p.name)!.element);
      if (group === home) this.#placeTraining(own);
      const about = sampler ? h("div.ldam-about", {}, this.#prior.element, this.#kernel.law, this.#scales.element) : group === "picture" && this.#display.element;
      return h("div.ldam-group", { role: "group", "aria-labelledby": id }, heading, about, ...own);
    });
    replace(this.element, ...groups);
    if (focused) (this.#controls.get(focused) ?? this.#relative(focused))?.focus();
    if (atKernel) this.#kernel.focus();
    if (atPrior) this.#prior.focus();
    if (atTraining) this.training.button.focus();
    other?.focus();
    this.#showMeasured();
  }

  /** Additional buttons in a parameter's row. */
  #actions(p: Parameter): (HTMLElement | undefined)[] {
    const name = p.model ? "" : (p.of ?? p.name); // one for all models
    return [name === "heat" ? this.#heatPulse() : name === DISCRIMINATOR ? this.training.button : undefined, this.#locks.button(p)];
  }

  /** The control that replaces a slider whose name changed because it was locked or unlocked. */
  #relative(name: string): Control | undefined {
    const common = name.split("@")[0]!;
    return this.#controls.get(common) ?? this.#controls.get(`${common}@0`);
  }

  /** Below the discriminator's slider; if there is none, at the end, together with its button. */
  #placeTraining(elements: HTMLElement[]): void {
    const at = elements.findIndex((element) => element.contains(this.training.button));
    if (at < 0) this.training.element.prepend(this.training.button);
    elements.splice(at < 0 ? elements.length : at + 1, 0, this.training.element);
  }

  #heatPulse(): HTMLButtonElement {
    const title = "raise, hold and cool the temperature: lets chains leave their mode";
    const button = h("button.ldam-link", { type: "button", title }, "heat pulse");
    button.addEventListener("click", () => this.#on.act("heat"));
    return button;
  }

  /** If the goal is a percentile, the slider shows the corresponding number. */
  #showGoal(): void {
    const goal = this.#goal;
    const control = this.#relative("goal");
    const text = goal ? `${goal} of real images` : control?.value === 0 ? "none" : "";
    control?.measure(text ? { text, each: [], warns: false } : null);
  }

  #showMeasured(): void {
    const neurons = this.#setup?.neurons ?? [];
    this.#relative("temperature")?.measure(temperatureOf(this.#temperature, neurons));
    this.#relative("step_size")?.measure(acceptanceOf(this.#acceptance, neurons));
  }
}
