// The real images that drive a unit most: what it sees of them, what of that it reacts to, and one of them as a whole.
import type { FilledPane } from "../../connection";
import type { UnitSeen } from "../../protocol";
import { h, replace, setText } from "../../ui/dom";
import { formatShort } from "../../ui/format";
import { Strip } from "./strip";

const RULE = "deconvolution: what of the picture makes the unit large there";

export class TopImages {
  readonly element: HTMLElement;
  #crops = new Strip();
  #whole = new Strip();
  #reactions = new Strip();
  #list = h("div.ldam-page-top", { role: "group", "aria-label": "strongest real images" });
  #caption = h("span");
  #detail = h("div.ldam-page-detail", { hidden: true });
  #picture = h("canvas", { role: "img" });
  #box = h("div.ldam-page-box");
  #text = h("span");
  #start: HTMLButtonElement | null = null;
  #seen: UnitSeen | null = null;
  #chosen = -1;
  #shown = ""; // what the list was built from
  #said = "";

  /** `start`: begins a chain in an image, of so many looked at; null where chains are not run. */
  constructor(start: ((images: number, rank: number) => void) | null) {
    if (start) {
      this.#start = h("button.ldam-button", { type: "button", title: "restart this unit's chains in this picture; the others go on" }, "start a chain from this image");
      this.#start.addEventListener("click", () => this.#seen && start(this.#seen.images, this.#chosen));
    }
    this.#detail.append(h("div.ldam-page-whole", {}, this.#picture, this.#box), h("div.ldam-page-say", {}, this.#text, this.#start ?? ""));
    this.element = h("div.ldam-page-block", { hidden: true }, h("div.ldam-page-caption", {}, h("b", {}, "strongest real images"), " ", this.#caption), this.#list, this.#detail);
  }

  /** Another unit: nothing is known yet. */
  clear(): void {
    this.#seen = null;
    this.#shown = "";
    [this.#crops, this.#whole, this.#reactions] = [new Strip(), new Strip(), new Strip()];
    this.element.hidden = true;
    replace(this.#list);
    this.#choose(-1);
  }

  set seen(seen: UnitSeen) {
    this.#seen = seen;
    this.element.hidden = !seen.top.length;
    this.#build();
  }

  async load(pane: FilledPane): Promise<void> {
    const strip = { crops: this.#crops, whole: this.#whole, deconvolution: this.#reactions }[pane.name];
    if (!strip) return;
    await strip.load(pane);
    this.#build();
    this.#choose(this.#chosen); // the picture on show may be an earlier one's
  }

  #build(): void {
    const seen = this.#seen;
    if (!seen) return;
    const pictures = this.#crops.count ? this.#crops : this.#whole;
    const key = JSON.stringify([seen.top, pictures.count, this.#reactions.count]);
    setText(this.#caption, this.#crops.count && seen.boxes.length ? "as far as the unit sees of them; below, what of it makes the unit large" : "");
    if (key === this.#shown) return;
    this.#shown = key;
    const columns = seen.top.map(({ value, name, place }, i) => {
      const canvas = h("canvas");
      const said = `${formatShort(value ?? NaN)}`;
      const label = `image ${name}: ${said}${place.length ? ` at ${place.join(", ")}` : ""}`;
      const button = h("button.ldam-page-image", { type: "button", "aria-pressed": "false", "aria-label": label, title: label }, pictures.count > i && canvas, h("span", {}, said));
      button.addEventListener("click", () => this.#choose(this.#chosen === i ? -1 : i));
      const reaction = this.#reactions.count > i && h("canvas", { role: "img", "aria-label": `deconvolution of image ${name}`, title: RULE });
      return { canvas, reaction, element: h("div.ldam-page-column", {}, button, reaction) };
    });
    const focused = this.#focused();
    replace(this.#list, ...columns.map(({ element }) => element));
    pictures.canvases = columns.map(({ canvas }) => canvas);
    this.#reactions.canvases = columns.flatMap(({ reaction }) => reaction || []);
    this.#choose(this.#chosen);
    if (focused >= 0) this.#buttons[focused]?.focus();
  }

  get #buttons(): HTMLButtonElement[] {
    return [...this.#list.querySelectorAll("button")];
  }

  #focused(): number {
    const { activeElement } = this.#list.getRootNode() as Document | ShadowRoot;
    return this.#buttons.indexOf(activeElement as HTMLButtonElement);
  }

  #choose(rank: number): void {
    this.#chosen = rank;
    const image = this.#seen?.top[rank];
    for (const [i, button] of this.#buttons.entries()) button.setAttribute("aria-pressed", String(i === rank));
    this.#detail.hidden = !image || !this.#whole.count;
    if (!image || !this.#seen) return;
    this.#whole.show(rank, this.#picture);
    this.#picture.setAttribute("aria-label", `image ${image.name}, whole`);
    const [height, width] = this.#whole.size;
    const [top, left, bottom, right] = this.#seen.boxes[rank] ?? [0, 0, 0, 0];
    const part = bottom! - top! < height || right! - left! < width;
    this.#box.hidden = !part || right === 0;
    const share = (a: number, of: number) => `${(100 * a) / of}%`;
    Object.assign(this.#box.style, { left: share(left!, width), top: share(top!, height), width: share(right! - left!, width), height: share(bottom! - top!, height) });
    const place = image.place.length ? `, at ${image.place.join(", ")} on its ${this.#seen.map.join("×")} map` : "";
    this.#said = `image ${image.name}: ${formatShort(image.value ?? NaN)}${place}`;
    setText(this.#text, this.#said);
    if (this.#start) this.#start.hidden = false;
  }
}
