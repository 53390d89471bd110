// The buttons for pictures: before and after, files, camera, freeze; and the speed.
import { h, replace, setText } from "../ui/dom";
import type { Frame, Picture, Setup } from "./protocol";

export interface TopBarEvents {
  step(by: 1 | -1): void;
  use(source: string): void;
  files(files: File[]): void;
  camera(): void;
  freeze(): void;
  help(): void;
}

const SOURCES: Record<string, string> = { images: "images", files: "files given here", camera: "camera" };

export class TopBar {
  readonly element: HTMLElement;
  readonly file = h("input", { type: "file", accept: "image/*", multiple: true, "aria-label": "open pictures", class: "ldam-hidden", tabindex: -1 });
  #before = button("previous picture", "◀", "the picture before (w)");
  #after = button("next picture", "▶", "the next picture (e)");
  #camera = button("camera", "camera", "pictures from the camera (c)");
  #freeze = button("freeze", "freeze", "hold the camera's picture (f)");
  #open = button("open", "open…", "choose picture files; they can be dropped or pasted too");
  #source = h("select.ldam-choice", { "aria-label": "source of pictures", hidden: true });
  #name = h("span.ldam-tb-name");
  #speed = h("span.ldam-speed", { "aria-live": "off" });
  #device = "";

  constructor(on: TopBarEvents) {
    const help = button("help", "?", "all keys (?)");
    for (const [element, act] of [
      [this.#before, () => on.step(-1)], [this.#after, () => on.step(1)], [this.#camera, () => on.camera()], [this.#freeze, () => on.freeze()],
      [this.#open, () => this.file.click()], [help, () => on.help()],
    ] as const) element.addEventListener("click", act); // prettier-ignore
    this.#source.addEventListener("change", () => on.use(this.#source.value));
    this.file.addEventListener("change", () => {
      on.files(Array.from(this.file.files ?? []));
      this.file.value = ""; // the same file may be chosen again
    });
    this.element = h("div.ldam-top", {}, this.#before, this.#after, this.#source, this.#open, this.file, this.#camera, this.#freeze, this.#name, help, this.#speed);
  }

  setup({ takes_files, device }: Setup): void {
    this.#device = device;
    for (const element of [this.#open, this.#camera, this.#freeze]) element.hidden = !takes_files;
    setText(this.#speed, device);
  }

  state({ source, sources, index, count, name }: Picture, frozen: boolean): void {
    const known = source === "camera" ? [...sources, "camera"] : sources;
    replace(this.#source, ...known.map((each) => h("option", { value: each }, SOURCES[each] ?? each)));
    this.#source.value = source;
    this.#source.hidden = known.length < 2;
    for (const element of [this.#before, this.#after]) element.disabled = count < 2;
    this.#freeze.disabled = source !== "camera";
    this.#freeze.setAttribute("aria-pressed", String(frozen));
    const place = count < 2 ? "" : /^\d+$/.test(name) ? `${count} images` : `${index + 1} of ${count}`;
    setText(this.#name, [place, caption(name)].filter(Boolean).join(" · "));
    this.#name.title = name;
  }

  running(camera: boolean): void {
    this.#camera.setAttribute("aria-pressed", String(camera));
  }

  frame({ stats, ms }: Frame): void {
    const rate = stats.frames_per_second;
    const parts = [rate ? `${rate.toFixed(1)} pictures/s` : "", `${Math.round(ms)} ms`, this.#device];
    setText(this.#speed, parts.filter(Boolean).join(" · "));
    this.#speed.title = stats.round_trip_ms === null ? "" : `round trip ${Math.round(stats.round_trip_ms)} ms`;
  }
}

/** What a picture is called: images without names have their number in the source. */
export function caption(name: string): string {
  return /^\d+$/.test(name) ? `image ${name}` : name;
}

function button(name: string, text: string, title: string): HTMLButtonElement {
  return h("button.ldam-button", { type: "button", "aria-label": name, title }, text);
}
