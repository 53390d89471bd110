// What is shown of the pictures: contrast, the bands of images with other than three channels, and the receptive field.
import type { ChangeDisplay, Contrast, Display } from "../../protocol";
import { Choice } from "../../ui/choice";
import { h, setText } from "../../ui/dom";
import { Toggle } from "../../ui/toggle";

export type DisplayChange = Omit<ChangeDisplay, "kind">;

const CONTRASTS: [Contrast, string][] = [
  ["as it is", "as it is"],
  ["stretched", "stretched per tile"],
];
const MEANING = `as it is: a grey level means the same in every tile
stretched: each tile's smallest value is black and its largest white, so tiles cannot be compared;
display scale and base act on top of it`;
const COLOURS = ["red", "green", "blue"];
const BANDS = "the channel shown in grey, or three as red, green and blue, counted from 0";
const FIELD = "The neurons depend on nothing outside their receptive field; without a prior, the rest is noise.";

export class DisplayBox {
  readonly element: HTMLElement;
  #contrast: Choice;
  #mode: Choice;
  #bands: Choice[];
  #bandRow: HTMLElement;
  #crop = h("input", { type: "checkbox" });
  #cropText = h("span");
  #cropRow: HTMLElement;
  #outline = h("input", { type: "checkbox" });
  #outlineRow = h("label.ldam-crop", { title: "The enlarged tile always shows it." }, this.#outline, h("span", {}, "outline the receptive field in every tile"));
  #cropping: Toggle;
  #change: (change: DisplayChange) => void;

  /** `outline`: in this view alone. */
  constructor(change: (change: DisplayChange) => void, outline: (on: boolean) => void) {
    this.#change = change;
    this.#contrast = new Choice("contrast", (contrast) => change({ contrast: contrast as Contrast }));
    this.#contrast.options = CONTRASTS;
    this.#contrast.box.hidden = false;
    this.#contrast.box.title = MEANING;
    this.#mode = new Choice("colours of the bands", (mode) => this.#choose(mode === "grey" ? [0] : [0, 1, 2]));
    this.#mode.options = [["grey", "grey"], ["colour", "RGB"]];
    this.#bands = COLOURS.map((_, i) => new Choice("band", (band) => this.#choose(this.#shown.with(i, Number(band)))));
    this.#bandRow = row("bands", h("span.ldam-bands", { title: BANDS }, this.#mode.box, ...this.#bands.map(({ box }) => box)));
    this.#cropping = new Toggle((cropped) => change({ cropped }), (on) => (this.#crop.checked = on));
    this.#crop.addEventListener("change", () => this.#cropping.press());
    this.#cropRow = h("label.ldam-crop", {}, this.#crop, this.#cropText);
    this.element = h("div.ldam-display", { hidden: true }, row("contrast", this.#contrast.box), this.#bandRow, this.#cropRow, this.#outlineRow);
    this.#outline.addEventListener("change", () => outline(this.#outline.checked));
  }

  /** undefined: no news. */
  update(display: Display | undefined): void {
    if (!display) return;
    this.element.hidden = false;
    this.#contrast.update(display.contrast);
    this.#tellBands(display);
    this.#tellCrop(display);
  }

  /** The element in it that has the focus. */
  get focused(): HTMLElement | null {
    const { activeElement } = this.element.getRootNode() as Document | ShadowRoot;
    return this.element.contains(activeElement) ? (activeElement as HTMLElement) : null;
  }

  /** The kernel refused: show its values again. */
  refused(): void {
    for (const choice of this.#choices) choice.refused();
    this.#cropping.refused();
  }

  close(): void {
    for (const choice of this.#choices) choice.close();
    this.#cropping.close();
  }

  get #choices(): Choice[] {
    return [this.#contrast, this.#mode, ...this.#bands];
  }

  get #shown(): number[] {
    return this.#bands.filter(({ box }) => !box.hidden).map(({ value }) => Number(value));
  }

  #choose(bands: number[]): void {
    this.#change({ bands });
  }

  #tellBands({ bands, band_count }: Display): void {
    const plain = band_count === 1 || (band_count === 3 && String(bands) === "0,1,2");
    this.#bandRow.hidden = plain;
    if (plain) return;
    const colour = bands.length === 3;
    this.#mode.box.hidden = band_count < 3;
    this.#mode.update(colour ? "colour" : "grey");
    const options = Array.from({ length: band_count }, (_, band): [string, string] => [String(band), String(band)]);
    for (const [i, choice] of this.#bands.entries()) {
      choice.options = options;
      choice.box.hidden = i >= bands.length;
      choice.box.setAttribute("aria-label", colour ? `${COLOURS[i]} band` : `band of ${band_count}`);
      if (i < bands.length) choice.update(String(bands[i]));
    }
  }

  #tellCrop({ field, window, picture, cropped }: Display): void {
    this.#cropRow.hidden = this.#outlineRow.hidden = !field;
    if (!field || !window) return;
    this.#cropping.update(cropped);
    const size = ([height, width]: [number, number]) => `${height}×${width}`;
    const moved = size(window) !== size(field); // the picture is jittered
    setText(this.#cropText, `only the receptive field, ${size(field)} of ${size(picture)}${moved ? `; ${size(window)} with its shifts` : ""}`);
    this.#cropRow.title = FIELD + (moved ? "\nThe picture is shifted at random before the network sees it." : "");
  }
}

function row(name: string, content: HTMLElement): HTMLElement {
  return h("div.ldam-display-row", {}, h("span.ldam-display-name", { "aria-hidden": "true" }, name), content);
}
