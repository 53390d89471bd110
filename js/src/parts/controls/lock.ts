// A small button in a slider's row: one value for all models, or one per model.
import type { Parameter, Setup, State } from "../../protocol";
import { h, icon } from "../../ui/dom";
import { Toggle } from "../../ui/toggle";

const CLOSED = "M5 7V5a3 3 0 0 1 6 0v2h1a1 1 0 0 1 1 1v5a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V8a1 1 0 0 1 1-1zm1.5 0h3V5a1.5 1.5 0 0 0-3 0z";
const OPEN = "M4.5 7V4.2a3 3 0 0 1 5.9-.8l-1.45.4A1.5 1.5 0 0 0 6 4.2V7h6a1 1 0 0 1 1 1v5a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V8a1 1 0 0 1 1-1z";

interface Lock {
  button: HTMLButtonElement;
  toggle: Toggle;
}

export class Locks {
  #locks = new Map<string, Lock>();
  #models: Setup["models"];
  #ask: (name: string, locked: boolean) => void;

  constructor(ask: (name: string, locked: boolean) => void) {
    this.#ask = ask;
  }

  setup({ locks = {}, models }: Pick<Setup, "locks" | "models">): void {
    this.#models = models;
    for (const [name, { toggle }] of this.#locks) {
      if (Object.hasOwn(locks, name)) continue;
      toggle.close();
      this.#locks.delete(name);
    }
    for (const name of Object.keys(locks)) if (!this.#locks.has(name)) this.#locks.set(name, this.#make(name));
    this.#update(locks);
  }

  state({ locks }: Pick<State, "locks">): void {
    if (locks) this.#update(locks);
  }

  /** The button for a parameter's row. Of unlocked parameters, only the first model's row has it. */
  button({ name, of, model, label }: Parameter): HTMLButtonElement | undefined {
    const lock = model ? undefined : this.#locks.get(of ?? name);
    lock?.button.setAttribute("aria-label", `lock ${of === undefined ? label : this.#common(label, of, model)}`);
    return lock?.button;
  }

  get focused(): HTMLButtonElement | undefined {
    return [...this.#locks.values()].find(({ button }) => (button.getRootNode() as Document | ShadowRoot).activeElement === button)?.button;
  }

  /** The kernel refused: show its value again. */
  refused(): void {
    for (const { toggle } of this.#locks.values()) toggle.refused();
  }

  close(): void {
    for (const { toggle } of this.#locks.values()) toggle.close();
  }

  #update(locks: Record<string, boolean>): void {
    for (const [name, locked] of Object.entries(locks)) this.#locks.get(name)?.toggle.update(locked);
  }

  #make(name: string): Lock {
    const button = h("button.ldam-lock", { type: "button" });
    const toggle = new Toggle(
      (locked) => this.#ask(name, locked),
      (locked) => {
        button.setAttribute("aria-pressed", String(locked));
        button.title = locked ? "one value for all models; press for one value each" : "one value for each model; press for one in common";
        button.replaceChildren(icon(locked ? CLOSED : OPEN));
      },
    );
    button.addEventListener("click", () => toggle.press());
    return { button, toggle };
  }

  /** "step size, epoch 1" → "step size" */
  #common(label: string, of: string, model = 0): string {
    const own = `, ${this.#models?.[model]?.name}`;
    return label.endsWith(own) ? label.slice(0, -own.length) : of.replaceAll("_", " ");
  }
}
