// Small DOM helpers. Strings become only text nodes and attributes: class names are data, never markup.

type Child = Node | string | null | undefined | false;

/** An element with a class, attributes and children: h("button.ldam-chip", {type: "button"}, "3 three"). */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K | `${K}.${string}`,
  attributes: Record<string, string | number | boolean | null | undefined> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const [name, ...classes] = tag.split(".") as [K, ...string[]];
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, String(value));
  }
  for (const child of children) if (child) element.append(child);
  return element;
}

/** A decorative icon drawn by a path in a 16 × 16 box. */
export function icon(path: string): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "ldam-icon");
  const shape = document.createElementNS(space, "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}

/** Skips unchanged text, which would still trigger a layout. */
export function setText(node: Node, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

/** Calls at most once per `interval` ms; the last call is never dropped. */
export function throttle(interval: number, call: () => void): { (): void; now(): void; cancel(): void } {
  let last = -Infinity;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const run = () => {
    clearTimeout(timer);
    timer = undefined;
    last = performance.now();
    call();
  };
  const throttled = () => {
    if (timer !== undefined) return;
    const wait = last + interval - performance.now();
    if (wait <= 0) run();
    else timer = setTimeout(run, wait);
  };
  throttled.now = run;
  throttled.cancel = () => clearTimeout(timer);
  return throttled;
}

/** Replaces all children at once; skips empty ones. */
export function replace(parent: Element, ...children: Child[]): void {
  parent.replaceChildren(...children.filter((child): child is Node | string => Boolean(child)));
}

/** Offers a file as a download. */
export function offer(filename: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  const link = h("a", { href: url, download: filename });
  document.body.append(link); // some hosts ignore clicks outside the document
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser may still be reading it
}
