// Follow the discriminator alone, or the neurons as well.
import type { Action, Discriminator } from "../../protocol";
import { h, setText } from "../../ui/dom";
import { Toggle } from "../../ui/toggle";

const IGNORED = "neurons are ignored: the chains follow the discriminator alone";

export class DiscriminatorOnly {
  readonly button = h("button.ldam-link", { type: "button", hidden: true, title: "ignore the neurons: the chains follow the discriminator alone" }, "discriminator only");
  /** Always present and mostly empty, so that screen readers announce it when it fills. */
  readonly note = h("span.ldam-note", { role: "status" });
  #toggle: Toggle;

  constructor(act: (what: Action) => void, show: (ignored: boolean) => void) {
    this.#toggle = new Toggle(
      (on) => act(on ? "discriminator_only" : "with_neurons"),
      (on) => {
        this.button.setAttribute("aria-pressed", String(on));
        setText(this.note, on ? IGNORED : "");
        show(on);
      },
    );
    this.button.addEventListener("click", () => this.#toggle.press());
  }

  update(discriminator: Discriminator | null): void {
    this.button.hidden = discriminator === null;
    if (!discriminator) this.#toggle.refused(); // stop waiting for an answer
    this.#toggle.update(discriminator?.only ?? false);
  }

  /** The kernel refused: show its value again. */
  refused(): void {
    this.#toggle.refused();
  }

  close(): void {
    this.#toggle.close();
  }
}
