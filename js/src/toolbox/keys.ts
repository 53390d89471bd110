// The keys of the Deep Visualization Toolbox, and what they do here.
import { h } from "../ui/dom";

export type Deed =
  | "left" | "right" | "up" | "down" | "far-left" | "far-right" | "far-up" | "far-down"
  | "layer-before" | "layer-after" | "zoom" | "rule" | "pin" | "show" | "difference" | "view-after" | "view-before"
  | "gamma" | "boost" | "freeze" | "camera" | "next" | "previous" | "fit" | "classes" | "page" | "help" | "escape"; // prettier-ignore

/** One line of the help: keys as `KeyboardEvent.key` has them, and as they are written. */
export const KEYS: { keys: string[]; written: string; deeds: Deed[]; text: string }[] = [
  { keys: ["ArrowLeft", "j"], written: "← j", deeds: ["left"], text: "channel to the left" },
  { keys: ["ArrowRight", "l"], written: "→ l", deeds: ["right"], text: "channel to the right" },
  { keys: ["ArrowUp", "i"], written: "↑ i", deeds: ["up"], text: "channel above" },
  { keys: ["ArrowDown", "k"], written: "↓ k", deeds: ["down"], text: "channel below" },
  { keys: ["J", "L", "I", "K"], written: "J L I K, or Shift and an arrow", deeds: ["far-left", "far-right", "far-up", "far-down"], text: "three channels further" },
  { keys: ["u"], written: "u", deeds: ["layer-before"], text: "layer before" },
  { keys: ["o"], written: "o", deeds: ["layer-after"], text: "layer after" },
  { keys: ["z"], written: "z", deeds: ["zoom"], text: "enlarge the unit, then its backward view, then neither" },
  { keys: ["b"], written: "b", deeds: ["rule"], text: "backward view: off, gradient, guided, deconv" },
  { keys: ["n"], written: "n", deeds: ["view-after"], text: "next view of the gradient" },
  { keys: ["m"], written: "m", deeds: ["view-before"], text: "view of the gradient before" },
  { keys: ["d"], written: "d", deeds: ["pin"], text: "pin the unit: backward views start from it while you look at others" },
  { keys: ["a"], written: "a", deeds: ["show"], text: "tiles: activations, or the gradient of the pinned unit" },
  { keys: ["y"], written: "y", deeds: ["difference"], text: "tiles: activations, or the difference to the other model" },
  { keys: ["t"], written: "t", deeds: ["gamma"], text: "gamma: 1, 0.7, 0.5, 0.3" },
  { keys: ["T"], written: "T", deeds: ["boost"], text: "boost of weak channels: 0, 0.3, 0.5, 0.8, 1" },
  { keys: ["f"], written: "f", deeds: ["freeze"], text: "freeze the camera's picture" },
  { keys: ["c"], written: "c", deeds: ["camera"], text: "camera on or off" },
  { keys: ["e", "PageDown"], written: "e, Page Down", deeds: ["next"], text: "next picture" },
  { keys: ["w", "PageUp"], written: "w, Page Up", deeds: ["previous"], text: "picture before" },
  { keys: ["0"], written: "0", deeds: ["fit"], text: "crop or stretch pictures" },
  { keys: ["8"], written: "8", deeds: ["classes"], text: "class probabilities on or off" },
  { keys: ["p"], written: "p", deeds: ["page"], text: "page of the unit: the real images that drive it; or close it" },
  { keys: [], written: "[ ]", deeds: [], text: "on the page of a unit: that of the unit before, of the next" },
  { keys: ["?", "h"], written: "? h", deeds: ["help"], text: "these keys" },
  { keys: ["Escape"], written: "Escape", deeds: ["escape"], text: "close the help; leave the enlarged unit; unpin; choose the whole channel" },
];

const TYPING = "input:not([type=range], [type=checkbox], [type=file]), select, textarea, [contenteditable]";
const OWN = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]); // keys that fields and lists use themselves

/** What a key press asks for; null: nothing of ours. */
export function deedOf(event: Pick<KeyboardEvent, "key" | "shiftKey" | "altKey" | "ctrlKey" | "metaKey">, target: Element | null): Deed | null {
  if (event.altKey || event.ctrlKey || event.metaKey) return null;
  const list = target?.matches("select[size]") ?? false; // the list of layers: letters are ours, arrows its own
  if (target?.matches(TYPING) && !list && event.key !== "Escape") return null;
  if (list && (OWN.has(event.key) || event.key.startsWith("Page"))) return null;
  for (const { keys, deeds } of KEYS) {
    const at = keys.indexOf(event.key);
    if (at < 0) continue;
    const deed = deeds[Math.min(at, deeds.length - 1)]!;
    return event.shiftKey && OWN.has(event.key) ? (`far-${deed}` as Deed) : deed;
  }
  return null;
}

/** The keys as a table over the toolbox. */
export class Help {
  readonly element: HTMLElement;
  #close: HTMLButtonElement;
  #before: HTMLElement | null = null;

  constructor(prefix: string) {
    const rows = KEYS.map(({ written, text }) => h("tr", {}, h("th", { scope: "row" }, written), h("td", {}, text)));
    this.#close = h("button.ldam-button", { type: "button" }, "close help");
    this.#close.addEventListener("click", () => this.toggle(false));
    const title = h("b", { id: `${prefix}-help` }, "keys");
    this.element = h("div.ldam-tb-help", { role: "dialog", "aria-labelledby": `${prefix}-help`, hidden: true }, h("div.ldam-tb-help-head", {}, title, this.#close), h("table", {}, h("tbody", {}, ...rows)));
  }

  get open(): boolean {
    return !this.element.hidden;
  }

  toggle(open = !this.open): void {
    if (open === this.open) return;
    this.element.hidden = !open;
    const root = this.element.getRootNode() as Document | ShadowRoot;
    if (open) {
      this.#before = root.activeElement as HTMLElement | null;
      this.#close.focus();
    } else {
      this.#before?.focus();
    }
  }
}
