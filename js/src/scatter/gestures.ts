// What pointers and keys on the map ask for.
import type { Mode } from "./lasso";

export type Tool = "move" | "lasso" | "rectangle";
export const TOOLS: Tool[] = ["move", "lasso", "rectangle"];

export interface Gestures {
  /** By CSS pixels, as the map moves with the pointer. */
  pan(right: number, down: number): void;
  /** Around a place, in CSS pixels. */
  zoom(factor: number, x: number, y: number): void;
  fit(): void;
  /** A shape in progress, x, y, x, y, … in CSS pixels; empty: none. */
  draw(outline: number[]): void;
  /** A shape is finished. */
  enclose(outline: number[], mode: Mode): void;
  /** A click, or Enter: `x`, `y` in CSS pixels; null: the middle. */
  pick(at: [x: number, y: number] | null, mode: Mode): void;
  /** The chain nearest to the middle is meant, as by a click on it. */
  chain(): void;
  /** Everything in view. */
  all(mode: Mode): void;
  /** The pointer is at a place; null: it has left. */
  hover(at: [x: number, y: number] | null): void;
  clear(): void;
  use(tool: Tool): void;
  help(): void;
}

interface Modifiers {
  shiftKey: boolean;
  altKey: boolean;
}

const STILL = 4; // CSS pixels: a shorter drag is a click
const STEP = 0.1; // of the map, an arrow key
const FAR = 0.5; // with shift
const ZOOM = 1.4; // a key or a button
const WHEEL = 0.0015; // zoom per pixel of the wheel, logarithmic

export function modeOf({ shiftKey, altKey }: Modifiers): Mode {
  return altKey ? "remove" : shiftKey ? "add" : "replace";
}

const apart = ([x, y]: [number, number], [u, v]: [number, number]) => Math.max(Math.hypot(x - u, y - v), 1);

/**
 * Listens on the map's canvas; `tool` is what a drag without modifiers does.
 *
 * One finger scrolls the page until the map is tapped, which gives it the focus; the style sheet tells the browser so.
 */
