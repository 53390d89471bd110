// A page for tests: jsdom, with time, animation frames, sizes and canvases in the hands of the test.
import { mock } from "node:test";
import { JSDOM } from "jsdom";

const dom = new JSDOM("<!doctype html><body></body>", { url: "http://127.0.0.1/" });
const { window } = dom;

let now = 1000;
let nextFrame = 1;
const frames = new Map<number, (time: number) => void>();

export const page = {
  window,
  hidden: false,
  reducedMotion: false,
  observers: [] as { callback: ResizeObserverCallback; element: Element }[],
  intersection: [] as ((entries: { isIntersecting: boolean }[]) => void)[],
  drawn: [] as { canvas: HTMLCanvasElement; source: unknown }[],
  urls: [] as Blob[],

  /** What waits for an animation frame runs now; what it asks for runs next time. */
  animate(): void {
    const calls = [...frames.values()];
    frames.clear();
    for (const call of calls) call(now);
  },

  /** Time passes, in small steps, without animation frames. */
  pass(milliseconds: number): void {
    for (let left = milliseconds; left > 0; left -= 50) {
      now += Math.min(50, left);
      mock.timers.tick(Math.min(50, left));
    }
  },

  resize(width: number, height = 100): void {
    for (const { callback } of this.observers) callback([{ contentRect: { width, height } }] as never, null as never);
    this.animate();
  },

  setHidden(hidden: boolean): void {
    this.hidden = hidden;
    window.document.dispatchEvent(new window.Event("visibilitychange"));
  },
};

mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
Object.defineProperty(window.document, "hidden", { get: () => page.hidden });

const context = (canvas: HTMLCanvasElement) =>
  new Proxy({} as Record<string, unknown>, {
    get(known, name: string) {
      if (name in known) return known[name];
      if (name === "drawImage") return (source: unknown) => page.drawn.push({ canvas, source });
      if (name === "createImageData") return (width: number, height: number) => ({ data: new Uint8ClampedArray(4 * width * height) });
      if (name === "putImageData") return (image: unknown) => (known["image"] = image);
      if (name === "getImageData") {
        return (x: number, y: number) => {
          const { data } = known["image"] as { data: Uint8ClampedArray };
          const at = 4 * (y * canvas.width + x);
          return { data: data.slice(at, at + 4) };
        };
      }
      if (name === "measureText") return () => ({ width: 20 });
      return () => {};
    },
    set(known, name: string, value: unknown) {
      known[name] = value;
      return true;
    },
  });
const contexts = new WeakMap<object, unknown>();
window.HTMLCanvasElement.prototype.getContext = function (this: HTMLCanvasElement) {
  if (!contexts.has(this)) contexts.set(this, context(this));
  return contexts.get(this);
} as never;

class Observer {
  constructor(public callback: never) {}
  observe(element: Element): void {
    page.observers.push({ callback: this.callback, element });
  }
  disconnect(): void {}
}
class Intersection {
  constructor(callback: never) {
    page.intersection.push(callback);
  }
  observe(): void {}
  disconnect(): void {}
}

const globals = {
  window,
  document: window.document,
  Node: window.Node,
  MutationObserver: window.MutationObserver,
  AbortController: window.AbortController,
  getComputedStyle: window.getComputedStyle.bind(window),
  devicePixelRatio: 1,
  ResizeObserver: Observer,
  IntersectionObserver: Intersection,
  performance: { now: () => now },
  requestAnimationFrame: (call: (time: number) => void) => (frames.set(nextFrame, call), nextFrame++),
  cancelAnimationFrame: (id: number) => frames.delete(id),
};
for (const [name, value] of Object.entries(globals)) Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
window.matchMedia = ((query: string) => ({ matches: query.includes("reduced-motion") && page.reducedMotion, addEventListener() {} })) as never;
URL.createObjectURL = ((blob: Blob) => (page.urls.push(blob), "blob:test")) as never;
URL.revokeObjectURL = () => {};
