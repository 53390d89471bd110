// One tile of a sheet, as the background of an element.
import { h } from "../ui/dom";
import type { Layer, Sheet } from "./protocol";
import { placeOf, type Sheets } from "./sheets";

/** Which picture: tile `i` of a unit, of one kind. */
export interface Shown {
  atlas: number;
  layer: Layer;
  sheet: Sheet;
  unit: number;
  i: number;
}

export function heightOf(sheet: Pick<Sheet, "width" | "height">, width: number): number {
  return Math.round((width * sheet.height) / sheet.width);
}

export class Picture {
  readonly element: HTMLElement;
  #painted = "";

  /** `label`: what it shows, for those who cannot see it; "": the text beside it says so. */
  constructor(label = "") {
    this.element = h("span.ldam-at-picture", label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" });
  }

  /** Paints it if its sheet is there, and asks for the sheet otherwise; null: there is no picture. */
  paint(sheets: Sheets, shown: Shown | null, width: number, height = shown ? heightOf(shown.sheet, width) : width): void {
    const { style, classList } = this.element;
    const place = shown && placeOf(shown.layer, shown.sheet, shown.unit, shown.i);
    const url = shown && place && sheets.url(shown.atlas, shown.layer, place);
    const state = `${url} ${place?.column} ${place?.row} ${width} ${height}`;
    if (state === this.#painted && (url || !shown)) return;
    this.#painted = state;
    const error = shown && place && !url ? sheets.error(shown.atlas, shown.layer, place) : "";
    const background = url && place && `background: url("${url}") -${place.column * width}px -${place.row * height}px / ${place.columns * width}px auto no-repeat`;
    style.cssText = `width: ${width}px; height: ${height}px; ${background ?? ""}`;
    classList.toggle("ldam-at-coarse", !!shown && shown.sheet.width < width);
    classList.toggle("ldam-at-empty", !shown);
    classList.toggle("ldam-at-broken", !!error);
    if (this.element.title !== error) this.element.title = error;
  }
}