export function listen(canvas: HTMLElement, on: Gestures, tool: () => Tool, signal: AbortSignal): void {
  let drag: { id: number; how: Tool | "tap"; mode: Mode; start: [number, number]; last: [number, number]; moved: boolean; outline: number[] } | null = null;
  const at = (event: MouseEvent): [number, number] => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const fingers = new Map<number, [number, number]>(); // that touch the map
  let pinched = false; // until all are lifted: the one that is left draws nothing
  const focused = () => (canvas.getRootNode() as Document | ShadowRoot).activeElement === canvas;
  const cancel = () => {
    if (!drag) return false;
    drag = null;
    on.draw([]);
    return true;
  };

  canvas.addEventListener("pointerdown", (event) => {
    const touch = event.pointerType === "touch";
    if (touch) fingers.set(event.pointerId, at(event));
    if (fingers.size > 1) {
      cancel();
      pinched = true;
    }
    if (event.button !== 0 || drag || pinched) return;
    const mode = modeOf(event);
    const waits = touch && !focused(); // the browser may be about to scroll the page with this finger
    const how = waits ? "tap" : tool() === "move" && mode !== "replace" ? "lasso" : tool();
    const place = at(event);
    drag = { id: event.pointerId, how, mode, start: place, last: place, moved: false, outline: [...place] };
    canvas.setPointerCapture?.(event.pointerId);
    if (!waits) canvas.focus({ preventScroll: true });
    event.preventDefault(); // no text is selected
  }, { signal }); // prettier-ignore
  canvas.addEventListener("pointermove", (event) => {
    const place = at(event);
    if (pinched) return pinch(event.pointerId, place);
    if (!drag || drag.id !== event.pointerId) return on.hover(place);
    const [x, y] = place;
    drag.moved ||= Math.hypot(x - drag.start[0], y - drag.start[1]) > STILL;
    if (!drag.moved || drag.how === "tap") return;
    if (drag.how === "move") on.pan(x - drag.last[0], y - drag.last[1]);
    else if (drag.how === "lasso") drag.outline.push(x, y);
    else drag.outline = [drag.start[0], drag.start[1], x, drag.start[1], x, y, drag.start[0], y];
    drag.last = place;
    if (drag.how !== "move") on.draw(drag.outline);
  }, { signal }); // prettier-ignore
  const pinch = (id: number, place: [number, number]) => {
    if (!fingers.has(id)) return;
    const [first, second] = fingers.values();
    fingers.set(id, place);
    const [one, other] = fingers.values();
    if (!first || !second || !one || !other) return; // one is lifted
    const [x, y] = [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2];
    on.pan(x - (first[0] + second[0]) / 2, y - (first[1] + second[1]) / 2);
    on.zoom(apart(one, other) / apart(first, second), x, y);
  };
  const lift = (event: PointerEvent) => {
    fingers.delete(event.pointerId);
    if (!fingers.size) pinched = false;
  };
  canvas.addEventListener("pointerup", (event) => {
    lift(event);
    if (!drag || drag.id !== event.pointerId) return;
    const { how, mode, moved, outline, start } = drag;
    cancel();
    if (!moved) {
      canvas.focus({ preventScroll: true });
      on.pick(start, mode);
    } else if (how === "lasso" || how === "rectangle") on.enclose(outline, mode);
  }, { signal }); // prettier-ignore
  canvas.addEventListener("pointercancel", (event) => {
    lift(event);
    if (drag?.id === event.pointerId) cancel();
  }, { signal }); // prettier-ignore
  canvas.addEventListener("pointerleave", ({ pointerType }) => {
    if (pointerType !== "touch") on.hover(null); // a finger that is lifted leaves, too
  }, { signal }); // prettier-ignore
  canvas.addEventListener("touchstart", (event) => {
    if (event.touches.length > 1 && event.cancelable) event.preventDefault(); // two fingers never scroll the page
  }, { signal, passive: false }); // prettier-ignore
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && !focused()) return; // the page scrolls over a map that was not clicked
    event.preventDefault();
    const pixels = event.deltaMode === 1 ? 30 * event.deltaY : event.deltaY;
    on.zoom(Math.exp(-pixels * WHEEL), ...at(event));
  }, { signal, passive: false }); // prettier-ignore
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey) return;
    const { clientWidth: width, clientHeight: height } = canvas;
    const far = event.shiftKey ? FAR : STEP;
    const keys: Record<string, () => void> = {
      ArrowLeft: () => on.pan(far * width, 0),
      ArrowRight: () => on.pan(-far * width, 0),
      ArrowUp: () => on.pan(0, far * height),
      ArrowDown: () => on.pan(0, -far * height),
      "+": () => on.zoom(ZOOM, width / 2, height / 2),
      "=": () => on.zoom(ZOOM, width / 2, height / 2),
      "-": () => on.zoom(1 / ZOOM, width / 2, height / 2),
      "0": () => on.fit(),
      Home: () => on.fit(),
      Enter: () => on.pick(null, modeOf(event)),
      a: () => on.all(modeOf(event)),
      A: () => on.all(modeOf(event)),
      c: () => on.chain(),
      m: () => on.use("move"),
      l: () => on.use("lasso"),
      r: () => on.use("rectangle"),
      "?": () => on.help(),
      Escape: () => {
        if (!cancel()) on.clear();
      },
    };
    const act = keys[event.key] ?? (event.code === "KeyA" ? keys["a"] : undefined); // Alt changes the letter
    if (!act) return;
    event.preventDefault();
    act();
  }, { signal }); // prettier-ignore
}

/** Lines of the help: what to press or do, and what it does. */
export const HELP: [string, string][] = [
  ["drag", "move the map; with the lasso or the rectangle, select"],
  ["Shift and drag", "add to the selection, with a lasso or the chosen shape"],
  ["Alt and drag", "remove from the selection"],
  ["click, Enter", "select the point under the pointer, or nearest to the middle; with Shift or Alt, add or remove it"],
  ["a", "select everything in view; with Shift or Alt, add or remove it"],
  ["click a chain, c", "enlarge its tile in the followed widget; with c, of the chain nearest to the middle"],
  ["Escape", "give up the shape; clear the selection"],
  ["← → ↑ ↓", "look further to that side; with Shift, five times as far"],
  ["+ −, wheel", "zoom; the wheel zooms once the map was clicked, or with Ctrl"],
  ["two fingers", "move and zoom; once the map was tapped, one finger does what a drag does, and before it scrolls the page"],
  ["0, Home", "the whole map"],
  ["m, l, r", "move, lasso, rectangle"],
  ["?", "this list"],
];
