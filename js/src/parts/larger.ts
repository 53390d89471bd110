// A larger view: the picture in the whole width of the panel, or the panel on the whole screen.
import { h, icon } from "../ui/dom";

const ICONS = {
  width: "M1 3h1.5v10H1zM13.5 3H15v10h-1.5zM3.5 8l3-3v2.2h3V5l3 3-3 3V8.8h-3V11z",
  screen: "M2 2h4.5v1.5h-3v3H2zM9.5 2H14v4.5h-1.5v-3h-3zM2 9.5h1.5v3h3V14H2zM12.5 9.5H14V14H9.5v-1.5h3z",
};
const KEY = "f";
const TYPING = "input:not([type=range], [type=checkbox]), select, textarea, [contenteditable]";

/** How large the panel is: as in the notebook; with the picture in its whole width; on the whole screen or window. */
export type Size = "usual" | "wide" | "full";

export class Larger {
  /** To put into the top bar. */
  readonly element: HTMLElement;
  #root: HTMLElement;
  #wide = button("full width", ICONS.width, "show the picture in the full width, the controls below it");
  #full = button("full screen", ICONS.screen, "fill the screen (f); Escape leaves");
  #filling = false; // fills the window, where full screen is not available
  #changed: (size: Size) => void;
  #announce: (text: string) => void;

  constructor(root: HTMLElement, signal: AbortSignal, on: { changed(size: Size): void; announce(text: string): void }) {
    this.#root = root;
    this.#changed = on.changed;
    this.#announce = on.announce;
    this.element = h("span.ldam-larger", {}, this.#wide, this.#full);
    this.#full.setAttribute("aria-keyshortcuts", KEY);
    this.#wide.addEventListener("click", () => {
      root.classList.toggle("ldam-wide");
      this.#show();
    });
    this.#full.addEventListener("click", () => void this.#toggle());
    root.addEventListener("keydown", this.#key, { signal });
    root.addEventListener("fullscreenchange", () => this.#show(), { signal });
    window.addEventListener("resize", () => this.size === "usual" || this.#changed(this.size), { signal });
    this.#show();
  }

  get size(): Size {
    if (this.#filling || this.#onScreen) return "full";
    return this.#root.classList.contains("ldam-wide") ? "wide" : "usual";
  }

  get #onScreen(): boolean {
    // of the shadow root, if there is one: the document only sees its host
    return (this.#root.getRootNode() as Document | ShadowRoot).fullscreenElement === this.#root;
  }

  async #toggle(): Promise<void> {
    if (this.#onScreen) return document.exitFullscreen();
    if (this.#filling) return this.#fill(false);
    try {
      await this.#root.requestFullscreen();
    } catch {
      // Forbidden, as in the frames of some notebooks, or unknown.
      this.#fill(true);
      this.#announce("full screen is not available here: the panel fills the window; Escape leaves");
    }
  }

  #fill(on: boolean): void {
    this.#filling = on;
    // A popover is above everything else, whatever the notebook's layout does to fixed elements.
    if (on && "showPopover" in this.#root) {
      this.#root.setAttribute("popover", "manual");
      this.#root.showPopover();
    } else {
      this.#root.removeAttribute("popover");
    }
    this.#show();
  }

  #show(): void {
    const { size } = this;
    this.#root.classList.toggle("ldam-full", size === "full");
    this.#wide.setAttribute("aria-pressed", String(this.#root.classList.contains("ldam-wide")));
    this.#full.setAttribute("aria-pressed", String(size === "full"));
    this.#changed(size);
  }

  #key = (event: KeyboardEvent): void => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented) return;
    if (event.key === "Escape" && this.#filling) this.#fill(false);
    else if (event.key.toLowerCase() === KEY && !(event.target as Element).matches(TYPING)) void this.#toggle();
    else return;
    event.preventDefault();
  };
}

function button(name: string, path: string, title: string): HTMLButtonElement {
  return h("button.ldam-button.ldam-larger-button", { type: "button", "aria-label": name, title: `${name}: ${title}` }, icon(path));
}
